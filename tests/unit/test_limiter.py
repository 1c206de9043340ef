"""The limits as properties: never more than allowed in any window, and nearly all of what is allowed."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.queue.limiter import Limit, Rate, RateLimit, TokenBucket, WindowLimit

Passed = list[tuple[float, int]]  # when, segments

rates = st.floats(0.05, 2000)
bursts = st.floats(1, 500)
mosts = st.floats(1, 500)
spans = st.floats(1, 3600)
# What comes when: how long after the one before, and how many segments.
arrivals = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 8)), min_size=1, max_size=120)
starts = st.floats(0, 1e6)


def offer(limit: Limit, arriving: list[tuple[float, int]], start: float) -> Passed:
    """Each arrival passes if it may at that moment, else it is gone."""
    passed: Passed = []
    now = start
    for after, segments in arriving:
        now += after
        if limit.delay(segments, now) == 0:
            limit.take(segments, now)
            passed.append((now, segments))
    return passed


def press(limit: Limit, now: float, until: float, segments: int = 1) -> Passed:
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


def worst(passed: Passed, allowed_at_once: float, per_second: float) -> float:
    """By how much any window has more than `allowed_at_once + per_second * its length`; negative: never."""
    totals = [0, *accumulate(segments for _, segments in passed)]
    # For a window from i to j the excess is (T[j+1] - rate * t[j]) - (T[i] - rate * t[i]): one pass will do.
    excess, lowest = -math.inf, math.inf
    for n, (at, _) in enumerate(passed):
        lowest = min(lowest, totals[n] - per_second * at)
        excess = max(excess, totals[n + 1] - per_second * at - lowest)
    return excess - allowed_at_once


def fullest(passed: Passed, seconds: float) -> int:
    """The most in any window of that length: all that end with something are looked at."""
    best = held = first = 0
    for at, segments in passed:
        held += segments
        while passed[first][0] <= at - seconds:
            held -= passed[first][1]
            first += 1
        best = max(best, held)
    return best


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


# A number a minute.


@given(mosts, spans, arrivals, starts)
def test_no_window_of_its_length_sees_more_than_it_allows(
    most: float, seconds: float, arriving: list[tuple[float, int]], start: float
) -> None:
    passed = offer(WindowLimit(most, seconds), arriving, start)
    largest = max(segments for _, segments in arriving)
    assert fullest(passed, seconds) <= max(most, largest)


@given(st.integers(1, 100), spans, starts)
def test_steady_demand_gets_nearly_all_of_a_window(most: int, seconds: float, start: float) -> None:
    passed = press(WindowLimit(most, seconds), start, start + seconds * 40)
    assert len(passed) >= 0.97 * most * 40
    assert fullest(passed, seconds) <= most


@given(st.floats(0.01, 1), st.floats(1, 60))
def test_a_share_of_less_than_one_waits_longer_instead_of_sending_more(most: float, seconds: float) -> None:
    """Twenty daemons that split ten a minute: each sends one in two minutes."""
    passed = press(WindowLimit(most, seconds), 0, seconds / most * 20)
    assert len(passed) <= 20.01
    assert len(passed) >= 0.97 * 20 - 1
    assert fullest(passed, seconds / most * 0.999) <= 1


@given(mosts, mosts, arrivals, arrivals)
def test_a_change_forgets_nothing(
    most: float, other: float, before: list[tuple[float, int]], after: list[tuple[float, int]]
) -> None:
    limit = WindowLimit(most)
    passed = offer(limit, before, 0)
    limit.set_most(other)
    now = passed[-1][0] if passed else 0.0
    passed += offer(limit, after, now)
    assert fullest(passed, 60) <= max(most, other, 8)


# Several limits as one.


def test_all_limits_must_agree() -> None:
    limit = RateLimit(Rate(per_second=10, burst=5, per_minute=6), 0)
    for _ in range(5):
        assert limit.delay(1, 0) == 0
        limit.take(1, 0)
    assert limit.delay(1, 0) == pytest.approx(0.1)  # the second's
    limit.take(1, 1)
    assert limit.delay(1, 1) > 59  # the minute's
    assert limit.available(1) == 0


def test_without_a_limit_everything_passes() -> None:
    limit = RateLimit(Rate(), 0)
    limit.take(10**9, 0)
    assert (limit.delay(10**9, 0), limit.available(0)) == (0, math.inf)


@given(
    st.lists(
        st.sampled_from([Rate(), Rate(5, 5), Rate(5, 5, 60), Rate(None, None, 60), Rate(50)]), max_size=8
    )
)
def test_a_limit_that_is_set_later_counts_from_then_on(rates: list[Rate]) -> None:
    limit = RateLimit(Rate(5, 5, 60), 0)
    for rate in rates:
        limit.change(rate, 0)
        assert limit.rate == rate
    limit.change(Rate(5, 5, 60), 0)
    assert len([1 for _ in press(limit, 0, 10)]) <= 5 + 50


@given(st.floats(0.01, 1000), st.integers(2, 40))
def test_shares_never_sum_to_more_than_the_whole(per_second: float, daemons: int) -> None:
    part = Rate(per_second, None, per_second * 60).split(1 / daemons)
    assert part.per_second is not None
    assert part.per_second * daemons <= per_second * (1 + 1e-9)
    passed = press(RateLimit(part, 0), 0, 10)
    assert (len(passed) - part.burst_or_default) * daemons <= per_second * 10 * (1 + 1e-6) + daemons
