"""Leases: renewed while a call runs, taken over when a daemon sleeps, and never written over by who wakes up."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection
from tests.integration.stage import NUMBER, Stage
from tests.support import ACCOUNT_SID, AUTH_TOKEN, until


@pytest_asyncio.fixture
async def stage(dsn: str, conn: Connection, work_dir: Path) -> AsyncIterator[Stage]:
    settings = SandboxSettings(
        account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, seed=1, speed=10, callback_timeout_seconds=1
    )
    async with Sandbox(settings) as sandbox:
        yield Stage(dsn, conn, sandbox, work_dir)


async def node_of(stage: Stage, name: str) -> int:
    """The id under which a daemon works now."""
    found: int = await stage.conn.fetchval("select max(id) from duly.node where name = $1", name)
    return found


async def in_state(stage: Stage, state: str) -> int:
    found: int = await stage.conn.fetchval(
        "select count(*) from duly.delivery_row where state::text = $1", state
    )
    return found


async def work(stage: Stage, deliveries: list[UUID]) -> dict[UUID, tuple[object, ...]]:
    """What no late word may change: the call that counts and what it came to."""
    rows = await stage.conn.fetch(
        "select id, attempts, lease_token, provider_id, sent_at from duly.delivery_row where id = any ($1)",
        deliveries,
    )
    return {row["id"]: tuple(row)[1:] for row in rows}


async def test_a_daemon_that_slept_through_its_lease_neither_sends_nor_records_over_anothers_work(
    stage: Stage,
) -> None:
    stage.sandbox.dice.set(Faults(latency_ms=500))
    slow: dict[str, Any] = {"account": "rate_per_second = 20\nconcurrency = 5"}
    async with stage.daemon("a", timeout=3, **slow) as sleeper:
        before = await node_of(stage, "a")
        deliveries = await stage.many(40)

        async def busy() -> bool:
            calls, leased = await in_state(stage, "sending"), await in_state(stage, "leased")
            return calls >= 3 and leased >= 10 and await in_state(stage, "sent") >= 1

        await until(busy)
        sleeper.signal(signal.SIGSTOP)
        async with stage.daemon("b", timeout=3, **slow) as other:
            await stage.all_reach("sent", "delivered")
            assert "took over from dead daemons" in other.log
            stage.assert_once(deliveries)
            done, calls = await work(stage, deliveries), stage.sandbox.ledger.received
            sleeper.signal(signal.SIGCONT)

            async def anew() -> bool:
                return await node_of(stage, "a") > before

            await until(anew)
            await sleeper.ready()
            assert "the lease ran out; joining anew" in sleeper.log
            await other.stop()
        assert (await work(stage, deliveries), stage.sandbox.ledger.received) == (done, calls)
        more = [await stage.enqueue(NUMBER.format(2000 + i)) for i in range(5)]
        for delivery in more:
            await stage.reaches(delivery, "delivered")
        stage.assert_once(deliveries + more)
        assert (await work(stage, deliveries), stage.sandbox.ledger.received) == (done, calls + 5)
        assert "Traceback" not in sleeper.log


async def test_a_lease_is_renewed_while_a_call_takes_longer_than_it(stage: Stage) -> None:
    stage.sandbox.dice.set(Faults(latency_ms=6000))
    async with stage.daemon("a", timeout=20) as first, stage.daemon("b", timeout=20) as second:
        delivery = await stage.enqueue(NUMBER.format(3000))
        await stage.reaches(delivery, "sending")
        holder = (await stage.row(delivery))["node_id"]
        await stage.reaches(delivery, "sent", "delivered", "uncertain")
        assert (await stage.row(delivery))["attempts"] == 1
        assert await stage.conn.fetchval("select count(*) from duly.resolution") == 0
        assert holder in (await node_of(stage, "a"), await node_of(stage, "b"))
        assert "took over" not in first.log + second.log
        stage.assert_once([delivery])


async def test_what_a_daemon_holds_and_has_forgotten_is_given_up_and_delivered_all_the_same(
    stage: Stage,
) -> None:
    async with stage.daemon("a", patience=1) as daemon:
        leased, sending, fresh = [
            await stage.enqueue(NUMBER.format(4000 + i), due_at=await tomorrow(stage)) for i in range(3)
        ]
        node = await node_of(stage, "a")
        for delivery, state, ago in ((leased, "leased", 60), (sending, "sending", 60), (fresh, "leased", 0)):
            await stage.conn.execute(
                "update duly.delivery_row set state = $2::text::duly.state, node_id = $3, lease_token = 7,"
                " account = 'main', attempts = case $2 when 'sending' then 1 else 0 end, due_at = now(),"
                " sending_at = now(), state_at = now() - make_interval(secs => $4) where id = $1",
                delivery,
                state,
                node,
                ago,
            )
        await stage.reaches(leased, "delivered")
        assert await stage.state(fresh) == "leased"  # its call may still be on its way
        await stage.reaches(sending, "delivered")
        stage.assert_once([leased, sending])
        assert [(await stage.row(d))["attempts"] for d in (leased, sending)] == [1, 2]
        assert "gave up what this daemon had forgotten" in daemon.log
        assert "asked the platform: absent" in await stage.story(sending)


async def tomorrow(stage: Stage) -> object:
    return await stage.conn.fetchval("select now() + interval '1 day'")
