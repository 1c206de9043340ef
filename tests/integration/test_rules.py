"""The rules at work: a STOP and what it stops, quiet hours, caps, lists, verification, and what the receipt says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.integration.stage import NUMBER, Stage
from tests.support import ACCOUNT_SID, AUTH_TOKEN, until

PERSON = NUMBER.format(7777)
REFUSED = NUMBER.format(2)
IN_AN_HOUR = timedelta(hours=1)


@pytest_asyncio.fixture
async def stage(dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Path) -> Stage:
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return Stage(dsn, conn, sandbox, work_dir)


async def says(stage: Stage, body: str, number: str = PERSON) -> None:
    """A person answers from the phone; the stand-in posts it, signed, to the daemon."""
    before = await stage.conn.fetchval("select count(*) from duly.inbound")
    stage.sandbox.lifecycle.reply(number, body, ())

    async def stored() -> bool:
        return bool(await stage.conn.fetchval("select count(*) from duly.inbound") > before)

    await until(stored)


async def consents(stage: Stage) -> list[tuple[str, str, str | None]]:
    rows = await stage.conn.fetch("select state, source, words from duly.consent order by recorded_at, id")
    return [tuple(row) for row in rows]


# STOP and its kin.


@pytest_asyncio.fixture(params=["twilio answers", "twilio is silent"])
async def either(
    request: pytest.FixtureRequest, dsn: str, conn: Connection, work_dir: Path
) -> AsyncIterator[Stage]:
    """A stage whose stand-in handles opt-outs itself, as Twilio does by default, or leaves them to us."""
    handled = request.param == "twilio answers"
    settings = SandboxSettings(
        account_sid=ACCOUNT_SID,
        auth_token=AUTH_TOKEN,
        seed=1,
        speed=10,
        blocks_opted_out=handled,
        advanced_opt_out=handled,
    )
    async with Sandbox(settings) as sandbox:
        yield Stage(dsn, conn, sandbox, work_dir)


async def test_a_stop_ends_what_waits_and_is_confirmed_once_whoever_handles_it(either: Stage) -> None:
    stage = either
    async with stage.daemon() as daemon:
        stage.sandbox.lifecycle.inbound_url = f"{daemon.url}/hooks/twilio/main/inbound"
        first = await stage.enqueue(PERSON)
        await stage.reaches(first, "sent", "delivered")
        waiting = [
            await stage.enqueue(PERSON, f"Later {n}", due_at=datetime.now(UTC) + IN_AN_HOUR) for n in range(3)
        ]
        other = await stage.enqueue(NUMBER.format(7778), due_at=datetime.now(UTC) + IN_AN_HOUR)
        elsewhere = await stage.enqueue(PERSON, workspace="shop", due_at=datetime.now(UTC) + IN_AN_HOUR)
        await says(stage, " Stop ")
        for delivery in waiting:
            row = await stage.row(delivery)
            assert (row["state"], row["reason"]) == ("skipped", "opted_out")
        assert [await stage.state(other), await stage.state(elsewhere)] == ["queued", "queued"]
        later = await stage.enqueue(PERSON, "After the stop")
        assert (await stage.row(later))["reason"] == "opted_out"
        await says(stage, "STOP")
        told = await stage.explain(daemon, later)
        assert told["reason"] == "opted_out"

        async def answers() -> list[str]:
            return [m.body for m in stage.sandbox.ledger.messages if "clinic" in m.body and not m.inbound]

        if stage.sandbox.settings.advanced_opt_out:
            assert await answers() == []  # Twilio has confirmed it
        else:
            await until(answers)
            (answer,) = await answers()
            assert "opted out" in answer or "unsubscribed" in answer.lower()
        await says(stage, "start")
        again = await stage.enqueue(PERSON, "Welcome back")
        await stage.reaches(again, "sent", "delivered")
        states = [(state, source) for state, source, _ in await consents(stage)]
        assert states == [("withdrawn", "inbound"), ("withdrawn", "inbound"), ("given", "inbound")]


async def test_free_text_stops_and_an_ordinary_answer_does_not(stage: Stage) -> None:
    async with stage.daemon() as daemon:
        stage.sandbox.lifecycle.inbound_url = f"{daemon.url}/hooks/twilio/main/inbound"
        await stage.reaches(await stage.enqueue(PERSON), "sent", "delivered")
        for words in ("Yes", "please don't stop texting me", "I'll be at the bus stop"):
            await says(stage, words)
        assert await consents(stage) == []
        await says(stage, "Please stop texting me!")
        ((state, source, said),) = await consents(stage)
        assert (state, source) == ("withdrawn", "inbound")
        assert "stop texting me" in (said or "")


async def test_a_robot_that_answers_our_answers_is_left_alone(
    dsn: str, conn: Connection, work_dir: Path
) -> None:
    settings = SandboxSettings(
        account_sid=ACCOUNT_SID,
        auth_token=AUTH_TOKEN,
        seed=1,
        speed=10,
        blocks_opted_out=False,
        advanced_opt_out=False,
    )
    async with Sandbox(settings) as sandbox:
        stage = Stage(dsn, conn, sandbox, work_dir)
        async with stage.daemon() as daemon:
            sandbox.lifecycle.inbound_url = f"{daemon.url}/hooks/twilio/main/inbound"
            await stage.reaches(await stage.enqueue(PERSON), "sent", "delivered")
            for _ in range(6):
                await says(stage, "HELP")
            assert await conn.fetchval("select count(*) from duly.answer") == 3


async def test_what_the_platform_refuses_as_opted_out_is_not_tried_again(stage: Stage) -> None:
    async with stage.daemon():
        refused = await stage.enqueue(REFUSED)
        await stage.reaches(refused, "failed")
        assert await consents(stage) == [("withdrawn", "provider", None)]
        proof = json.loads(await stage.conn.fetchval("select proof::text from duly.consent"))
        assert proof == {"account": "main", "code": "21610", "delivery": str(refused)}
        again = await stage.enqueue(REFUSED)
        assert await stage.state(again) == "skipped"
        assert stage.calls(again) == 0


async def test_a_category_that_is_duly_s_own_is_refused(stage: Stage) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^category: opt_out_reply is for"):
        await stage.enqueue(PERSON, category="opt_out_reply")


# Quiet hours, consent, verification.


def hours_around(now: datetime, zone: str, begins: int, ends: int) -> str:
    """Quiet hours as TOML, so many minutes before and after what the clock shows there."""
    local = now.astimezone(ZoneInfo(zone))
    return "-".join(f"{local + timedelta(minutes=minutes):%H:%M}" for minutes in (begins, ends))


async def test_quiet_hours_defer_and_the_receipt_says_until_when(stage: Stage) -> None:
    hours = hours_around(datetime.now(UTC), "America/Los_Angeles", -60, 60)
    extra = f'[rules]\nquiet_hours = {{ marketing = "{hours}" }}'
    async with stage.daemon(extra=extra) as daemon:
        held = await stage.enqueue(PERSON, category="marketing")
        urgent = await stage.enqueue(PERSON, category="urgent")
        late = await stage.enqueue(
            PERSON, category="marketing", expires_at=datetime.now(UTC) + timedelta(minutes=9)
        )
        await stage.reaches(urgent, "sent", "delivered")

        async def deferred() -> bool:
            row = await stage.row(held)
            return bool(row["reason"] == "quiet_hours" and row["state"] == "queued")

        await until(deferred)
        row = await stage.row(held)
        assert timedelta(minutes=55) < row["due_at"] - datetime.now(UTC) <= timedelta(minutes=60)
        await stage.reaches(late, "expired")
        assert (await stage.row(late))["detail"].startswith("quiet_hours:")
        told = await stage.explain(daemon, held)
        planned = f"due {row['created_at']:%Y-%m-%d %H:%M:%S} UTC"
        assert told["steps"][0]["detail"] == planned  # as it was queued, not as it was put off
        (step,) = [step for step in told["steps"] if step["what"].startswith("asked the rules")]
        (ruling,) = [each for each in step["rulings"] if each["rule"] == "quiet_hours"]
        assert ruling["answer"] == "defer"
        assert ruling["because"]["source"] == "inferred"
        assert told["zones"] == ["America/Los_Angeles"]
        said = await stage.duly(daemon, "explain", str(held))
        assert "quiet_hours: defer until" in said.stdout
        assert "America/Los_Angeles" in said.stdout


async def test_what_was_allowed_before_the_quiet_hours_began_is_asked_again_at_the_mark(
    stage: Stage, conn: Connection
) -> None:
    delivery = await stage.enqueue(PERSON, category="marketing")
    node = await conn.fetchval(
        "insert into duly.node (name, version, alive_until) values ('n', '0', now() + interval '1 h') returning id"
    )
    workspace = await conn.fetchval("select workspace_id from duly.delivery_row where id = $1", delivery)
    (leased,) = await conn.fetch(query("lease"), [workspace], ["sms"], [2], [1], 7, node)
    columns = ([delivery], [workspace], [7], node, "main", [leased["address_key"]], ["sms"], ["marketing"])
    past = datetime.now(UTC) - timedelta(seconds=1)
    (marked,) = await conn.fetch(query("mark"), *columns, [past])
    assert not marked["marked"]
    row = await stage.row(delivery)
    assert (row["state"], row["lease_token"], row["attempts"]) == ("queued", None, 0)


async def test_the_mark_takes_nothing_that_was_suppressed_after_the_lease(
    stage: Stage, conn: Connection
) -> None:
    delivery = await stage.enqueue(PERSON)
    node = await conn.fetchval(
        "insert into duly.node (name, version, alive_until) values ('n', '0', now() + interval '1 h') returning id"
    )
    workspace = await conn.fetchval("select workspace_id from duly.delivery_row where id = $1", delivery)
    (leased,) = await conn.fetch(query("lease"), [workspace], ["sms"], [2], [1], 7, node)
    await conn.execute(
        "insert into duly.suppression (address_key, workspace_id, reason, source) values ($1, $2, 'opted_out', 'test')",
        leased["address_key"],
        0,
    )
    columns = (
        [delivery],
        [workspace],
        [7],
        node,
        "main",
        [leased["address_key"]],
        ["sms"],
        ["transactional"],
    )
    (marked,) = await conn.fetch(query("mark"), *columns, [])
    assert not marked["marked"]
    row = await stage.row(delivery)
    assert (row["state"], row["reason"], row["attempts"]) == ("skipped", "opted_out", 0)


async def test_a_category_that_needs_a_yes_goes_to_who_gave_one(stage: Stage) -> None:
    extra = '[rules]\nconsent_required = ["news"]'
    willing, asked = NUMBER.format(7801), NUMBER.format(7802)
    record = "select duly.record_consent('clinic', 'sms', $1, $2, 'news', words => 'the form of June')"
    await stage.conn.fetchval(record, willing, "given")
    await stage.conn.fetchval(record, asked, "requested")
    async with stage.daemon(extra=extra):
        yes = await stage.enqueue(willing, category="news")
        others = [await stage.enqueue(number, category="news") for number in (asked, PERSON)]
        await stage.reaches(yes, "sent", "delivered")
        for delivery in others:
            await stage.reaches(delivery, "skipped")
            assert (await stage.row(delivery))["reason"] == "no_consent"
        rulings = await stage.conn.fetchval(
            "select rulings::text from duly.attempt where delivery_id = $1", yes
        )
        (consent,) = [each for each in json.loads(rulings) if each["rule"] == "consent"]
        assert consent == {
            "rule": "consent",
            "answer": "allow",
            "because": {"required": True, "last": "given"},
        }


async def test_a_workspace_that_nobody_verified_reaches_stand_ins_only(stage: Stage) -> None:
    async with stage.daemon(extra="[rules]\nverified_only = true"):
        delivery = await stage.enqueue(PERSON)
        await stage.reaches(delivery, "sent", "delivered")
    rulings = await stage.conn.fetchval(
        "select rulings::text from duly.attempt where delivery_id = $1", delivery
    )
    (verification,) = [each for each in json.loads(rulings) if each["rule"] == "verification"]
    assert verification["because"] == {"verified": False, "own_address": False, "stand_in": True}


# Caps.


async def test_a_cap_holds_back_what_is_over_it_and_lets_the_exempt_through(stage: Stage) -> None:
    extra = """
    [rules.caps.day]
    limit = 2
    days = 1
    exempt = ["urgent"]
    [rules.caps.word]
    limit = 1
    calendar = "month"
    categories = ["survey"]
    on_reached = "skip"
    """
    async with stage.daemon(extra=extra):
        news = [await stage.enqueue(PERSON, f"News {n}", category="news") for n in range(5)]
        urgent = [await stage.enqueue(PERSON, f"Urgent {n}", category="urgent") for n in range(3)]
        survey = [await stage.enqueue(NUMBER.format(7900), f"Ask {n}", category="survey") for n in range(2)]
        for delivery in urgent:
            await stage.reaches(delivery, "sent", "delivered")

        async def settled() -> bool:
            rows = [await stage.row(delivery) for delivery in news]
            return [row["reason"] for row in rows].count("cap_reached") == 3

        await until(settled)
        assert sum(len(stage.taken(delivery)) for delivery in news) == 2
        (over,) = {
            row["due_at"].date()
            for row in [await stage.row(d) for d in news]
            if row["reason"] == "cap_reached"
        }
        assert over - datetime.now(UTC).date() in (timedelta(days=1), timedelta(days=2))
        for delivery in survey:
            await stage.reaches(delivery, "sent", "delivered", "skipped")
        assert sorted([await stage.state(d) in ("sent", "delivered") for d in survey]) == [False, True]


async def test_a_cap_is_exact_however_many_charge_it_at_once(dsn: str, conn: Connection) -> None:
    """Forty connections, three hundred deliveries to five addresses with two caps each."""
    keys = [UUID(int=n) for n in range(5)]
    charges = [(UUID(int=1000 + n), keys[n % 5]) for n in range(300)]
    pool = await asyncpg.create_pool(dsn, min_size=40, max_size=40)

    async def charge(some: list[tuple[UUID, UUID]]) -> set[UUID]:
        lines = [(id_, key, *cap) for id_, key in some for cap in (("a", 7), ("b", 9))]
        ids, of, caps, limits = map(list, zip(*lines, strict=True))
        rows = await pool.fetch(
            query("charge"), ids, [1] * len(ids), of, caps, limits, [3600.0] * len(ids), [None] * len(ids)
        )
        return {row["id"] for row in rows}

    batches = [charges[n : n + 5] for n in range(0, 300, 5)]
    full = set().union(*await asyncio.gather(*(charge(batch) for batch in batches)))
    assert len(charges) - len(full) == 5 * 7
    used = await conn.fetch("select cap, cardinality(at) as used, cardinality(by) as by from duly.cap_use")
    assert {(row["cap"], row["used"], row["by"]) for row in used} == {("a", 7, 7), ("b", 7, 7)}
    again = set().union(*await asyncio.gather(*(charge(batch) for batch in batches)))
    assert again == full  # asked a second time, nothing is charged twice
    await pool.close()


async def test_a_contact_s_own_maximum_a_week_holds(stage: Stage) -> None:
    await stage.conn.execute(
        """insert into duly.contact (id, workspace_id, max_per_week)
           select $1, id, 1 from duly.workspace where name = 'clinic'""",
        UUID(int=1),
    )
    await stage.conn.execute(
        """insert into duly.address (workspace_id, address_key, channel, contact_id, address)
           select id, duly.address_key('sms', $1), 'sms', $2, $1 from duly.workspace where name = 'clinic'""",
        PERSON,
        UUID(int=1),
    )
    async with stage.daemon():
        both = [await stage.enqueue(PERSON, f"Keep going {n}", category="accountability") for n in range(2)]

        async def settled() -> bool:
            states = sorted([await stage.state(delivery) for delivery in both])
            return states in (["queued", "sent"], ["delivered", "queued"])

        await until(settled)
        (held,) = [row for row in [await stage.row(d) for d in both] if row["state"] == "queued"]
        assert held["reason"] == "cap_reached"
        monday = held["due_at"].astimezone(ZoneInfo("America/Los_Angeles"))
        assert (monday.weekday(), monday.hour, monday.minute) == (0, 0, 0)


# Footers, and what would become of a message.


async def test_the_footer_is_appended_once_in_the_recipient_s_language_and_counted(stage: Stage) -> None:
    extra = """
    rules = { business = "Clinic East", footer_categories = ["marketing"], quiet_hours = {}, caps = {} }
    """.replace("rules =", "[workspaces.gym]\nrules =")
    async with stage.daemon(extra=extra):
        long = "x" * 150
        english = await stage.enqueue(PERSON, long, workspace="gym", category="marketing")
        spanish = await stage.enqueue(
            PERSON, "Hola", workspace="gym", category="marketing", metadata='{"language": "es-MX"}'
        )
        plain = await stage.enqueue(PERSON, "A receipt", workspace="gym")
        for delivery in (english, spanish, plain):
            await stage.reaches(delivery, "sent", "delivered")
        bodies = [stage.taken(delivery)[0].body for delivery in (english, spanish, plain)]
        assert bodies[0].startswith(long + "\nClinic East\n")
        assert "STOP" in bodies[0]
        assert bodies[1].startswith("Hola\nClinic East\n")
        assert bodies[1].split("\n")[2] != bodies[0].split("\n")[2]
        assert bodies[2] == "A receipt"
        assert (await stage.row(english))["segments"] == 2


async def test_a_simulation_says_what_then_happens_and_sends_nothing(stage: Stage, work_dir: Path) -> None:
    hours = hours_around(datetime.now(UTC), "America/Los_Angeles", -60, 60)
    extra = f'[rules]\nquiet_hours = {{ marketing = "{hours}" }}\nconsent_required = ["news"]'
    await stage.conn.fetchval("select duly.do_not_contact('clinic', 'sms', $1)", NUMBER.format(1))
    recipients = work_dir / "people.csv"
    recipients.write_text("to\n" + "\n".join([PERSON, NUMBER.format(1), "+1", "+13055550123", PERSON]))
    async with stage.daemon(extra=extra) as daemon:
        for category, outcome, word in (
            ("marketing", "wait", "quiet_hours"),
            ("news", "skip", "no_consent"),
            ("transactional", "go", None),
        ):
            words = ("simulate", "--workspace", "clinic", "--to", PERSON, "--category", category, "--json")
            told = json.loads((await stage.duly(daemon, *words)).stdout)
            assert (told["outcome"], told.get("reason")) == (outcome, word)
        words = (
            "simulate",
            "--workspace",
            "clinic",
            "--csv",
            str(recipients),
            "--category",
            "marketing",
            "--json",
        )
        told = json.loads((await stage.duly(daemon, *words)).stdout)
        assert told == {
            "go": 0 if told["wait"]["quiet_hours"] == 2 else 1,
            "wait": told["wait"],
            "skip": {"repeated": 1, "do_not_contact": 1},
            "wrong": {"to": 1},
        }
        wrong = await stage.duly(daemon, "simulate", "--workspace", "clinic", "--to", "555")
        assert (wrong.returncode, "E.164" in wrong.stderr) == (2, True)
        assert await stage.conn.fetchval("select count(*) from duly.delivery_row") == 0
