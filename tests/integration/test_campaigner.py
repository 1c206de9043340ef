"""Campaigns against a real database: audiences, throttle, pause and resume, A/B, and counts that add up."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from daemon.config import Config, parse_config
from daemon.content.documents import parse
from daemon.content.library import put_template
from daemon.planning.audience import segment
from daemon.planning.campaign_drafts import CampaignProblem, draft, make
from daemon.planning.campaign_outlook import progress, results
from daemon.planning.campaigner import Campaigner
from daemon.planning.spreader import Spreader
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.support import no_keys

BOSTON, TOKYO, UNKNOWN = "America/New_York", "Asia/Tokyo", None


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


def config(account: str = "") -> Config:
    """One account, and no quiet hours, so that the time of day of a test's run does not matter."""
    return parse_config(
        f"""[platforms.main]
        {account}
        kind = "twilio"
        account_sid = "AC0123456789abcdef0123456789abcdef"
        auth_token = "0123456789abcdef"
        from = "+15005550006"
        [rules]
        quiet_hours = {{}}
        [workspaces.clinic]
        """,
        environ={},
    )


class Runner:
    """Makes campaigns and works on them as a daemon does."""

    def __init__(self, conn: Connection, database: Database) -> None:
        self.conn = conn
        self.database = database
        self.config = config()

    def campaigner(self, keys: DataKeys | None = None) -> Campaigner:
        """One more daemon's."""
        return Campaigner(self.database, lambda: self.config, keys or no_keys(self.database), asyncio.Event())

    async def people(self, count: int, workspace: str = "clinic", **fields: Any) -> list[UUID]:
        """So many contacts with numbers."""
        before = await self.conn.fetchval("select count(*) from duly.contact")
        items = [
            {
                "external_id": f"{workspace}-{before + n}",
                "first_name": f"P{n}",
                "addresses": [{"channel": "sms", "address": f"+1617{before + n:07}"}],
                **fields,
            }
            for n in range(count)
        ]
        rows = await self.conn.fetch(query("put_contacts"), workspace, json.dumps(items))
        assert [row["error"] for row in rows] == [None] * count
        return [row["id"] for row in rows]

    async def make(self, **fields: Any) -> str:
        """A draft, to everybody unless said otherwise."""
        text = {} if "variants" in fields else {"body": "Hello {{FirstName}}"}
        given = {"name": "news", "segment": {}} | text | fields
        await make(self.conn, "clinic", draft(given))
        return str(given["name"])

    async def start(self, **fields: Any) -> str:
        """A campaign that has begun."""
        name = await self.make(**fields)
        assert await self.conn.fetchval(query("campaign_act_start"), "clinic", name)
        return name

    async def settle(self, campaigner: Campaigner | None = None, rounds: int = 50) -> None:
        """Works until a round has nothing to do."""
        campaigner = campaigner or self.campaigner()
        for _ in range(rounds):
            moved = await campaigner.once()
            assert campaigner.health() is None
            if not moved:
                return
        raise AssertionError("it does not come to rest")

    async def counts(self, name: str = "news") -> dict[str, Any]:
        """The progress, which must add up."""
        found = await progress(self.conn, self.config, "clinic", name)
        assert found["audience"] == found["sent"] + found["waiting"] + sum(found["skipped"].values()), found
        assert found["waiting"] == found["to_come"] + found["queued"] + found["sending"]
        return found

    async def send(
        self, limit: int = 1_000_000, state: str = "delivered", *, seconds: float = 10
    ) -> list[str]:
        """What the queue's deliveries that are due by then would become; returns to whom, in the order they went."""
        rows = await self.conn.fetch(
            """with d as (select id from duly.delivery_row
                          where state = 'queued' and due_at <= now() + make_interval(secs => $3)
                          order by due_at, id limit $1)
               update duly.delivery_row r set state = $2::text::duly.state, sent_at = now(), state_at = now()
               from d where r.id = d.id returning r."to" """,
            limit,
            state,
            seconds,
        )
        return [row["to"] for row in rows]


@pytest.fixture
def runner(conn: Connection, database: Database) -> Runner:
    return Runner(conn, database)


async def test_everybody_of_a_segment_gets_it_once_and_the_counts_add_up_throughout(runner: Runner) -> None:
    await runner.people(30, attributes={"city": "Boston"})
    await runner.people(5, attributes={"city": "Rome"})
    name = await runner.start(segment={"city": "Boston"})
    campaigner = runner.campaigner()
    sent: list[str] = []
    for _ in range(30):
        await campaigner.once()
        sent += await runner.send(7)
        if (await runner.counts())["state"] == "done":
            break
    assert len(sent) == len(set(sent)) == 30
    assert await runner.conn.fetchval("select array_agg(distinct body) from duly.message") == sorted(
        f"Hello P{n}" for n in range(30)
    )
    found = await runner.counts(name)
    assert (found["audience"], found["sent"], found["skipped"]) == (30, 30, {})
    await runner.people(1, attributes={"city": "Boston"})
    await runner.settle()
    assert (await runner.counts())["audience"] == 30


async def test_who_cannot_be_written_to_is_skipped_with_the_reason(runner: Runner) -> None:
    await runner.people(4)
    conn = runner.conn
    await conn.execute("select duly.do_not_contact('clinic', 'sms', '+16170000000')")
    await conn.execute(query("put_contacts"), "clinic", '[{"external_id": "nowhere", "first_name": "N"}]')
    await conn.execute("update duly.contact set first_name = null where external_id = 'clinic-3'")
    await runner.start()
    await runner.settle()
    found = await runner.counts()
    assert found["skipped"] == {"do_not_contact": 1, "no_address": 1, "template": 1}
    assert (found["audience"], found["queued"]) == (5, 2)
    said = await conn.fetchval("select reason from duly.planned where reason is not null")
    assert said == "template: variables.FirstName: is missing; the text needs it"


async def test_an_application_adds_people_by_sql_with_variables_of_their_own(runner: Runner) -> None:
    await runner.people(2)
    await runner.make(segment=None, body="{{FirstName}}, your {{pet}} is due")
    items = [
        {"external_id": "clinic-0", "variables": {"pet": "cat"}},
        {"addresses": [{"channel": "sms", "address": "+13105550000"}], "variables": {"FirstName": "Guest", "pet": "ox"}},
        {"external_id": "nobody"},
        {"external_id": "clinic-0"},
        "x",
    ]  # fmt: skip
    rows = await runner.conn.fetch(query("campaign_add"), "clinic", "news", json.dumps(items))
    assert [row["repeated"] for row in rows] == [False, False, None, True, None]
    assert [row["error"] for row in rows][2:] == [
        "external_id: there is no such contact; give an address too",
        None,
        "item: must be a JSON object",
    ]
    await runner.conn.execute(query("campaign_act_start"), "clinic", "news")
    await runner.settle()
    bodies = await runner.conn.fetch("select body from duly.message order by body")
    assert [row["body"] for row in bodies] == ["Guest, your ox is due", "P0, your cat is due"]
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^state: campaign news is running"):
        await runner.conn.fetch(query("campaign_add"), "clinic", "news", "[]")


async def test_each_at_nine_by_their_own_clock_and_the_next_day_where_that_has_passed(runner: Runner) -> None:
    await runner.people(1, time_zone=BOSTON)
    await runner.people(1, time_zone=TOKYO)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    await runner.start(at=f"{tomorrow}T09:00")
    await runner.settle()
    rows = await runner.conn.fetch("select wall_at, due_at from duly.campaign_member order by due_at")
    assert [row["wall_at"].isoformat() for row in rows] == [f"{tomorrow}T09:00:00"] * 2
    assert rows[1]["due_at"] - rows[0]["due_at"] in (timedelta(hours=13), timedelta(hours=14))
    yesterday = tomorrow - timedelta(days=2)
    for passed in ("next_day", "now", "skip"):
        await runner.start(name=passed, at=f"{yesterday}T09:00", passed=passed)
        await runner.settle()
    now = datetime.now(UTC)
    due = {
        row["name"]: row["due"]
        for row in await runner.conn.fetch(
            """select c.name, array_agg(m.due_at) as due from duly.campaign_member m
               join duly.campaign c on c.id = m.campaign_id group by 1"""
        )
    }
    assert all(now < at <= now + timedelta(days=1) for at in due["next_day"])
    assert all(at <= now for at in due["now"])
    assert (await runner.counts("skip"))["skipped"] == {"passed": 2}


async def test_the_throttle_spaces_them_and_no_more_is_queued_than_goes_soon(runner: Runner) -> None:
    await runner.people(40)
    await runner.start(per_minute=60)
    campaigner = runner.campaigner()
    for _ in range(8):
        await campaigner.once()
    rows = await runner.conn.fetch("select due_at from duly.delivery_row order by due_at")
    assert 10 <= len(rows) <= 13
    gaps = [b["due_at"] - a["due_at"] for a, b in pairwise(rows)]
    assert min(gaps) >= timedelta(seconds=1)
    found = await runner.counts()
    left = (datetime.fromisoformat(str(found["eta"])) - datetime.now(UTC)).total_seconds()
    assert 35 < left < 60
    assert (found["held_by"], found["per_second"]) == ("throttle", 1.0)


async def test_paused_at_once_it_goes_on_without_sending_anything_again(runner: Runner) -> None:
    await runner.people(20)
    conn = runner.conn
    await runner.start()
    campaigner = runner.campaigner()
    await runner.settle(campaigner)
    sent = await runner.send(6)
    for state, count in (("leased", 5), ("sending", 1)):
        await conn.execute(
            """update duly.delivery_row set state = $1::text::duly.state
               where id in (select id from duly.delivery_row where state = 'queued' limit $2)""",
            state,
            count,
        )
    assert await conn.fetchval(query("campaign_act_pause"), "clinic", "news") == 13
    found = await runner.counts()
    assert (found["sent"], found["to_come"], found["sending"], found["state"]) == (6, 13, 1, "paused")
    # What was being sent comes back to the queue: it must wait as well.
    await conn.execute("update duly.delivery_row set state = 'queued' where state = 'sending'")
    await runner.settle(campaigner)
    await campaigner.once()
    found = await runner.counts()
    assert (found["sent"], found["to_come"], found["queued"]) == (6, 14, 0)
    assert await conn.fetchval(query("campaign_act_resume"), "clinic", "news")
    assert not await conn.fetchval("select restless from duly.campaign")
    await runner.settle(campaigner)
    sent += await runner.send()
    await runner.settle(campaigner)
    assert (await runner.counts())["state"] == "done"
    assert len(sent) == len(set(sent)) == 20
    states = Counter(row["state"] for row in await conn.fetch("select state::text from duly.delivery_row"))
    assert states == {"delivered": 20, "canceled": 14}


class Line:
    """One daemon's way to the platform, without the platform."""

    def __init__(self, conn: Connection, node: int) -> None:
        self.conn, self.node, self.token = conn, node, 0

    async def lease(self) -> list[asyncpg.Record]:
        """Leases whatever is due."""
        self.token += 1
        await self.conn.execute("update duly.delivery_row set due_at = now() where state = 'queued'")
        return await self.conn.fetch(
            query("lease"), [1, 1], ["sms"] * 2, [3, 2], [9, 9], self.token, self.node
        )

    async def mark(self, rows: list[asyncpg.Record]) -> list[str]:
        """Asks for all; to whom calls may be made."""
        columns = [[row["id"] for row in rows], [1] * len(rows), [self.token] * len(rows), self.node, "main"]
        columns += [[row["address_key"] for row in rows], ["sms"] * len(rows), ["marketing"] * len(rows), []]
        to = {row["id"]: row["to"] for row in rows}
        return sorted(to[r["id"]] for r in await self.conn.fetch(query("mark"), *columns) if r["marked"])

    async def go(self) -> list[str]:
        """To whom calls are made of all that is due."""
        return await self.mark(await self.lease())

    async def back(self) -> None:
        """What was called for fails and is to be tried again at once, as record.sql and status_callbacks.sql say it."""
        await self.conn.execute(
            """update duly.delivery_row set state = 'queued', lease_token = null, node_id = null, due_at = now()
               where state in ('sending', 'sent')"""
        )


@pytest_asyncio.fixture
async def line(conn: Connection) -> Line:
    return Line(
        conn,
        await conn.fetchval(
            "insert into duly.node (name, version, alive_until) values ('n', '0', now() + interval '1 h') returning id"
        ),
    )


@pytest.mark.parametrize("before", ["sending", "sent"])
@pytest.mark.parametrize("act", ["pause", "cancel"])
async def test_what_comes_back_to_the_queue_of_a_stopped_campaign_does_not_pass_the_last_gate(
    runner: Runner, line: Line, act: str, before: str
) -> None:
    conn = runner.conn
    *_, last = await runner.people(3)
    await runner.start(category="transactional")
    campaigner = runner.campaigner()
    await campaigner.once()  # gathers
    await conn.execute(
        "update duly.campaign_member set due_at = now() + interval '1 day' where contact_id = $1", last
    )
    await runner.settle(campaigner)
    called = await line.go()
    assert len(called) == 2
    if before == "sent":
        await conn.execute("update duly.delivery_row set state = 'sent', sent_at = now()")
        await runner.settle(campaigner)  # the members are done with it
    assert await conn.fetchval(query(f"campaign_act_{act}"), "clinic", "news") == 0
    await conn.execute("select duly.enqueue('clinic', 'sms', '+14155550000', 'Not of the campaign')")
    await line.back()
    assert await line.go() == ["+14155550000"]  # before any daemon has looked
    assert await line.go() == []
    assert (await runner.counts())["queued"] == 2
    await runner.settle(runner.campaigner())  # another daemon's; this one looks for them a minute later
    found = await runner.counts()
    if act == "cancel":
        assert (found["waiting"], found["skipped"]) == (0, {"canceled": 3})
        await runner.campaigner().once()
        assert not await conn.fetchval("select restless from duly.campaign")
        return
    assert (found["waiting"], found["to_come"]) == (3, 3)
    await conn.execute(query("campaign_act_resume"), "clinic", "news")
    await runner.settle(campaigner)
    assert await line.go() == called


async def test_a_paused_campaign_lets_those_pass_that_come_back_after_it_is_resumed(
    runner: Runner, line: Line
) -> None:
    await runner.people(1)
    await runner.start(category="transactional")
    await runner.settle()
    called = await line.go()
    await runner.conn.execute(query("campaign_act_pause"), "clinic", "news")
    await line.back()
    assert await line.go() == []
    await runner.conn.execute(query("campaign_act_resume"), "clinic", "news")
    assert await line.go() == called
    assert await runner.conn.fetchval("select attempts from duly.delivery_row") == 2


async def test_canceled_it_ends_at_once_and_stays_so(runner: Runner) -> None:
    await runner.people(8)
    await runner.start()
    await runner.settle()
    await runner.send(3)
    assert await runner.conn.fetchval(query("campaign_act_cancel"), "clinic", "news") == 5
    found = await runner.counts()
    assert (found["sent"], found["waiting"], found["skipped"]) == (3, 0, {"canceled": 5})
    for action, what in (("start", "started"), ("pause", "paused"), ("resume", "resumed")):
        with pytest.raises(
            asyncpg.InvalidParameterValueError,
            match=f"^state: campaign news is canceled and cannot be {what}",
        ):
            await runner.conn.execute(query(f"campaign_act_{action}"), "clinic", "news")
    assert await runner.conn.fetchval(query("campaign_act_cancel"), "clinic", "news") == 0


async def test_several_daemons_at_once_neither_skip_nor_repeat_anybody(runner: Runner) -> None:
    await runner.people(600)
    await runner.start()
    daemons = [runner.campaigner() for _ in range(4)]
    for _ in range(20):
        await asyncio.gather(*(each.once() for each in daemons))
    assert (await runner.counts())["to_come"] == 0
    to = await runner.conn.fetch('select "to", count(*) as n from duly.delivery_row group by 1')
    assert len(to) == 600
    assert {row["n"] for row in to} == {1}


async def test_what_the_rules_put_off_waits_with_the_campaign(runner: Runner) -> None:
    await runner.people(3, time_zone=BOSTON)
    runner.config = parse_config(
        """[rules]
        quiet_hours = { "*" = "00:00-23:59:59" }
        [workspaces.clinic]
        """,
        environ={},
    )
    await runner.start()
    await runner.settle()
    found = await runner.counts()
    assert (found["to_come"], found["queued"]) == (3, 0)
    assert datetime.fromisoformat(found["last_due"]) > datetime.now(UTC)


async def test_a_holdout_gets_nothing_and_the_draw_follows_the_weights(runner: Runner) -> None:
    await runner.people(800)
    await runner.start(
        holdout=10.0,
        variants=[{"name": "a", "body": "A", "weight": 3}, {"name": "b", "body": "B", "weight": 1}],
    )
    await runner.settle()
    found = await runner.counts()
    assert 50 < found["skipped"]["holdout"] < 115
    bodies = Counter(row["body"] for row in await runner.conn.fetch("select body from duly.message"))
    assert bodies.total() == 800 - found["skipped"]["holdout"]
    assert 0.69 < bodies["A"] / bodies.total() < 0.81


async def test_a_test_part_decides_what_the_rest_gets(runner: Runner) -> None:
    await runner.people(400)
    conn = runner.conn
    await runner.start(
        test_part=50.0,
        metric="click",
        variants=[{"name": "a", "body": "A"}, {"name": "b", "body": "B"}],
    )
    await runner.settle()
    await runner.send()
    rest = (await runner.counts())["to_come"]
    assert 150 < rest < 250
    assert (await runner.counts())["eta"] is None
    for row in await conn.fetch("select contact_id from duly.campaign_member where variant = 'b' limit 40"):
        hit = (query("campaign_hit"), "clinic", "news", str(row["contact_id"]), "click", "link", None)
        assert await conn.fetchval(*hit)
        assert not await conn.fetchval(*hit)
    await runner.settle()
    await runner.send()
    await runner.settle()
    found = await results(conn, "clinic", "news")
    assert (found["winner"], found["better"]) == ("b", "b")
    assert found["winner_because"]["by"] == "statistics"
    assert found["variants"][1]["hits"] == 40
    assert found["comparisons"][0]["p_value"] < 0.001
    counts = await runner.counts()
    assert (counts["state"], counts["sent"]) == ("done", 400)
    said = Counter(row["body"] for row in await conn.fetch("select body from duly.message"))
    assert said["B"] > rest
    assert said["A"] + said["B"] == 400


async def test_at_the_deadline_the_better_one_goes_out_and_a_person_may_choose_instead(
    runner: Runner,
) -> None:
    await runner.people(60)
    conn = runner.conn
    variants = [{"name": "a", "body": "A"}, {"name": "b", "body": "B"}]
    await runner.start(test_part=40.0, decide_after="0 s", variants=variants)
    campaigner = runner.campaigner()
    await runner.settle(campaigner)
    campaigner = runner.campaigner()
    await runner.settle(campaigner)
    found = await results(conn, "clinic", "news")
    assert (found["winner"], found["winner_because"]["by"]) == ("a", "deadline")
    await runner.start(name="other", test_part=40.0, decides="manual", decide_after="0 s", variants=variants)
    await runner.settle()
    await runner.settle()
    assert (await results(conn, "clinic", "other"))["winner"] is None
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^variant: 'c' is none"):
        await conn.execute(query("campaign_pick"), "clinic", "other", "c", "{}")
    await conn.execute(query("campaign_pick"), "clinic", "other", "b", '{"by": "person"}')
    await runner.settle()
    assert (await runner.counts("other"))["to_come"] == 0


async def test_a_reply_counts_for_the_variant_and_a_stop_does_not(runner: Runner) -> None:
    await runner.people(2)
    conn = runner.conn
    await runner.start()
    await runner.settle()
    await runner.send()
    await conn.execute("update duly.campaign set heard_at = now() - interval '10 s'")
    for number, (body, kind) in enumerate([("Yes please", None), ("STOP", "STOP")]):
        await conn.execute(
            query("inbound"), "main", f"SM{number}", "sms", f"+1617000000{number}", "+15005550006", body, [], kind,
            UUID(int=number + 1), await conn.fetchval(query("workspace_id"), "clinic"), None, None, None,
        )  # fmt: skip
    assert await conn.fetchval(query("campaign_replies")) == 1
    assert (await results(conn, "clinic", "news"))["variants"][0]["hits"] == 1


async def test_a_sealed_workspace_is_written_to_as_well(runner: Runner) -> None:
    keys = DataKeys(runner.database, lambda: KeyRing({"a": bytes(32)}, "a"))
    from daemon.queue.sealer import Sealer

    await runner.people(3)
    sealer = Sealer(runner.database, keys, lambda: {"clinic": True}, asyncio.Event())
    while await sealer.once():
        pass
    assert not await runner.conn.fetchval("select count(*) from duly.address where address <> ''")
    await runner.start(at=f"{datetime.now(UTC).date() - timedelta(days=3)}T09:00", passed="now")
    await runner.settle(runner.campaigner(keys))
    assert len(await runner.send()) == 3


async def test_an_erased_member_stays_in_the_counts_and_nothing_of_them_is_left(runner: Runner) -> None:
    conn = runner.conn
    await runner.make(segment=None, body="Hi {{FirstName}}")
    item = {
        "addresses": [{"channel": "sms", "address": "+13105550000"}],
        "variables": {"FirstName": "Lovelace"},
    }
    await conn.fetch(query("campaign_add"), "clinic", "news", json.dumps([item]))
    await conn.execute("select duly.erase('clinic', 'me', 'asked to', 'sms', '+13105550000')")
    assert await conn.fetchval("select variables::text from duly.campaign_member") == "{}"
    await conn.execute(query("campaign_act_start"), "clinic", "news")
    await runner.settle()
    assert (await runner.counts())["skipped"] == {"no_address": 1}


TEMPLATE = """
name = "spring"
[variables]
FirstName = {}
[[texts]]
style = "supportive"
body = "{{FirstName}}, spring is here"
[[texts]]
language = "en"
style = "snarky"
bodies = ["Spring, {{FirstName}}. Get up.", "{{FirstName}}! Spring!"]
[[texts]]
language = "de"
style = "snarky"
body = "Frühling, {{FirstName}}. Steh auf."
"""


async def test_a_template_in_styles_and_languages_is_spread_within_the_tolerance(runner: Runner) -> None:
    conn = runner.conn
    await runner.people(30, locale="en")
    await runner.people(10, locale="de")
    await put_template(conn, "clinic", parse(TEMPLATE))
    runner.config = config("planned_per_hour = 60")
    variants = [{"name": name, "template": "spring", "style": name} for name in ("supportive", "snarky")]
    await runner.start(variants=variants, later="1 hour", category="transactional")
    await runner.settle()
    spreader = Spreader(runner.database, lambda: runner.config, asyncio.Event())
    assert await spreader.once(settle_seconds=0) == 40
    rows = await conn.fetch(
        """select d.due_at, p.wished_at, p.latest, m.body, p.kind, p.style, m.template, c.locale
           from duly.delivery_row d join duly.planned p on p.delivery_id = d.id join duly.message m on m.id = d.id
           join duly.contact c on c.id = p.contact_id where d.state = 'queued' order by d.due_at"""
    )
    assert all(row["wished_at"] <= row["due_at"] <= row["latest"] for row in rows)
    assert timedelta(minutes=30) < rows[-1]["due_at"] - rows[0]["due_at"] < timedelta(minutes=50)
    assert {row["template"] for row in rows} == {"spring@1"}
    said = {(row["kind"], row["locale"]): "Frühling" in row["body"] for row in rows}
    assert said == {
        ("supportive", "en"): False,
        ("supportive", "de"): False,
        ("snarky", "en"): False,
        ("snarky", "de"): True,
    }
    assert len({re.sub(r"P\d+", "", row["body"]) for row in rows}) == 4  # all of a style's texts are used
    found = await runner.counts()
    assert (found["queued"], found["waiting"], found["sent"]) == (40, 40, 0)
    sent = await runner.send(seconds=70)  # in the last minute of a slot nothing fits into it any more
    assert 0 < len(sent) < 10
    # What is taken back, and wished for anew, is spread among what is there.
    assert await conn.fetchval(query("campaign_act_pause"), "clinic", "news") == 40 - len(sent)
    assert (await runner.counts())["to_come"] == 40 - len(sent)
    await conn.execute(query("campaign_act_resume"), "clinic", "news")
    await runner.settle()
    assert await spreader.once(settle_seconds=0) == 40 - len(sent)
    found = await runner.counts()
    assert (found["queued"], found["sent"]) == (40 - len(sent), len(sent))
    times = await conn.fetch("select due_at from duly.delivery_row where state = 'queued' order by 1")
    assert times[-1]["due_at"] - times[0]["due_at"] > timedelta(minutes=25)


SEGMENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "abcd"),
    ({"city": "Boston"}, "a"),
    ({"city": {"!=": "Boston"}}, "bcd"),
    ({"age": {">=": 18, "<": 65}}, "a"),
    ({"tags": {"has": "vip"}}, "bd"),
    ({"any": [{"city": "Rome"}, {"age": {">": 90}}]}, "bc"),
    ({"not": {"age": {">": 18}}}, "bd"),
    ({"city": {"in": ["Rome", "Oslo"]}}, "b"),
    ({"city": {"exists": False}}, "cd"),
    ({"city": None}, "cd"),
    ({"pet.name": "Rex"}, "d"),
    ({"contact.locale": {"starts": "pt"}}, "c"),
    ({'x"] ? (@ == 1) || $."': 1}, ""),
    ({"city": "'; drop table duly.contact; --"}, ""),
]


async def test_a_segment_finds_whom_it_says(runner: Runner) -> None:
    people: dict[str, dict[str, Any]] = {
        "a": {"attributes": {"city": "Boston", "age": 40}},
        "b": {"attributes": {"city": "Rome", "age": "40", "tags": ["vip", "new"]}},
        "c": {"attributes": {"age": 95}, "locale": "pt-BR"},
        "d": {"attributes": {"tags": "vip", "pet": {"name": "Rex"}, "city": None}},
    }
    for name, fields in people.items():
        await runner.people(1, name=name, **fields)
    names = {row["id"]: row["name"] for row in await runner.conn.fetch("select id, name from duly.contact")}
    for wanted, matching in SEGMENTS:
        found = segment(wanted)
        variables = json.dumps(dict(found.variables))
        rows = await runner.conn.fetch(
            query("campaign_segment"),
            1,
            None,
            100,
            found.path,
            variables,
            ["sms"],
            "marketing",
            datetime.now(UTC),
        )
        assert "".join(sorted(names[row["id"]] for row in rows if row["fits"])) == matching, wanted


async def test_a_name_is_taken_once_and_a_template_must_be_there(runner: Runner) -> None:
    await runner.make()
    with pytest.raises(CampaignProblem, match=r"^name: there is a campaign news already"):
        await runner.make()
    with pytest.raises(CampaignProblem, match=r"^template: 'autumn' is no live template"):
        await runner.make(name="other", variants=[{"name": "a", "template": "autumn"}])
    with pytest.raises(CampaignProblem, match=r"^variables: hold something"):
        await runner.make(name="other", variables={"x": "\0"})


async def test_without_a_tolerance_a_campaign_is_not_held_to_what_is_planned_an_hour(runner: Runner) -> None:
    await runner.people(30)
    runner.config = config("planned_per_hour = 1")
    await runner.start(category="transactional")
    await runner.settle()
    before = await runner.conn.fetch("select id, due_at from duly.delivery_row order by id")
    spreader = Spreader(runner.database, lambda: runner.config, asyncio.Event())
    assert await spreader.once(settle_seconds=0) == 0
    assert await runner.conn.fetch("select id, due_at from duly.delivery_row order by id") == before
    assert len(await runner.send()) == 30
