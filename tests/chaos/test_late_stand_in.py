"""The stand-in's two ways of being late, against the real client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio

from daemon.model import Accepted, Channel, Delivery, Reason, Rendered, Unknown
from daemon.platforms.twilio import Twilio, TwilioAccount
from daemon.sandbox import faults
from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER, until

RENDERED = Rendered(
    Delivery(
        UUID(int=1), 1, "clinic", Channel.SMS, "+14155551234", "Hello", "transactional", 2, 0, 1, 1, 0.0
    ),
    "Hello",
)


@pytest_asyncio.fixture
async def twilio(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Twilio]:
    monkeypatch.setattr(faults, "LATE_SECONDS", (0.3, 0.4))
    monkeypatch.setattr(faults, "TAKEN_LATER_SECONDS", (0.3, 0.4))
    account = TwilioAccount(
        account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, sender=SENDER, base_url=sandbox.url, timeout_seconds=2
    )
    platform = Twilio(account)
    await platform.open()
    yield platform
    await platform.close()


async def test_a_late_answer_is_an_answer(sandbox: Sandbox, twilio: Twilio) -> None:
    sandbox.dice.set(Faults(late_taken=1))
    assert isinstance(await twilio.send(RENDERED), Accepted)
    assert sandbox.ledger.accepted == 1


async def test_a_message_may_be_taken_seconds_after_the_connection_was_cut(
    sandbox: Sandbox, twilio: Twilio
) -> None:
    sandbox.dice.set(Faults(cut_taken_later=1))
    outcome = await twilio.send(RENDERED)
    assert isinstance(outcome, Unknown)
    assert outcome.reason is Reason.CONNECTION_LOST
    assert sandbox.ledger.accepted == 0

    async def taken() -> bool:
        return sandbox.ledger.accepted == 1

    await until(taken, seconds=3)
