"""The last gate is as late as it says: what time a mark goes by, what it leaves alone, and what a retry uses of a cap."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from daemon.store.database import Connection
from daemon.store.sql import query
from tests.support import until

TOKEN = 7
SOON = timedelta(seconds=0.4)
PERSON = UUID(int=1)
ONE, TWO = UUID(int=11), UUID(int=12)
HOUR = 3600.0


@dataclass(frozen=True)
class Leased:
    """One leased delivery, as a line holds it."""

    id: UUID
    key: UUID
    until: datetime | None = None  # as the rules allow it


@dataclass
class Gate:
    """One daemon's deliveries, and its way through the last gate."""

    conn: Connection
    workspace_id: int
    node: int

    async def lease(
        self, to: str = "+14155557777", *, until: datetime | None = None, expires_at: datetime | None = None
    ) -> Leased:
        """Queues and leases one delivery."""
        found = await self.conn.fetchval(
            "select duly.enqueue('clinic', 'sms', $1, 'Hello', category => 'marketing', expires_at => $2)",
            to,
            expires_at,
        )
        (row,) = await self.conn.fetch(
            query("lease"), [self.workspace_id], ["sms"], [2], [1], TOKEN, self.node
        )
        return Leased(found, row["address_key"], until)

    async def mark(self, *leased: Leased) -> set[UUID]:
        """Asks for several in one statement; which calls may be made."""
        count = len(leased)
        rows = await self.conn.fetch(
            query("mark"),
            [each.id for each in leased],
            [self.workspace_id] * count,
            [TOKEN] * count,
            self.node,
            "main",
            [each.key for each in leased],
            ["sms"] * count,
            ["marketing"] * count,
            [each.until for each in leased],
        )
        return {row["id"] for row in rows if row["marked"]}

    async def row(self, leased: Leased) -> asyncpg.Record:
        """What has become of a delivery."""
        found = await self.conn.fetchrow("select * from duly.delivery_row where id = $1", leased.id)
        assert found is not None
        return found


@pytest_asyncio.fixture
async def gate(conn: Connection) -> Gate:
    await conn.execute("select duly.register_workspace('clinic')")
    node = await conn.fetchval(
        "insert into duly.node (name, version, alive_until) values ('n', '0', now() + interval '1 h') returning id"
    )
    return Gate(conn, await conn.fetchval("select id from duly.workspace where name = 'clinic'"), node)


async def test_a_mark_goes_by_the_time_after_its_transaction_has_waited_for_a_cap(gate: Gate) -> None:
    leased = await gate.lease(until=datetime.now(UTC) + SOON)
    async with gate.conn.transaction():
        await gate.conn.execute("select now()")  # as the charge before it, which waits for another daemon's
        await asyncio.sleep(SOON.total_seconds() * 1.5)
        assert not await gate.mark(leased)
    row = await gate.row(leased)
    assert (row["state"], row["attempts"], row["lease_token"], row["node_id"]) == ("queued", 0, None, None)


@pytest.mark.parametrize(("limit", "becomes"), [("quiet hours", "queued"), ("expiry", "expired")])
async def test_a_mark_that_waits_for_somebodys_stop_goes_by_the_time_thereafter(
    gate: Gate, dsn: str, limit: str, becomes: str
) -> None:
    stopped = await gate.lease("+14155558888")
    ends = datetime.now(UTC) + SOON
    leased = await (gate.lease(expires_at=ends) if limit == "expiry" else gate.lease(until=ends))
    application = await asyncpg.connect(dsn)
    stopping = application.transaction()
    await stopping.start()
    await application.execute("select duly.do_not_contact('clinic', 'sms', '+14155558888')")
    marking = asyncio.create_task(gate.mark(stopped, leased))

    async def waits() -> Any:
        return await application.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )

    await until(waits)
    assert datetime.now(UTC) < ends  # else it came too late for another reason
    await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 0.1)
    await stopping.commit()
    await application.close()
    assert not await marking
    assert (await gate.row(stopped))["state"] == "skipped"
    assert (await gate.row(leased))["state"] == becomes


async def test_a_mark_that_takes_a_delivery_says_when_it_began(gate: Gate) -> None:
    leased = await gate.lease()
    before = datetime.now(UTC)
    assert await gate.mark(leased) == {leased.id}
    row = await gate.row(leased)
    assert before <= row["sending_at"] <= datetime.now(UTC)
    assert (row["state"], row["attempts"], row["lease_token"]) == ("sending", 1, TOKEN)
    assert await gate.mark(leased) == {leased.id}  # asked again after a lost answer
    again = await gate.row(leased)
    assert [again[name] for name in ("state", "attempts", "sending_at")] == ["sending", 1, row["sending_at"]]


@pytest.mark.parametrize("why", ["quiet hours", "suppression", "expiry"])
async def test_what_the_mark_does_not_take_was_never_being_sent(gate: Gate, why: str) -> None:
    soon = datetime.now(UTC) + SOON
    leased = await gate.lease(
        until=soon if why == "quiet hours" else None, expires_at=soon if why == "expiry" else None
    )
    if why == "suppression":
        await gate.conn.execute(
            "insert into duly.suppression (address_key, workspace_id, reason, source) values ($1, 0, 'opted_out', 't')",
            leased.key,
        )
    else:
        await asyncio.sleep(SOON.total_seconds() * 1.1)
    assert not await gate.mark(leased)
    assert (await gate.row(leased))["sending_at"] is None


async def test_a_stop_waits_for_no_mark_and_no_mark_in_a_circle_for_a_stop(gate: Gate, dsn: str) -> None:
    """One person's two deliveries, marked in another order than a stop would end them."""
    first, second = [await gate.lease() for _ in range(2)]
    application = await asyncpg.connect(dsn)
    async with gate.conn.transaction():
        assert await gate.mark(second) == {second.id}
        async with application.transaction(), asyncio.timeout(10):
            await application.execute(
                "select duly.record_consent('clinic', 'sms', '+14155557777', 'withdrawn')"
            )
            marking = asyncio.create_task(gate.mark(first))
            await asyncio.sleep(0.1)  # it waits for the stop to commit
        assert not await marking
    await application.close()
    assert [(await gate.row(each))["state"] for each in (first, second)] == ["skipped", "sending"]


async def test_what_a_stop_finds_locked_is_ended_by_the_mark(gate: Gate, dsn: str) -> None:
    leased = await gate.lease()
    application = await asyncpg.connect(dsn)
    async with gate.conn.transaction():
        await gate.conn.execute("select from duly.delivery_row where id = $1 for update", leased.id)
        ended = "select duly.do_not_contact('clinic', 'sms', '+14155557777')"
        assert await application.fetchval(ended, timeout=10) == 0
    await application.close()
    assert not await gate.mark(leased)
    assert (await gate.row(leased))["reason"] == "do_not_contact"


async def charge(conn: Connection, delivery: UUID) -> bool:
    """Charges a delivery to a cap of one an hour; whether there was room."""
    columns = ([delivery], [1], [PERSON], ["one_an_hour"], [1], [HOUR], [None])
    return not await conn.fetch(query("charge"), *columns)


async def later(conn: Connection, minutes: int) -> None:
    """As if all that was charged had been charged so much earlier."""
    await conn.execute(
        "update duly.cap_use set at = array(select t - make_interval(mins => $1) from unnest(at) t)", minutes
    )


async def test_a_retry_whose_charge_counts_no_more_needs_room_again(conn: Connection) -> None:
    assert await charge(conn, ONE)
    await later(conn, 61)
    assert await charge(conn, TWO)
    assert not await charge(conn, ONE)


async def test_a_retry_counts_from_when_it_was_marked_last(conn: Connection) -> None:
    assert await charge(conn, ONE)
    await later(conn, 59)
    assert await charge(conn, ONE)  # the first call was refused; this one is made now
    await later(conn, 2)
    assert not await charge(conn, TWO)
    await later(conn, 59)
    assert await charge(conn, TWO)
