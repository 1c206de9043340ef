"""latency: from the commit of `duly.enqueue`, or from `due_at`, to the request's arrival at the provider.

The daemon is a process of its own and idle; the provider listens in this process, so that one clock tells both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import orjson

from daemon import logs
from daemon.store.database import Connection
from tests.bench.harness import Result, fresh_database
from tests.bench.rawserver import Raw
from tests.support import DaemonProcess, free_port, running, toml


class Arrivals:
    """A provider that notes when each delivery's request was there."""

    def __init__(self) -> None:
        self.at: dict[str, asyncio.Future[float]] = {}

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        """The URL to send to."""
        arrivals = self

        class Noting(Raw):
            def data_received(self, data: bytes) -> None:
                now = time.time()
                for found in re.finditer(rb"delivery%3D([0-9a-f-]{36})", data):
                    arrivals.of(found[1].decode()).set_result(now)
                super().data_received(data)

        server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def of(self, delivery: str) -> asyncio.Future[float]:
        """When that delivery's request came, in seconds since the epoch."""
        return self.at.setdefault(delivery, asyncio.get_running_loop().create_future())


async def run(*, quick: bool) -> dict[str, Result]:
    """The entries `latency` (enqueue → POST) and `due` (due_at → POST)."""
    samples = 20 if quick else 200
    arrivals = Arrivals()
    with TemporaryDirectory(prefix="duly-bench-") as directory:
        async with arrivals.listen() as url, fresh_database() as dsn:
            port = free_port()
            config = Path(directory) / "duly.toml"
            config.write_text(toml(dsn, url, port))
            async with running(config, port) as daemon:
                return await _measure(daemon, dsn, arrivals, samples)


async def _measure(daemon: DaemonProcess, dsn: str, arrivals: Arrivals, samples: int) -> dict[str, Result]:
    conn = await asyncpg.connect(dsn)
    rng = random.Random(1)
    try:
        await daemon.ready()
        fresh = [await _fresh(conn, arrivals, rng) for _ in range(samples)]
        due = [await _due(conn, arrivals, rng) for _ in range(samples // 4)]
    finally:
        await conn.close()
    return {
        "latency": _result(fresh, 5.0, "ms, enqueue's commit to POST, idle"),
        "due": _result(due, None, "ms, due_at to POST, idle"),
    }


async def _fresh(conn: Connection, arrivals: Arrivals, rng: random.Random) -> float:
    await asyncio.sleep(rng.uniform(0.05, 0.3))
    delivery = await conn.fetchval("select duly.enqueue('clinic', 'sms', '+14155550123', 'Hello')")
    committed = time.time()
    return (await arrivals.of(str(delivery)) - committed) * 1000


async def _due(conn: Connection, arrivals: Arrivals, rng: random.Random) -> float:
    row = await conn.fetchrow(
        """select duly.enqueue('clinic', 'sms', '+14155550123', 'Hello', due_at => d.at) as id,
                  extract(epoch from d.at)::float8 as due
           from (select clock_timestamp() + make_interval(secs => $1::float8) as at) d""",
        rng.uniform(0.3, 0.8),
    )
    assert row is not None
    late: float = await arrivals.of(str(row["id"])) - row["due"]
    return late * 1000


def _result(milliseconds: Sequence[float], goal: float | None, unit: str) -> Result:
    found = sorted(milliseconds)
    p50 = statistics.median(found)
    met = None if goal is None else p50 < goal
    facts = {f"p{p}_ms": round(found[min(len(found) - 1, len(found) * p // 100)], 2) for p in (50, 95, 99)}
    return Result(
        round(p50, 2),
        goal,
        met,
        (round(found[0], 2), round(found[-1], 2)),
        unit,
        {**facts, "samples": len(found)},
    )


def main() -> int:
    """Only these figures: `python -m tests.bench.latency [--quick] [--json]`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logs.configure("warning")
    results = asyncio.run(run(quick=options.quick))
    if options.json:
        facts = {name: result.as_json() for name, result in results.items()}
        print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        for result in results.values():
            print(f"{result.unit}: {', '.join(f'{k} {v}' for k, v in result.as_json().items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
