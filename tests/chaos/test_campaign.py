"""A campaign whose daemons are killed while it is paused and resumed: each member gets it once, and none in a pause."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from daemon.chaos.campaign.disturbing import disturb
from daemon.chaos.campaign.judging import judge, settled
from daemon.chaos.campaign.making import begin
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.integration.stage import Stage
from tests.support import DaemonProcess, until


@pytest_asyncio.fixture
async def stage(dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Path) -> AsyncIterator[Stage]:
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    yield Stage(dsn, conn, sandbox, work_dir)


async def kill(daemon: DaemonProcess, times: int, rng: random.Random) -> None:
    """kill -9 in the middle of its work, and a start at once."""
    for _ in range(times):
        await asyncio.sleep(rng.uniform(0.8, 1.6))
        assert daemon.process is not None
        daemon.process.kill()
        await daemon.wait()
        daemon.start()


@pytest.mark.parametrize("seed", [7])
async def test_each_member_gets_it_once_whatever_is_killed_and_nobody_while_it_is_paused(
    stage: Stage, seed: int
) -> None:
    rng = random.Random(seed)
    fast: dict[str, Any] = {
        "account": "rate_per_second = 60\nburst = 5\nconcurrency = 5\nmax_attempts = 50",
        "extra": "[retry.temporary]\npolicy = 'exponential'\nattempts = 50\nbase_seconds = 0.2\nlongest_seconds = 1",
    }
    async with stage.daemon("a", **fast) as a, stage.daemon("b", **fast):
        wanted = await begin(stage.conn, "clinic", "rush", 240, holdout=0.0)
        disturbed, _ = await asyncio.gather(disturb(lambda: stage.dsn, wanted, 5, rng), kill(a, 2, rng))
        await until(lambda: settled(stage.conn, wanted), seconds=60, every=0.2)
        figures = await judge(
            stage.conn, wanted, disturbed, [message.to for message in stage.sandbox.ledger.messages]
        )
    assert figures.good, (figures, await stage.counts())
    assert figures.planned == 228
    assert len(disturbed.paused) >= 3
    assert disturbed.looks > 10
    taken_back = await stage.conn.fetchval("select sum(generation) from duly.campaign_member")
    assert taken_back > 20  # the pauses did find something in the queue


async def test_canceled_in_the_middle_nobody_gets_it_afterwards(stage: Stage) -> None:
    async with stage.daemon("a", account="rate_per_second = 40\nburst = 2") as daemon:
        wanted = await begin(stage.conn, "clinic", "rush", 200)

        async def many() -> bool:
            return len(stage.sandbox.ledger.messages) > 20

        await until(many)
        await stage.conn.execute(query("campaign_act_cancel"), "clinic", "rush")
        await until(lambda: settled(stage.conn, wanted))
        counted = await stage.conn.fetchval(
            "select count(*) from duly.delivery where state in ('sent', 'delivered')"
        )
        assert await daemon.stop() == 0
    assert len(stage.sandbox.ledger.messages) == counted < 190
