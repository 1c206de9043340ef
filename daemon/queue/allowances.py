"""Fetches what the limits ask for: this daemon's pieces of what all of them may send together.

One statement answers every limit that asks at that moment, however many. While it is under way, further
questions gather for the next; those that concern a later time wait for it, a moment before.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from daemon import clock
from daemon.actor import at_most
from daemon.queue.pace import SLICE_SECONDS, Pace
from daemon.queue.quota import Quota
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

# So many limits in one statement.
_MOST = 5000
_PAUSE_SECONDS = 0.1
_SHORTEST_SLICE_SECONDS = 0.01
# What is given is to be used within so long of the moment it was given, and this many times the way here.
_SETTLE_SECONDS = 0.01
_SETTLE_WAYS = 2
# More than the limits' own horizon, so that one that asks in time is not refused.
_HORIZON_SECONDS = 0.2
# Two quartzes differ by no more than this.
_DRIFT = 1e-4


class Allowances:
    """The actor that asks."""

    name = "allowances"

    def __init__(
        self,
        database: Database,
        on_answer: Callable[[], None],
        share: Callable[[], float] = lambda: 1.0,
        *,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`on_answer`: limits that could not tell may be asked again. `share`: one in so many daemons."""
        self._database = database
        self._on_answer = on_answer
        self._share = share
        self._monotonic = monotonic
        self._clock = DatabaseClock()
        self._paces: dict[str, Pace] = {}
        self._quotas: dict[str, Quota] = {}
        self._due = math.inf
        self._news = asyncio.Event()
        self._stopping = False

    def add(self, key: str, limit: Pace | Quota, due: float) -> None:
        """That limit needs an answer by then. All daemons know it by that key."""
        if isinstance(limit, Pace):
            self._paces[key] = limit
        else:
            self._quotas[key] = limit
        if due < self._due:
            self._due = due
            self._news.set()

    async def run(self) -> None:
        """Asks until `stop()`."""
        if self._paces or self._quotas:
            self._due = self._monotonic()  # an earlier run left them
        while not self._stopping:
            self._news.clear()
            wait = self._due - self._monotonic()
            if wait > 0:
                await at_most(None if wait == math.inf else wait, self._news)
                continue
            self._due = math.inf
            try:
                await self._ask_paces()
                await self._ask_quotas()
            except DatabaseDown:
                await asyncio.sleep(_PAUSE_SECONDS)
                self._due = self._monotonic()

    async def stop(self) -> None:
        """Asks no more."""
        self._stopping = True
        self._due = -math.inf
        self._news.set()

    def health(self) -> str | None:
        """It needs nothing of its own beyond the database."""
        return None

    async def _ask_paces(self) -> None:
        asked = dict(list(self._paces.items())[:_MOST])
        if not asked:
            return
        asks = [pace.ask() for pace in asked.values()]
        sent = self._monotonic()
        rows = await self._database.fetch(
            query("take_pace"),
            list(asked),
            [ask.rate_per_second for ask in asks],
            [ask.reach for ask in asks],
            [ask.least for ask in asks],
            [ask.wanted for ask in asks],
            max(_SHORTEST_SLICE_SECONDS, SLICE_SECONDS * self._share()),
            _SETTLE_SECONDS + _SETTLE_WAYS * self._clock.way_seconds,
            _HORIZON_SECONDS,
        )
        now = self._monotonic()
        for row in rows:
            offset = self._clock.offset(row["at"], sent, now)
            pace = asked[row["key"]]
            pace.granted(
                row["given_from"] + offset, row["given_until"] + offset, row["taken_until"] + offset, now
            )
            if self._paces.get(row["key"]) is pace:
                del self._paces[row["key"]]
        self._on_answer()
        if self._paces:
            self._due = min(self._due, now)

    async def _ask_quotas(self) -> None:
        asked = dict(list(self._quotas.items())[:_MOST])
        if not asked:
            return
        sent = self._monotonic()
        asks = [quota.ask(sent) for quota in asked.values()]
        rows = await self._database.fetch(
            query("take_quota"),
            list(asked),
            [ask.most for ask in asks],
            [ask.slot_seconds for ask in asks],
            [ask.least for ask in asks],
            [ask.wanted for ask in asks],
            [ask.back_slot for ask in asks],
            [ask.back for ask in asks],
        )
        now = self._monotonic()
        for row in rows:
            offset = self._clock.offset(row["at"], sent, now)
            quota = asked[row["key"]]
            quota.granted(
                row["given"], row["slot"], row["ends"] + offset, row["used"], row["again"] + offset, now
            )
            if self._quotas.get(row["key"]) is quota:
                del self._quotas[row["key"]]
        self._on_answer()
        if self._quotas:
            self._due = min(self._due, now)


class DatabaseClock:
    """How this daemon's monotonic clock stands to the database's.

    The database looked at its clock between our question and its answer: that bounds the difference from both
    sides. Many answers together bound it to the shortest way there and back, a fraction of a millisecond on a
    local network. Should the database's clock be set, the newest answer counts alone.
    """

    def __init__(self) -> None:
        self._low, self._high = -math.inf, math.inf
        self._seen = 0.0
        self.way_seconds = 0.0
        """How long the last answer took."""

    def offset(self, at: float, sent: float, received: float) -> float:
        """What to add to the database's time, in seconds since the epoch, to have ours."""
        drift = _DRIFT * max(0.0, received - self._seen)
        self._seen = received
        self._low = max(self._low - drift, sent - at)
        self._high = min(self._high + drift, received - at)
        if self._low > self._high:
            self._low, self._high = sent - at, received - at
        self.way_seconds = received - sent
        return (self._low + self._high) / 2
