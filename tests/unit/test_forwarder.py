"""When something is handed over for, how long it may be tried then, and what follows the call."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import ConfigError, parse_config
from daemon.content.rendering import Renderer
from daemon.model import Accepted, Channel, Delivery, Outcome, Reason, Rejected, State, Unknown
from daemon.queue.backoff import Next
from daemon.queue.forwarder import send_at
from daemon.queue.policies import Policies
from daemon.queue.worker import Worker

SERVICE = "MG0123456789abcdef0123456789abcdef"
AT = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)
DELIVERY = Delivery(
    id=UUID(int=7), workspace_id=1, workspace="clinic", channel=Channel.SMS, to="+14155550123", body="Hello",
    category="transactional", priority=3, attempts=0, segments=1, lease_token=1, leased_at=0.0,
    expires_in_seconds=600.0, send_at=AT,
)  # fmt: skip


@given(st.timedeltas(timedelta(0), timedelta(days=36)))
def test_a_whole_second_that_is_never_too_early(ahead: timedelta) -> None:
    due_at = AT + ahead
    asked = send_at(due_at)
    assert asked.microsecond == 0
    assert timedelta(0) <= asked - due_at < timedelta(seconds=1)


def test_how_long_twilio_may_try_counts_from_the_time_that_it_sends() -> None:
    render = Renderer(None, {}, monotonic=lambda: 100.0)
    assert render(DELIVERY).validity_seconds == 600
    assert render(replace(DELIVERY, send_at=None)).validity_seconds == 500


class _Answers:
    """A platform that answers the same to every call."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    async def send(self, _: object) -> Outcome:
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "then"),
    [
        (Accepted("SM1"), Next(State.SENDING)),
        (Rejected(Reason.NOT_SCHEDULED, "35125"), Next(State.QUEUED, Reason.NOT_SCHEDULED)),
        (Unknown(Reason.TIMED_OUT), Next(State.UNCERTAIN, Reason.TIMED_OUT)),
        (Rejected(Reason.INVALID_ADDRESS), Next(State.FAILED, Reason.INVALID_ADDRESS)),
    ],
)
async def test_what_follows_a_hand_over_even_where_one_attempt_is_all_there_is(
    outcome: Outcome, then: Next
) -> None:
    worker = Worker("main", _Answers(outcome), Policies(lambda _: [], 1), rng=random.Random(1))  # type: ignore[arg-type]
    done = await worker.call(Renderer(None, {})(DELIVERY))
    assert done.next == then


def test_only_a_messaging_service_can_be_asked_to() -> None:
    account = 'kind = "twilio"\naccount_sid = "AC0123456789abcdef0123456789abcdef"\nauth_token = "x"\n'
    text = f"[platforms.main]\n{account}native_scheduling = true\n"
    with pytest.raises(ConfigError) as error:
        parse_config(text + 'from = "+15005550006"\n')
    (problem,) = error.value.problems
    assert problem.path == "platforms.main.native_scheduling"
    assert "messaging_service_sid" in problem.message
    assert parse_config(text + f'messaging_service_sid = "{SERVICE}"\n').platforms["main"].native_scheduling
