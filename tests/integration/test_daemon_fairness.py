"""One's limit, one's slow platform, one's open breaker and one's backlog are never another's wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.store.database import Connection
from tests.daemons import daemon_on, deliveries, enqueue, numbers, plain_sandbox, slow, states
from tests.support import ACCOUNT_SID, AUTH_TOKEN, free_port, until

HIGH, NORMAL, BULK = 1, 2, 3
BACKLOG, OTHERS = 2500, 300


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with plain_sandbox() as found:
        yield found


def second_account(sandbox: Sandbox, lines: str = "") -> str:
    """An account of the workspace `clinic` alone, on a stand-in of its own."""
    return f"""
[platforms.second]
kind = "twilio"
base_url = "{sandbox.url}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
from = "+15005550007"
{lines}
[routes]
sms = "main"
"""


async def all_taken(sandbox: Sandbox, wanted: list[UUID]) -> None:
    async def taken() -> bool:
        return set(wanted) <= set(deliveries(sandbox.ledger))

    await until(taken, seconds=25, every=0.05)


async def test_a_throttled_workspace_holds_back_nobody_elses_rows_on_the_same_account(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    edits = {"[workspaces.clinic]": "[workspaces.clinic]\nper_second = 2\nburst = 2"}
    async with daemon_on(work_dir, dsn, sandbox, free_port(), edits=edits):
        throttled = await enqueue(conn, BACKLOG)
        await enqueue(conn, BACKLOG, first=BACKLOG, priority=HIGH)
        others = await enqueue(conn, OTHERS, first=10_000, workspace="shop")
        await all_taken(sandbox, others)
        later = await enqueue(conn, 1, first=11_000, workspace="shop", priority=BULK)
        await all_taken(sandbox, later)
    assert (await states(conn))["queued"] >= 2 * BACKLOG - 100
    assert len(set(deliveries(sandbox.ledger)) & set(throttled)) < 100


async def test_a_platform_whose_every_call_hangs_holds_back_nobody_elses_rows(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    async with plain_sandbox() as hanging:
        slow(hanging, 2)
        extra = second_account(hanging, "concurrency = 5")
        edits = {"[workspaces.clinic]": '[workspaces.clinic]\nroutes = { sms = "second" }'}
        async with daemon_on(work_dir, dsn, sandbox, free_port(), extra=extra, edits=edits):
            await enqueue(conn, BACKLOG)

            async def full() -> bool:
                return (await states(conn))["sending"] >= 5

            await until(full)
            await all_taken(sandbox, await enqueue(conn, OTHERS, first=10_000, workspace="shop"))
            assert hanging.ledger.accepted < 100


async def test_an_open_breaker_before_a_backlog_holds_back_nobody_elses_rows(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    async with plain_sandbox() as failing:
        failing.dice.set(Faults(unavailable=1))
        edits = {"[workspaces.clinic]": '[workspaces.clinic]\nroutes = { sms = "second" }'}
        port = free_port()
        extra = second_account(failing)
        async with daemon_on(work_dir, dsn, sandbox, port, extra=extra, edits=edits) as daemon:
            await enqueue(conn, BACKLOG)

            async def opened() -> bool:
                return '"breaker opened"' in daemon.log

            await until(opened)
            await all_taken(sandbox, await enqueue(conn, OTHERS, first=10_000, workspace="shop"))
            assert failing.ledger.accepted == 0
            assert (await states(conn))["queued"] >= BACKLOG - 500


async def test_what_is_urgent_overtakes_within_a_throttled_workspace_and_bulk_keeps_its_share(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    edits = {"[workspaces.clinic]": "[workspaces.clinic]\nper_second = 30\nburst = 2"}
    async with daemon_on(work_dir, dsn, sandbox, free_port(), edits=edits):
        bulk = set(await enqueue(conn, 600, priority=BULK))

        async def flows(count: int) -> None:
            async def enough() -> bool:
                return sandbox.ledger.accepted >= count

            await until(enough)

        await flows(20)
        high = set(await enqueue(conn, 600, first=1000, priority=HIGH))
        begun = sandbox.ledger.accepted
        await flows(begun + 160)
        during = deliveries(sandbox.ledger)[begun + 40 : begun + 160]
        found = Counter("bulk" if d in bulk else "high" for d in during)
        assert set(during) <= bulk | high
        assert found["high"] >= 0.6 * len(during), found
        assert found["bulk"] >= 0.03 * len(during), found


async def test_a_line_full_of_one_workspaces_rows_lets_anothers_single_message_in_at_once(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    """It waits for a free worker, not until the line has room for a batch: 250 rows."""
    slow(sandbox, 0.02)
    async with daemon_on(work_dir, dsn, sandbox, free_port(), account="concurrency = 2") as daemon:
        await enqueue(conn, 3000)

        async def full() -> bool:
            answer = await metrics_of(daemon.url)
            return numbers(answer, "duly_waiting") >= 760

        for nth in range(3):
            await until(full)
            (single,) = await enqueue(conn, 1, first=9000 + nth, workspace="shop")
            before = sandbox.ledger.accepted
            await all_taken(sandbox, [single])
            assert deliveries(sandbox.ledger).index(single) - before <= 60


async def metrics_of(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        return await response.text()
