"""A daemon's own bucket as properties, and several limits as one. What daemons share: test_shared_limits.py."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.queue.limiter import Rate, RateLimit, TokenBucket
from daemon.queue.pace import Pace
from daemon.queue.quota import Quota
from tests.unit.shared_limits import Passed, worst

rates = st.floats(0.05, 2000)
bursts = st.floats(1, 500)
# What comes when: how long after the one before, and how many segments.
arrivals = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 8)), min_size=1, max_size=120)
starts = st.floats(0, 1e6)


def offer(limit: TokenBucket, arriving: list[tuple[float, int]], start: float) -> Passed:
    """Each arrival passes if it may at that moment, else it is gone."""
    passed: Passed = []
    now = start
    for after, segments in arriving:
        now += after
        if limit.delay(segments, now) == 0:
            limit.take(segments, now)
            passed.append((now, segments))
    return passed


def press(limit: TokenBucket, now: float, until: float, segments: int = 1) -> Passed:
    """Something always waits and goes as soon as the limit says that it may."""
    passed: Passed = []
    while True:
        delay = limit.delay(segments, now)
        if delay > 0:
            now += delay
            assert limit.delay(segments, now) <= 1e-6, "the delay it told was too short"
        if now > until:
            return passed
        limit.take(segments, now)
        passed.append((now, segments))


# A rate a second.


@given(rates, bursts, arrivals, starts)
def test_no_window_sees_more_than_the_burst_and_the_rate(
    rate: float, burst: float, arriving: list[tuple[float, int]], start: float
) -> None:
    passed = offer(TokenBucket(rate, burst, start), arriving, start)
    largest = max(segments for _, segments in arriving)
    assert worst(passed, max(burst, largest), rate) <= 1e-3


@given(rates, st.floats(1, 50), st.integers(1, 4), starts)
def test_steady_demand_gets_its_rate(rate: float, burst: float, segments: int, start: float) -> None:
    seconds = 200 * segments / rate
    passed = press(TokenBucket(rate, burst, start), start, start + seconds, segments)
    assert sum(n for _, n in passed) >= 0.97 * rate * seconds
    assert worst(passed, max(burst, segments), rate) <= 1e-3


def test_what_is_larger_than_the_burst_passes_a_full_bucket_and_is_paid_for_afterwards() -> None:
    bucket = TokenBucket(1, 3, 0)
    assert bucket.delay(10, 0) == 0
    bucket.take(10, 0)
    assert bucket.available(0) == -7
    assert bucket.delay(1, 0) == pytest.approx(8)
    assert bucket.delay(10, 5) == pytest.approx(5)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 1, 100)
    bucket.take(1, 100)
    assert bucket.delay(1, 100) == pytest.approx(0.1)
    assert bucket.delay(1, 50) == pytest.approx(0.1)
    assert bucket.delay(1, 100.1) == 0


# What changes while it runs.

changes = st.lists(
    st.tuples(st.floats(0, 10), st.integers(0, 30), st.floats(0.1, 100), st.floats(1, 100)), max_size=30
)


@given(st.floats(0.1, 100), bursts, changes)
def test_a_change_of_the_rate_gives_nothing_away(
    rate: float, burst: float, steps: list[tuple[float, int, float, float]]
) -> None:
    bucket = TokenBucket(rate, burst, 0)
    now = 0.0
    for after, segments, rate, burst in steps:
        now += after
        bucket.take(segments, now)
        before = bucket.available(now)
        bucket.set_rate(rate, burst, now)
        assert bucket.available(now) <= min(before, burst) + 1e-6
    assert bucket.delay(1, now + 1e9) == 0  # and it recovers


@given(st.floats(0.1, 100), st.floats(2, 100), st.integers(0, 50), st.integers(1, 50))
def test_what_was_used_stays_used_when_the_burst_shrinks(
    rate: float, burst: float, used: int, divisor: int
) -> None:
    bucket = TokenBucket(rate, burst, 0)
    bucket.take(used, 0)
    bucket.set_rate(rate, max(1.0, burst / divisor), 0)
    assert bucket.available(0) == pytest.approx(max(1.0, burst / divisor) - used)


@given(st.floats(1, 100), st.integers(0, 50), st.integers(1, 40))
def test_a_rate_that_goes_to_and_fro_costs_nothing(burst: float, used: int, times: int) -> None:
    """Daemons that come and go split the limits again and again; nobody has sent anything for it."""
    bucket, half = TokenBucket(1, burst, 0), max(1.0, burst / 2)
    bucket.take(used, 0)
    bucket.set_rate(0.5, half, 0)
    first = bucket.available(0)
    for _ in range(times):
        bucket.set_rate(1, burst, 0)
        assert bucket.available(0) == pytest.approx(first)
        bucket.set_rate(0.5, half, 0)
        assert bucket.available(0) == pytest.approx(first)


# Several limits as one.


class Asked:
    """Notes what asks."""

    def __init__(self) -> None:
        self.limits: list[Pace | Quota] = []

    def __call__(self, limit: Pace | Quota, due: float) -> None:
        self.limits.append(limit)


def test_all_limits_must_agree() -> None:
    asked = Asked()
    limit = RateLimit(Rate(per_second=10, burst=5, per_minute=6), asked)
    assert limit.delay(1, 0) == math.inf
    quota, pace = asked.limits
    assert isinstance(quota, Quota)
    assert isinstance(pace, Pace)
    pace.granted(0.01, 0.41, 0.41, 0)
    assert limit.delay(1, 0) == math.inf
    quota.granted(2, 0, 0.9, 2, 60.9, 0)
    assert limit.delay(1, 0) == 0
    limit.take(1, 0)
    limit.take(1, 0)
    assert limit.delay(1, 0) == math.inf  # the minute's are used up, not the second's


def test_while_a_minute_is_used_up_nothing_is_taken_of_the_rate() -> None:
    asked = Asked()
    limit = RateLimit(Rate(per_second=10, per_minute=6), asked)
    limit.delay(1, 0)
    quota = asked.limits[0]
    assert isinstance(quota, Quota)
    quota.granted(0, 0, 0.9, 6, 30, 0)
    del asked.limits[:]
    assert limit.delay(1, 10) == 20
    assert limit.foresee(1, 10) == 20
    assert asked.limits == []


def test_without_a_limit_everything_passes() -> None:
    limit = RateLimit(Rate(), Asked())
    assert limit.unlimited
    assert limit.delay(1000, 0) == 0
    assert limit.available(0) == math.inf
    limit.take(1000, 0)


def test_another_rate_starts_with_what_the_database_gives() -> None:
    asked = Asked()
    limit = RateLimit(Rate(10, 5), asked)
    limit.delay(1, 0)
    (old,) = asked.limits
    limit.change(Rate(100, 5))
    assert limit.delay(1, 0) == math.inf
    new = asked.limits[-1]
    assert new is not old
    assert isinstance(old, Pace)
    old.granted(0.01, 0.41, 0.41, 0)  # under way as the rate changed: it is for nobody now
    assert limit.delay(1, 0) == math.inf
    limit.change(Rate())
    assert limit.unlimited
