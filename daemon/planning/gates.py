"""The limits of the forecast: what an account, a sender or a workspace lets pass in a step of time. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.queue.limiter import Rate

# A window counts a segment for its length and the rest of the slot it was sent in: see queue/quota.py.
WINDOW_SECONDS = 60.0 * 65 / 64
# What has waited for so long has had the burst.
_BURST_GONE_SECONDS = 5.0
# How long ago each figure of `Limit.sent` is, at its middle.
_SPAN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What one account, sender or workspace may send, and what it has sent lately."""

    rate: Rate = field(default_factory=Rate)
    sent: Sequence[float] = ()  # segments in the last ten seconds, in the ten before, …
    calls_per_second: float | None = None  # what its concurrency and the platform's speed come to
    call_seconds: float = 0.0  # how long a call takes

    def seconds(self, messages: float, segments: float) -> float:
        """How long it takes at least, in the long run; 0 without limit."""
        rate = self.rate
        speeds = (rate.per_second, rate.per_minute and rate.per_minute / 60)
        return max(
            0.0 if self.calls_per_second is None else messages / self.calls_per_second,
            *(segments / speed for speed in speeds if speed is not None),
            0.0,
        )


NO_LIMIT = Limit()


class Gate:
    """A limit in motion. Steps follow each other: `passes` and `calls` ask about one, `take` ends it."""

    __slots__ = ("_at", "_burst", "_calls", "_history", "_most", "_rate", "_tokens", "limits")

    def __init__(self, limit: Limit, *, waited_seconds: float) -> None:
        """`waited_seconds`: for how long something due has waited for it. A burst does not outlast a wait."""
        rate = limit.rate
        self._rate = rate.per_second
        self._burst = max(1.0, rate.burst_or_default)
        used = sum(limit.sent) if waited_seconds > 0 else 0.0
        self._tokens = 0.0 if waited_seconds > _BURST_GONE_SECONDS else max(0.0, self._burst - used)
        self._at = 0.0
        self._most = None if rate.per_minute is None else max(1.0, rate.per_minute)
        # (until when it counts, segments)
        self._history = deque(
            (WINDOW_SECONDS - _SPAN_SECONDS * (nth + 0.5), float(amount))
            for nth, amount in reversed(list(enumerate(limit.sent)))
        )
        self._calls = limit.calls_per_second
        self.limits = self._rate is not None or self._most is not None

    def passes(self, at: float, seconds: float) -> float:
        """Segments, at most, in the step of so many seconds from `at`."""
        most = math.inf
        if self._rate is not None:
            self._refill(at)
            most = self._tokens + self._rate * seconds
        if self._most is not None:
            while self._history and self._history[0][0] <= at + seconds:
                self._history.popleft()
            windows = max(1.0, seconds / WINDOW_SECONDS)
            used = sum(amount for _, amount in self._history)
            most = min(most, max(0.0, self._most * windows - used))
        return most

    def calls(self, seconds: float) -> float:
        """Messages, at most, in a step."""
        return math.inf if self._calls is None else self._calls * seconds

    def take(self, amount: float, at: float, seconds: float) -> None:
        """So much has passed in that step."""
        if self._rate is not None:
            self._refill(at)
            self._tokens = min(self._burst, max(0.0, self._tokens + self._rate * seconds - amount))
            self._at = at + seconds
        if self._most is not None and amount > 0:
            self._history.append((at + seconds + WINDOW_SECONDS, min(amount, self._most)))

    def _refill(self, at: float) -> None:
        if self._rate is not None and at > self._at:
            self._tokens = min(self._burst, self._tokens + (at - self._at) * self._rate)
            self._at = at
