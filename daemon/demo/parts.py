"""The parts of a demo: Postgres, the stand-in and the daemon, started in order and stopped back to front."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import asyncpg
import orjson

from daemon.demo.settings import DemoSettings
from daemon.store.embedded import EmbeddedHandle, start

T = TypeVar("T")

_START_SECONDS = 60
_STOP_SECONDS = 12  # more than the daemon's shutdown_seconds
_TAIL_LINES = 15
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Where `daemon` can be imported from.
_HOME = Path(__file__).resolve().parents[2]

# Postgres went away under us.
POSTGRES_GONE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


class PartDied(Exception):
    """A part ended by itself. The text says which, and the end of its log."""


class Interrupted(Exception):
    """Somebody wants the demo to end."""


class Child:
    """A process of ours in a session of its own, so that a Ctrl-C reaches only us. It ends with our stdin pipe."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.ended = asyncio.create_task(process.wait())

    @classmethod
    async def spawn(cls, name: str, arguments: Sequence[str], log: Path, *, answers: bool = False) -> Child:
        """Starts `python -m …`; with `answers` its stdout is for us, else it goes to the log too."""
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if answers else file,
                stderr=file,
                start_new_session=True,
                cwd=_HOME,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        return cls(name, process, log)

    def obituary(self) -> PartDied:
        """What to say of its death."""
        return died(self.name, f"ended with status {self.process.returncode}", self.log)

    async def stop(self, hurried: asyncio.Event) -> None:
        """SIGTERM, and SIGKILL when it takes too long or we are in a hurry."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        hurry = asyncio.create_task(hurried.wait())
        await asyncio.wait({self.ended, hurry}, timeout=_STOP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.ended


class Parts:
    """All parts, as an async context: whatever happens inside, nothing runs after it."""

    def __init__(self, settings: DemoSettings, seed: int) -> None:
        self.settings = settings
        self.sandbox_url = ""
        self.dsn = ""
        self._seed = seed
        self._postgres: asyncio.Future[EmbeddedHandle] | None = None
        self._children: list[Child] = []
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                loop.add_signal_handler(number, self._on_signal)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            await child.stop(self._hurried)
        if self._postgres is not None:
            with contextlib.suppress(Exception):  # it never came up: said already
                handle = await self._postgres
                await asyncio.to_thread(handle.stop)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    async def start_postgres(self) -> None:
        """Starts or joins the embedded server. Raises `EmbeddedError`."""
        self._postgres = asyncio.ensure_future(asyncio.to_thread(start, self.settings.database_directory))
        handle = await self.unless_over(asyncio.shield(self._postgres))
        self.dsn = handle.server.dsn

    async def start_sandbox(self) -> None:
        """Starts the stand-in and learns its URL."""
        settings = self.settings
        arguments = ["--account-sid", settings.account_sid, "--auth-token", settings.auth_token]
        arguments += ["--inbound-url", settings.inbound_url, "--seed", str(self._seed), "--exit-with-parent"]
        child = await self._spawn(
            "the stand-in for Twilio", ["daemon.sandbox", *arguments], "sandbox.log", True
        )
        assert child.process.stdout is not None
        line = await self.unless_over(child.process.stdout.readline())
        if not line:
            await child.ended
            raise child.obituary()
        self.sandbox_url = orjson.loads(line)["url"]

    async def start_daemon(self) -> None:
        """Writes the TOML and starts the daemon; returns when it is fit to work."""
        self.settings.write(self.sandbox_url)
        arguments = ["daemon.demo.leash", "run", "--config", str(self.settings.toml_path)]
        child = await self._spawn("the daemon", arguments, "daemon.log")
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self.unless_over(self._ready())
        except TimeoutError:
            raise died("the daemon", f"was not ready within {_START_SECONDS} s", child.log) from None

    async def duplicates(self) -> int:
        """How many messages reached the stand-in twice, by its own count."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.sandbox_url}/_sandbox/stats") as response,
        ):
            return int(orjson.loads(await response.read())["duplicates"])

    async def unless_over(self, work: Awaitable[T]) -> T:
        """The work's result. Raises `Interrupted` or `PartDied` if that comes first, and gives the work up."""
        task = asyncio.ensure_future(work)
        asked = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait(
                {task, asked, *(child.ended for child in self._children)}, return_when=asyncio.FIRST_COMPLETED
            )
            if asked.done():
                raise Interrupted
            for child in self._children:
                if child.ended.done():
                    raise child.obituary()
            return task.result()
        except POSTGRES_GONE as error:
            raise await self._without_postgres(error) from error
        finally:
            for each in (task, asked):
                each.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)

    def _on_signal(self) -> None:
        (self._hurried if self._asked.is_set() else self._asked).set()

    async def _spawn(self, name: str, arguments: Sequence[str], log: str, answers: bool = False) -> Child:
        child = await Child.spawn(name, arguments, self.settings.directory / log, answers=answers)
        self._children.append(child)
        return child

    async def _ready(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.settings.page}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)  # an HTTP server's start is no event for us

    async def _without_postgres(self, error: BaseException) -> PartDied:
        """Postgres went, or it only seems so because another part's death took it along."""
        for child in self._children:
            if child.ended.done():
                return child.obituary()
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return died("Postgres", f"does not answer: {text}", self.settings.database_directory / "log")


def died(name: str, how: str, log: Path) -> PartDied:
    """The error for a part, with the end of its log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        lines = []
    said = (
        "\n".join(["The end of its log:", *(f"  {line}" for line in lines)])
        if lines
        else "It logged nothing."
    )
    return PartDied(f"{name} {how}.\n{said}")
