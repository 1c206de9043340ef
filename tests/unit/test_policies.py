"""Which retry policy goes for which reason, and what follows a call by it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import RetryRule
from daemon.model import Accepted, Outcome, Reason, ReasonCategory, Rejected, State, Unknown
from daemon.queue.backoff import ACCOUNT_REASONS, Next, RetryPolicy, after, after_failure
from daemon.queue.policies import NAMED, Policies, Rules

UNHURRIED = settings(deadline=None)  # the machine may be busy
URL = "https://ops.example"
REASONS = st.sampled_from(Reason)
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    base_seconds=st.floats(0.001, 86_400),
    cap_seconds=st.floats(0.001, 604_800),
    steps=st.just(()) | st.lists(st.floats(1, 86_400), min_size=1, max_size=5).map(tuple),
    retries=st.none() | st.booleans(),
)


def policies(own: Rules | None = None, common: Rules | None = None, max_attempts: int = 7) -> Policies:
    """For a workspace `clinic` with rules of its own; all others have the common ones."""
    tables = [common or {}]
    return Policies(lambda name: [own or {}, *tables] if name == "clinic" else tables, max_attempts)


def rng() -> random.Random:
    return random.Random(1)


def pauses(name: str) -> list[float]:
    """What a named policy waits after each call until it gives up."""
    found: list[float] = []
    for attempts in range(1, 100):
        then = after_failure(Reason.CARRIER_ERROR, attempts=attempts, policy=NAMED[name], rng=rng())
        if then.state is State.FAILED:
            return found
        found.append(then.retry_seconds)
    raise AssertionError("it never gives up")


# ── Which policy ──


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_policy_without_any_rule(reason: Reason) -> None:
    found = policies().of("clinic", reason)
    assert (found.notify, found.retries) == (None, None)
    if reason.category in (ReasonCategory.TEMPORARY, ReasonCategory.PERMANENT):
        assert found.max_attempts == 7


@pytest.mark.parametrize(
    ("own", "common", "policy"),
    [
        ({}, {}, "exponential"),
        ({}, {"temporary": "daily"}, "daily"),
        ({}, {"temporary": "daily", "carrier_error": "minutes-2-4-8"}, "minutes-2-4-8"),
        ({"temporary": "never"}, {"carrier_error": "daily", "temporary": "daily"}, "never"),
        ({"temporary": "never", "carrier_error": "daily"}, {"carrier_error": "exponential-3"}, "daily"),
        ({"limit": "never", "permanent": "never"}, {"limit": "never"}, "exponential"),
        ({"connection_failed": "never"}, {}, "exponential"),
    ],
)
def test_a_workspaces_rule_goes_before_the_common_one_and_a_reason_before_its_category(
    own: dict[str, str], common: dict[str, str], policy: str
) -> None:
    def rules(names: dict[str, str]) -> Rules:
        return {key: RetryRule.model_validate({"policy": name}) for key, name in names.items()}

    found = policies(rules(own), rules(common), max_attempts=5).of("clinic", Reason.CARRIER_ERROR)
    assert (found.steps, found.max_attempts) == (NAMED[policy].steps, NAMED[policy].max_attempts)
    assert (found.retries is False) == (policy == "never")


def test_one_workspaces_rule_is_nobody_elses() -> None:
    found = policies({"carrier_error": RetryRule(policy="never")})
    assert found.of("clinic", Reason.CARRIER_ERROR).retries is False
    assert found.of("shop", Reason.CARRIER_ERROR).retries is not False


def test_a_rule_changes_the_numbers_of_the_policy_it_names() -> None:
    rule = RetryRule(policy="exponential", attempts=3, base_seconds=10, longest_seconds=900, notify=URL)
    found = policies({}, {"carrier_error": rule}).of("shop", Reason.CARRIER_ERROR)
    assert (found.max_attempts, found.base_seconds, found.cap_seconds, found.notify) == (3, 10, 900, URL)


def test_a_rule_that_names_a_policy_retries_what_would_be_given_up() -> None:
    rule = RetryRule(policy="minutes-2-4-8")
    found = policies({}, {"invalid_address": rule}).of("shop", Reason.INVALID_ADDRESS)
    then = after_failure(Reason.INVALID_ADDRESS, attempts=1, policy=found, rng=rng())
    assert (then.state, then.retry_seconds) == (State.QUEUED, 120)


@pytest.mark.parametrize("reason", [Reason.INVALID_ADDRESS, Reason.BAD_SENDER])
def test_a_rule_that_only_notifies_does_not_retry_what_would_be_given_up(reason: Reason) -> None:
    found = policies({}, {reason.category.value: RetryRule(notify=URL)}).of("shop", reason)
    assert after_failure(reason, attempts=1, policy=found, rng=rng()) == Next(
        State.FAILED, reason, notify=URL
    )


@pytest.mark.parametrize(
    ("reason", "attempts", "steps"),
    [
        (Reason.CARRIER_ERROR, 7, ()),  # the account's number of attempts
        (Reason.DAILY_LIMIT, 3, (86_400.0,)),
    ],
)
def test_a_rule_without_a_policy_keeps_the_default_but_for_what_it_names(
    reason: Reason, attempts: int, steps: tuple[float, ...]
) -> None:
    found = policies({}, {reason.value: RetryRule(notify=URL)}).of("shop", reason)
    assert (found.max_attempts, found.steps, found.notify) == (attempts, steps, URL)


# ── The named ones ──


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("steps-60-120-300-600", [60, 120, 300, 600]),
        ("minutes-2-4-8", [120, 240, 480]),
        ("daily", [86_400, 86_400]),
        ("never", []),
    ],
)
def test_a_named_ladder_waits_exactly_its_steps(name: str, expected: list[float]) -> None:
    assert pauses(name) == expected


def test_the_exponential_ones_make_five_and_three_calls() -> None:
    assert [len(pauses(name)) + 1 for name in ("exponential", "exponential-3")] == [5, 3]


def test_the_toml_knows_every_named_policy_and_no_other() -> None:
    for name in NAMED:
        RetryRule.model_validate({"policy": name})
    with pytest.raises(ValueError, match="policy"):
        RetryRule.model_validate({"policy": "often"})


# ── What follows ──


@UNHURRIED
@given(attempts=st.integers(1, 1000), seed=st.integers(), policy=POLICIES)
def test_a_pause_is_at_least_a_second_and_within_the_policys_bounds(
    attempts: int, seed: int, policy: RetryPolicy
) -> None:
    pause = policy.pause_seconds(attempts, random.Random(seed))
    if policy.steps:
        assert pause in policy.steps
    else:
        ceiling = min(policy.cap_seconds, policy.base_seconds * 2.0 ** (attempts - 1))
        assert 1 <= pause <= max(1, ceiling)


@UNHURRIED
@given(
    asked=st.floats(0, 86_400),
    attempts=st.integers(1, 6),
    seed=st.integers(),
    reason=REASONS,
    policy=POLICIES,
)
def test_nothing_is_tried_before_the_platform_says_or_within_a_second(
    asked: float, attempts: int, seed: int, reason: Reason, policy: RetryPolicy
) -> None:
    then = after_failure(
        reason, attempts=attempts, policy=policy, rng=random.Random(seed), asked_seconds=asked
    )
    if then.state is State.QUEUED and reason not in ACCOUNT_REASONS:
        assert then.retry_seconds >= max(1, asked)


@pytest.mark.parametrize(("asked", "expected"), [(1, 60), (59, 60), (61, 61), (300, 300)])
def test_a_ladders_step_is_never_shortened_by_the_platform(asked: float, expected: float) -> None:
    policy = NAMED["steps-60-120-300-600"]
    then = after_failure(Reason.RATE_LIMITED, attempts=1, policy=policy, rng=rng(), asked_seconds=asked)
    assert then.retry_seconds == expected


@UNHURRIED
@given(asked=st.floats(1, 86_400), attempts=st.integers(1, 5), seed=st.integers())
def test_a_random_pause_is_not_much_longer_than_the_platform_asks_for(
    asked: float, attempts: int, seed: int
) -> None:
    then = after_failure(
        Reason.RATE_LIMITED,
        attempts=attempts,
        policy=RetryPolicy(),
        rng=random.Random(seed),
        asked_seconds=asked,
    )
    assert asked <= then.retry_seconds <= 2 * asked


@UNHURRIED
@given(attempts=st.integers(1, 200), reason=REASONS, policy=POLICIES, reached=st.booleans())
def test_what_reached_the_platform_counts_and_is_given_up_after_the_last_attempt(
    attempts: int, reason: Reason, policy: RetryPolicy, reached: bool
) -> None:
    then = after_failure(reason, attempts=attempts, policy=policy, rng=rng(), reached=reached)
    no_attempt = not reached or reason.category is ReasonCategory.LIMIT or reason in ACCOUNT_REASONS
    assert then.counts is not no_attempt
    if then.counts and attempts >= policy.max_attempts:
        assert then.state is State.FAILED
    assert (then.retry_seconds == 0) == (then.state is State.FAILED)


@pytest.mark.parametrize("reason", sorted(ACCOUNT_REASONS))
@pytest.mark.parametrize("retries", [True, False, None])
def test_what_concerns_the_whole_account_fails_no_delivery(reason: Reason, retries: bool | None) -> None:
    policy = RetryPolicy(max_attempts=1, retries=retries, notify=URL)
    then = after_failure(reason, attempts=9, policy=policy, rng=rng())
    assert (then.state, then.counts, then.notify) == (State.QUEUED, False, None)


@pytest.mark.parametrize("reason", Reason)
def test_without_a_rule_only_what_passes_is_tried_again(reason: Reason) -> None:
    policy = policies().of("shop", reason)
    then = after_failure(reason, attempts=1, policy=policy, rng=rng())
    passes = reason.category in (ReasonCategory.TEMPORARY, ReasonCategory.LIMIT) or reason in ACCOUNT_REASONS
    assert then.state is (State.QUEUED if passes else State.FAILED)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Accepted("SM1"), State.SENT),
        (Unknown(Reason.TIMED_OUT), State.UNCERTAIN),
        (Unknown(Reason.PROVIDER_ERROR), State.UNCERTAIN),
        (Rejected(Reason.CARRIER_ERROR), State.QUEUED),
        (Rejected(Reason.OPTED_OUT), State.FAILED),
    ],
)
def test_an_outcome_decides_the_state_whatever_the_policy_of_what_is_unknown(
    outcome: Outcome, state: State
) -> None:
    assert after(outcome, attempts=1, policy=RetryPolicy(), rng=rng()).state is state


def test_a_notice_is_only_for_what_is_given_up() -> None:
    policy = RetryPolicy(max_attempts=2, notify=URL)
    told = [after_failure(Reason.CARRIER_ERROR, attempts=n, policy=policy, rng=rng()).notify for n in (1, 2)]
    assert told == [None, URL]
