"""scale-out: one, two and three daemons on one database, with a provider that takes 100 ms to answer."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass

import asyncpg

from daemon.store.database import Connection
from tests.bench.harness import Result, compared, fresh_database, raw_stand_in, shared_server
from tests.bench.rig import backlog, cpu_seconds, daemon_process

_DELAY_MS = 100
# A daemon sends 500/s at most with it: three together stay below what two cores can do, so that the provider
# is what limits.
_CONCURRENCY = 50
_WORKSPACES = 100
_MOST = 3


@dataclass(frozen=True, slots=True)
class Flow:
    """What flowed within a window."""

    per_second: float
    active_us: float  # a message's statements in the database, waits for its disk and locks included
    cpu_us: float  # the CPU of the whole server a message


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `scale_out`: the throughput of three to three times that of one."""
    rounds, window_seconds, counts = (1, 1.0, (1, _MOST)) if quick else (2, 5.0, tuple(range(1, _MOST + 1)))
    flows: dict[int, list[Flow]] = {n: [] for n in counts}
    with raw_stand_in(delay_ms=_DELAY_MS) as url:
        async with fresh_database() as dsn:
            for _ in range(rounds):
                for daemons, found in flows.items():
                    found.append(await _flow(dsn, url, daemons, window_seconds))
    one, most = flows[1], flows[_MOST]
    return {
        "scale_out": compared(
            [b.per_second / (_MOST * a.per_second) for a, b in zip(one, most, strict=True)],
            0.9,
            f"of {_MOST} times one daemon's messages/s, by {_MOST} daemons",
            **{f"daemons_{n}": _middle(found) for n, found in flows.items()},
            provider_ms=_DELAY_MS,
            concurrency=_CONCURRENCY,
            limit_per_second_per_daemon=_CONCURRENCY * 1000 // _DELAY_MS,
        )
    }


async def _flow(dsn: str, url: str, daemons: int, window_seconds: float) -> Flow:
    """Starts so many, lets them flow, measures, and leaves the queue empty."""
    conn = await asyncpg.connect(dsn)
    try:
        async with contextlib.AsyncExitStack() as stack:
            starting = (daemon_process(dsn, url, concurrency=_CONCURRENCY) for _ in range(daemons))
            await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
            per_second = daemons * _CONCURRENCY * 1000 / _DELAY_MS
            await backlog(dsn, int(per_second * (window_seconds + 4)), _WORKSPACES)
            await asyncio.sleep(min(1.5, window_seconds))
            return await _measure(conn, window_seconds)
    finally:
        await conn.execute("truncate duly.delivery_row, duly.attempt")
        await conn.close()


async def _measure(conn: Connection, seconds: float) -> Flow:
    async with shared_server() as handle:
        postmaster = int((handle.server.data_dir / "pgdata" / "postmaster.pid").read_text().split()[0])

    async def now() -> tuple[float, int, float, float]:
        row = await conn.fetchrow(
            """select (select count(*) from duly.attempt) as sent, active_time
               from pg_stat_database where datname = current_database()"""
        )
        assert row is not None
        return time.monotonic(), row["sent"], row["active_time"], cpu_seconds(postmaster, with_children=True)

    begun = await now()
    await asyncio.sleep(seconds)
    took, sent, active_ms, cpu = (b - a for a, b in zip(begun, await now(), strict=True))
    assert sent, "nothing was sent"
    return Flow(sent / took, active_ms * 1000 / sent, cpu * 1e6 / sent)


def _middle(flows: list[Flow]) -> dict[str, int]:
    return {
        "per_second": round(statistics.median(flow.per_second for flow in flows)),
        "database_active_us_per_message": round(statistics.median(flow.active_us for flow in flows)),
        "database_cpu_us_per_message": round(statistics.median(flow.cpu_us for flow in flows)),
    }
