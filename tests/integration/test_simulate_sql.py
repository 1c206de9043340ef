"""duly.simulate: what `duly simulate` answers, from SQL, for producers, without a trace."""

from __future__ import annotations

import json
import random
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from daemon.config import Config, parse_config
from daemon.model import Channel
from daemon.planning.simulation import Proposed, simulate
from daemon.queue.publisher import publish_rules
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from tests.integration.stage import Stage
from tests.support import toml, until

NUMBERS = (
    "+14155550123",  # one zone
    "+14235550123",  # two
    "+4915112345678",  # quiet hours of its country's
    "+33612345678",  # no quiet hours in its country
    "+79161234567",  # never an hour that suits all
    "+18005550123",  # nobody knows where
)
RULES = """
[rules]
quiet_hours = { marketing = "21:00-08:00", "*" = "01:30-02:30" }
no_common_hour = "Europe/Moscow"
per_week_exempt = ["urgent"]
[rules.quiet_hours_in.DE]
marketing = "20:00-09:00"
[rules.quiet_hours_in.FR]
"*" = "none"
[rules.caps.monthly]
limit = 3
calendar = "month"
exempt = ["urgent"]
[workspaces.clinic.rules]
zone_unknown = "allow"
consent_required = ["marketing"]
verified_only = true
[workspaces.clinic.rules.caps.recent]
limit = 2
days = 1.5
[workspaces.clinic.rules.caps.promised]
limit = 2
days = 30
categories = ["marketing"]
on_reached = "skip"
[workspaces.shop.rules]
zone_unknown = "Asia/Kolkata"
quiet_hours_in = {}
"""
WORKSPACES = ("clinic", "shop", "unnamed")
CATEGORIES = ("marketing", "urgent", "news")
ASK = 'select duly.simulate($1, $2, $3, $4, "at" => $5)'
NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)  # a day before Europe's clocks change


@pytest.fixture
def config(dsn: str) -> Config:
    return parse_config(toml(dsn, "https://api.example.com", 8080) + RULES)


@pytest_asyncio.fixture
async def conn(conn: Connection, database: Database, config: Config) -> Connection:
    """With three workspaces, of which the TOML names two, and their rules."""
    for workspace in WORKSPACES:
        await conn.execute("select duly.register_workspace($1)", workspace)
    await publish_rules(database, config)
    return conn


async def know(conn: Connection, rng: random.Random, workspace: str, channel: str, to: str) -> None:
    """Writes down something of somebody, or nothing."""
    given = workspace, channel, to
    if rng.random() < 0.7:
        await conn.execute(
            "select duly.record_consent($1, $2, $3, $4)",
            *given,
            rng.choice(("given", "withdrawn", "requested")),
        )
    if rng.random() < 0.2:
        await conn.execute(
            "select duly.do_not_contact($1, $2, $3, $4)", *given, rng.choice(("", *CATEGORIES))
        )
    if rng.random() < 0.7:
        await conn.execute(
            """with contact as (
                 insert into duly.contact (id, workspace_id, time_zone, max_per_week)
                 select gen_random_uuid(), id, $4, $5 from duly.workspace where name = $1 returning *
               )
               insert into duly.address (workspace_id, address_key, channel, contact_id, address, verified_at, own)
               select workspace_id, duly.address_key($2, $3), $2, id, $3, $6, $7 from contact""",
            *given,
            rng.choice((None, None, "Asia/Tokyo", "Europe/Berlin", "Mars/Olympus", "")),
            rng.choice((None, 0, 1, 3)),
            rng.choice((None, NOW)),
            rng.random() < 0.5,
        )
    for cap in ("monthly", "recent", "promised", "per_week"):
        used = [
            NOW - rng.random() * timedelta(days=40) / rng.choice((1, 20)) for _ in range(rng.randrange(5))
        ]
        await conn.execute(
            """insert into duly.cap_use (address_key, workspace_id, cap, at, by)
               select duly.address_key($2, $3), id, $4, $5, array(select gen_random_uuid() from unnest($5::timestamptz[]))
               from duly.workspace where name = $1 on conflict do nothing""",
            *given,
            cap,
            used,
        )


async def test_sql_answers_what_python_answers(conn: Connection, config: Config) -> None:
    rng = random.Random(9)
    to = {
        Channel.SMS: [*NUMBERS, *(f"{number[:-2]}{n}" for number in NUMBERS for n in range(10, 30, 3))],
        Channel.EMAIL: [f"person{n}@example.com" for n in range(8)],
        Channel.PUSH: ["+14155550123", "some token"],
    }
    outcomes = set()
    asked = 0
    for workspace in WORKSPACES:
        for channel, addresses in to.items():
            for address in addresses:
                await know(conn, rng, workspace, channel.value, address)
        await conn.execute("select duly.set_verified($1, $2, 'ada', 'seen')", workspace, workspace == "shop")
        for channel, addresses in to.items():
            for category in CATEGORIES:
                proposed = [
                    Proposed(address, NOW + rng.choice((0, 1, 3)) * rng.random() * timedelta(days=1))
                    for address in addresses * 3
                ]
                expected = [
                    each.as_json()
                    for each in await simulate(conn, config, workspace, channel, category, proposed)
                ]
                rows = await conn.fetch(
                    """select duly.simulate($1, $2, a.to, $3, a.at)::text as answer
                       from unnest($4::text[], $5::timestamptz[]) with ordinality a ("to", at, n) order by a.n""",
                    workspace,
                    channel.value,
                    category,
                    [each.to for each in proposed],
                    [each.at for each in proposed],
                )
                for row, answer in zip(rows, expected, strict=True):
                    asked_for = {"to": answer.pop("to"), "at": answer.pop("at")}
                    assert json.loads(row["answer"]) == answer, asked_for
                    outcomes.add((answer["outcome"], answer.get("reason")))
                asked += len(rows)
    assert asked > 1_000
    assert outcomes == {
        ("go", None),
        *(("wait", reason) for reason in ("quiet_hours", "cap_reached")),
        *(
            ("skip", reason)
            for reason in (
                "opted_out",
                "do_not_contact",
                "no_consent",
                "not_verified",
                "quiet_hours",
                "cap_reached",
            )
        ),
    }


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"workspace": "nowhere"}, "workspace: 'nowhere' is not a workspace"),
        ({"workspace": None}, "workspace: null is not"),
        ({"channel": "fax"}, "channel: 'fax' is none of"),
        ({"to": "0155 5123"}, "to: '0155 5123' is not an E.164 number"),
        ({"category": "Loud!"}, "category: must be"),
        ({"category": "opt_out_reply"}, "category: opt_out_reply is for Duly's own"),
        ({"at": datetime(2019, 12, 31, 23, tzinfo=UTC)}, "at: must be a time between 2020"),
        ({"at": datetime(2041, 1, 1, tzinfo=UTC)}, "at: must be a time between 2020"),
        ({"at": None}, "at: must be a time"),
    ],
)
async def test_what_is_wrong_is_said_as_by_enqueue(
    conn: Connection, changed: dict[str, Any], words: str
) -> None:
    await conn.execute("set time zone 'UTC'")
    given = {"workspace": "shop", "channel": "sms", "to": NUMBERS[0], "category": "news", "at": NOW} | changed
    with pytest.raises(asyncpg.InvalidParameterValueError) as error:
        await conn.fetchval(ASK, *given.values())
    assert str(error.value).startswith(words)


@pytest.mark.parametrize("missing", ["rule_set", "almanac"])
async def test_a_database_that_no_daemon_has_seen_says_so(conn: Connection, missing: str) -> None:
    await conn.execute(f"delete from duly.{missing}")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="no daemon has registered") as error:
        await conn.fetchval("select duly.simulate('shop', 'sms', $1)", NUMBERS[0])
    assert "duly run" in str(error.value.hint)


async def test_it_may_be_asked_where_nothing_may_be_written(conn: Connection) -> None:
    async with conn.transaction(readonly=True):
        answer = json.loads(await conn.fetchval("select duly.simulate('shop', 'sms', $1)", NUMBERS[0]))
    assert answer["rulings"][0] == {"rule": "suppression", "answer": "allow", "because": {"listed": None}}
    assert await conn.fetchval("select provolatile = 's' from pg_proc where proname = 'simulate'") is True


async def test_the_caller_s_zone_and_style_change_nothing(conn: Connection) -> None:
    given = "shop", "sms", NUMBERS[0], "marketing", datetime(2026, 7, 2, 6, 0, 0, 250_000, tzinfo=UTC)
    plain = await conn.fetchval(ASK, *given)
    assert json.loads(plain)["until"] == "2026-07-02T15:00:00+00:00"
    await conn.execute(
        "set time zone 'America/New_York'; set datestyle = 'German'; set intervalstyle = 'sql_standard'"
    )
    assert await conn.fetchval(ASK, *given) == plain


async def test_rules_that_the_toml_no_longer_has_are_gone(
    conn: Connection, database: Database, dsn: str
) -> None:
    await publish_rules(database, parse_config(toml(dsn, "https://api.example.com", 8080)))
    names = await conn.fetch("select workspace from duly.rule_set order by workspace")
    assert [row["workspace"] for row in names] == ["", "clinic", "shop"]
    answer = json.loads(await conn.fetchval(ASK, "clinic", "sms", NUMBERS[0], "news", NOW))
    assert (answer["outcome"], [r["rule"] for r in answer["rulings"]]) == (
        "go",
        ["suppression", "consent", "quiet_hours", "cap"],
    )


async def test_a_daemon_registers_its_rules_and_those_of_a_reload(
    dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Any
) -> None:
    await conn.execute("delete from duly.almanac; delete from duly.rule_set")
    stage = Stage(dsn, conn, sandbox, work_dir)

    async def needs_a_yes() -> bool | None:
        try:
            answer = json.loads(
                await conn.fetchval("select duly.simulate('clinic', 'sms', $1, 'news')", NUMBERS[0])
            )
        except asyncpg.ObjectNotInPrerequisiteStateError:
            return None
        return bool(answer["rulings"][1]["because"]["required"])

    async with stage.daemon(extra='[rules]\nconsent_required = ["news"]\nverified_only = true') as daemon:
        await until(needs_a_yes)
        words = (
            "simulate",
            "--workspace",
            "clinic",
            "--to",
            NUMBERS[0],
            "--category",
            "news",
            "--json",
            "--at",
            NOW.isoformat(),
        )
        told = json.loads((await stage.duly(daemon, *words)).stdout)
        answer = json.loads(await conn.fetchval(ASK, "clinic", "sms", NUMBERS[0], "news", NOW))
        assert {"to": NUMBERS[0], "at": NOW.isoformat(), **answer} == told
        assert answer["rulings"][3]["because"]["stand_in"] is True
        daemon.config.write_text(daemon.config.read_text().replace("consent_required", "footer_categories"))
        daemon.signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return await needs_a_yes() is False

        await until(reloaded)
        assert await conn.fetchval("select count(*) from duly.delivery_row") == 0
