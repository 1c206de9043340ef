"""The breaker of one account: stops calling a platform that fails, and finds out by single calls when it
is well again. Pure: whoever uses it passes the time.

closed → open when, of the last calls, too many failed or were slow; open → half-open after a pause that
grows with each failed probe; half-open → closed after a few probes in a row went well.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """What the breaker lets through: all, nothing, or one call at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and closes. Ratios are of the calls within the window."""

    window_seconds: float = 30.0
    least_calls: int = 10
    failure_ratio: float = 0.5
    slow_seconds: float = 10.0
    slow_ratio: float = 0.8
    pause_seconds: float = 5.0
    longest_pause_seconds: float = 120.0
    probes: int = 3


class _Calls:
    """How many calls there were, in one second or in the whole window."""

    __slots__ = ("at", "calls", "failed", "slow")

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.calls = self.failed = self.slow = 0

    def add(self, *, failed: bool, slow: bool) -> None:
        self.calls += 1
        self.failed += failed
        self.slow += slow

    def forget(self, other: _Calls) -> None:
        self.calls -= other.calls
        self.failed -= other.failed
        self.slow -= other.slow


class Breaker:
    """One account's. `allowance` before a call, `record` after it."""

    __slots__ = (
        "_good_probes",
        "_opened",
        "_pause_seconds",
        "_seconds",
        "_until",
        "_window",
        "policy",
        "why",
    )

    def __init__(self, policy: BreakerPolicy | None = None) -> None:
        self.policy = policy or BreakerPolicy()
        self._seconds: deque[_Calls] = deque()  # of the window, oldest first
        self._window = _Calls()  # their sum
        self._until = -math.inf
        self._opened = False
        self._pause_seconds = self.policy.pause_seconds
        self._good_probes = 0
        self.why: str | None = None

    def state(self, now: float) -> BreakerState:
        """What it is now."""
        if not self._opened:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._until else BreakerState.HALF_OPEN

    def allowance(self, in_flight: int, now: float) -> int | None:
        """How many more calls may begin; None for any number."""
        match self.state(now):
            case BreakerState.CLOSED:
                return None
            case BreakerState.OPEN:
                return 0
            case BreakerState.HALF_OPEN:
                return 1 if in_flight == 0 else 0

    def retry_in(self, now: float) -> float:
        """Seconds until it half-opens; 0 when it is not open."""
        return max(0.0, self._until - now) if self._opened else 0.0

    def record(self, *, failed: bool, took_seconds: float, now: float) -> bool:
        """Takes note of a call that ended. True if the breaker opened by it.

        One that began before it last opened, or while it was open, says nothing about how the platform is now.
        """
        if now - took_seconds < self._until:
            return False
        slow = took_seconds >= self.policy.slow_seconds
        if self._opened:
            return self._probe(failed=failed or slow, now=now)
        if not self._seconds or self._seconds[-1].at < int(now):
            self._seconds.append(_Calls(int(now)))
        self._seconds[-1].add(failed=failed, slow=slow)
        self._window.add(failed=failed, slow=slow)
        while self._seconds[0].at < now - self.policy.window_seconds:
            self._window.forget(self._seconds.popleft())
        why = self._trouble()
        if why is not None:
            self.trip(why, self.policy.pause_seconds, now)
        return why is not None

    def trip(self, why: str, seconds: float, now: float) -> None:
        """Opens it at once for so long, whatever the calls before."""
        self._opened = True
        self._until = now + seconds
        self._pause_seconds = max(seconds, self.policy.pause_seconds)
        self._good_probes = 0
        self._seconds.clear()
        self._window = _Calls()
        self.why = why

    def _probe(self, *, failed: bool, now: float) -> bool:
        if failed:
            longest = max(self.policy.longest_pause_seconds, self._pause_seconds)
            self.trip(self.why or "still failing", min(self._pause_seconds * 2, longest), now)
            return True
        self._good_probes += 1
        if self._good_probes >= self.policy.probes:
            self._opened = False
            self._pause_seconds = self.policy.pause_seconds
            self.why = None
        return False

    def _trouble(self) -> str | None:
        count, failed, slow = self._window.calls, self._window.failed, self._window.slow
        if count < self.policy.least_calls:
            return None
        if failed >= count * self.policy.failure_ratio:
            return f"{failed} of {count} calls failed"
        if slow >= count * self.policy.slow_ratio:
            return f"{slow} of {count} calls took over {self.policy.slow_seconds:g} s"
        return None
