"""One daemon of a chaos run: a process that can be killed, suspended and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp

_READY_SECONDS = 60
_STOP_SECONDS = 25  # shutdown_seconds, the actors' grace, and a busy machine
# A suspension of one that has only begun to start proves nothing: so long it may take.
_AT_WORK_SECONDS = 6
# As systemd's RestartSec: what ends by itself is started again.
_RESTART_SECONDS = 0.5

# Where `daemon` can be imported from.
HOME = Path(__file__).resolve().parents[2]


class ChaosError(Exception):
    """The run itself cannot go on. The text says what is wrong and where to look."""


class Node:
    """`duly run` with a name, a port and a log of its own. One thing is done to it at a time."""

    def __init__(
        self,
        name: str,
        config: Path,
        url: str,
        log: Path,
        tell: Callable[[str], None],
        *,
        skew_minutes: float,
    ) -> None:
        self.name = name
        self.log = log
        self.skew_minutes = skew_minutes
        self.ended_by_itself = 0
        self.url = url
        self._tell = tell
        module = ["daemon"] if not skew_minutes else ["daemon.chaos.skewed", f"{skew_minutes:.3f}"]
        self._command = [sys.executable, "-m", *module, "run", "--config", str(config)]
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Starts it and watches over it, as systemd would; see `ready`."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C reaches us only, and we end it
                cwd=HOME,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._watch = asyncio.create_task(self._mind(self._process))

    async def kill(self, down_seconds: float, begun: Callable[[], None]) -> None:
        """kill -9, and a start after so long. `begun` is called when it is this blow's turn."""
        async with self._turn:
            begun()
            await self._end(signal.SIGKILL)
            await asyncio.sleep(down_seconds)
            await self.start()

    async def terminate(self, down_seconds: float, begun: Callable[[], None]) -> None:
        """SIGTERM, its orderly end, and a start after so long."""
        async with self._turn:
            begun()
            status = await self._end(signal.SIGTERM)
            if status != 0:
                self._tell(f"{self.name} ended with status {status} after SIGTERM")
            await asyncio.sleep(down_seconds)
            await self.start()

    async def suspend(self, seconds: float, begun: Callable[[], None]) -> None:
        """SIGSTOP in the middle of its work, and SIGCONT after so long."""
        async with self._turn:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AT_WORK_SECONDS):
                    await self.ready()
            begun()
            self._signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                self._signal(signal.SIGCONT)

    async def ready(self) -> None:
        """Returns when /readyz says so. Raises `ChaosError` if it never does."""
        try:
            async with asyncio.timeout(_READY_SECONDS), aiohttp.ClientSession() as session:
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"{self.url}/readyz") as response:
                            if response.status == 200:
                                return
                    await asyncio.sleep(0.05)  # an HTTP server's start is no event for us
        except TimeoutError:
            raise ChaosError(f"{self.name} is not ready within {_READY_SECONDS} s; see {self.log}") from None

    async def close(self) -> None:
        """Ends it for good, in order if it lets us."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            await self._end(signal.SIGTERM)

    async def destroy(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            await self._end(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "start() comes first"
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _end(self, number: signal.Signals) -> int:
        """Its exit status after this signal; after too long a wait it is killed."""
        assert self._process is not None, "start() comes first"
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._signal(number)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._tell(f"{self.name} did not end within {_STOP_SECONDS} s after {number.name}")
            self._signal(signal.SIGKILL)
            return await self._process.wait()

    async def _mind(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        self.ended_by_itself += 1
        self._tell(f"{self.name} ended by itself with status {status}; starting it again")
        await asyncio.sleep(_RESTART_SECONDS)
        await self.start()
