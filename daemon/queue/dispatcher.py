"""From leased deliveries to calls: one line per account, each with its own order, limits and workers.

Late binding: a delivery is chosen when a worker is free and the limits let it pass, not when it is leased,
so what is urgent overtakes whatever waits here.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from uuid import UUID

import structlog

from daemon import clock, metrics
from daemon.model import Delivery, Rejected, Rendered
from daemon.queue.backoff import ACCOUNT_PAUSE_SECONDS, ACCOUNT_REASONS
from daemon.queue.limiter import RateLimit
from daemon.queue.limits import LimitBook
from daemon.queue.membership import Membership
from daemon.queue.ready import ReadyQueue
from daemon.queue.recorder import Done, Recorder
from daemon.queue.worker import Worker
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

# A line without a rate keeps so many marked deliveries ahead of its workers, so that none waits for a mark.
_MOST_AHEAD = 50


class Line:
    """One account's way to its platform: ready → (limits) → marked → called → recorded."""

    def __init__(
        self,
        worker: Worker,
        *,
        database: Database,
        membership: Membership,
        recorder: Recorder,
        render: Callable[[Delivery], Rendered],
        limit: Callable[[], RateLimit],
        sender_limits: LimitBook[tuple[str, str]],
        workspace_limits: LimitBook[str],
        concurrency: int,
        buffer: int,
        on_room: Callable[[], None],
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self.worker = worker
        self.account = worker.account
        self.concurrency = concurrency
        self.buffer = buffer
        self._database = database
        self._membership = membership
        self._recorder = recorder
        self._render = render
        self._limit = limit
        self._sender_limits = sender_limits
        self._workspace_limits = workspace_limits
        self._on_room = on_room
        self._monotonic = monotonic
        self._ready = ReadyQueue()
        self._parked: list[tuple[float, int, Delivery]] = []
        self._parked_of: dict[int, int] = {}
        self._order = count()
        self._marked: asyncio.Queue[Rendered] = asyncio.Queue()
        self._in_flight: set[UUID] = set()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self.paused_until = 0.0
        self.paused_for: str | None = None

    # What the fetcher asks.

    def room(self, *, urgent: bool = False) -> int:
        """How many more deliveries this line wants in memory: about two seconds' worth in all.

        It asks for a quarter of that at least, so that leases stay worth their while; what is urgent has
        that quarter to itself and never waits for it.
        """
        if self._closing or self._monotonic() < self.paused_until:
            return 0
        rate = self._limit().rate.per_second
        wanted = self.buffer if rate is None else min(self.buffer, max(10, int(rate * 2)))
        free, quarter = wanted - self.waiting, wanted // 4
        if urgent:
            return max(0, free + quarter)
        return free if free >= quarter else 0

    def holds(self) -> set[UUID]:
        """Every delivery this line knows: waiting or in flight."""
        return self._ready.ids() | {entry[2].id for entry in self._parked} | self._in_flight

    def waiting_of(self, workspace_id: int) -> int:
        """How many deliveries of a workspace wait here."""
        return self._ready.waiting(workspace_id) + self._parked_of.get(workspace_id, 0)

    @property
    def waiting(self) -> int:
        """Leased deliveries not yet begun."""
        return len(self._ready) + len(self._parked)

    @property
    def in_flight(self) -> int:
        """Marked deliveries whose call has not ended."""
        return len(self._in_flight)

    def push(self, deliveries: Iterable[Delivery]) -> None:
        """Takes leased deliveries."""
        self._ready.extend(deliveries)
        self._changed.set()

    # The line's own work.

    async def run(self) -> None:
        """Serves until cancelled. Calls in flight are not cancelled with it: see `close`."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.concurrency):
                group.create_task(self._work())
            group.create_task(self._gate())

    async def close(self) -> list[Delivery]:
        """Takes nothing new; returns what had not begun, for handing back. Calls in flight go on."""
        self._closing = True
        self._changed.set()
        left = self._ready.clear() + [entry[2] for entry in self._parked]
        self._parked.clear()
        self._parked_of.clear()
        return left

    async def finished(self) -> None:
        """Returns when no call is under way."""
        await self._idle.wait()

    async def _gate(self) -> None:
        while True:
            self._changed.clear()
            batch, wait_seconds = self._take()
            if batch:
                await self._mark(batch)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._changed.wait()

    def _take(self) -> tuple[list[Rendered], float | None]:
        """What may be called now, charged to its limits; else how long until something may."""
        now = self._monotonic()
        self._unpark(now)
        limit = self._limit()
        ahead = 0 if limit.rate.per_second is not None else min(self.concurrency, _MOST_AHEAD)
        free = self.concurrency + ahead - len(self._in_flight)
        if self._closing or free <= 0:
            return [], None
        if now < self.paused_until:
            return [], self.paused_until - now
        batch: list[Rendered] = []
        wait = self._parked[0][0] - now if self._parked else None
        while len(batch) < free and len(self._ready):
            delivery = self._ready.pop()
            delay = limit.delay(delivery.segments, now)
            if delay > 0:
                self._ready.put_back(delivery)
                wait = delay if wait is None else min(wait, delay)
                break
            rendered = self._render(delivery)
            sender = self._sender_limits.of((self.account, rendered.sender or ""))
            workspace = self._workspace_limits.of(delivery.workspace)
            delay = max(sender.delay(delivery.segments, now), workspace.delay(delivery.segments, now))
            if delay > 0:
                self._park(delivery, now + delay)
                wait = delay if wait is None else min(wait, delay)
                continue
            for each in (limit, sender, workspace):
                each.take(delivery.segments, now)
            batch.append(rendered)
        return batch, wait

    def _park(self, delivery: Delivery, until: float) -> None:
        heapq.heappush(self._parked, (until, next(self._order), delivery))
        self._parked_of[delivery.workspace_id] = self._parked_of.get(delivery.workspace_id, 0) + 1

    def _unpark(self, now: float) -> None:
        while self._parked and self._parked[0][0] <= now:
            delivery = heapq.heappop(self._parked)[2]
            self._parked_of[delivery.workspace_id] -= 1
            self._ready.put_back(delivery)

    async def _mark(self, batch: list[Rendered]) -> None:
        """Passes the last gate with a batch; what comes through goes to the workers."""
        asked = {rendered.delivery.id for rendered in batch}
        self._in_flight |= asked
        self._idle.clear()
        passed: set[UUID] = set()
        try:
            passed = await self._database.insist(lambda: self._ask_to_mark(batch))
        finally:
            self._ended(asked - passed)
        for rendered in batch:
            if rendered.delivery.id in passed:
                self._marked.put_nowait(rendered)
        if self.room() > 0:
            self._on_room()

    async def _ask_to_mark(self, batch: Sequence[Rendered]) -> set[UUID]:
        ordered = sorted((rendered.delivery for rendered in batch), key=lambda d: d.id)
        rows = await self._database.fetch(
            query("mark"),
            [d.id for d in ordered],
            [d.workspace_id for d in ordered],
            [d.lease_token for d in ordered],
            self._membership.node_id,
            self.account,
        )
        return {row["id"] for row in rows if row["marked"]}

    async def _work(self) -> None:
        while True:
            rendered = await self._marked.get()
            try:
                done = await self.worker.call(rendered)
                self._recorder.put(done)
                self._heed(done)
            finally:
                self._ended({rendered.delivery.id})

    def _heed(self, done: Done) -> None:
        """Bad credentials concern every delivery of the account: it waits, the others go on."""
        if isinstance(done.outcome, Rejected) and done.outcome.reason in ACCOUNT_REASONS:
            self.paused_until = self._monotonic() + ACCOUNT_PAUSE_SECONDS
            self.paused_for = done.outcome.reason.value
            log.error(
                "account paused", account=self.account, reason=self.paused_for, seconds=ACCOUNT_PAUSE_SECONDS
            )
        elif self.paused_for is not None and done.next.reason is None:
            self.paused_for = None

    def _ended(self, ids: set[UUID]) -> None:
        self._in_flight -= ids
        self._changed.set()
        if not self._in_flight:
            self._idle.set()


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
        return {
            account: f"paused for {line.paused_until - now:.0f} s: {line.paused_for}"
            if now < line.paused_until
            else "ok"
            for account, line in self._lines.items()
        }

    def observe(self) -> None:
        """Sets the gauges; called when the metrics are read."""
        for account, line in self._lines.items():
            metrics.WAITING.labels(account).set(line.waiting)
            metrics.IN_FLIGHT.labels(account).set(line.in_flight)

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
            await self.hand_back(await line.close())
            await line.finished()
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await line.worker.platform.close()

        winding = asyncio.create_task(wind_up())
        self._retired.add(winding)
        winding.add_done_callback(self._retired.discard)
