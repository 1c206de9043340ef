"""fairness: what 999 workspaces feel of another one's million due rows.

Each sends about one message a second, and all go over one account that takes 2,000 a second, as Twilio's do at
most. How long from the commit of a small one's message to its arrival at the provider, with and without the
big one? Among the facts is the same without the account's limit, where the machine itself is what everyone
waits for: the big one then takes all there is of two cores, and the database answers each statement later.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

from tests.bench.harness import Result, compared, fresh_database
from tests.bench.latency import percentiles
from tests.bench.rig import Arrivals, Producer, backlog, daemon_process, register

_SMALL = 999
_ACCOUNT_PER_SECOND = 2000
_WARM_UP_SECONDS = 1.0


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `fairness`: the small ones' p99 wait without the big one to that with it."""
    rows, rounds, seconds = (20_000, 1, 1.0) if quick else (1_000_000, 4, 4.0)
    limited = f"rate_per_second = {_ACCOUNT_PER_SECOND}"
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    arrivals = Arrivals()
    async with arrivals.listen() as url, fresh_database() as small, fresh_database() as both:
        await backlog(both, rows, 1, prefix="big")
        await _settle(both)
        for _ in range(rounds):
            alone.append(await _waits(small, url, arrivals, limited, seconds))
            beside.append(await _waits(both, url, arrivals, limited, seconds))
        facts = {} if quick else await _machine_bound(small, both, url, arrivals, seconds)
    return {
        "fairness": compared(
            [_p99(a) / _p99(b) for a, b in zip(alone, beside, strict=True)],
            0.5,
            f"of the small ones' p99 wait beside {rows:,} due rows of another is there without them",
            without_big=percentiles([wait for waits in alone for wait in waits]),
            with_big=percentiles([wait for waits in beside for wait in waits]),
            small_per_second=_SMALL,
            account_per_second=_ACCOUNT_PER_SECOND,
            **facts,
        )
    }


async def _settle(dsn: str) -> None:
    """What the fill has left to do is done before anything is timed."""
    conn = await asyncpg.connect(dsn)
    await conn.execute("vacuum analyze duly.delivery_row")
    await conn.execute("checkpoint")
    await conn.close()


async def _machine_bound(
    small: str, both: str, url: str, arrivals: Arrivals, seconds: float
) -> dict[str, dict[str, float]]:
    alone = await _waits(small, url, arrivals, "", seconds)
    before, begun = len(arrivals.at), time.monotonic()
    beside = await _waits(both, url, arrivals, "", seconds)
    per_second = (len(arrivals.at) - before) / (time.monotonic() - begun)
    return {
        "unlimited_account_without_big": percentiles(alone),
        "unlimited_account_with_big": percentiles(beside) | {"per_second": round(per_second)},
    }


async def _waits(dsn: str, url: str, arrivals: Arrivals, account: str, seconds: float) -> list[float]:
    """Milliseconds that each of the small ones' messages waited."""
    conn = await asyncpg.connect(dsn)
    try:
        names = await register(conn, _SMALL)
        async with daemon_process(dsn, url, account=account):
            await asyncio.sleep(_WARM_UP_SECONDS / 2)
            producer = Producer(conn, names, _SMALL)
            begun = time.time()
            await producer.run(_WARM_UP_SECONDS + seconds)
            return [
                (await arrivals.of(delivery) - committed) * 1000
                for delivery, committed in producer.committed.items()
                if committed > begun + _WARM_UP_SECONDS
            ]
    finally:
        await conn.close()


def _p99(waits: list[float]) -> float:
    return percentiles(waits)["p99_ms"]
