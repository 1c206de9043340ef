"""Which retry policy goes for which reason: the named ones, the defaults, and what the TOML says instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from daemon.config import RetryRule
from daemon.model import Reason, ReasonCategory
from daemon.queue.backoff import RetryPolicy

# The names that `policy = "…"` in [retry] may have.
NAMED: Mapping[str, RetryPolicy] = {
    "exponential": RetryPolicy(),
    "exponential-3": RetryPolicy(max_attempts=3),
    "steps-60-120-300-600": RetryPolicy(max_attempts=5, steps=(60.0, 120.0, 300.0, 600.0)),
    "minutes-2-4-8": RetryPolicy(max_attempts=4, steps=(120.0, 240.0, 480.0)),
    "daily": RetryPolicy(max_attempts=3, steps=(86_400.0,)),
    "never": RetryPolicy(max_attempts=1, retries=False),
}

_SLOW_DOWN = RetryPolicy(base_seconds=5.0, cap_seconds=600.0)

Rules = Mapping[str, RetryRule]


class Policies:
    """Answers for one account: the workspace's rule for the reason, else for its category, else the same of
    `[retry]`, else the default of the category with the account's own number of attempts.
    """

    def __init__(self, rules_of: Callable[[str], Sequence[Rules]], max_attempts: int) -> None:
        """`rules_of`: the tables that go for a workspace, its own first."""
        self._rules_of = rules_of
        self._max_attempts = max_attempts

    def of(self, workspace: str, reason: Reason) -> RetryPolicy:
        """The policy for this reason."""
        for rules in self._rules_of(workspace):
            rule = rules.get(reason.value) or rules.get(reason.category.value)
            if rule is not None:
                return self._made(rule, reason)
        return self._default(reason)

    def _made(self, rule: RetryRule, reason: Reason) -> RetryPolicy:
        """A rule that names no policy changes only what it names: who is told of bad numbers, say, does not
        want them tried again.
        """
        chosen = "policy" in rule.model_fields_set
        basis = NAMED[rule.policy] if chosen else self._default(reason)
        return replace(
            basis,
            max_attempts=rule.attempts or basis.max_attempts,
            base_seconds=rule.base_seconds or basis.base_seconds,
            cap_seconds=rule.longest_seconds or basis.cap_seconds,
            retries=rule.policy != "never" if chosen else basis.retries,
            notify=rule.notify,
        )

    def _default(self, reason: Reason) -> RetryPolicy:
        if reason is Reason.DAILY_LIMIT:
            return NAMED["daily"]
        if reason.category is ReasonCategory.LIMIT:
            return _SLOW_DOWN
        return replace(NAMED["exponential"], max_attempts=self._max_attempts)
