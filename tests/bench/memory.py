"""memory: what a daemon takes of the machine with a million rows queued, with 2,000 calls open, and when idle."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from daemon.store.database import Connection
from tests.bench.harness import Result, compared, fresh_database, raw_stand_in, shared_server
from tests.bench.rig import backlog, cpu_seconds, daemon_process, resident_mb
from tests.support import DaemonProcess

_SENT = 2000


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `memory`: resident memory after the same work, with an empty queue to a million queued rows.

    Both have sent as many messages, so that both have loaded and cached what sending needs; it is the most
    that each ever took.
    """
    rows, rounds, calls, idle_seconds = (50_000, 1, 200, 1.0) if quick else (1_000_000, 3, 2000, 15.0)
    empty, full = [], []
    with raw_stand_in() as url, raw_stand_in(delay_ms=calls) as slow_url:
        async with fresh_database() as small, fresh_database() as large:
            await backlog(large, rows, 1000)
            for _ in range(rounds):
                await backlog(small, _SENT, 1000)
                empty.append(await _peak_mb(small, url, lambda conn: _all_sent(conn)))
                full.append(await _peak_mb(large, url, _Sent(_SENT)))
            calls_mb = await _peak_mb(large, slow_url, _Open(calls), concurrency=calls)
        async with fresh_database() as dsn:
            idle = await _idle(dsn, url, idle_seconds)
    return {
        "memory": compared(
            [a / b for a, b in zip(empty, full, strict=True)],
            0.8,
            f"of the resident memory with {rows:,} rows queued is there with none",
            empty_mb=[round(each, 1) for each in empty],
            queued_mb=[round(each, 1) for each in full],
            **{f"calls_{calls}_mb": round(calls_mb, 1)},
            idle=idle,
        )
    }


Condition = Callable[[Connection], Awaitable[bool]]


async def _peak_mb(dsn: str, url: str, reached: Condition, *, concurrency: int = 100) -> float:
    """The most memory that a daemon took until it got there."""
    conn = await asyncpg.connect(dsn)
    try:
        async with daemon_process(dsn, url, concurrency=concurrency) as daemon:
            async with asyncio.timeout(60):
                while not await reached(conn):
                    await asyncio.sleep(0.05)
            return resident_mb(_pid(daemon), peak=True)
    finally:
        await conn.close()


async def _all_sent(conn: Connection) -> bool:
    return not await conn.fetchval("select count(*) from duly.delivery_row where state <> 'sent'")


@dataclass
class _Sent:
    """So many more were sent than at first."""

    more: int
    first: int | None = None

    async def __call__(self, conn: Connection) -> bool:
        count = await conn.fetchval("select count(*) from duly.attempt")
        self.first = count if self.first is None else self.first
        return bool(count >= self.first + self.more)


@dataclass
class _Open:
    """So many calls are under way at once."""

    calls: int

    async def __call__(self, conn: Connection) -> bool:
        asked = "select count(*) from duly.delivery_row where state = 'sending'"
        return bool(await conn.fetchval(asked) >= self.calls)


async def _idle(dsn: str, url: str, seconds: float) -> dict[str, float]:
    """Statements and CPU a minute of a daemon with nothing to do. The server's log counts the statements."""
    async with shared_server() as handle:
        conn = await asyncpg.connect(dsn)
        database = await conn.fetchval("select current_database()")
        await conn.execute(f"alter database {database} set log_statement = 'all'")
        await conn.close()
        async with daemon_process(dsn, url, default_lease=True) as daemon:
            await asyncio.sleep(min(3.0, seconds))
            log = handle.server.data_dir / "log"
            written, cpu = log.stat().st_size, cpu_seconds(_pid(daemon))
            await asyncio.sleep(seconds)
            cpu = cpu_seconds(_pid(daemon)) - cpu
            lines = log.read_bytes()[written:].splitlines()
    statements = [line for line in lines if re.search(rb"LOG:  (statement|execute [^:]*):", line)]
    a_minute = 60 / seconds
    return {
        "statements_per_minute": round(len(statements) * a_minute),
        "cpu_ms_per_minute": round(cpu * 1000 * a_minute),
        "measured_seconds": seconds,
    }


def _pid(daemon: DaemonProcess) -> int:
    assert daemon.process is not None
    return daemon.process.pid
