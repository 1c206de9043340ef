"""One turn of a peer: its program, its database, its own word that all jobs are done, and the stand-in's."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import asyncpg
import orjson

from daemon.store.database import Connection
from tests.bench.environments import CannotTakePart, Environment
from tests.bench.harness import ACCOUNT_SID
from tests.support import dsn_of

CONCURRENCY = 100
_PREPARE_SECONDS = 60
_TURN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Peer:
    """A contestant."""

    name: str
    program: str
    environment: Callable[[], Environment]
    done: str  # how many of {jobs} are done and stored: SQL, or a command of Redis
    needs_redis: bool = False
    share: float = 1.0  # of the jobs: slow ones get fewer


@dataclass(slots=True)
class Standing:
    """What is known of a contestant: its facts as it tells them, and a figure a round."""

    per_second: list[int] = field(default_factory=list)
    cpu_us_per_message: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, jobs: int, wall: float, cpu: float) -> None:
        """Notes a turn, in seconds by the wall and of its process's CPU."""
        self.per_second.append(round(jobs / wall))
        self.cpu_us_per_message.append(round(cpu / jobs * 1e6))

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        found = asdict(self)
        return {**found.pop("facts"), **found}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a round is held."""

    dsn: str
    url: str
    redis: Path | None


async def turn(place: Place, peer: Peer, environment: Environment, standing: Standing, jobs: int) -> None:
    """One peer's turn, on a database of its own. Raises CannotTakePart if it did not do its job."""
    async with _database(place.dsn, f"peer_{peer.name}") as dsn:
        asked = {
            "dsn": dsn,
            "redis": None if place.redis is None else str(place.redis),
            "url": place.url,
            "path": f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json",
            "jobs": jobs,
            "concurrency": CONCURRENCY,
        }
        command = [*environment.command(peer.program), orjson.dumps(asked).decode()]
        async with _program(command) as (process, facts), _counting(peer, place, dsn, jobs) as done:
            standing.facts = facts
            assert process.stdin is not None
            before, cpu = await asyncio.to_thread(requests, place.url), _cpu_seconds(process.pid)
            start = time.perf_counter()
            process.stdin.write(b"go\n")
            try:
                async with asyncio.timeout(_TURN_SECONDS):
                    while (count := await done()) < jobs:
                        if process.returncode is not None:
                            raise CannotTakePart(f"it ended with {count} of {jobs} jobs done")
                        await asyncio.sleep(0.02)
            except TimeoutError as error:
                raise CannotTakePart(f"it did not do {jobs} jobs in {_TURN_SECONDS} s") from error
            wall, cpu = time.perf_counter() - start, _cpu_seconds(process.pid) - cpu
            made = await asyncio.to_thread(requests, place.url) - before - 1
            if made != jobs:
                raise CannotTakePart(f"it made {made} requests for {jobs} jobs")
            standing.add(jobs, wall, cpu)


@contextlib.asynccontextmanager
async def _database(dsn: str, name: str) -> AsyncIterator[str]:
    """An empty database on the server that Duly's own is on."""
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f"create database {name}")
        try:
            yield dsn_of(dsn, name)
        finally:
            await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def _program(command: list[str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A contestant's program, filled and connected, and the facts that it told of itself."""
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        try:
            try:
                async with asyncio.timeout(_PREPARE_SECONDS):
                    said = await process.stdout.readline()
            except TimeoutError as error:
                raise CannotTakePart(f"it was not ready within {_PREPARE_SECONDS} s") from error
            if not said:
                raise CannotTakePart(f"its program does not start: {_last_words(errors)}")
            yield process, orjson.loads(said)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = [line for line in errors.read().decode(errors="replace").splitlines() if "Error" in line]
    return lines[-1].strip() if lines else "it said nothing of an error"


@contextlib.asynccontextmanager
async def _counting(
    peer: Peer, place: Place, dsn: str, jobs: int
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """A function that tells how many jobs the peer's own store calls done."""
    if peer.needs_redis:
        reader, writer = await asyncio.open_unix_connection(place.redis)

        async def from_redis() -> int:
            writer.write(peer.done.encode() + b"\r\n")
            return int((await reader.readline()).removeprefix(b":"))

        try:
            yield from_redis
        finally:
            writer.close()
        return
    conn: Connection = await asyncpg.connect(dsn)
    statement = peer.done.format(jobs=jobs)

    async def from_postgres() -> int:
        count: int = await conn.fetchval(statement)
        return count

    try:
        yield from_postgres
    finally:
        await conn.close()


def requests(url: str) -> int:
    """How many requests the stand-in had before this one: it counts them in its sids."""
    with urllib.request.urlopen(urllib.request.Request(url, data=b"-", method="POST")) as answer:
        return int(orjson.loads(answer.read())["sid"].removeprefix("SM"), 16)


def _cpu_seconds(pid: int) -> float:
    """What a process has used of CPU, all its threads; nothing where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100
