"""What the benchmarks share: a database, a raw stand-in, a daemon in this process, and honest arithmetic."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from daemon.config import Config, parse_config
from daemon.runtime import Runtime
from daemon.store.database import Connection, Database
from daemon.store.embedded import start
from daemon.store.migrations import migrate
from tests.support import ROOT

ACCOUNT_SID = "AC0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table. `ratio` is ours to the limit's, the median of the rounds; `spread` its range."""

    ratio: float
    goal: float | None
    met: bool | None
    spread: tuple[float, float]
    unit: str
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        found = asdict(self)
        return {**{k: v for k, v in found.items() if k != "facts"}, **self.facts}


def compared(ratios: Sequence[float], goal: float | None, unit: str, **facts: Any) -> Result:
    """The result of rounds in which ours and the limit took turns."""
    middle = statistics.median(ratios)
    spread = (round(min(ratios), 3), round(max(ratios), 3))
    return Result(round(middle, 3), goal, None if goal is None else middle >= goal, spread, unit, facts)


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the wall and of this process's CPU."""

    wall: float
    cpu: float


async def timed(action: Callable[[], Awaitable[object]]) -> Took:
    """How long an action took."""
    wall, cpu = time.perf_counter(), time.process_time()
    await action()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


@contextlib.contextmanager
def raw_stand_in() -> Iterator[str]:
    """The URL of a raw stand-in in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.rawserver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.kill()


@contextlib.asynccontextmanager
async def fresh_database() -> AsyncIterator[str]:
    """The DSN of a migrated embedded database with fsync and synchronous_commit on."""
    with tempfile.TemporaryDirectory(prefix="duly-bench-") as directory:
        handle = await asyncio.to_thread(start, Path(directory) / "postgres")
        try:
            conn = await asyncpg.connect(handle.server.dsn)
            await migrate(conn)
            await conn.close()
            yield handle.server.dsn
        finally:
            await asyncio.to_thread(handle.stop)


async def fill(conn: Connection, deliveries: int, workspaces: int = 50) -> None:
    """Empties the queue and queues so many deliveries, one segment each, evenly over the workspaces."""
    await conn.execute("truncate duly.delivery_row, duly.message, duly.attempt, duly.callback")
    await conn.execute(
        "select duly.register_workspace('w' || i) from generate_series(1, $1::int) i", workspaces
    )
    await conn.execute(
        """select count(duly.enqueue('w' || (i % $2::int + 1), 'sms', '+14155550100',
                  'Hello number ' || i || ', your appointment is tomorrow at nine'))
           from generate_series(1, $1::int) i""",
        deliveries,
        workspaces,
    )
    await conn.execute("vacuum analyze duly.delivery_row, duly.message")


def configured(dsn: str, url: str, concurrency: int = 100) -> Config:
    """A daemon without limits of its own, for the stand-in at `url`."""
    return parse_config(
        f"""
        [database]
        url = "{dsn}"
        [web]
        listen = "127.0.0.1:0"
        public_url = "http://127.0.0.1:1"
        [limits]
        workspace_per_second = 100000
        workspace_burst = 100000
        [platforms.main]
        kind = "twilio"
        base_url = "{url}"
        account_sid = "{ACCOUNT_SID}"
        auth_token = "x"
        from = "+15005550006"
        concurrency = {concurrency}
        """,
        environ={},
    )


@contextlib.asynccontextmanager
async def ready_daemon(config: Config, dsn: str) -> AsyncIterator[Runtime]:
    """A daemon in this process, joined and idle, its fetcher held back until `release`."""
    runtime = Runtime(config, Database(lambda: dsn))
    await runtime.start()
    task = asyncio.create_task(runtime.supervisor.run())
    await runtime.membership.joined.wait()
    try:
        yield runtime
    finally:
        runtime.supervisor.stop()
        await task
        await runtime.close()
