"""A rate that holds however many daemons run: a line of time, of which each is given pieces.

A segment takes 1/rate seconds of the line, and no two have the same. A message of k segments may go at `t` when
it can have k/rate seconds of this daemon's pieces, all of which begin no earlier than `t` and end no later than
`t` + reach, where reach is its burst / rate. Whatever goes between `a` and `b` therefore has its time between `a`
and `b` + reach, so in any window of T seconds there is at most `rate * T + burst`: for any number of daemons, and
whatever becomes of them, because it follows from the pieces alone. A daemon that dies loses the piece it had.
That is a token bucket (as GCRA has it), whose tokens are handed out by `duly.take_pace`.

Pure: the time is passed in, and what is asked for is fetched by `daemon.queue.allowances`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SLICE_SECONDS = 0.06
"""A piece is no longer than this, unless a burst lets more go at once. Several daemons have as many parts of it:
what is left of a piece, too short for the next message, then meets the next piece in time to be used with it."""
HORIZON_SECONDS = 0.1
"""Nothing is asked for that could not be used this soon."""
LEAD_SECONDS = 0.02
"""What cannot be used at once is asked for so long before it can."""
EVEN_SECONDS = 0.05
"""Without a burst a rate is kept evenly: one message at once, and what is late by up to this is made good."""
ROUNDING = 1e-6

# A burst no larger than the message leaves no room at all: whatever is late by a millisecond would be lost.
_TIGHT_SECONDS = 0.01
# The first piece is for so long; where a burst has room for it, for longer, so that one that sends now and then need
# not ask each time. It doubles while there is need, so that what is not needed is left to others.
_FIRST_SECONDS = 0.01
_LASTING_SECONDS = 0.5
_LASTING_PART = 0.5  # of the burst, at most, and only while so much of it is left
# From so many segments on, the next piece is asked for when half of the present one is left.
_AHEAD_FROM = 4


@dataclass(frozen=True, slots=True)
class PaceAsk:
    """A question to `duly.take_pace`; all but the rate in seconds."""

    rate_per_second: float
    reach: float
    least: float
    wanted: float


class Pace:
    """One limit's pieces, as one daemon has them, by its monotonic clock."""

    __slots__ = (
        "_ask",
        "_asked",
        "_given",
        "_given_at",
        "_lasting",
        "_least",
        "_pieces",
        "_roomy",
        "_slack",
        "_taken_until",
        "_used",
        "_wanted",
        "burst",
        "rate_per_second",
    )

    def __init__(self, rate_per_second: float, burst: float | None, ask: Callable[[float], None]) -> None:
        """`burst` None: kept evenly. `ask(due)`: a piece is wanted; fetch it by then, and tell `granted`."""
        self.rate_per_second = rate_per_second
        self.burst = burst
        self._ask = ask
        self._pieces: deque[tuple[float, float]] = deque()  # from, until: apart, in order
        self._taken_until = -math.inf  # of the whole line, as far as known
        self._asked = False
        self._least = 1
        lasting = min((burst or 0.0) * _LASTING_PART, rate_per_second * _LASTING_SECONDS)
        self._wanted = max(1.0, rate_per_second * _FIRST_SECONDS)
        self._lasting = max(1.0, lasting)
        self._roomy = True  # the last answer said that much of the burst was left
        self._given = self._used = 0.0  # since the last answer, in segments
        self._given_at = -math.inf
        # How long before its time any message may go; one that is small to the burst, sooner.
        self._slack = EVEN_SECONDS if burst is None else _TIGHT_SECONDS

    def at_once(self, segments: int) -> float:
        """Segments that may go at one moment, where the next message has so many."""
        if self.burst is None:
            return segments + self.rate_per_second * EVEN_SECONDS
        return max(self.burst, segments + self.rate_per_second * _TIGHT_SECONDS)

    def available(self, now: float) -> float:
        """Segments that could go now, as far as known here; negative while in debt."""
        ahead = max(0.0, self._taken_until - now)
        return self.at_once(1) + (self._left(now) - ahead) * self.rate_per_second

    def foresee(self, segments: int, now: float) -> float:
        """Seconds until so many may probably go. Asks for nothing."""
        reach = self.at_once(segments) / self.rate_per_second
        need = segments / self.rate_per_second
        return max(0.0, max(self._taken_until, now) - self._left(now) + need - reach - now)

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may go: 0 for now; infinite until what was asked for has been answered."""
        need = segments / self.rate_per_second
        if self._pieces:  # nearly always: the present piece is enough
            start, end = self._pieces[0]
            start = max(start, now)
            if end - start >= need and start - now <= self._slack:
                return 0.0
        reach = self.at_once(segments) / self.rate_per_second
        self._drop_past(now)
        have = 0.0
        for start, end in self._pieces:
            start = max(start, now)
            if have + end - start >= need * (1 - ROUNDING):
                early = start + need - have - reach - now
                return early if early > ROUNDING * need else 0.0
            have += end - start
        usable = max(self._taken_until, now) + need - reach
        if usable > now + HORIZON_SECONDS:
            return usable - HORIZON_SECONDS - now + ROUNDING
        self._want(segments, usable, now)
        return math.inf

    def take(self, segments: int, now: float) -> None:
        """Charges them to what is left of the pieces, the earliest first."""
        need = segments / self.rate_per_second
        pieces = self._pieces
        while pieces and need > 0:
            start, end = pieces.popleft()
            start = max(start, now)
            if end - start > need:
                pieces.appendleft((start + need, end))
                need = 0.0
            elif end > start:
                need -= end - start
        self._used += segments
        if self._wanted >= _AHEAD_FROM and not self._asked:
            self._look_ahead(now)

    def ask(self) -> PaceAsk:
        """What to ask for now."""
        rate = self.rate_per_second
        wanted = max(self._least, self._wanted)
        return PaceAsk(rate, self.at_once(self._least) / rate, self._least / rate, wanted / rate)

    def granted(self, start: float, end: float, taken_until: float, now: float) -> None:
        """The answer: a piece, or none (`start` = `end`), and where the line has got to."""
        self._asked = False
        self._taken_until = taken_until
        self._roomy = (taken_until - now) * self.rate_per_second <= (self.burst or 0.0) * _LASTING_PART
        self._drop_past(now)
        self._given = self._left(now) * self.rate_per_second
        self._used = 0.0
        if end <= start:
            return
        self._given += (end - start) * self.rate_per_second
        self._given_at = now
        if self._pieces and start - self._pieces[-1][1] < 1e-5:
            start = self._pieces.pop()[0]  # nobody else was given any in between
        self._pieces.append((start, end))

    def _look_ahead(self, now: float) -> None:
        """So that steady use never waits for an answer."""
        if self._used < self._given / 2 or self._left(now) * self.rate_per_second > self._given / 2:
            return
        segment = 1 / self.rate_per_second
        usable = max(self._taken_until, now) + segment - self.at_once(1) / self.rate_per_second
        if usable <= now + HORIZON_SECONDS:
            self._want(1, usable, now)

    def _want(self, segments: int, usable: float, now: float) -> None:
        self._least = max(self._least, segments) if self._asked else segments
        if self._asked:
            return
        self._asked = True
        most = max(1.0, SLICE_SECONDS * self.rate_per_second, self.burst or 0.0)
        lost = self._given - self._used - self._left(now) * self.rate_per_second
        if lost > self._given / 2:
            self._wanted = max(1.0, self._wanted / 2)
        elif now - self._given_at < 2 * SLICE_SECONDS:
            self._wanted = min(self._wanted * 2, most)
        if self._roomy:
            self._wanted = max(self._wanted, self._lasting)
        self._ask(now if usable <= now else max(now, usable - LEAD_SECONDS))

    def _left(self, now: float) -> float:
        return sum(end - max(start, now) for start, end in self._pieces if end > now)

    def _drop_past(self, now: float) -> None:
        while self._pieces and self._pieces[0][1] <= now:
            self._pieces.popleft()
