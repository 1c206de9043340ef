"""How fast an account, a sender and a workspace may send, in segments.

Two pure limits, asked first (`delay`) and charged after (`take`), so that a row waits for all its limits at
once and is never charged for a call that another limit holds back:

- `TokenBucket`: so many a second, with a burst. In any window of T seconds at most `burst + rate * T`.
- `WindowLimit`: so many in any window of a minute, exactly.

They are our own and not aiolimiter's because a limit must change its rate while it runs (a reload, another
daemon joining), must say how long to wait without waiting, and must be tested with a clock of the test's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class Limit(Protocol):
    """Something that lets only so many segments pass."""

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may pass; 0 for now."""

    def take(self, segments: int, now: float) -> None:
        """Charges them."""


class TokenBucket:
    """`rate_per_second` segments a second and at most `burst` at once.

    A message of more segments than the burst passes when the bucket is full, and its debt is paid by waiting.
    """

    __slots__ = ("_at", "_tokens", "_unfilled", "burst", "rate_per_second")

    def __init__(self, rate_per_second: float, burst: float, now: float) -> None:
        self.rate_per_second = rate_per_second
        self.burst = max(1.0, burst)
        self._tokens = self.burst
        self._unfilled = 0.0  # of what is missing, what a larger burst added and nobody used
        self._at = now

    def available(self, now: float) -> float:
        """Segments that may pass now; negative while in debt."""
        self._refill(now)
        return self._tokens

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may pass; 0 for now."""
        self._refill(now)
        missing = min(float(segments), self.burst) - self._tokens
        if missing <= 1e-9:
            return 0.0
        return missing / self.rate_per_second

    def take(self, segments: int, now: float) -> None:
        """Charges them."""
        self._refill(now)
        self._tokens -= segments

    def set_rate(self, rate_per_second: float, burst: float, now: float) -> None:
        """Changes the limit from now on, without a gift: what was used stays used, more has to fill first.

        What is taken away before it has filled is no loss, so a rate that goes to and fro, as when daemons
        come and go, costs nothing.
        """
        self._refill(now)
        before, self.burst = self.burst, max(1.0, burst)
        self.rate_per_second = rate_per_second
        self._unfilled = min(self._unfilled, before - self._tokens) + self.burst - before
        if self._unfilled < 0:
            self._tokens += self._unfilled
            self._unfilled = 0.0

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate_per_second)
            self._at = now


class WindowLimit:
    """At most `most` segments in any window of `seconds`; where that is less than one, one in a longer window.

    Time is kept in slots of a 64th of the window and a slot counts until all of it has left, so the limit is
    never exceeded and at worst a 64th of the window is given away.
    """

    __slots__ = ("_slot_seconds", "_slots", "_span", "_used", "most", "seconds")

    def __init__(self, most: float, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self.set_most(most)
        self._slot_seconds = seconds / 64
        self._slots: deque[tuple[int, int]] = deque()  # (slot number, segments in it), oldest first
        self._used = 0

    def available(self, now: float) -> float:
        """Segments that may pass now."""
        self._forget(now)
        return self.most - self._used

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may pass; 0 for now."""
        self._forget(now)
        excess = self._used + min(float(segments), self.most) - self.most
        if excess <= 0:
            return 0.0
        for slot, count in self._slots:
            excess -= count
            if excess <= 0:
                return max(1e-6, self._leaves_at(slot) - now)
        return self._span

    def take(self, segments: int, now: float) -> None:
        """Charges them."""
        slot = math.floor(now / self._slot_seconds)
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1] = (slot, self._slots[-1][1] + segments)
        else:
            self._slots.append((slot, segments))
        self._used += segments

    def set_most(self, most: float) -> None:
        """Changes the limit from now on."""
        self.most = max(1.0, most)
        self._span = self.seconds / min(1.0, most)

    def _leaves_at(self, slot: int) -> float:
        return (slot + 1) * self._slot_seconds + self._span

    def _forget(self, now: float) -> None:
        while self._slots and self._leaves_at(self._slots[0][0]) <= now:
            self._used -= self._slots.popleft()[1]


@dataclass(frozen=True, slots=True)
class Rate:
    """What an operator sets for one thing. None: without limit."""

    per_second: float | None = None
    burst: float | None = None
    per_minute: float | None = None

    def split(self, share: float) -> Rate:
        """This daemon's part of it."""
        if share >= 1:
            return self
        return Rate(
            *(None if v is None else v * share for v in (self.per_second, self.burst, self.per_minute))
        )

    @property
    def burst_or_default(self) -> float:
        """Without a burst of its own a rate is kept evenly: a twentieth of a second's worth at once."""
        return self.burst if self.burst is not None else max(1.0, (self.per_second or 0) * 0.05)


class RateLimit:
    """The limits of one account, sender or workspace together."""

    __slots__ = ("_bucket", "_window", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._bucket = (
            TokenBucket(rate.per_second, rate.burst_or_default, now) if rate.per_second is not None else None
        )
        self._window = WindowLimit(rate.per_minute) if rate.per_minute is not None else None

    @property
    def unlimited(self) -> bool:
        """Whether there is nothing to ask."""
        return self._bucket is None and self._window is None

    def available(self, now: float) -> float:
        """Segments that may pass now; infinite without a limit."""
        return min((limit.available(now) for limit in self._limits()), default=math.inf)

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may pass; 0 for now."""
        if self.unlimited:
            return 0.0
        return max(limit.delay(segments, now) for limit in self._limits())

    def take(self, segments: int, now: float) -> None:
        """Charges them."""
        for limit in self._limits():
            limit.take(segments, now)

    def change(self, rate: Rate, now: float) -> None:
        """Another rate from now on; what was used under the old one stays used."""
        if rate == self.rate:
            return
        if rate.per_second is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = TokenBucket(rate.per_second, rate.burst_or_default, now)
        else:
            self._bucket.set_rate(rate.per_second, rate.burst_or_default, now)
        if rate.per_minute is None:
            self._window = None
        elif self._window is None:
            self._window = WindowLimit(rate.per_minute)
        else:
            self._window.set_most(rate.per_minute)
        self.rate = rate

    def _limits(self) -> Iterable[TokenBucket | WindowLimit]:
        if self._bucket is not None:
            yield self._bucket
        if self._window is not None:
            yield self._window
