"""An account goes as fast as its platform bears, finds that out by itself, and says so."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.store.database import Connection
from tests.daemons import accepted, daemon_on, enqueue, numbers, plain_sandbox
from tests.support import DaemonProcess, free_port, until

HIDDEN, OURS = 40, 200


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with plain_sandbox() as found:
        yield found


async def rate(daemon: DaemonProcess) -> float:
    async with aiohttp.ClientSession() as session, session.get(daemon.url + "/metrics") as response:
        return numbers(await response.text(), "duly_rate_per_second")


def taken(sandbox: Sandbox, since: float) -> int:
    return sum(message.accepted_monotonic >= since for message in accepted(sandbox.ledger))


async def test_it_converges_near_a_hidden_limit_with_few_refusals_and_recovers_when_that_is_lifted(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    sandbox.dice.set(Faults(latency_ms=50, most_per_second=HIDDEN))
    account = f"rate_per_second = {OURS}\nburst = 10"
    async with daemon_on(work_dir, dsn, sandbox, free_port(), account=account) as daemon:
        await enqueue(conn, 12_000)
        await asyncio.sleep(4)
        since, refused = sandbox.ledger.monotonic(), len(sandbox.ledger.rejections)
        await asyncio.sleep(12)
        seconds = sandbox.ledger.monotonic() - since
        assert taken(sandbox, since) >= 0.75 * HIDDEN * seconds
        assert len(sandbox.ledger.rejections) - refused <= 0.1 * taken(sandbox, since)
        assert await rate(daemon) <= 1.5 * HIDDEN

        ready = await daemon.get("/readyz")
        assert ready["accounts"] == {"main": "ok"}  # slow is not unwell
        speed = ready["speeds"]["main"]
        assert speed["per_second"] < speed["most_per_second"] == OURS
        async with aiohttp.ClientSession() as session, session.get(daemon.url + "/") as response:
            assert "slowed to" in await response.text()

        sandbox.dice.set(Faults(latency_ms=50))

        async def recovered() -> bool:
            return await rate(daemon) == OURS

        await until(recovered, seconds=40, every=0.2)
        since = sandbox.ledger.monotonic()
        await asyncio.sleep(3)
        assert taken(sandbox, since) >= 0.8 * OURS * 3
    assert sandbox.ledger.duplicates == 0


async def test_one_that_is_not_to_adapt_keeps_the_operators_rate(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    sandbox.dice.set(Faults(most_per_second=5))
    account = "rate_per_second = 60\nadaptive = false"
    async with daemon_on(work_dir, dsn, sandbox, free_port(), account=account) as daemon:
        await enqueue(conn, 1000)

        async def refused() -> bool:
            return len(sandbox.ledger.rejections) >= 100

        await until(refused, seconds=30)
        assert await rate(daemon) == 60


async def test_status_shows_the_rate(work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox) -> None:
    sandbox.dice.set(Faults(most_per_second=5))
    port = free_port()
    async with daemon_on(work_dir, dsn, sandbox, port, account="rate_per_second = 60") as daemon:
        await enqueue(conn, 500)

        async def slowed() -> bool:
            return await rate(daemon) < 60

        await until(slowed)
        status = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "daemon", "status", "--config", str(daemon.config)),
            stdout=asyncio.subprocess.PIPE,
        )
        said = (await status.communicate())[0].decode()
        assert "/s of 60/s" in said
