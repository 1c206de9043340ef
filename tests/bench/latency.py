"""latency: from the commit of `duly.enqueue`, or from `due_at`, to the request's arrival at the provider.

The daemon is a process of its own: first idle, then at half of the messages a second that it can send at most.
The provider listens in this process, so that one clock tells both moments.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence

import asyncpg

from daemon.store.database import Connection
from tests.bench.harness import Result, compared, fresh_database
from tests.bench.rig import Arrivals, Producer, backlog, daemon_process, producing, register

_IDLE_P50_MS, _BUSY_P99_MS = 5.0, 100.0
_WORKSPACES = 50
_ROUNDS = 3


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `latency`: how often the time taken fits into the time allowed, idle or busy, the worse of both."""
    samples, window_seconds, rows = (4, 0.6, 2_000) if quick else (60, 8.0, 20_000)
    arrivals, rng = Arrivals(), random.Random(1)
    async with arrivals.listen() as url, fresh_database() as dsn:
        conn = await asyncpg.connect(dsn)
        async with daemon_process(dsn, url):
            await asyncio.sleep(0.5)
            idle = [
                [await _fresh(conn, arrivals, rng.uniform(0.05, 0.3), rng) for _ in range(samples)]
                for _ in range(_ROUNDS)
            ]
            due = await asyncio.gather(*(_due(dsn, arrivals, nth) for nth in range(samples)))
            most = await _most_per_second(dsn, conn, arrivals, rows)
            producer = Producer(conn, await register(conn, _WORKSPACES), most / 2)
            busy, sent = await _at_half_load(dsn, producer, arrivals, window_seconds, rng)
        await conn.close()
    fits = [
        min(_IDLE_P50_MS / percentiles(quiet)["p50_ms"], _BUSY_P99_MS / percentiles(loaded)["p99_ms"])
        for quiet, loaded in zip(idle, busy, strict=True)
    ]
    return {
        "latency": compared(
            fits,
            1.0,
            f"of {_IDLE_P50_MS:g} ms p50 idle, {_BUSY_P99_MS:g} ms p99 at half load, the worse",
            idle=percentiles([each for some in idle for each in some]),
            half_load=percentiles([each for some in busy for each in some]),
            due=percentiles(due),
            most_per_second=round(most),
            half_load_per_second=round(sent),
        )
    }


async def _fresh(conn: Connection, arrivals: Arrivals, pause_seconds: float, rng: random.Random) -> float:
    """Milliseconds from the commit of one `enqueue` to its POST."""
    await asyncio.sleep(pause_seconds)
    number = f"+1415555{rng.randrange(10_000):04}"
    delivery = await conn.fetchval("select duly.enqueue('clinic', 'sms', $1, 'Hello')", number)
    committed = time.time()
    return (await arrivals.of(str(delivery)) - committed) * 1000


async def _due(dsn: str, arrivals: Arrivals, nth: int) -> float:
    """Milliseconds from `due_at`, by the database's clock, which is this machine's."""
    await asyncio.sleep(nth * 0.07)
    conn = await asyncpg.connect(dsn)
    row = await conn.fetchrow(
        """select duly.enqueue('clinic', 'sms', '+14155550123', 'Hello', due_at => d.at) as id,
                  extract(epoch from d.at)::float8 as due
           from (select clock_timestamp() + make_interval(secs => $1::float8) as at) d""",
        random.Random(nth).uniform(0.5, 1.0),
    )
    await conn.close()
    assert row is not None
    late: float = await arrivals.of(str(row["id"])) - row["due"]
    return late * 1000


async def _most_per_second(dsn: str, conn: Connection, arrivals: Arrivals, rows: int) -> float:
    """How fast the daemon sends a backlog: the middle four fifths of it, by their arrival."""
    before = len(arrivals.at)
    await backlog(dsn, rows, _WORKSPACES)
    async with asyncio.timeout(120):
        while len(arrivals.at) < before + rows:
            await asyncio.sleep(0.05)
        while await conn.fetchval("select count(*) from duly.delivery_row where state <> 'sent'"):
            await asyncio.sleep(0.1)
    times = list(arrivals.at.values())[before:]
    first, last = rows // 10, rows * 9 // 10
    return (last - first) / (times[last] - times[first])


async def _at_half_load(
    dsn: str, producer: Producer, arrivals: Arrivals, window_seconds: float, rng: random.Random
) -> tuple[list[list[float]], float]:
    """Latencies of probes among the load, a list a round; and how many a second were really sent."""
    probes: list[list[float]] = []
    conn = await asyncpg.connect(dsn)
    with producing(producer, seconds=3600):
        await asyncio.sleep(min(2.0, window_seconds))
        begun, before = time.monotonic(), len(arrivals.at)
        for _ in range(_ROUNDS):
            end, found = time.monotonic() + window_seconds, []
            while time.monotonic() < end:
                found.append(await _fresh(conn, arrivals, rng.uniform(0.005, 0.03), rng))
            probes.append(found)
        sent = (len(arrivals.at) - before) / (time.monotonic() - begun)
    await conn.close()
    return probes, sent


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """What the facts say of a list of times."""
    found = sorted(milliseconds)
    at = {f"p{p}_ms": round(found[min(len(found) - 1, len(found) * p // 100)], 2) for p in (95, 99)}
    return {"p50_ms": round(statistics.median(found), 2), **at, "samples": len(found)}
