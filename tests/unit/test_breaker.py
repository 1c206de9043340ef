"""The breaker: when it opens, what it lets through, how it closes again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.queue.breaker import Breaker, BreakerPolicy, BreakerState

UNHURRIED = settings(deadline=None)  # the machine may be busy
POLICY = BreakerPolicy(
    window_seconds=30,
    least_calls=10,
    failure_ratio=0.5,
    slow_seconds=10,
    slow_ratio=0.8,
    pause_seconds=5,
    longest_pause_seconds=120,
    probes=3,
)
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
START = 1000.0


def calls(breaker: Breaker, *, good: int = 0, failed: int = 0, slow: int = 0, now: float = START) -> None:
    """So many calls that end at `now`, the good ones first."""
    for _ in range(good):
        breaker.record(failed=False, took_seconds=0.1, now=now)
    for _ in range(slow):
        breaker.record(failed=False, took_seconds=10.0, now=now)
    for _ in range(failed):
        breaker.record(failed=True, took_seconds=0.1, now=now)


def opened(now: float = START) -> Breaker:
    breaker = Breaker(POLICY)
    calls(breaker, failed=POLICY.least_calls, now=now)
    assert breaker.state(now) is OPEN
    return breaker


def probe(breaker: Breaker, now: float, *, failed: bool, took_seconds: float = 0.1) -> None:
    """A call that began at `now`, while half-open, and ended `took_seconds` later."""
    assert breaker.allowance(0, now) == 1
    breaker.record(failed=failed, took_seconds=took_seconds, now=now + took_seconds)


@pytest.mark.parametrize(
    ("good", "slow", "failed", "state"),
    [
        (0, 0, 9, CLOSED),  # too few to tell
        (0, 0, 10, OPEN),
        (9, 0, 1, CLOSED),
        (5, 0, 5, OPEN),  # half of them
        (6, 0, 5, CLOSED),
        (100, 0, 99, CLOSED),
        (0, 9, 0, CLOSED),
        (0, 10, 0, OPEN),
        (2, 8, 0, OPEN),  # four fifths of them
        (3, 8, 0, CLOSED),
        (100, 0, 0, CLOSED),
    ],
)
def test_it_opens_when_enough_calls_failed_or_were_slow(
    good: int, slow: int, failed: int, state: BreakerState
) -> None:
    breaker = Breaker(POLICY)
    calls(breaker, good=good, slow=slow, failed=failed)
    assert breaker.state(START) is state
    assert breaker.allowance(0, START) == (0 if state is OPEN else None)


def test_it_says_why_it_opened_and_for_how_long() -> None:
    breaker = opened()
    assert breaker.why == "10 of 10 calls failed"
    assert breaker.retry_in(START + 1) == 4
    slow = Breaker(POLICY)
    calls(slow, slow=10)
    assert slow.why == "10 of 10 calls took over 10 s"


def test_only_the_call_that_opens_it_is_told_so() -> None:
    breaker = Breaker(POLICY)
    told = [breaker.record(failed=True, took_seconds=0.1, now=START) for _ in range(12)]
    assert told == [False] * 9 + [True, False, False]


def test_calls_older_than_the_window_no_longer_count() -> None:
    breaker = Breaker(POLICY)
    calls(breaker, failed=9)
    calls(breaker, failed=1, now=START + POLICY.window_seconds + 2)
    assert breaker.state(START + POLICY.window_seconds + 2) is CLOSED


def test_while_half_open_one_call_at_a_time_is_let_through() -> None:
    breaker = opened()
    now = START + POLICY.pause_seconds
    assert breaker.state(now) is HALF_OPEN
    assert [breaker.allowance(in_flight, now) for in_flight in (0, 1, 2)] == [1, 0, 0]


def test_it_closes_after_enough_good_probes_in_a_row() -> None:
    breaker = opened()
    now = START + POLICY.pause_seconds
    for _ in range(POLICY.probes):
        assert breaker.state(now) is HALF_OPEN
        probe(breaker, now, failed=False)
        now += 1
    assert (breaker.state(now), breaker.why, breaker.retry_in(now)) == (CLOSED, None, 0)


def test_what_failed_before_it_opened_does_not_count_after_it_closed() -> None:
    breaker = opened()
    now = START + POLICY.pause_seconds
    for _ in range(POLICY.probes):
        probe(breaker, now, failed=False)
        now += 1
    calls(breaker, failed=1, good=8, now=now)
    assert breaker.state(now) is CLOSED


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_the_longest_pause() -> None:
    breaker = opened()
    now, pauses = START + breaker.retry_in(START), []
    for _ in range(7):
        probe(breaker, now, failed=True)
        ended = now + 0.1
        pauses.append(round(breaker.retry_in(ended)))
        now = ended + breaker.retry_in(ended)
    assert pauses == [10, 20, 40, 80, 120, 120, 120]


def test_a_slow_probe_is_a_failed_one() -> None:
    breaker = opened()
    now = START + POLICY.pause_seconds
    probe(breaker, now, failed=False, took_seconds=POLICY.slow_seconds)
    assert breaker.state(now + POLICY.slow_seconds) is OPEN


def test_once_closed_the_next_pause_is_the_first_one_again() -> None:
    breaker = opened()
    now = START + POLICY.pause_seconds
    probe(breaker, now, failed=True)
    now += 11
    for _ in range(POLICY.probes):
        probe(breaker, now, failed=False)
        now += 1
    calls(breaker, failed=10, now=now)
    assert breaker.retry_in(now) == POLICY.pause_seconds


@pytest.mark.parametrize("failed", [True, False])
def test_a_call_from_before_it_opened_changes_nothing_while_it_is_open(failed: bool) -> None:
    breaker = opened()
    assert breaker.record(failed=failed, took_seconds=3, now=START + 2) is False
    assert breaker.retry_in(START + 2) == 3


@pytest.mark.parametrize("failed", [True, False])
def test_a_call_from_before_it_opened_is_no_probe(failed: bool) -> None:
    breaker = opened()
    now = START + POLICY.pause_seconds + 3
    for _ in range(POLICY.probes):  # each began before START
        assert breaker.record(failed=failed, took_seconds=9, now=now) is False
    assert breaker.state(now) is HALF_OPEN


def test_a_trip_opens_it_at_once_and_for_as_long_as_asked() -> None:
    breaker = Breaker(POLICY)
    calls(breaker, good=50)
    breaker.trip("bad_credentials", 60, START)
    assert (breaker.state(START), breaker.why, breaker.retry_in(START)) == (OPEN, "bad_credentials", 60)
    assert breaker.state(START + 60) is HALF_OPEN


def test_a_trip_of_an_open_breaker_starts_its_pause_anew() -> None:
    breaker = opened()
    breaker.trip("bad_credentials", 60, START + 4)
    assert breaker.retry_in(START + 4) == 60


Step = tuple[float, bool, bool]  # seconds since the last, failed, slow
STEPS = st.lists(st.tuples(st.floats(0, 200), st.booleans(), st.booleans()), max_size=80)


@UNHURRIED
@given(steps=STEPS)
def test_whatever_happens_it_lets_through_all_or_nothing_or_one(steps: list[Step]) -> None:
    breaker, now = Breaker(POLICY), START
    for seconds, failed, slow in steps:
        now += seconds
        match breaker.state(now):
            case BreakerState.CLOSED:
                assert breaker.allowance(7, now) is None
            case BreakerState.OPEN:
                assert (breaker.allowance(0, now), breaker.why is None) == (0, False)
            case BreakerState.HALF_OPEN:
                assert (breaker.allowance(0, now), breaker.allowance(1, now)) == (1, 0)
        breaker.record(failed=failed, took_seconds=10 if slow else 0.1, now=now)
        assert 0 <= breaker.retry_in(now) <= POLICY.longest_pause_seconds


@UNHURRIED
@given(steps=STEPS)
def test_whatever_happened_it_closes_once_the_platform_is_well(steps: list[Step]) -> None:
    breaker, now = Breaker(POLICY), START
    for seconds, failed, slow in steps:
        now += seconds
        breaker.record(failed=failed, took_seconds=10 if slow else 0.1, now=now)
    now += POLICY.longest_pause_seconds + POLICY.window_seconds
    for _ in range(POLICY.probes):
        breaker.record(failed=False, took_seconds=0.1, now=now + 0.1)
        now += 1
    assert breaker.state(now) is CLOSED


@UNHURRIED
@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=POLICY.least_calls - 1))
def test_few_calls_never_open_it(steps: list[tuple[float, bool]]) -> None:
    breaker, now = Breaker(POLICY), START
    for seconds, failed in steps:
        now += seconds
        assert breaker.record(failed=failed, took_seconds=60, now=now) is False
    assert breaker.state(now) is CLOSED
