"""The demo from its start to its end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg

from daemon.demo.messages import DemoMessage, Pace, plan, trickle
from daemon.demo.parts import POSTGRES_GONE, Interrupted, PartDied, Parts
from daemon.demo.producer import Counts, Producer, prepare, total
from daemon.demo.progress import Progress
from daemon.demo.settings import DemoSettings, free_port
from daemon.demo.sunday import Size, Sunday, SundayError, SundayResult
from daemon.store.embedded import EmbeddedError
from daemon.store.migrations import MigrationError

_LOOK_SECONDS = 0.25
# Nothing the stand-in does takes longer; what has not moved for so long never will.
_STALLED_SECONDS = 60.0
_DIRECTORY = Path(".duly/demo")


class DemoError(Exception):
    """The demo cannot go on. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for."""

    messages: int
    once: bool
    json: bool
    limits: bool
    seed: int
    data_dir: Path | None = None
    port: int | None = None
    sunday: Size | None = None  # None: without a coach's Sunday

    @property
    def pace(self) -> Pace:
        """What the run is for."""
        if not self.limits:
            return Pace.SPEED
        return Pace.ONCE if self.once else Pace.LIVE


@dataclass(frozen=True, slots=True)
class Result:
    """How `--once` ended; the keys of --json. `failed` counts expired ones, `skipped` canceled ones."""

    queued: int
    delivered: int
    failed: int
    skipped: int
    duplicates: int
    seconds: float
    sunday: SundayResult | None = None

    @property
    def good(self) -> bool:
        """Nothing lost, nothing twice, and the Sunday came out right."""
        return (
            self.duplicates == 0
            and self.queued == self.delivered + self.failed + self.skipped
            and (self.sunday is None or self.sunday.good)
        )

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        found = asdict(self)
        if self.sunday is None:
            del found["sunday"]
        return found

    def __str__(self) -> str:
        speed = self.queued / self.seconds if self.seconds else 0.0
        lost = self.queued - self.delivered - self.failed - self.skipped
        return (
            f"{self.queued:,} queued: {self.delivered:,} delivered, {self.failed:,} failed or expired, "
            f"{self.skipped:,} canceled or skipped, {lost:,} lost, {self.duplicates:,} duplicates; "
            f"{self.seconds:.1f} s, {speed:,.0f} messages/s"
        )


async def play(wishes: Wishes) -> Result | None:
    """Runs the demo. The result, or None where it was ended before there was one. Raises `DemoError`."""
    with ExitStack() as stack:
        directory = stack.enter_context(_directory(wishes))
        try:
            port = free_port(wishes.port, any_other=wishes.once)
        except OSError as error:
            raise DemoError(f"--port: {error}") from error
        async with Parts(_settings(directory, port, wishes), wishes.seed) as parts:
            try:
                return await _Run(wishes, parts).run()
            except Interrupted:
                return None
            except (PartDied, EmbeddedError) as error:
                raise DemoError(str(error)) from error
            except MigrationError as error:
                raise DemoError(f"{error}\nOr remove {directory} to begin the demo anew.") from error


def _settings(directory: Path, port: int, wishes: Wishes) -> DemoSettings:
    return DemoSettings(directory, port, wishes.limits, wishes.sunday is not None)


@contextmanager
def _directory(wishes: Wishes) -> Iterator[Path]:
    """The directory of this demo, ours alone while it runs; --once has a temporary one."""
    with ExitStack() as stack:
        if wishes.data_dir is None and wishes.once:
            temporary = tempfile.TemporaryDirectory(prefix="duly-demo-", ignore_cleanup_errors=True)
            directory = Path(stack.enter_context(temporary)).resolve()
        else:
            directory = (wishes.data_dir or _DIRECTORY).expanduser().resolve()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(directory / "demo.lock", os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"another demo runs in {directory}: end it, or choose another --data-dir"
            ) from None
        except OSError as error:
            raise DemoError(f"--data-dir: {directory} cannot be used: {error.strerror}") from error
        yield directory


class _Run:
    """One run, with its parts started in order."""

    def __init__(self, wishes: Wishes, parts: Parts) -> None:
        self._wishes = wishes
        self._parts = parts
        settings = parts.settings
        hint = (
            ""
            if wishes.once
            else f"Look closer: duly status --config {_shown(settings.toml_path)}   End: Ctrl-C"
        )
        # With --json, stdout is for the one object.
        self._progress = Progress(sys.stderr if wishes.json else sys.stdout, settings.page, hint)

    async def run(self) -> Result:
        parts, wishes = self._parts, self._wishes
        planning = asyncio.create_task(asyncio.to_thread(plan, wishes.messages, wishes.pace, wishes.seed))
        self._progress.say("Starting Postgres, the stand-in for Twilio and the daemon …")
        await parts.start_postgres()
        await parts.unless_over(prepare(parts.dsn, sunday=wishes.sunday is not None))
        await parts.start_sandbox()
        await parts.start_daemon()
        messages = await planning
        self._progress.say(f"The page: {parts.settings.page}/")
        producer = await parts.unless_over(Producer.connect(parts.dsn))
        try:
            with self._progress:
                result = await parts.unless_over(self._flow(producer, messages))
            self._progress.say(str(result))
            return result
        except Interrupted:
            self._progress.say("Stopping …")
            raise
        finally:
            producer.close()

    async def _flow(self, producer: Producer, messages: list[DemoMessage]) -> Result:
        """Queues and watches: until all is final with --once, else without end."""
        tasks = [queueing := asyncio.create_task(self._queue(producer, messages))]
        if not self._wishes.once:
            tasks.append(asyncio.create_task(self._sunday_beside()))
        try:
            every = await self._watch(producer, queueing)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        seconds = await producer.seconds()
        sunday = await self._sunday_after(producer)
        return Result(
            len(messages),
            every["delivered"],
            every.failed,
            every.skipped,
            await self._parts.duplicates(),
            round(seconds, 3),
            sunday,
        )

    async def _sunday_beside(self) -> None:
        """While all else goes on. What is wrong with it is said, and ends nothing."""
        if self._wishes.sunday is None:
            return
        try:
            result = await self._sunday(self._wishes.sunday)
        except (SundayError, asyncpg.PostgresError, *POSTGRES_GONE) as error:
            self._progress.note = ""
            self._progress.say(f"The Sunday did not come about: {error}")
        else:
            self._progress.say(str(result))

    async def _sunday_after(self, producer: Producer) -> SundayResult | None:
        if self._wishes.sunday is None or not self._wishes.once:
            return None
        running = asyncio.create_task(self._sunday(self._wishes.sunday))
        try:
            while not running.done():
                self._progress.show(await producer.counts())
                await asyncio.wait([running], timeout=_LOOK_SECONDS)
            result = running.result()
        except SundayError as error:
            raise DemoError(f"the Sunday did not come about: {error}") from error
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._progress.say(str(result))
        return result

    async def _sunday(self, size: Size) -> SundayResult:
        sunday = await Sunday.connect(self._parts.dsn, self._parts.settings.page, size)
        running = asyncio.create_task(sunday.run(self._progress.say))
        try:
            while not running.done():
                self._progress.note = sunday.line
                await asyncio.wait([running], timeout=_LOOK_SECONDS)
            self._progress.note = sunday.line
            return running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            sunday.close()

    async def _queue(self, producer: Producer, messages: list[DemoMessage]) -> None:
        await producer.queue(messages)
        if not self._wishes.once:
            await producer.trickle(trickle(self._wishes.seed))

    async def _watch(self, producer: Producer, queueing: asyncio.Task[None]) -> Counts:
        """Shows the numbers until nothing more can come: all is final, or nothing moves any more."""
        patience = _Patience()
        while True:
            all_queued = queueing.done()
            if all_queued:
                queueing.result()
            counts = await producer.counts()
            self._progress.show(counts)
            every = total(counts.values())
            if all_queued and (every.final == every.total or patience.is_over(every)):
                return every
            await asyncio.sleep(_LOOK_SECONDS)


class _Patience:
    """Ends when the numbers have not changed for long."""

    def __init__(self) -> None:
        self._last: tuple[Counts, float] | None = None

    def is_over(self, counts: Counts) -> bool:
        """Looks at the present numbers."""
        now = time.monotonic()
        if self._last is None or self._last[0] != counts:
            self._last = (counts, now)
        return now - self._last[1] > _STALLED_SECONDS


def _shown(path: Path) -> Path:
    """As one would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
