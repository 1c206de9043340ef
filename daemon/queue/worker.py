"""One call to a platform, from the marked delivery to the outcome."""

from __future__ import annotations

import random

import structlog

from daemon import clock, metrics
from daemon.model import Accepted, Delivery, Outcome, Reason, Rejected, Rendered, State, Unknown
from daemon.platforms.base import Platform
from daemon.queue.backoff import Next, after
from daemon.queue.policies import Policies
from daemon.queue.recorder import Done

log = structlog.get_logger(__name__)

_SENT = Next(State.SENT)
_HANDED_OVER = Next(State.SENDING)  # at the platform, for later
_BY_OURSELVES = Next(State.QUEUED, Reason.NOT_SCHEDULED)


class Worker:
    """Calls one account's platform. Any number of calls may be under way at once."""

    def __init__(
        self,
        account: str,
        platform: Platform,
        policies: Policies,
        *,
        rng: random.Random | None = None,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self.account = account
        self.platform = platform
        self.policies = policies
        self._rng = rng or random.Random()
        self._monotonic = monotonic
        self._took = metrics.CALL_SECONDS.labels(account)

    async def call(self, rendered: Rendered) -> Done:
        """Makes the call and says what follows. Raises nothing but cancellation."""
        began = self._monotonic()
        outcome = await self._send(rendered)
        delivery = rendered.delivery
        took = self._monotonic() - began
        then = self._next(delivery, outcome)
        self._took.observe(took)
        if not isinstance(outcome, Accepted):
            log.info(
                "not accepted",
                delivery=str(delivery.id),
                workspace=delivery.workspace,
                account=self.account,
                attempt=delivery.attempt,
                reason=outcome.reason.value,
                code=getattr(outcome, "code", None),
                becomes=then.state.value,
            )
        return Done(delivery, self.account, outcome, then, began, took)

    def _next(self, delivery: Delivery, outcome: Outcome) -> Next:
        if isinstance(outcome, Accepted):
            return _SENT if delivery.send_at is None else _HANDED_OVER
        if delivery.send_at is not None and outcome.reason is Reason.NOT_SCHEDULED:
            return _BY_OURSELVES  # however few attempts it has: this was none to send it
        if outcome.reason is Reason.UNKNOWN_ERROR and isinstance(outcome, Rejected):
            metrics.UNLISTED.labels(self.account, outcome.code or "none").inc()
            log.warning("a code that our table does not have", account=self.account, code=outcome.code)
        policy = self.policies.of(delivery.workspace, outcome.reason)
        return after(outcome, attempts=delivery.tries, policy=policy, rng=self._rng)

    async def _send(self, rendered: Rendered) -> Outcome:
        try:
            return await self.platform.send(rendered)
        except Exception as error:  # a platform's bug must not hide that the call may have been made
            log.exception("a platform raised", account=self.account, delivery=str(rendered.delivery.id))
            return Unknown(Reason.PROVIDER_ERROR, detail=type(error).__name__)
