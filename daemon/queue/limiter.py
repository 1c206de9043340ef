"""How fast an account, a sender and a workspace may send, in segments, all daemons together.

Two pure limits, asked first (`delay`) and charged after (`take`), so that a row waits for all its limits at
once and is never charged for a call that another limit holds back:

- `Pace`: so many a second, with a burst. In any window of T seconds at most `burst + rate * T`.
- `Quota`: so many in any window of a minute, exactly.

What they let pass has been given to this daemon by the database; `delay` asks for more. They are our own and not
aiolimiter's because a limit must hold across daemons, must say how long to wait without waiting, and must be
tested with a clock of the test's. `TokenBucket` is this daemon's alone: what it asks of itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from daemon.queue.pace import EVEN_SECONDS, Pace
from daemon.queue.quota import Quota


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


@dataclass(frozen=True, slots=True)
class Rate:
    """What an operator sets for one thing. None: without limit."""

    per_second: float | None = None
    burst: float | None = None
    per_minute: float | None = None

    @property
    def burst_or_default(self) -> float:
        """Without a burst of its own a rate is kept evenly: a twentieth of a second's worth at once."""
        return self.burst if self.burst is not None else max(1.0, (self.per_second or 0) * EVEN_SECONDS)


class RateLimit:
    """The limits of one account, sender or workspace together."""

    __slots__ = ("_ask", "_pace", "_quota", "rate")

    def __init__(self, rate: Rate, ask: Callable[[Pace | Quota, float], None]) -> None:
        """`ask(limit, due)`: it needs an answer from the database by then."""
        self.rate = rate
        self._ask = ask
        self._pace = self._make_pace(rate)
        self._quota = self._make_quota(rate)

    @property
    def unlimited(self) -> bool:
        """Whether there is nothing to ask."""
        return self._pace is None and self._quota is None

    def available(self, now: float) -> float:
        """Segments that could pass now, as far as known here; infinite without a limit."""
        return min((limit.available(now) for limit in self._limits()), default=math.inf)

    def foresee(self, segments: int, now: float) -> float:
        """Seconds until so many may probably pass. Asks for nothing."""
        return max((limit.foresee(segments, now) for limit in self._limits()), default=0.0)

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may pass: 0 for now; infinite until the database has answered."""
        if self._quota is not None:
            wait = self._quota.delay(segments, now)
            if 0 < wait < math.inf:
                return wait  # nothing is taken of the rate meanwhile: others may use it
            return wait if self._pace is None else max(wait, self._pace.delay(segments, now))
        return 0.0 if self._pace is None else self._pace.delay(segments, now)

    def take(self, segments: int, now: float) -> None:
        """Charges them."""
        if self._pace is not None:
            self._pace.take(segments, now)
        if self._quota is not None:
            self._quota.take(segments, now)

    def change(self, rate: Rate) -> None:
        """Another rate from now on; what was used under the old one stays used, as the database knows it."""
        if (rate.per_second, rate.burst) != (self.rate.per_second, self.rate.burst):
            self._pace = self._make_pace(rate)
        if rate.per_minute != self.rate.per_minute:
            self._quota = self._make_quota(rate)
        self.rate = rate

    def _make_pace(self, rate: Rate) -> Pace | None:
        if rate.per_second is None:
            return None
        made = Pace(rate.per_second, rate.burst, lambda due: self._ask(made, due))
        return made

    def _make_quota(self, rate: Rate) -> Quota | None:
        if rate.per_minute is None:
            return None
        made = Quota(rate.per_minute, lambda due: self._ask(made, due))
        return made

    def _limits(self) -> Iterable[Pace | Quota]:
        if self._pace is not None:
            yield self._pace
        if self._quota is not None:
            yield self._quota
