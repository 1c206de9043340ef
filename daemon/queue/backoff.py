"""What follows an outcome: a retry and when, or the end. Pure decisions."""

from __future__ import annotations

import random
from dataclasses import dataclass

from daemon.model import Accepted, Outcome, Reason, ReasonCategory, Rejected, State, Unknown

_RETRIED = frozenset({ReasonCategory.TEMPORARY, ReasonCategory.LIMIT})
# The whole account is concerned, not this delivery: it waits until the operator has mended the account.
ACCOUNT_REASONS = frozenset({Reason.BAD_CREDENTIALS, Reason.ACCOUNT_SUSPENDED})
ACCOUNT_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Next:
    """What a delivery becomes."""

    state: State
    reason: Reason | None = None
    retry_seconds: float = 0.0  # only with QUEUED
    counts: bool = True  # whether the call may have reached the platform
    notify: str | None = None  # a URL to tell, only with FAILED


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try, and how long to wait between.

    Without `steps`: exponential backoff with full jitter, each pause random between 0 and base * 2^n, at
    most `cap`, which spreads those that failed together ("Exponential Backoff And Jitter", AWS, 2015). With
    `steps`: exactly these pauses, the last one repeated. `retries` None leaves it to the reason's category.
    """

    max_attempts: int = 5
    base_seconds: float = 30.0
    cap_seconds: float = 3600.0
    steps: tuple[float, ...] = ()
    retries: bool | None = None
    notify: str | None = None  # a URL that is told when a delivery is given up

    def pause_seconds(self, attempts: int, rng: random.Random) -> float:
        """Seconds to wait after `attempts` calls; never under one second."""
        if self.steps:
            return self.steps[min(max(attempts, 1), len(self.steps)) - 1]
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempts - 1, 30))
        return max(1.0, rng.uniform(0, ceiling))


def after(outcome: Outcome, *, attempts: int, policy: RetryPolicy, rng: random.Random) -> Next:
    """What follows the call number `attempts`, where `policy` is the one for the outcome's reason."""
    match outcome:
        case Accepted():
            return Next(State.SENT)
        case Unknown(reason=reason):
            return Next(State.UNCERTAIN, reason)
        case Rejected(reason=reason, reached=reached, retry_after_seconds=asked):
            return after_failure(
                reason, attempts=attempts, policy=policy, rng=rng, asked_seconds=asked, reached=reached
            )


def after_failure(
    reason: Reason,
    *,
    attempts: int,
    policy: RetryPolicy,
    rng: random.Random,
    asked_seconds: float | None = None,
    reached: bool = True,
    taken: bool = False,
) -> Next:
    """What follows when the platform surely did not deliver, for `reason`.

    A call that a limit turned away, or that never reached the platform, was no attempt: it neither counts
    nor uses up the attempts. One that the platform had `taken` before it gave up always was.
    """
    if reason in ACCOUNT_REASONS:
        return Next(State.QUEUED, reason, ACCOUNT_PAUSE_SECONDS, counts=taken)
    counts = taken or (reached and reason.category is not ReasonCategory.LIMIT)
    retries = policy.retries if policy.retries is not None else reason.category in _RETRIED
    if not retries or (counts and attempts >= policy.max_attempts):
        return Next(State.FAILED, reason, counts=counts, notify=policy.notify)
    pause = policy.pause_seconds(attempts, rng)
    if asked_seconds is not None:
        # Not earlier than asked, and a random pause not much later; a ladder's steps are the operator's word.
        pause = max(asked_seconds, pause if policy.steps else min(pause, max(1.0, 2 * asked_seconds)))
    return Next(State.QUEUED, reason, pause, counts)
