"""How fast a platform can be asked right now: an account's own rate and calls in flight, found by its answers.

Within what the operator allows, and only while the platform shows that it cannot take that much:

- `AdaptiveRate`: a platform that says "too many" (429, a full queue) is asked for less than it last took, and then,
  as TCP's CUBIC does (RFC 9438), soon for nearly as much, long for about as much, and at last for ever more, until
  it says so again or the operator's rate is reached. The long stay near what it takes is what makes refusals few.
- `AdaptiveFlight`: a platform whose answers take much longer than they did has a queue of our making: fewer
  calls at once, until the time is as it was. Time that our own daemon was late is not the platform's.

Both give up where slowing down cures nothing: refusals at random, or a platform that has become slow for good.

Pure: the time is passed in. Each daemon has its own view; together they stay within the operator's limit, because
this only ever asks for less than that.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from daemon.model import Accepted, Outcome, Reason, Rejected, Unknown
from daemon.queue.limiter import TokenBucket

_REFUSALS = frozenset({Reason.RATE_LIMITED, Reason.QUEUE_FULL})

# Of what the platform took, so much is asked for after a refusal.
_AFTER_REFUSAL = 0.85
# So long after a refusal it is asked for as much as it took then, and for 8 times as much after 4.6 times that.
_PLATEAU_SECONDS = 5.0
# Where the operator set no rate, one of so many segments a second, and of so many times what was taken, is none.
_UNFELT_PER_SECOND = 2000.0
_UNFELT_TIMES = 8.0
# Answers are weighed once in so long, so many of them; where so many take too long, fewer.
_EPOCH_SECONDS = 0.5
_EPOCH_CALLS = 20
_LONGEST_EPOCH_SECONDS = 3.0
_FEWEST_CALLS = 5
# A single refusal may be about its recipient.
_FEWEST_REFUSED = 2
# A flood of refusals is not awaited to its end.
_FLOOD_CALLS = 20
_FLOOD_SHARE = 0.75
# Refusals that slowing down has not cured, so many times in a row, are not its fault.
_FUTILE_CUTS = 3
_MOST_AT_RANDOM = 0.5
_CURED = 0.5
_FADES = 0.8
_CHANCE = 0.1
_LEAST_PER_SECOND = 1.0

_GROWN = 2.0
_SLOW_SECONDS = 0.5  # answers faster than this are never too slow
_BASELINE_SECONDS = 60.0
_FEWER = 0.7
_MORE = 1.1
_FEWEST_SHARE = 0.1


@dataclass(slots=True)
class _Epoch:
    """The answers since one moment."""

    since: float
    taken: int = 0
    taken_segments: int = 0
    refused: int = 0
    first_began: float = math.inf
    last_began: float = -math.inf
    longest_pause: float = 0.0  # that the platform asked for

    @property
    def calls(self) -> int:
        return self.taken + self.refused

    @property
    def share(self) -> float:
        """Of the calls, how many were refused."""
        return self.refused / self.calls if self.calls else 0.0

    def after(self, other: _Epoch) -> _Epoch:
        """Both as one."""
        return _Epoch(
            other.since,
            self.taken + other.taken,
            self.taken_segments + other.taken_segments,
            self.refused + other.refused,
            min(self.first_began, other.first_began),
            max(self.last_began, other.last_began),
            max(self.longest_pause, other.longest_pause),
        )


class AdaptiveRate:
    """An account's rate as its platform bears it. `rate` None: the operator's alone goes."""

    __slots__ = (
        "_background",
        "_before",
        "_bucket",
        "_cut_at",
        "_epoch",
        "_futile",
        "_last_share",
        "_most",
        "_paused_until",
        "_slowed_at",
    )

    def __init__(self, most: float | None, now: float) -> None:
        """`most`: the operator's rate in segments a second; None: there is none."""
        self._most = math.inf if most is None else most
        self._bucket: TokenBucket | None = None
        self._epoch = self._before = _Epoch(now)
        self._cut_at = (-math.inf, 0.0)  # when, and what the platform took then
        self._paused_until = -math.inf
        self._slowed_at = -math.inf
        self._background = 0.0  # the share of refusals that slowing down does not cure
        self._last_share = 1.0
        self._futile = 0

    @property
    def most(self) -> float | None:
        """The operator's rate; None: there is none."""
        return None if self._most == math.inf else self._most

    @property
    def rate(self) -> float | None:
        """Segments a second now; None: as many as the operator allows."""
        return None if self._bucket is None else self._bucket.rate_per_second

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may pass."""
        if self._bucket is None:
            return 0.0
        self._grow(now)
        pause = max(0.0, self._paused_until - now)
        return pause if self._bucket is None else max(pause, self._bucket.delay(segments, now))

    def take(self, segments: int, now: float) -> None:
        """Charges them."""
        if self._bucket is not None:
            self._bucket.take(segments, now)

    def record(
        self, segments: int, *, refused: bool, began: float, now: float, retry_after: float | None = None
    ) -> None:
        """An answer. One to a call that began before we last slowed down says nothing about since."""
        if began < self._slowed_at:
            return
        epoch = self._epoch
        epoch.first_began = min(epoch.first_began, began)
        epoch.last_began = max(epoch.last_began, began)
        if refused:
            epoch.refused += 1
            epoch.longest_pause = max(epoch.longest_pause, retry_after or 0.0)
        else:
            epoch.taken += 1
            epoch.taken_segments += segments
        flood = refused and epoch.calls >= _FLOOD_CALLS and epoch.share >= _FLOOD_SHARE
        if flood or _enough(now - epoch.since, epoch.calls):
            self._weigh(epoch, now)

    def _weigh(self, epoch: _Epoch, now: float) -> None:
        before, self._before, self._epoch = self._before, epoch, _Epoch(now)
        if epoch.refused < _FEWEST_REFUSED or epoch.share <= self._borne():
            if not epoch.refused:  # what was not our fault is over, it seems
                self._background *= _FADES
                self._futile = max(0, self._futile - 1)
            return
        helped = epoch.share <= _CURED * self._last_share
        self._futile = 0 if helped else self._futile + 1
        self._last_share = (self._last_share + epoch.share) / 2 if self._futile else epoch.share
        if self._futile >= _FUTILE_CUTS and epoch.share <= _MOST_AT_RANDOM:
            self._background, self._futile = max(self._last_share, self._background), 0
            return
        # Those that began together are answered together, the refused last: with the epoch before, all are there.
        self._slow_down(epoch.after(before), now)

    def _took(self, epoch: _Epoch, now: float) -> float:
        """What the platform takes a second: what it took of our rate; what was counted knows it less exactly."""
        answered_in = now - epoch.last_began
        seconds = max(epoch.last_began - epoch.first_began, answered_in, _EPOCH_SECONDS / 5)
        counted = epoch.taken_segments / seconds
        if self.rate is None:
            return counted if self._most == math.inf else min(self._most * (1 - epoch.share), counted)
        return min(self.rate * (1 - epoch.share), 2 * counted)

    def _borne(self) -> float:
        """The share of refusals that is no reason to slow down: what is not cured by it, as chance may have it."""
        return 2 * self._background + _CHANCE if self._background > _CHANCE / 2 else 0.0

    def _slow_down(self, epoch: _Epoch, now: float) -> None:
        least = min(_LEAST_PER_SECOND, self._most)
        took = max(self._took(epoch, now), least / _AFTER_REFUSAL)
        self._cut_at = (now, took)
        self._slowed_at = now
        self._before = _Epoch(now)
        self._set(_AFTER_REFUSAL * took, now)
        if not epoch.taken:
            # It takes nothing at all: that is more than a matter of the rate.
            self._paused_until = now + min(epoch.longest_pause, _PLATEAU_SECONDS)

    def _grow(self, now: float) -> None:
        at, took = self._cut_at
        gone = (now - at) / _PLATEAU_SECONDS - 1
        rate = took * (1 + (1 - _AFTER_REFUSAL) * gone**3)
        if rate >= min(self._most, max(_UNFELT_PER_SECOND, took * _UNFELT_TIMES)):
            self._bucket = None
            self._epoch = self._before = _Epoch(now)  # what it takes from here on is another matter
        else:
            self._set(rate, now)

    def _set(self, rate: float, now: float) -> None:
        burst = 1 + rate / 20
        if self._bucket is None:
            self._bucket = TokenBucket(rate, burst, now)
        else:
            self._bucket.set_rate(rate, burst, now)


class AdaptiveFlight:
    """How many calls an account may have in flight, by how long its platform takes to answer."""

    __slots__ = ("_baseline", "_limit", "_since", "_took", "most")

    def __init__(self, most: int, now: float) -> None:
        """`most`: the operator's concurrency."""
        self.most = most
        self._limit = float(most)
        self._baseline: float | None = None
        self._since = now
        self._took: list[float] = []

    @property
    def limit(self) -> int:
        """Calls at once, now."""
        return min(self.most, max(1, math.floor(self._limit)))

    def record(self, took_seconds: float, now: float, late_seconds: float = 0.0) -> None:
        """A call that took so long, of which our own daemon may have been late by so much."""
        self._took.append(max(0.0, took_seconds - late_seconds))
        passed = now - self._since
        if _enough(passed, len(self._took)):
            self._weigh(statistics.median(self._took), passed)
            self._took.clear()
            self._since = now

    def _weigh(self, took: float, passed: float) -> None:
        if self._baseline is None or took < self._baseline:
            self._baseline = took
        else:  # slowly: what stays slow however few we ask is how the platform is now
            self._baseline += (took - self._baseline) * min(1.0, passed / _BASELINE_SECONDS)
        if took > max(_SLOW_SECONDS, _GROWN * self._baseline):
            self._limit = max(1.0, self.most * _FEWEST_SHARE, self._limit * _FEWER)
        else:
            self._limit = min(float(self.most), self._limit * _MORE + 0.5)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an account goes now, in segments a second and calls at once, and what the operator allows."""

    per_second: float | None  # None: without limit
    most_per_second: float | None
    calls: int
    most_calls: int

    @property
    def slowed(self) -> bool:
        """Whether the platform bears less than the operator allows."""
        return self.per_second != self.most_per_second or self.calls < self.most_calls


class Adaptive:
    """Both for one account; with `enabled` False it only says what the operator allows."""

    __slots__ = ("_enabled", "_flight", "_rate")

    def __init__(self, most: float | None, concurrency: int, now: float, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._rate = AdaptiveRate(most, now)
        self._flight = AdaptiveFlight(concurrency, now)

    @property
    def calls(self) -> int:
        """How many may be in flight."""
        return self._flight.limit

    @property
    def rate(self) -> float | None:
        """Segments a second now; None: as many as the operator allows."""
        return self._rate.rate

    def speed(self, now: float) -> Speed:
        """For people and metrics."""
        self._rate.delay(1, now)  # it may have grown since it was last used
        most, calls = self._rate.most, self._flight.most
        return Speed(self.rate if self.rate is not None else most, most, self.calls, calls)

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may pass."""
        return self._rate.delay(segments, now)

    def take(self, segments: int, now: float) -> None:
        """Charges them."""
        self._rate.take(segments, now)

    def record(
        self, segments: int, outcome: Outcome, *, began: float, took_seconds: float, late_seconds: float
    ) -> None:
        """A call that ended. What never reached the platform, or nobody knows, says nothing about its limit."""
        if not self._enabled or (isinstance(outcome, Rejected) and not outcome.reached):
            return
        now = began + took_seconds
        self._flight.record(took_seconds, now, late_seconds)
        match outcome:
            case Rejected(reason=reason, retry_after_seconds=pause) if reason in _REFUSALS:
                self._rate.record(segments, refused=True, began=began, now=now, retry_after=pause)
            case Accepted() | Rejected():
                self._rate.record(segments, refused=False, began=began, now=now)
            case Unknown():
                pass


def _enough(seconds: float, calls: int) -> bool:
    """Whether so many answers in so long are worth weighing."""
    return seconds >= _EPOCH_SECONDS and (
        calls >= _EPOCH_CALLS or (seconds >= _LONGEST_EPOCH_SECONDS and calls >= _FEWEST_CALLS)
    )
