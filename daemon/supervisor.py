"""Starts the actors in order, restarts those that die, stops them back to front, and talks to systemd."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import sdnotify
import structlog

from daemon import clock, metrics
from daemon.actor import Actor, at_most

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 10.0
# However long the others took to stop, each actor has this for its own orderly end.
_LEAST_SECONDS = 0.5


class TooManyDeaths(Exception):
    """An actor died too often; the process must end so that whoever runs it starts it afresh."""


class Supervisor:
    """Runs actors until `stop()` or until one dies too often.

    Together they have `shutdown_seconds` for their orderly end and `grace_seconds` beyond, for writing down
    what came of it; who has not stopped by then is cancelled.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        *,
        max_restarts: int,
        restart_window_seconds: float,
        shutdown_seconds: float,
        grace_seconds: float = 5.0,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self.actors = list(actors)
        self.max_restarts = max_restarts
        self.restart_window_seconds = restart_window_seconds
        self.shutdown_seconds = shutdown_seconds
        self.grace_seconds = grace_seconds
        self._monotonic = monotonic
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[str] = set()
        self._stop = asyncio.Event()
        self._reason: BaseException | None = None

    def stop(self) -> None:
        """Asks for an orderly end."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether the end has been asked for."""
        return self._stop.is_set()

    async def stopped(self) -> None:
        """Returns when the end has been asked for."""
        await self._stop.wait()

    async def run(self, on_started: Callable[[], Awaitable[None]] | None = None) -> None:
        """Runs all actors. Raises `TooManyDeaths` after an orderly end of the others."""
        for actor in self.actors:
            self._tasks[actor.name] = asyncio.create_task(self._keep(actor), name=actor.name)
        try:
            if on_started is not None:
                await on_started()
            await self._stop.wait()
        finally:
            await self._end()
        if self._reason is not None:
            raise self._reason

    async def _keep(self, actor: Actor) -> None:
        deaths: deque[float] = deque()
        while True:
            error = await _end_of(actor)
            if actor.name in self._stopped:
                return
            self._mourn(actor, deaths, error)
            if self._stop.is_set():
                return
            # The end cuts the pause short: whoever has something to finish must run for it.
            await at_most(min(_LONGEST_PAUSE_SECONDS, 0.1 * 2 ** len(deaths)), self._stop)

    def _mourn(self, actor: Actor, deaths: deque[float], error: BaseException | None) -> None:
        now = self._monotonic()
        deaths.append(now)
        while deaths and deaths[0] < now - self.restart_window_seconds:
            deaths.popleft()
        metrics.DEATHS.labels(actor.name).inc()
        log.error("an actor died", actor=actor.name, deaths=len(deaths), exc_info=error)
        if len(deaths) > self.max_restarts:
            self._reason = TooManyDeaths(
                f"{actor.name} died {len(deaths)} times within {self.restart_window_seconds:g} s"
            )
            self._reason.__cause__ = error
            self._stop.set()

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.shutdown_seconds + self.grace_seconds
        for actor in reversed(self.actors):
            self._stopped.add(actor.name)
            task = self._tasks[actor.name]
            try:
                async with asyncio.timeout_at(max(deadline, loop.time() + _LEAST_SECONDS)):
                    await actor.stop()
                    await task
            except TimeoutError:
                log.error("an actor did not stop in time", actor=actor.name)
            except Exception:
                log.exception("an actor failed to stop", actor=actor.name)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _end_of(actor: Actor) -> BaseException | None:
    """Runs an actor and returns what it died of; None where it returned."""
    try:
        await actor.run()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # not meant for us: something that the actor waited for had been cancelled
    except Exception as error:
        return error
    return None


class Systemd:
    """What systemd is told, where it listens: https://www.freedesktop.org/software/systemd/man/sd_notify.html"""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None

    def ready(self, status: str) -> None:
        """Up, or done with reloading."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload begins."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={usec}")

    def stopping(self) -> None:
        """The end begins."""
        self._tell("STOPPING=1")

    def close(self) -> None:
        """Nothing more will be said."""
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()

    async def watchdog(self) -> None:
        """Pings as often as systemd wants, as long as the event loop turns."""
        usec = os.environ.get("WATCHDOG_USEC", "")
        if not usec.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(int(usec) / 2_000_000)

    def _tell(self, news: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(news)
