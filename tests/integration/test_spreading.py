"""The Sunday evening rush in a real database: planned, spread by the actor, moved for who comes first, sent."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from daemon.cli.outlook import foretell
from daemon.cli.status import facts
from daemon.config import parse_config
from daemon.planning.looking import look
from daemon.planning.spreader import Spreader
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from daemon.store.status import snapshot
from daemon.store.timeline import load
from tests.daemons import plain_sandbox
from tests.integration.stage import Stage
from tests.support import toml, until

WORKSPACES = ("clinic", "gym", "shop")
TOML = toml("postgresql://host/x", "http://127.0.0.1:1", 8080, extra="[workspaces.gym]\n")
SOURCE = uuid.uuid4()


def sunday() -> datetime:
    """The next 18:00, far enough away."""
    at = datetime.now(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
    return at + timedelta(days=1)


async def plan(
    conn: Connection,
    workspace: str,
    count: int,
    at: datetime,
    *,
    priority: int = 3,
    earlier: timedelta = timedelta(0),
    later: timedelta = timedelta(hours=4),
    **more: Any,
) -> list[uuid.UUID]:
    """Plans messages as the planner does; returns the deliveries."""
    await conn.execute("select duly.register_workspace($1)", workspace)
    id_ = await conn.fetchval("select id from duly.workspace where name = $1", workspace)
    first = await conn.fetchval("select count(*) from duly.planned")
    items = [
        {
            "source_id": str(SOURCE),
            "source": "check_in",
            "contact": str(uuid.uuid4()),
            "occurrence": at.replace(tzinfo=None).isoformat(),
            "channel": "sms",
            "to": f"+1415{5550000 + first + nth}",
            "body": "How was your week?",
            "category": "accountability",
            "priority": priority,
            "due_at": at.isoformat(),
            "earliest": (at - earlier).isoformat(),
            "latest": (at + later).isoformat(),
            **more,
        }
        for nth in range(count)
    ]
    rows = await conn.fetch("select * from duly.enqueue_planned($1, $2::jsonb)", id_, json.dumps(items))
    assert not [row["error"] for row in rows if row["error"]]
    return [row["id"] for row in rows]


def spreader(database: Database, account: str = "", rules: str = "") -> Spreader:
    text = TOML.replace('kind = "twilio"', f'kind = "twilio"\n{account}') + rules
    config = parse_config(text)
    return Spreader(database, lambda: config, asyncio.Event())


async def placed(conn: Connection) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await conn.fetch(
        """select w.name as workspace, d.id, d.priority, d.due_at, d.segments, p.*
           from duly.delivery_row d join duly.planned p on p.delivery_id = d.id
           join duly.workspace w on w.id = d.workspace_id order by d.due_at"""
    )
    return rows


async def test_a_rush_is_spread_over_three_workspaces_and_the_receipts_say_so(
    conn: Connection, database: Database
) -> None:
    at = sunday()
    for workspace, count in zip(WORKSPACES, (440, 150, 10), strict=True):
        await plan(conn, workspace, count, at, later=timedelta(hours=7))
    coaches = set(await plan(conn, "gym", 20, at + timedelta(minutes=30), priority=1))
    assert await spreader(database).once(settle_seconds=0) == 620
    rows = await placed(conn)
    slots = Counter((row["due_at"] - at) // timedelta(minutes=5) for row in rows)
    assert all(row["earliest"] <= row["due_at"] <= row["latest"] for row in rows)
    assert max(slots.values()) <= 9
    assert all(sum(slots[begin + nth] for nth in range(12)) <= 100 for begin in range(max(slots) + 1)), (
        "more than 100 in an hour"
    )
    assert rows[-1]["due_at"] < at + timedelta(hours=6, minutes=15), "room was left unused"
    assert max(r["due_at"] for r in rows if r["id"] in coaches) < at + timedelta(minutes=46)
    small = [row["due_at"] for row in rows if row["workspace"] == "shop"]
    assert max(small) < at + timedelta(minutes=30), "few wait behind many"
    # Within a slot they are spread, too.
    assert len({row["due_at"] for row in rows if row["due_at"] < at + timedelta(minutes=5)}) > slots[0] // 2
    because = json.loads(rows[-1]["because"])["spread"]
    assert datetime.fromisoformat(because["wished"]) == at
    assert because["per_hour"] == 100
    assert because["beyond"] is False
    # What is spread is left alone when nothing new comes.
    assert await spreader(database).once(settle_seconds=0) == 0


async def test_nobody_is_moved_who_has_been_tried_put_off_or_rescheduled_and_all_others_count(
    conn: Connection, database: Database
) -> None:
    at = sunday()
    planned = await plan(conn, "clinic", 30, at)
    other = at + timedelta(hours=2)
    await conn.execute("update duly.delivery_row set due_at = $2 where id = $1", planned[0], other)
    await conn.execute("update duly.delivery_row set attempts = 1 where id = $1", planned[1])
    await conn.execute("update duly.delivery_row set planned_for = due_at where id = $1", planned[2])
    for nth in range(8):  # a full slot of what is not planned
        await conn.execute(
            "select duly.enqueue('clinic', 'sms', \"to\" => $1, body => 'x', due_at => $2)",
            f"+1415777{nth:04}",
            at + timedelta(minutes=5),
        )
    assert await spreader(database).once(settle_seconds=0) == 27
    rows = {row["id"]: row for row in await placed(conn)}
    assert rows[planned[0]]["due_at"] == other
    assert rows[planned[1]]["due_at"] == rows[planned[2]]["due_at"] == at
    assert all(row["spread_at"] is not None for row in rows.values())
    taken = Counter((row["due_at"] - at) // timedelta(minutes=5) for row in rows.values())
    assert taken[0] <= 9
    assert taken[1] <= 1, "what was queued there counts"


async def test_who_comes_later_with_a_higher_priority_goes_first_and_only_who_must_moves(
    conn: Connection, database: Database
) -> None:
    at = sunday()
    await plan(conn, "clinic", 60, at)
    early = await plan(conn, "clinic", 5, at - timedelta(hours=3))
    actor = spreader(database)
    await actor.once(settle_seconds=0)
    before = {row["id"]: row["due_at"] for row in await placed(conn)}
    coaches = set(await plan(conn, "gym", 8, at, priority=1))
    await actor.once(settle_seconds=0)
    after = {row["id"]: row["due_at"] for row in await placed(conn)}
    assert all(after[id_] < at + timedelta(minutes=5) for id_ in coaches)
    assert all(after[id_] == before[id_] for id_ in early)


async def test_quiet_hours_stay_quiet_and_what_has_no_room_comes_after_them(
    conn: Connection, database: Database
) -> None:
    at = sunday().replace(hour=20)
    await plan(conn, "clinic", 150, at)
    await conn.execute(
        """insert into duly.contact (id, workspace_id, time_zone) select p.contact_id, p.workspace_id, 'Europe/Lisbon'
           from duly.planned p"""
    )
    rules = '[rules]\nquiet_hours = { accountability = "21:00-08:00" }\n'
    await spreader(database, rules=rules).once(settle_seconds=0)
    rows = await placed(conn)
    from zoneinfo import ZoneInfo

    hours = [row["due_at"].astimezone(ZoneInfo("Europe/Lisbon")).hour for row in rows]
    assert all(8 <= hour < 21 for hour in hours)
    assert sum(json.loads(row["because"])["spread"]["beyond"] for row in rows) == sum(
        row["due_at"] > row["latest"] for row in rows
    )


async def test_what_expires_before_there_is_room_is_not_sent_late(
    conn: Connection, database: Database
) -> None:
    at = sunday()
    await plan(
        conn,
        "clinic",
        30,
        at,
        later=timedelta(minutes=5),
        expires_at=(at + timedelta(minutes=10)).isoformat(),
    )
    await spreader(database).once(settle_seconds=0)
    rows = await placed(conn)
    assert sum(row["due_at"] < at + timedelta(minutes=10) for row in rows) in (16, 17)
    assert {row["due_at"] for row in rows[17:]} == {at + timedelta(minutes=10)}


async def test_one_daemon_at_a_time_and_a_broken_off_pass_is_done_again(
    conn: Connection, database: Database
) -> None:
    at = sunday()
    await plan(conn, "clinic", 20, at)
    dead = uuid.uuid4()
    await conn.fetch(query("spread_take"), "main", dead, 60.0)
    assert await spreader(database).once(settle_seconds=0) == 0, "it is another's turn"
    # The other had written all of it and died before its end.
    await conn.execute("update duly.planned set spread_at = now(), placed_at = wished_at")
    await conn.execute("update duly.spreading set until = now() - interval '1 second'")
    assert await spreader(database).once(settle_seconds=0) > 0
    assert len({row["due_at"] for row in await placed(conn)}) == 20
    assert not await conn.fetch(query("spread_unfinished"))
    # And what it writes after its time is not taken.
    id_, workspace = await conn.fetchrow("select id, workspace_id from duly.delivery_row limit 1") or (
        None,
        None,
    )
    due = await conn.fetchval("select due_at from duly.delivery_row where id = $1", id_)
    late = await conn.fetchval(
        query("spread_write"), [id_], [workspace], [due], [due + timedelta(hours=1)], "main", dead, 100.0
    )
    assert late == 0


async def test_a_plan_that_still_grows_is_waited_for_unless_it_is_wanted_soon(
    conn: Connection, database: Database
) -> None:
    await plan(conn, "clinic", 3, sunday())
    actor = spreader(database)
    assert await actor.once(settle_seconds=60) == 0
    await plan(conn, "clinic", 1, datetime.now(UTC) + timedelta(seconds=90))
    assert await actor.once(settle_seconds=60) == 4


async def test_the_chart_tells_what_was_wished_and_where_it_went(
    conn: Connection, database: Database
) -> None:
    from daemon.planning.spread_chart import chart

    at = sunday()
    await plan(conn, "clinic", 30, at)
    await plan(conn, "gym", 5, at, priority=1)
    await spreader(database).once(settle_seconds=0)
    found = await chart(conn, at - timedelta(hours=1), at + timedelta(hours=1))
    assert sum(bar.wished for bar in found) == sum(bar.placed for bar in found) == 35
    assert {bar.slot for bar in found if bar.wished} == {at}
    assert max(sum(bar.placed for bar in found if bar.slot == slot) for slot in {b.slot for b in found}) <= 9
    gym = [bar for bar in await chart(conn, at, at + timedelta(hours=1), workspace="gym") if bar.placed]
    assert [(bar.slot, bar.placed, bar.priority) for bar in gym] == [(at, 5, 1)]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with plain_sandbox() as found:
        yield found


async def test_a_daemon_sends_what_it_has_spread_no_faster_than_planned(
    conn: Connection, dsn: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Compressed: ten a second instead of a hundred an hour."""
    stage = Stage(dsn, conn, sandbox, tmp_path)
    async with stage.daemon(account="planned_per_hour = 36000\n"):
        at = datetime.now(UTC) + timedelta(seconds=5)
        await plan(conn, "clinic", 60, at, later=timedelta(minutes=1))

        async def sent() -> bool:
            return bool(
                await conn.fetchval("select count(*) >= 20 from duly.delivery_row where sent_at is not null")
            )

        await until(sent, seconds=20)
    rows = await placed(conn)
    assert all(row["spread_at"] is not None for row in rows)
    early = await conn.fetchval(
        "select count(*) from duly.delivery_row where sent_at < due_at - interval '50 milliseconds'"
    )
    assert early == 0
    spans = [later["due_at"] - sooner["due_at"] for sooner, later in zip(rows, rows[20:], strict=False)]
    assert min(spans) > timedelta(seconds=1), "they all went at once"


async def test_status_and_receipt_tell_when_it_ends_and_where_each_was_placed(
    conn: Connection, database: Database
) -> None:
    at = sunday()
    await plan(conn, "clinic", 30, at)
    await spreader(database).once(settle_seconds=0)
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        seen = await look(conn)
    config = parse_config(TOML)
    future = foretell(seen, await snapshot(conn, 5), config, None)
    (told,) = facts(await snapshot(conn, 5), config, None, future, 0, seen.planned)["planned"]
    row = await conn.fetchrow("select id, due_at from duly.delivery_row order by due_at desc limit 1")
    assert row is not None
    last = row["due_at"]
    assert (told["wished"], told["messages"], told["gone"], told["placed_until"]) == (at, 30, 0, last)
    assert told["why"] == "no daemon is alive"
    found = await load(conn, row["id"])
    assert found is not None
    (step,) = [step for step in found.steps if step.what == "spread"]
    assert step.detail == f"wished {at:%Y-%m-%d %H:%M}, set to {last:%Y-%m-%d %H:%M}: 100 an hour"
