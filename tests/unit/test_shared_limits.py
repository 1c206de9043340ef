"""The limits that daemons share, as properties: never more than allowed in any window, whoever comes, goes, dies
or is late, and nearly all of what is allowed while there is work."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.queue.allowances import DatabaseClock
from daemon.queue.pace import Pace
from daemon.queue.quota import Quota
from tests.unit.shared_limits import Member, PaceLine, Passed, World, fullest, worst

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
rates = st.one_of(st.floats(0.5, 30), st.floats(30, 2000))
bursts = st.one_of(st.none(), st.floats(1, 100))


def members(seconds: float) -> st.SearchStrategy[list[Member]]:
    times = st.floats(0, seconds)

    @st.composite
    def one(draw: st.DrawFn) -> Member:
        joins = draw(st.one_of(st.just(0.0), times))
        return Member(
            draw(sizes),
            joins=joins,
            dies=draw(st.one_of(st.just(math.inf), times)),
            pauses=(draw(times), draw(times)),
            way_seconds=draw(st.floats(0, 0.03)),
            late_seconds=draw(st.floats(0, 0.2)),
        )

    return st.lists(one(), min_size=1, max_size=4)


def total(passed: Passed, since: float = 0, until: float = math.inf) -> int:
    return sum(segments for at, segments in passed if since <= at < until)


# A rate.


@settings(max_examples=60, deadline=None)
@given(members(3), rates, bursts, st.integers(0, 1 << 30))
def test_no_window_sees_more_than_the_burst_and_the_rate_whatever_becomes_of_the_daemons(
    several: list[Member], rate: float, burst: float | None, seed: int
) -> None:
    passed = World(several, seed).run_pace(rate, burst, 3)
    largest = max(size for member in several for size in member.sizes)
    assert worst(passed, Pace(rate, burst, lambda _: None).at_once(largest), rate) <= 1e-3


@pytest.mark.parametrize("daemons", [1, 3, 6])
@pytest.mark.parametrize(("rate", "burst"), [(2, None), (10, 50), (20, None), (100, 10), (1000, None)])
def test_steady_demand_gets_its_rate_however_many_share_it(
    rate: float, burst: float | None, daemons: int
) -> None:
    several = [Member([1], way_seconds=0.002, late_seconds=0.005) for _ in range(daemons)]
    passed = World(several, 1).run_pace(rate, burst, 8)
    assert total(passed) >= 0.97 * rate * 8


def test_messages_of_several_segments_waste_next_to_nothing_of_a_rate() -> None:
    several = [Member([1, 3, 1, 2], way_seconds=0.002, late_seconds=0.005) for _ in range(3)]
    assert total(World(several, 1).run_pace(200, 20, 8)) >= 0.97 * 200 * 8


def test_a_death_loses_a_slice_and_no_more() -> None:
    several = [Member([1], dies=dies, late_seconds=0.002) for dies in (2.0, 4.0, math.inf)]
    passed = World(several, 1).run_pace(200, 10, 8)
    assert total(passed) >= 200 * 8 - 30


def test_one_that_joins_has_its_part_at_once() -> None:
    several = [Member([1]), Member([2], joins=2.0)]
    passed = World(several, 1).run_pace(200, 10, 4)
    assert total([one for one in passed if one[1] == 2], 2.2, 4) >= 0.3 * 200 * 1.8
    assert total(passed, 0, 4) >= 0.97 * 200 * 4


def test_one_that_has_little_to_send_leaves_the_rest_to_the_others() -> None:
    """What a daemon asks for follows what it has used."""
    busy, idle = Member([1]), Member([2], late_seconds=0.4)
    passed = World([busy, idle], 1).run_pace(100, 10, 6)
    assert total(passed) >= 0.9 * 100 * 6


def test_a_burst_goes_at_once_after_a_pause_and_is_then_paid_for() -> None:
    line = PaceLine()
    asked: list[float] = []
    pace = Pace(10, 50, asked.append)
    passed = 0
    while True:
        while pace.delay(1, 0.0) == 0:
            pace.take(1, 0.0)
            passed += 1
        if not asked:
            break
        asked.clear()
        pace.granted(*line.take(pace.ask(), 0.0), 0.0)
    assert passed == 49  # a piece begins a moment after it was asked for
    pace.take(1, pace.foresee(1, 0.0))
    assert pace.foresee(1, 0.011) == pytest.approx(0.1, abs=0.02)


def test_what_is_larger_than_the_burst_passes_and_is_paid_for_afterwards() -> None:
    line = PaceLine()
    asked: list[float] = []
    pace = Pace(1, 3, asked.append)
    assert pace.delay(10, 0.0) == math.inf
    pace.granted(*line.take(pace.ask(), 0.0), 0.0)
    assert pace.delay(10, 0.005) == 0
    pace.take(10, 0.005)
    assert pace.available(0.005) <= -6
    assert pace.foresee(1, 0.005) == pytest.approx(8, abs=0.1)


def test_another_rate_does_not_forgive_what_was_used() -> None:
    line = PaceLine()
    fast = Pace(100, 50, lambda _: None)
    fast.delay(50, 0.0)
    fast.granted(*line.take(fast.ask(), 0.0), 0.0)
    slow = Pace(10, 50, lambda _: None)
    slow.delay(1, 0.0)
    slow.granted(*line.take(slow.ask(), 0.0), 0.0)
    assert slow.available(0.0) <= 1


def test_what_cannot_be_used_soon_is_not_asked_for() -> None:
    asked: list[float] = []
    pace = Pace(1, 1, asked.append)
    pace.granted(0, 0, 10.0, 0.0)
    assert pace.delay(1, 0.0) == pytest.approx(9.9, abs=0.05)
    assert asked == []


# A number a minute.


@settings(max_examples=60, deadline=None)
@given(members(6), st.floats(0.3, 60), st.floats(0.5, 2), st.integers(0, 1 << 30))
def test_no_window_of_its_length_sees_more_than_it_allows(
    several: list[Member], most: float, window: float, seed: int
) -> None:
    passed = World(several, seed).run_quota(most, window, 6)
    largest = max(size for member in several for size in member.sizes)
    quota = Quota(most, lambda _: None, window)
    assert fullest(passed, quota.seconds) <= max(quota.most, largest)


@pytest.mark.parametrize("daemons", [1, 3])
@pytest.mark.parametrize("most", [1, 12, 100])
def test_steady_demand_gets_nearly_all_of_a_window(most: int, daemons: int) -> None:
    several = [Member([1], late_seconds=0.002) for _ in range(daemons)]
    passed = World(several, 1).run_quota(most, 2, 20)
    assert total(passed) >= 0.95 * most * 10
    assert fullest(passed, 2) <= most


def test_what_was_not_used_goes_back() -> None:
    asked: list[float] = []
    quota = Quota(640, asked.append, 64)
    for slot in range(4):  # used up each time: what it asks for doubles
        quota.delay(1, float(slot))
        ask = quota.ask(float(slot))
        quota.granted(ask.wanted, slot, slot + 1.0, ask.wanted, 0, float(slot))
        for _ in range(ask.wanted if slot < 3 else 5):
            quota.take(1, float(slot))
    assert quota.delay(1, 4.5) == math.inf
    ask = quota.ask(4.5)
    assert (ask.back_slot, ask.back, ask.wanted) == (3, 11, 1)


# The database's clock.


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 0.1), st.floats(0, 0.1)), min_size=1, max_size=20),
)
def test_the_databases_clock_is_known_to_half_the_shortest_way(
    offset: float, ways: list[tuple[float, float, float]]
) -> None:
    clock = DatabaseClock()
    now, shortest = 0.0, math.inf
    for after, there, back in ways:
        now += after
        found = clock.offset(now + there - offset, now, now + there + back)
        now += there + back
        shortest = min(shortest + 2e-4 * (after + there + back), there + back)
        assert abs(found - offset) <= shortest / 2 + 1e-6


def test_a_database_whose_clock_was_set_is_believed_at_once() -> None:
    clock = DatabaseClock()
    assert clock.offset(1000.0, 0.0, 0.001) == pytest.approx(-1000, abs=0.001)
    assert clock.offset(5000.0, 1.0, 1.001) == pytest.approx(-4999, abs=0.001)
