"""Who goes first, who waits, and who never goes: priority, fairness, order, due times, expiry, cancelling."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.daemons import (
    accepted,
    all_settled,
    assert_agreement,
    daemon_on,
    deliveries,
    enqueue,
    plain_sandbox,
    slow,
    states,
)
from tests.support import free_port, until

HIGH, NORMAL, BULK = 1, 2, 3


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with plain_sandbox() as found:
        yield found


@pytest.fixture
def port() -> int:
    return free_port()


async def taken(sandbox: Sandbox, count: int, seconds: float = 20) -> None:
    """Waits until the stand-in has taken so many."""

    async def enough() -> bool:
        return sandbox.ledger.accepted >= count

    await until(enough, seconds=seconds, every=0.005)


async def test_what_is_urgent_goes_next_however_much_bulk_waits(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port, account="rate_per_second = 6"):
        await enqueue(conn, 300, priority=BULK)
        await taken(sandbox, 4)
        for nth in range(3):
            (urgent,) = await enqueue(conn, 1, first=1000 + nth, priority=HIGH)
            before = sandbox.ledger.accepted
            await taken(sandbox, before + 3)
            position = deliveries(sandbox.ledger).index(urgent) - before
            # One may be on its way already, and once in sixteen it is a lower priority's turn.
            assert position <= 2


async def test_bulk_still_moves_while_urgent_messages_keep_coming(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    # All are there when it starts: else what it leases first hangs on how long the queueing takes.
    await conn.execute("select duly.register_workspace('clinic')")
    bulk = set(await enqueue(conn, 500, priority=BULK))
    normal = set(await enqueue(conn, 500, first=500, priority=NORMAL))
    await enqueue(conn, 500, first=1000, priority=HIGH)
    async with daemon_on(work_dir, dsn, sandbox, port, account="rate_per_second = 40"):
        begun = sandbox.ledger.accepted
        await taken(sandbox, begun + 160)
        during = deliveries(sandbox.ledger)[begun + 48 : begun + 160]
        found = Counter("bulk" if d in bulk else "normal" if d in normal else "high" for d in during)
        assert found["bulk"] >= 1, found
        assert found["normal"] >= 1, found
        assert 8 <= found["bulk"] + found["normal"] <= 40, found


@pytest.mark.parametrize("account", ["concurrency = 10", "rate_per_second = 150"])
async def test_a_workspace_with_thousands_due_delays_anothers_message_by_no_more_than_a_batch(
    account: str, work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 0.02)
    batch = 250
    sizes = f"batch = {batch}\nbuffer = 800"
    async with daemon_on(work_dir, dsn, sandbox, port, account=account, daemon=sizes):
        await enqueue(conn, 3000)
        await taken(sandbox, 50)
        for nth in range(3):
            (single,) = await enqueue(conn, 1, first=9000 + nth, workspace="shop")
            before = sandbox.ledger.accepted

            async def gone(single: UUID = single) -> bool:
                return single in deliveries(sandbox.ledger)

            await until(gone)
            assert deliveries(sandbox.ledger).index(single) - before <= batch
        assert (await states(conn))["queued"] > 500, "there was no backlog to overtake"


async def enqueue_shuffled(conn: Connection, count: int) -> list[UUID]:
    """Queues overdue messages in no order of their due times; returns their ids in the order they are due."""
    ages = list(range(count))
    random.Random(7).shuffle(ages)
    for age in ages:
        await enqueue(conn, 1, first=age, due_in=-1 - age)
    return [row["id"] for row in await conn.fetch("select id from duly.delivery order by due_at, id")]


@pytest.mark.parametrize(
    ("account", "limits"),
    [
        ("concurrency = 1", ""),
        ("concurrency = 1\nrate_per_second = 100", ""),
        ("concurrency = 1", "sender_per_second = 100\nsender_burst = 1"),
    ],
    ids=["no limit", "account limit", "sender limit"],
)
async def test_within_a_lane_the_earliest_due_goes_first(
    account: str, limits: str, work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    await conn.execute("select duly.register_workspace('clinic')")
    expected = await enqueue_shuffled(conn, 200)
    edits = {"[limits]": f"[limits]\n{limits}"}
    small = "batch = 30\nbuffer = 40"
    async with daemon_on(work_dir, dsn, sandbox, port, account=account, daemon=small, edits=edits):
        await until(lambda: all_settled(conn))
    order = [expected.index(delivery) for delivery in deliveries(sandbox.ledger)]
    assert order == list(range(200))


async def test_nothing_goes_before_its_due_time_by_the_databases_clock(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    rng = random.Random(3)
    async with daemon_on(work_dir, dsn, sandbox, port):
        for nth in range(80):
            await enqueue(conn, 1, first=nth, due_in=rng.uniform(0.05, 4), priority=rng.choice([1, 2, 3]))
        await until(lambda: all_settled(conn))
    rows = await conn.fetch("select id, extract(epoch from due_at)::float8 as due from duly.delivery_row")
    due = {row["id"]: row["due"] for row in rows}
    late = {
        d: message.created - due[d]
        for d, message in zip(deliveries(sandbox.ledger), accepted(sandbox.ledger), strict=True)
    }
    assert len(late) == 80
    assert min(late.values()) >= 0
    assert max(late.values()) < 2.5


async def test_a_message_of_a_long_transaction_is_not_late_for_it(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port, daemon="poll_seconds = 10"):
        async with conn.transaction():
            await enqueue(conn, 1, due_in=3)
            await conn.execute("select pg_sleep(2.5)")
        await until(lambda: all_settled(conn))
    due = await conn.fetchval("select extract(epoch from due_at)::float8 from duly.delivery_row")
    assert 0 <= accepted(sandbox.ledger)[0].created - due < 1.5


async def test_what_has_expired_is_never_sent_and_ends_expired_wherever_it_waits(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    off = """
[platforms.off]
kind = "twilio"
enabled = false
account_sid = "AC0123456789abcdef0123456789abcdef"
auth_token = "x"
from = "+15005550007"
[routes]
sms = "main"
[workspaces.stuck]
routes = { sms = "off" }
"""
    account = "rate_per_second = 2"
    async with daemon_on(work_dir, dsn, sandbox, port, account=account, extra=off) as daemon:

        async def known() -> bool:
            return bool(await conn.fetchval("select count(*) from duly.workspace where name = 'stuck'"))

        await until(known)
        in_memory = set(await enqueue(conn, 10, expires_in=1.5))
        in_database = set(await enqueue(conn, 40, first=100, expires_in=1.5))
        stuck = set(await enqueue(conn, 10, first=200, workspace="stuck", expires_in=1.5))

        async def ended() -> bool:
            return (await states(conn))["queued"] + (await states(conn))["leased"] == 0

        await until(ended, seconds=20)
        assert await daemon.stop() == 0
    rows = await conn.fetch(
        """select id, state::text as state, reason, extract(epoch from expires_at)::float8 as expires
           from duly.delivery_row"""
    )
    expires = {row["id"]: row["expires"] for row in rows}
    sent = deliveries(sandbox.ledger)
    assert 1 <= len(sent) <= 8
    for message, delivery in zip(accepted(sandbox.ledger), sent, strict=True):
        # The mark is the last gate; the call itself begins within moments after it.
        assert message.created < expires[delivery] + 0.5
    others = {row["id"]: (row["state"], row["reason"]) for row in rows if row["id"] not in sent}
    assert set(others.values()) == {("expired", "expired")}
    assert stuck <= set(others)
    assert len(in_memory | in_database | stuck) == 60
    await assert_agreement(conn, sandbox.ledger)


async def test_cancelling_works_until_the_call_begins_and_then_says_too_late(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    cancel = "select duly.cancel($1)"
    slow(sandbox, 1)
    async with daemon_on(work_dir, dsn, sandbox, port, account="rate_per_second = 2\nconcurrency = 1"):
        (future,) = await enqueue(conn, 1, first=50, due_in=3600)
        waiting = [(await enqueue(conn, 1, first=nth, due_in=nth - 10))[0] for nth in range(5)]

        async def state_of(delivery: UUID) -> str:
            return str(await conn.fetchval("select state from duly.delivery where id = $1", delivery))

        async def sending() -> bool:
            return await state_of(waiting[0]) == "sending"

        async def all_leased() -> bool:
            return await state_of(waiting[4]) == "leased"

        await until(sending)
        await until(all_leased)
        assert await conn.fetchval(cancel, waiting[4])
        assert await conn.fetchval(cancel, future)
        assert await conn.fetchval(cancel, future), "asked twice, the answer is the same"
        assert not await conn.fetchval(cancel, waiting[0])
        await until(lambda: all_settled(conn))
        assert not await conn.fetchval(cancel, waiting[0])
        assert await state_of(waiting[4]) == await state_of(future) == "canceled"
    assert deliveries(sandbox.ledger) == waiting[:4]
    await assert_agreement(conn, sandbox.ledger)
