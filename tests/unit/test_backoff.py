"""What follows an outcome: pauses within their bounds, and the end where no retry would help."""

from __future__ import annotations

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import Accepted, Reason, ReasonCategory, Rejected, State, Unknown
from daemon.queue.backoff import (
    ACCOUNT_PAUSE_SECONDS,
    ACCOUNT_REASONS,
    Next,
    RetryPolicy,
    after,
    after_failure,
)

RETRIED = (ReasonCategory.TEMPORARY, ReasonCategory.LIMIT)
TEMPORARY = [r for r in Reason if r.category is ReasonCategory.TEMPORARY]
LIMITS = [r for r in Reason if r.category is ReasonCategory.LIMIT]
FINAL = [r for r in Reason if r.category not in RETRIED and r not in ACCOUNT_REASONS]

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    base_seconds=st.floats(0.1, 600),
    cap_seconds=st.floats(1, 100_000),
)
seeds = st.integers().map(random.Random)


def follows(reason: Reason, attempts: int = 1, **rest: object) -> Next:
    rng = random.Random(1)
    return after_failure(reason, attempts=attempts, policy=RetryPolicy(), rng=rng, **rest)  # type: ignore[arg-type]


@given(policies, st.integers(0, 2000), seeds)
def test_a_pause_is_between_a_second_and_its_ceiling(
    policy: RetryPolicy, attempts: int, rng: random.Random
) -> None:
    ceiling = min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(attempts - 1, 60))
    assert 1.0 <= policy.pause_seconds(attempts, rng) <= max(1.0, ceiling)


@pytest.mark.parametrize(
    ("attempts", "ceiling"), [(1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (50, 3600)]
)
def test_pauses_are_spread_over_the_whole_of_it(attempts: int, ceiling: float) -> None:
    rng, policy = random.Random(7), RetryPolicy()
    pauses = [policy.pause_seconds(attempts, rng) for _ in range(4000)]
    assert mean(pauses) == pytest.approx(ceiling / 2, rel=0.05)
    assert min(pauses) < 0.05 * ceiling + 1
    assert max(pauses) > 0.95 * ceiling


@given(st.lists(st.floats(1, 1e5), min_size=1, max_size=6), st.integers(0, 30), seeds)
def test_steps_are_kept_exactly_and_the_last_is_repeated(
    steps: list[float], attempts: int, rng: random.Random
) -> None:
    policy = RetryPolicy(steps=tuple(steps))
    expected = steps[min(max(attempts - 1, 0), len(steps) - 1)]
    assert policy.pause_seconds(attempts, rng) == expected


# Outcomes.


@given(st.integers(1, 50), policies, seeds)
def test_what_was_accepted_is_sent(attempts: int, policy: RetryPolicy, rng: random.Random) -> None:
    assert after(Accepted("SM1"), attempts=attempts, policy=policy, rng=rng) == Next(State.SENT)


@pytest.mark.parametrize("reason", [r for r in Reason if r.category is ReasonCategory.UNCERTAIN])
def test_what_nobody_knows_is_uncertain_however_often_it_was_tried(reason: Reason) -> None:
    for attempts in (1, 5, 99):
        found = after(Unknown(reason), attempts=attempts, policy=RetryPolicy(), rng=random.Random(1))
        assert (found.state, found.reason, found.counts) == (State.UNCERTAIN, reason, True)


@given(st.sampled_from(TEMPORARY), st.integers(1, 40), policies, seeds)
def test_a_temporary_failure_is_tried_again_until_the_attempts_are_used_up(
    reason: Reason, attempts: int, policy: RetryPolicy, rng: random.Random
) -> None:
    found = after(Rejected(reason), attempts=attempts, policy=policy, rng=rng)
    assert found.counts
    assert found.reason is reason
    if attempts >= policy.max_attempts:
        assert found.state is State.FAILED
    else:
        assert found.state is State.QUEUED
        assert 1.0 <= found.retry_seconds <= max(1.0, policy.cap_seconds)


@given(st.sampled_from(LIMITS), st.integers(1, 400), policies, seeds)
def test_what_a_limit_turned_away_was_no_attempt_and_is_never_given_up(
    reason: Reason, attempts: int, policy: RetryPolicy, rng: random.Random
) -> None:
    found = after(Rejected(reason), attempts=attempts, policy=policy, rng=rng)
    assert (found.state, found.counts) == (State.QUEUED, False)
    assert found.retry_seconds >= 1.0


@given(st.sampled_from(TEMPORARY), st.integers(1, 400), policies, seeds)
def test_what_never_reached_the_platform_was_no_attempt(
    reason: Reason, attempts: int, policy: RetryPolicy, rng: random.Random
) -> None:
    found = after(Rejected(reason, reached=False), attempts=attempts, policy=policy, rng=rng)
    assert (found.state, found.counts) == (State.QUEUED, False)


@pytest.mark.parametrize("reason", FINAL)
def test_what_would_never_succeed_fails_at_once(reason: Reason) -> None:
    found = follows(reason)
    assert (found.state, found.reason, found.retry_seconds) == (State.FAILED, reason, 0.0)


@pytest.mark.parametrize("reason", sorted(ACCOUNT_REASONS))
def test_what_concerns_the_account_waits_for_the_operator(reason: Reason) -> None:
    for attempts in (1, 100):
        found = follows(reason, attempts)
        assert found == Next(State.QUEUED, reason, ACCOUNT_PAUSE_SECONDS, counts=False)


def test_every_reason_leads_somewhere() -> None:
    for reason in Reason:
        found = follows(reason)
        assert found.state in (State.QUEUED, State.FAILED)
        assert (found.retry_seconds > 0) == (found.state is State.QUEUED)


# What the platform asks for, and what the operator says.


@given(st.sampled_from(TEMPORARY + LIMITS), st.floats(0, 86_400), policies, seeds)
def test_a_retry_after_is_kept_and_not_stretched_far(
    reason: Reason, asked: float, policy: RetryPolicy, rng: random.Random
) -> None:
    found = after_failure(reason, attempts=0, policy=policy, rng=rng, asked_seconds=asked)
    assert found.retry_seconds >= max(asked, 1.0)
    assert found.retry_seconds <= max(1.0, 2 * asked)


@given(st.floats(0, 1000), seeds)
def test_a_retry_after_never_shortens_an_operators_steps(asked: float, rng: random.Random) -> None:
    policy = RetryPolicy(steps=(60.0, 120.0))
    found = after_failure(Reason.RATE_LIMITED, attempts=2, policy=policy, rng=rng, asked_seconds=asked)
    assert found.retry_seconds == max(120.0, asked)


def test_a_policy_may_retry_what_we_would_not_and_give_up_what_we_would_not() -> None:
    rng = random.Random(1)
    stubborn = RetryPolicy(retries=True, max_attempts=3)
    assert after_failure(Reason.FILTERED, attempts=2, policy=stubborn, rng=rng).state is State.QUEUED
    assert after_failure(Reason.FILTERED, attempts=3, policy=stubborn, rng=rng).state is State.FAILED
    never = RetryPolicy(retries=False, notify="https://example.com/failed")
    given_up = after_failure(Reason.CARRIER_ERROR, attempts=1, policy=never, rng=rng)
    assert (given_up.state, given_up.notify) == (State.FAILED, "https://example.com/failed")


def test_nobody_is_told_of_what_goes_on() -> None:
    policy = RetryPolicy(notify="https://example.com/failed")
    found = after(Rejected(Reason.CARRIER_ERROR), attempts=1, policy=policy, rng=random.Random(1))
    assert (found.state, found.notify) == (State.QUEUED, None)


@pytest.mark.parametrize("reason", [Reason.RATE_LIMITED, Reason.QUEUE_FULL, Reason.CARRIER_ERROR])
def test_what_the_platform_took_and_gave_up_counts_whatever_the_reason(reason: Reason) -> None:
    policy = RetryPolicy(max_attempts=2)
    first = after_failure(reason, attempts=1, policy=policy, rng=random.Random(1), taken=True)
    second = after_failure(reason, attempts=2, policy=policy, rng=random.Random(1), taken=True)
    assert (first.state, first.counts, second.state) == (State.QUEUED, True, State.FAILED)
