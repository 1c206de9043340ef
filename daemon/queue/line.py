"""One account's way to its platform: its own order, limits, breaker and workers.

Late binding: a delivery is chosen when a worker is free and the limits let it pass, not when it is leased,
so what is urgent overtakes whatever waits here.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from uuid import UUID

import asyncpg
import structlog

from daemon import clock
from daemon.actor import at_most
from daemon.model import Delivery, Lane, Outcome, Priority, Reason, Rejected, Rendered, Unknown
from daemon.queue.adaptive import Adaptive, Speed
from daemon.queue.breaker import Breaker, BreakerState
from daemon.queue.charging import charge
from daemon.queue.lateness import Lateness
from daemon.queue.limiter import RateLimit
from daemon.queue.limits import LimitBook
from daemon.queue.membership import Membership
from daemon.queue.ready import ReadyQueue
from daemon.queue.recorder import Done, Recorder
from daemon.queue.worker import Worker
from daemon.store.database import Database
from daemon.store.sql import query

log = structlog.get_logger(__name__)

# The whole account is concerned, not one delivery: it stops at once until the operator has mended it.
_ACCOUNT_PAUSE_SECONDS = 60.0
_ACCOUNT_REASONS = frozenset({Reason.BAD_CREDENTIALS, Reason.ACCOUNT_SUSPENDED})
# The platform, or the way to it, is unwell.
_FAILURES = frozenset({Reason.PROVIDER_UNAVAILABLE, Reason.CONNECTION_FAILED})
# While a breaker probes, so many deliveries are leased for it.
_PROBES_WANTED = 3

# A second mark does not wait for the first where it would be this part of all calls: the next calls are marked
# while those before are made. A smaller one waits, and shares a statement with whatever comes meanwhile.
_MARKS_AT_ONCE = 2
_WORTH_A_MARK = 0.4

# A line without a rate keeps so many marked deliveries ahead of its workers, so that none waits for a mark.
_MOST_AHEAD = 250
_SAME_SECONDS = 1e-5
# So many lanes ask the database at once: what is given to more of them might be over before their turn comes.
_MOST_ASKING = 100

# A call by its delivery and lease token: after a lost claim a stale copy of a delivery may stand beside the same
# one leased again.
_Call = tuple[UUID, int]


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
        hand_back: Callable[[Sequence[Delivery]], Awaitable[None]],
        breaker: Breaker | None = None,
        adaptive: Adaptive | None = None,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self.worker = worker
        self.account = worker.account
        self.concurrency = concurrency
        self.buffer = buffer
        self._database = database
        self._membership = membership
        self._recorder = recorder
        self.render = render
        self._limit = limit
        self._sender_limits = sender_limits
        self._workspace_limits = workspace_limits
        self._on_room = on_room
        self._hand_back = hand_back
        self.breaker = breaker or Breaker()
        self._monotonic = monotonic
        self._adaptive = adaptive or Adaptive(None, concurrency, monotonic())
        self._lateness = Lateness()
        self._ready = ReadyQueue()
        self._held: list[tuple[float, int, Lane]] = []  # until when, by the sender's or the workspace's limit
        self._order = count()
        self._asking: list[Lane] = []  # held until the database says what their limits allow
        self._marked: asyncio.Queue[Rendered] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._in_flight: set[_Call] = set()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    # What the fetcher asks.

    def room(self, *, urgent: bool = False) -> int:
        """How many more deliveries this line wants in memory: about two seconds' worth in all.

        It asks for a quarter of that at least, so that leases stay worth their while. What is urgent, or of a
        workspace that has nothing here, does not wait for that: it has as much again to itself. It may not take
        more of what others leave free, or they would never have room while it flows.
        """
        if self._closing:
            return 0
        match self.breaker.state(self._monotonic()):
            case BreakerState.OPEN:
                return 0
            case BreakerState.HALF_OPEN:
                return max(0, _PROBES_WANTED - self.waiting)
        wanted = self._wanted()
        quarter = max(1, wanted // 4)
        waiting_urgent = self._ready.of_priority(Priority.HIGH)
        if urgent:
            return max(0, quarter - waiting_urgent - max(0, self.waiting - waiting_urgent - wanted))
        free = wanted - (self.waiting - min(waiting_urgent, quarter))
        return free if free >= quarter else 0

    def room_ahead(self) -> int:
        """How many more deliveries may be taken whose time is yet to come: what is due now goes first."""
        if self._closing or self.breaker.state(self._monotonic()) is not BreakerState.CLOSED:
            return 0
        return max(0, self._wanted() // 4 - self.waiting)

    def holds(self) -> set[UUID]:
        """Every delivery this line knows: waiting or in flight."""
        return self._ready.ids() | {delivery for delivery, _ in self._in_flight}

    def waiting_of(self, workspace_id: int) -> int:
        """How many deliveries of a workspace wait here."""
        return self._ready.waiting(workspace_id)

    @property
    def waiting(self) -> int:
        """Leased deliveries not yet begun."""
        return len(self._ready)

    @property
    def in_flight(self) -> int:
        """Marked deliveries whose call has not ended."""
        return len(self._in_flight)

    def speed(self) -> Speed:
        """How fast it goes now."""
        return self._adaptive.speed(self._monotonic())

    def push(self, deliveries: Iterable[Delivery]) -> None:
        """Takes leased deliveries."""
        self._ready.extend(deliveries)
        self._changed.set()

    def granted(self) -> None:
        """The database has answered what limits asked: whoever waits for that is looked at again."""
        for lane in self._asking:
            self._ready.release(lane)
        self._asking.clear()
        self._changed.set()

    # The line's own work.

    async def run(self) -> None:
        """Serves until cancelled. Calls in flight outlive it, and are taken up by the next run: see `abandon`."""
        self._workers = [worker for worker in self._workers if not worker.done()]
        missing = self.concurrency - len(self._workers)
        self._workers += [asyncio.create_task(self._work()) for _ in range(missing)]
        gate = asyncio.create_task(self._gate())
        try:
            done, _ = await asyncio.wait([gate, *self._workers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            gate.cancel()
            await asyncio.gather(gate, return_exceptions=True)

    async def close(self) -> list[Delivery]:
        """Takes nothing new; returns what had not begun, for handing back. Calls in flight go on."""
        self._closing = True
        self._changed.set()
        return self._clear()

    async def abandon(self) -> None:
        """Cuts off the calls still in flight."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def finished(self) -> None:
        """Returns when no call is under way."""
        await self._idle.wait()

    async def _gate(self) -> None:
        marks: list[asyncio.Task[None]] = []  # under way, oldest first
        try:
            while True:
                self._changed.clear()
                for mark in [mark for mark in marks if mark.done()]:
                    marks.remove(mark)
                    mark.result()
                if self.waiting and self.breaker.state(self._monotonic()) is BreakerState.OPEN:
                    await self._hand_back(self._clear())  # the rows wait in the database, not here
                batch, wait_seconds = self._take(self._least(len(marks)))
                if batch:
                    self._in_flight.update(map(_call, batch))
                    self._idle.clear()
                    mark = asyncio.create_task(self._mark(batch, marks[-1] if marks else None))
                    mark.add_done_callback(lambda _: self._changed.set())
                    marks.append(mark)
                    continue
                await at_most(wait_seconds, self._changed)
                if not self.waiting and self.breaker.state(self._monotonic()) is BreakerState.HALF_OPEN:
                    self._on_room()
        finally:
            for mark in marks:
                mark.cancel()
            await asyncio.gather(*marks, return_exceptions=True)

    def _least(self, marks: int) -> float:
        """How many must be ready and may be called for one more mark beside those under way."""
        if not marks:
            return 0
        return math.inf if marks >= _MARKS_AT_ONCE else self._most_at_once * _WORTH_A_MARK

    def _clear(self) -> list[Delivery]:
        self._held.clear()
        self._asking.clear()
        return self._ready.clear()

    @property
    def _most_at_once(self) -> int:
        """Deliveries in flight, at most: those marked ahead of their workers included."""
        calls = self._adaptive.calls
        if self._rate() is not None or calls < self.concurrency:
            return calls
        return calls + min(calls, _MOST_AHEAD)

    def _take(self, least: float) -> tuple[list[Rendered], float | None]:
        """What may be called now, charged to its limits; else how long until something may.

        Where fewer than `least` wait or have a worker, none: then a call or a mark that ends is waited for.
        """
        now = self._monotonic()
        self._release(now)
        limit = self._limit()
        free = self._most_at_once - len(self._in_flight)
        if min(free, self.waiting) < least and self.waiting:
            return [], None
        allowed = self.breaker.allowance(len(self._in_flight), now)
        if allowed is not None:
            free = min(free, allowed)
        if self._closing or free <= 0:
            return [], self.breaker.retry_in(now) or None
        batch: list[Rendered] = []
        wait = self._held[0][0] - now if self._held else None
        while len(batch) < free and len(self._asking) < _MOST_ASKING:
            try:
                delivery = self._ready.pop()
            except IndexError:  # what is left is held
                break
            delay = self._adaptive.delay(delivery.segments, now) or limit.delay(delivery.segments, now)
            if delay > 0:
                self._ready.put_back(delivery)
                wait = _sooner(wait, delay)
                break
            rendered = self.render(delivery)
            sender = self._sender_limits.of((self.account, rendered.sender or ""))
            workspace = self._workspace_limits.of(delivery.workspace)
            delay = max(sender.delay(delivery.segments, now), workspace.delay(delivery.segments, now))
            if delay > 0:
                self._hold(delivery, now + delay)
                wait = _sooner(wait, delay)
                continue
            for each in (self._adaptive, limit, sender, workspace):
                each.take(delivery.segments, now)
            batch.append(rendered)
        return batch, wait

    def _wanted(self) -> int:
        """Deliveries to have in memory: about two seconds' worth. What it holds it keeps from the others."""
        rate, share = self._rate(), self._membership.share
        return self.buffer if rate is None else min(self.buffer, max(10, int(rate * 2 * share)))

    def _rate(self) -> float | None:
        """Segments a second, as the operator allows or, below that, as the platform bears."""
        rate = self._adaptive.rate
        return self._limit().rate.per_second if rate is None else rate

    def _hold(self, delivery: Delivery, until: float) -> None:
        """Its whole lane waits: the same sender and the same workspace hold all of it."""
        lane = self._ready.hold(delivery)
        if until == math.inf:
            self._asking.append(lane)
        else:
            heapq.heappush(self._held, (until, next(self._order), lane))

    def _release(self, now: float) -> None:
        """Those that wait for one limit have the same time but for rounding: they are released together."""
        while self._held and self._held[0][0] <= now + _SAME_SECONDS:
            self._ready.release(heapq.heappop(self._held)[2])

    async def _mark(self, batch: list[Rendered], before: asyncio.Task[None] | None) -> None:
        """Passes the last gate with a batch; what comes through goes to the workers, after what was taken before."""
        passed: set[_Call] = set()
        try:
            passed = await self._database.insist(lambda: self._ask_to_mark(batch))
        finally:
            self._ended({_call(rendered) for rendered in batch} - passed)
        try:
            if before is not None:
                await asyncio.wait([before])
        finally:  # what is marked must be called, also by the next run of this line
            for rendered in batch:
                if _call(rendered) in passed:
                    self._marked.put_nowait(rendered)
        if self.room() > 0:
            self._on_room()

    async def _ask_to_mark(self, batch: Sequence[Rendered]) -> set[_Call]:
        """Those that may be made."""
        ordered = sorted((rendered.delivery for rendered in batch), key=lambda d: d.id)
        capped = [d for d in ordered if d.gate.charges]
        ahead = [d for d in ordered if d.send_at is not None]
        if not capped and not ahead:
            return _marked(await self._database.fetch(query("mark"), *self._mark_columns(ordered)))
        async with self._database.acquire() as conn, conn.transaction():
            full = await charge(conn, capped) if capped else set()
            free = [d for d in ordered if d.id not in full]
            marked = _marked(await conn.fetch(query("mark"), *self._mark_columns(free)))
            if noted := [d for d in ahead if (d.id, d.lease_token) in marked]:
                await conn.execute(query("native_mark"), *_ahead_columns(noted), self.account)
        return marked

    def _mark_columns(self, deliveries: Sequence[Delivery]) -> list[object]:
        until = [d.gate.until for d in deliveries]
        return [
            [d.id for d in deliveries],
            [d.workspace_id for d in deliveries],
            [d.lease_token for d in deliveries],
            self._membership.node_id,
            self.account,
            [d.address_key for d in deliveries],
            [d.channel.value for d in deliveries],
            [d.category for d in deliveries],
            until if any(until) else [],
        ]

    async def _work(self) -> None:
        while True:
            rendered = await self._marked.get()
            try:
                done = await self.worker.call(rendered)
                self._recorder.put(done)
                self._heed(done)
            finally:
                self._ended({_call(rendered)})

    def _heed(self, done: Done) -> None:
        """Lets the breaker and the adaptive rate know. Bad credentials stop this account at once, and no other."""
        now = self._monotonic()
        outcome = done.outcome
        if isinstance(outcome, Rejected) and outcome.reason is Reason.NOT_BEGUN:
            return  # our own doing: it says nothing about the platform
        self._adaptive.record(
            done.delivery.segments,
            outcome,
            began=done.began,
            took_seconds=done.took_seconds,
            late_seconds=self._lateness.seconds(),
        )
        if isinstance(outcome, Rejected) and outcome.reason in _ACCOUNT_REASONS:
            self.breaker.trip(outcome.reason.value, _ACCOUNT_PAUSE_SECONDS, now)
            opened = True
        else:
            opened = self.breaker.record(failed=_failed(outcome), took_seconds=done.took_seconds, now=now)
        if opened:
            seconds = round(self.breaker.retry_in(now))
            log.error("breaker opened", account=self.account, why=self.breaker.why, seconds=seconds)

    def _ended(self, calls: set[_Call]) -> None:
        self._in_flight -= calls
        self._changed.set()
        if not self._in_flight:
            self._idle.set()


def _call(rendered: Rendered) -> _Call:
    return rendered.delivery.id, rendered.delivery.lease_token


def _marked(rows: Iterable[asyncpg.Record]) -> set[_Call]:
    return {(row["id"], row["lease_token"]) for row in rows if row["marked"]}


def _ahead_columns(deliveries: Sequence[Delivery]) -> list[list[object]]:
    return [
        [d.id for d in deliveries],
        [d.lease_token for d in deliveries],
        [d.workspace_id for d in deliveries],
        [d.address_key for d in deliveries],
        [d.channel.value for d in deliveries],
        [d.category for d in deliveries],
        [d.send_at for d in deliveries],
    ]


def _sooner(wait: float | None, delay: float) -> float | None:
    """None: until something changes, as when a limit has been granted more."""
    if delay == math.inf:
        return wait
    return delay if wait is None else min(wait, delay)


def _failed(outcome: Outcome) -> bool:
    return isinstance(outcome, Unknown) or (isinstance(outcome, Rejected) and outcome.reason in _FAILURES)
