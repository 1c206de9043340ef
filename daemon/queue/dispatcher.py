"""The actor that holds the lines, one per account: starts them, replaces them after a reload, drains them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

import structlog

from daemon import clock, metrics
from daemon.model import Delivery
from daemon.queue.adaptive import Speed
from daemon.queue.breaker import BreakerState
from daemon.queue.line import Line
from daemon.queue.membership import Membership
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)


class Dispatcher:
    """The actor that holds the lines."""

    name = "dispatcher"

    def __init__(
        self,
        database: Database,
        membership: Membership,
        shutdown_seconds: Callable[[], float],
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self._database = database
        self._membership = membership
        self._shutdown_seconds = shutdown_seconds
        self._monotonic = monotonic
        self._lines: dict[str, Line] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = False

    @property
    def lines(self) -> dict[str, Line]:
        """The lines by account."""
        return self._lines

    def set_lines(self, lines: dict[str, Line]) -> None:
        """Replaces the lines after a reload: those that are gone hand back and finish, those kept go on."""
        for account, line in list(self._lines.items()):
            if lines.get(account) is not line:
                self._retire(account, line)
        self._lines = dict(lines)
        self._changed.set()

    async def run(self) -> None:
        """Keeps a task per line until `stop()`; a line that dies is a death of the dispatcher."""
        try:
            while not self._stopping:
                self._changed.clear()
                for account, line in self._lines.items():
                    if account not in self._tasks:
                        self._tasks[account] = asyncio.create_task(line.run(), name=f"line {account}")
                changed = asyncio.create_task(self._changed.wait())
                done, _ = await asyncio.wait(
                    [*self._tasks.values(), changed], return_when=asyncio.FIRST_COMPLETED
                )
                changed.cancel()
                for account, task in list(self._tasks.items()):
                    if task in done:
                        del self._tasks[account]
                        task.result()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._tasks.clear()
            if self._stopping:
                await asyncio.gather(*(line.abandon() for line in self._lines.values()))

    async def stop(self) -> None:
        """Hands back at once what had not begun, and waits for the calls in flight."""
        left = [d for line in self._lines.values() for d in await line.close()]
        await self.hand_back(left)
        try:
            async with asyncio.timeout(self._shutdown_seconds()):
                await asyncio.gather(*(line.finished() for line in self._lines.values()), *self._retired)
        except TimeoutError:
            count_left = sum(line.in_flight for line in self._lines.values())
            log.warning("calls did not end in time: they become uncertain", count=count_left)
        self._stopping = True
        self._changed.set()

    def health(self) -> str | None:
        """A paused account is no reason to take the whole daemon out: see `accounts`."""
        return None

    def accounts(self) -> dict[str, str]:
        """Each account's state in a few words."""
        now = self._monotonic()
        return {account: _describe(line, now) for account, line in self._lines.items()}

    def speeds(self) -> dict[str, Speed]:
        """How fast each account goes now."""
        return {account: line.speed() for account, line in self._lines.items()}

    def observe(self) -> None:
        """Sets the gauges; called when the metrics are read."""
        for account, line in self._lines.items():
            metrics.WAITING.labels(account).set(line.waiting)
            metrics.IN_FLIGHT.labels(account).set(line.in_flight)
            speed = line.speed()
            rate = math.inf if speed.per_second is None else speed.per_second
            metrics.RATE.labels(account).set(rate)
            metrics.CONCURRENCY.labels(account).set(speed.calls)
            closed = line.breaker.state(self._monotonic()) is BreakerState.CLOSED
            metrics.BREAKER_OPEN.labels(account).set(0 if closed else 1)

    async def hand_back(self, deliveries: Sequence[Delivery]) -> None:
        """Queues leased deliveries again; where the database does not answer, the rescuer will."""
        if not deliveries:
            return
        try:
            tokens = list({d.lease_token for d in deliveries})
            released = await self._database.execute(query("release"), self._membership.node_id, tokens)
        except DatabaseDown:
            log.warning("could not hand back; the lease will run out", count=len(deliveries))
        else:
            log.info("handed back", count=released)

    def _retire(self, account: str, line: Line) -> None:
        task = self._tasks.pop(account, None)

        async def wind_up() -> None:
            try:
                await self.hand_back(await line.close())
                await line.finished()
            finally:
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                await line.abandon()
                await line.worker.platform.close()

        winding = asyncio.create_task(wind_up())
        self._retired.add(winding)
        winding.add_done_callback(self._retired.discard)


def _describe(line: Line, now: float) -> str:
    match line.breaker.state(now):
        case BreakerState.CLOSED:
            return "ok"
        case BreakerState.OPEN:
            return f"breaker open for {line.breaker.retry_in(now):.0f} s more: {line.breaker.why}"
        case BreakerState.HALF_OPEN:
            return f"breaker half-open, probing: {line.breaker.why}"
