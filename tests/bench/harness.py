"""What the benchmarks share: a database each, a raw stand-in, a daemon in this process, honest arithmetic."""

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
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from daemon.config import Config, PlatformConfig, parse_config
from daemon.platforms.base import Platform
from daemon.platforms.registry import make_platform
from daemon.runtime import Runtime
from daemon.store.database import Connection, Database
from daemon.store.embedded import EmbeddedHandle, start
from daemon.store.migrations import migrate
from tests.support import ROOT, dsn_of

ACCOUNT_SID = "AC0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table. `ratio` is ours to the limit's, the median of the rounds; `spread` its range."""

    ratio: float | None
    goal: float | None
    met: bool | None
    spread: tuple[float, float] | None
    unit: str
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For --json: the facts stand beside the rest."""
        found = asdict(self)
        return {**{k: v for k, v in found.items() if k != "facts"}, **self.facts}


def failed(error: BaseException) -> Result:
    """The result of a line that came to no figure."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Result(None, None, False, None, "failed", {"error": said})


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
def raw_stand_in(*, delay_ms: float = 0) -> Iterator[str]:
    """The URL of a raw stand-in in a process of its own, that takes so long to answer."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.rawserver", str(delay_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.kill()


_shared: list[EmbeddedHandle] = []  # the server of a whole run, once there is one
_databases = count(1)


@contextlib.asynccontextmanager
async def shared_server() -> AsyncIterator[EmbeddedHandle]:
    """One embedded server, with fsync and synchronous_commit on, for all that is measured within the block."""
    if _shared:
        yield _shared[0]
        return
    with tempfile.TemporaryDirectory(prefix="duly-bench-") as directory:
        handle = await asyncio.to_thread(start, Path(directory) / "postgres")
        _shared.append(handle)
        try:
            yield handle
        finally:
            _shared.clear()
            await asyncio.to_thread(handle.stop)


@contextlib.asynccontextmanager
async def fresh_database() -> AsyncIterator[str]:
    """The DSN of a migrated database of its own. What others left to be written is written before."""
    async with shared_server() as handle:
        name = f"bench_{next(_databases)}"
        admin = await asyncpg.connect(handle.server.dsn)
        try:
            await admin.execute(f"create database {name}")
            dsn = dsn_of(handle.server.dsn, name)
            conn = await asyncpg.connect(dsn)
            await migrate(conn)
            await conn.close()
            await admin.execute("checkpoint")
            yield dsn
            await admin.execute(f"drop database {name} with (force)")
        finally:
            await admin.close()


async def fill(
    conn: Connection, deliveries: int, workspaces: int = 50, *, category: str = "transactional"
) -> None:
    """Empties the queue and queues so many deliveries, one segment and one number each, evenly over the workspaces."""
    await conn.execute("truncate duly.delivery_row, duly.message, duly.attempt, duly.callback")
    await conn.execute(
        "select duly.register_workspace('w' || i) from generate_series(1, $1::int) i", workspaces
    )
    await conn.execute(
        """select count(duly.enqueue('w' || (i % $2::int + 1), 'sms', '+1415' || (2000000 + i),
                  'Hello number ' || i || ', your appointment is tomorrow at nine', category => $3))
           from generate_series(1, $1::int) i""",
        deliveries,
        workspaces,
        category,
    )
    await conn.execute("vacuum analyze duly.delivery_row, duly.message")


def configured(dsn: str, url: str, concurrency: int = 100, *, rules: str = "") -> Config:
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
        [rules]
        {rules}
        """,
        environ={},
    )


class HeldDaemon:
    """A daemon in this process, joined and idle: its fetcher is held back until `work`."""

    def __init__(self, runtime: Runtime) -> None:
        self._fetcher = runtime.fetcher
        runtime.supervisor.actors.remove(self._fetcher)

    async def work(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Lets it fetch until `done` says so."""
        fetching = asyncio.create_task(self._fetcher.run())
        try:
            while not await done():
                await asyncio.sleep(0.02)
        finally:
            await self._fetcher.stop()
            await fetching


@contextlib.asynccontextmanager
async def held_daemon(
    config: Config, dsn: str, make: Callable[[PlatformConfig], Platform] = make_platform
) -> AsyncIterator[HeldDaemon]:
    """A daemon that waits for its `work`. `make`: what it sends by, as Runtime takes it."""
    runtime = Runtime(config, Database(lambda: dsn), make)
    held = HeldDaemon(runtime)
    await runtime.start()
    task = asyncio.create_task(runtime.supervisor.run())
    await runtime.membership.joined.wait()
    await asyncio.sleep(0.5)
    try:
        yield held
    finally:
        runtime.supervisor.stop()
        await task
        await runtime.close()


async def recorded(conn: Connection, messages: int) -> bool:
    """Whether so many attempts are stored."""
    return bool(await conn.fetchval("select count(*) >= $1 from duly.attempt", messages))
