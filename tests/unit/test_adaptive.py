"""How an account finds out what its platform bears, by a test's clock."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.model import Reason, Rejected, Unknown
from daemon.queue.adaptive import Adaptive, AdaptiveFlight, AdaptiveRate
from daemon.queue.lateness import Lateness
from daemon.queue.limiter import TokenBucket

_STEP_SECONDS = 0.005


@dataclass
class Provider:
    """Takes so many a second, by a hidden limit that may change, and refuses the rest."""

    limit: Callable[[float], float]
    answers_in: float = 0.05
    at_random: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.bucket = TokenBucket(self.limit(0), self.limit(0) / 5 + 1, 0)

    def takes(self, now: float) -> bool:
        rate = self.limit(now)
        if rate != self.bucket.rate_per_second:
            self.bucket.set_rate(rate, rate / 5 + 1, now)
        if self.rng.random() < self.at_random or self.bucket.delay(1, now) > 0:
            return False
        self.bucket.take(1, now)
        return True


@dataclass
class Ran:
    """What came of it: when each call was taken or refused."""

    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    rates: list[tuple[float, float | None]] = field(default_factory=list)

    def per_second(self, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.taken) / (until - since)

    def refused_share(self, since: float, until: float) -> float:
        no = sum(since <= at < until for at in self.refused)
        return no / max(1, no + sum(since <= at < until for at in self.taken))


def run(
    provider: Provider,
    seconds: float,
    *,
    most: float | None,
    concurrency: int = 50,
    demand: Callable[[float], bool] = lambda _: True,
) -> Ran:
    """An account that always has something to send."""
    adaptive = AdaptiveRate(most, 0)
    own = TokenBucket(most or 1e6, max(1.0, (most or 1e6) / 20), 0)
    ran, flying = Ran(), list[tuple[float, float, bool]]()
    for step in range(int(seconds / _STEP_SECONDS)):
        now = step * _STEP_SECONDS
        while flying and flying[0][0] <= now:
            _, began, taken = flying.pop(0)
            (ran.taken if taken else ran.refused).append(began)
            adaptive.record(1, refused=not taken, began=began, now=now)
        while demand(now) and len(flying) < concurrency:
            if own.delay(1, now) > 0 or adaptive.delay(1, now) > 0:
                break
            own.take(1, now)
            adaptive.take(1, now)
            flying.append((now + provider.answers_in, now, provider.takes(now)))
        ran.rates.append((now, adaptive.rate))
    return ran


@pytest.mark.parametrize("most", [None, 400.0])
@pytest.mark.parametrize("hidden", [5, 40, 150])
def test_it_finds_a_hidden_limit_and_stays_near_it_with_few_refusals(hidden: int, most: float | None) -> None:
    ran = run(Provider(lambda _: hidden), 60, most=most)
    assert ran.per_second(10, 60) >= 0.85 * hidden
    assert ran.refused_share(10, 60) <= 0.03 + 0.5 / hidden


def test_it_never_asks_for_more_than_the_operator_allows() -> None:
    ran = run(Provider(lambda now: 20 if now < 10 else 1000), 60, most=100)
    everything = sorted([*ran.taken, *ran.refused])
    for first, began in enumerate(everything[:-101]):
        assert everything[first + 100] - began >= 0.9


def test_it_recovers_fully_when_the_limit_is_lifted() -> None:
    ran = run(Provider(lambda now: 20 if now < 20 else 1000), 60, most=200)
    assert ran.per_second(10, 20) <= 22
    assert ran.per_second(50, 60) >= 0.97 * 200
    assert ran.rates[-1][1] is None
    assert ran.refused_share(25, 60) == 0


def test_it_follows_a_limit_that_falls_and_rises() -> None:
    ran = run(Provider(lambda now: 100 if now % 60 < 30 else 30), 120, most=None)
    for since in (40, 100):
        assert 0.8 * 30 <= ran.per_second(since, since + 20) <= 31
    assert ran.per_second(80, 90) >= 0.8 * 100


def test_refusals_at_random_do_not_bring_it_down() -> None:
    for share in (0.1, 0.3):
        ran = run(Provider(lambda _: 1e6, at_random=share), 60, most=200)
        assert ran.per_second(20, 60) >= 0.4 * 200 * (1 - share)


def test_one_refusal_is_about_its_recipient() -> None:
    adaptive = AdaptiveRate(None, 0)
    for nth in range(200):
        now = nth * 0.05
        adaptive.record(1, refused=nth % 40 == 7, began=now - 0.01, now=now)
    assert adaptive.rate is None


def test_one_that_takes_nothing_is_still_asked_once_in_a_while() -> None:
    ran = run(Provider(lambda now: 1e-6 if now < 30 else 100), 90, most=100)
    assert len([at for at in ran.refused if 10 <= at < 30]) <= 100
    assert len([at for at in ran.refused if 10 <= at < 30]) >= 5
    assert ran.per_second(80, 90) >= 90


def test_what_the_platform_asks_for_is_waited_for_when_it_takes_nothing() -> None:
    adaptive = AdaptiveRate(None, 0)
    for nth in range(20):
        adaptive.record(1, refused=True, began=0.0, now=nth * 0.001, retry_after=2.0)
    assert adaptive.rate is not None
    assert adaptive.delay(1, 0.02) == pytest.approx(2.0, abs=0.01)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.floats(1, 200), min_size=2, max_size=3),
    st.one_of(st.none(), st.floats(1, 500)),
    st.floats(0.01, 1),
)
def test_it_always_recovers_and_never_falls_to_nothing(
    limits: list[float], most: float | None, answers_in: float
) -> None:
    provider = Provider(lambda now: limits[min(int(now / 8), len(limits) - 1)], answers_in=answers_in)
    ran = run(provider, 8 * len(limits) + 60, most=most)
    end = 8 * len(limits) + 60
    bound = min(limits[-1], most or 1e9, 50 / answers_in)
    assert ran.per_second(end - 12, end) >= 0.5 * bound


# Calls in flight.


def serve(
    seconds: float,
    takes: Callable[[int, float], float],
    late: float = 0.0,
    rng: random.Random | None = None,
) -> list[int]:
    """The limit after each second, where answers take `takes(in flight, now)`."""
    flight, limits = AdaptiveFlight(50, 0), []
    now = 0.0
    while now < seconds:
        took = takes(flight.limit, now)
        for _ in range(flight.limit):
            flight.record(took + late, now, late)
        now += max(took, 0.05)
        limits.append(flight.limit)
    return limits


def test_a_queue_of_our_making_is_let_run_dry() -> None:
    """A platform that takes 20 a second answers the later the more it is asked at once."""
    limits = serve(60, lambda calls, now: 0.1 if now < 5 else max(0.1, calls / 20))
    assert limits[0] == 50
    assert 5 <= min(limits[-10:]) <= 20


def test_when_it_is_fast_again_all_may_fly_again() -> None:
    limits = serve(90, lambda calls, now: 2.0 if 5 < now < 15 else 0.1)
    assert min(limits) <= 30
    assert limits[-1] == 50


def test_a_platform_that_has_become_slow_for_good_is_not_starved() -> None:
    limits = serve(400, lambda calls, now: 0.1 if now < 5 else 1.5)
    assert min(limits) >= 5
    assert limits[-1] == 50


def test_what_is_fast_enough_is_never_too_slow() -> None:
    rng = random.Random(1)
    assert min(serve(60, lambda calls, now: rng.uniform(0.01, 0.4))) == 50


def test_our_own_slowness_is_not_the_platforms() -> None:
    flight = AdaptiveFlight(50, 0)
    for nth in range(1000):
        late = 2.0 if nth > 200 else 0.0
        flight.record(0.1 + late, nth * 0.1, late)
    assert flight.limit == 50


async def test_how_late_we_were_is_known_while_it_is_asked() -> None:
    lateness = Lateness()
    assert lateness.seconds() == 0
    time.sleep(0.3)
    await asyncio.sleep(0.01)
    assert lateness.seconds() >= 0.15


def test_what_never_reached_the_platform_or_is_unknown_says_nothing_of_its_limit() -> None:
    adaptive = Adaptive(None, 50, 0)
    silent = (Rejected(Reason.CONNECTION_FAILED, reached=False), Unknown(Reason.TIMED_OUT))
    for nth in range(200):
        adaptive.record(1, silent[nth % 2], began=nth * 0.1, took_seconds=0.1, late_seconds=0)
    assert adaptive.rate is None
    for nth in range(200, 260):
        refused = Rejected(Reason.QUEUE_FULL)
        adaptive.record(1, refused, began=nth * 0.1, took_seconds=0.1, late_seconds=0)
    assert adaptive.rate == 1
    assert adaptive.speed(26.0).slowed
