"""What an answer about an uncertain delivery comes to: tables and properties of `judge`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.model import (
    Accepted,
    Callback,
    Channel,
    Delivery,
    Outcome,
    Problem,
    Reason,
    Rendered,
    State,
)
from daemon.platforms.base import CallbackRequest, CannotTell, Found
from daemon.queue.reconciler import Asking, Verdict, judge

UNHURRIED = settings(deadline=None)  # the machine may be busy


class Nobody:
    """A platform that `judge` must never call."""

    channels: frozenset[Channel] = frozenset()

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def send(self, rendered: Rendered) -> Outcome:
        raise NotImplementedError

    async def check(self) -> str | None:
        raise NotImplementedError

    async def find(self, rendered: Rendered, since: datetime) -> Found:
        raise NotImplementedError

    def validate(self, rendered: Rendered) -> list[Problem]:
        raise NotImplementedError

    def parse_status(self, request: CallbackRequest) -> list[Callback]:
        raise NotImplementedError

    def parse_inbound(self, request: CallbackRequest) -> list[Callback]:
        raise NotImplementedError


def render(delivery: Delivery) -> Rendered:
    return Rendered(delivery, delivery.body)


PATIENCE = 60.0
HOLD = Asking(Nobody(), render, PATIENCE, resend=False, max_attempts=5)
RESEND = replace(HOLD, resend=True)
AWAY = CannotTell("Twilio answered 500, code 20500")
ASKED_OFTEN = {"asks": 9, "in_vain": 8, "attempts": 1}


def listed(*ids: str) -> list[Accepted]:
    """As the platform lists them: newest first."""
    return [Accepted(i, 200) for i in ids]


def verdict(found: Found, asking: Asking = HOLD, **facts: Any) -> Verdict:
    usual = {
        "claimed": frozenset(),
        "rivals": 0,
        "uncertain_seconds": 3.0,
        "asks": 1,
        "in_vain": 0,
        "attempts": 1,
    }
    return judge(found, asking=asking, **{**usual, **facts})


# ── Found ──


@pytest.mark.parametrize(
    ("ids", "claimed", "rivals", "provider_id"),
    [
        (["SM1"], [], 0, "SM1"),
        (["SM2", "SM1"], [], 0, "SM1"),  # of two, the older
        (["SM2", "SM1"], ["SM1"], 0, "SM2"),
        (["SM3", "SM2", "SM1"], ["SM3", "SM1"], 0, "SM2"),
        (["SM2", "SM1"], [], 1, "SM1"),  # one for each
        (["SM3", "SM2", "SM1"], ["SM2"], 1, "SM1"),
    ],
)
def test_a_message_that_nobody_else_claims_is_the_deliverys(
    ids: list[str], claimed: list[str], rivals: int, provider_id: str
) -> None:
    found = verdict(listed(*ids), claimed=frozenset(claimed), rivals=rivals)
    assert (found.answer, found.state, found.provider_id) == ("found", State.SENT, provider_id)


def test_what_is_found_is_found_however_late() -> None:
    assert verdict(listed("SM1"), uncertain_seconds=1e6, attempts=99).state is State.SENT


@pytest.mark.parametrize(
    ("found", "claimed", "seconds", "state"),
    [
        ([], [], 3.0, State.UNCERTAIN),
        ([], [], PATIENCE - 0.1, State.UNCERTAIN),
        ([], [], PATIENCE, State.QUEUED),
        (["SM1"], ["SM1"], PATIENCE - 0.1, State.UNCERTAIN),
        (["SM1"], ["SM1"], PATIENCE, State.QUEUED),
    ],
)
def test_what_is_not_there_is_waited_for_with_patience_and_then_sent_again(
    found: list[str], claimed: list[str], seconds: float, state: State
) -> None:
    result = verdict(listed(*found), claimed=frozenset(claimed), uncertain_seconds=seconds)
    assert (result.answer, result.state) == ("absent", state)
    assert result.seconds is not None


@pytest.mark.parametrize(("attempts", "state"), [(4, State.QUEUED), (5, State.FAILED), (6, State.FAILED)])
def test_what_is_absent_after_the_last_attempt_fails(attempts: int, state: State) -> None:
    found = verdict([], uncertain_seconds=PATIENCE, attempts=attempts)
    reason = Reason.ATTEMPTS_EXHAUSTED if state is State.FAILED else None
    assert (found.answer, found.state, found.reason) == ("absent", state, reason)


# ── Rivals: equal deliveries that nobody can place yet ──


@pytest.mark.parametrize(("ids", "rivals"), [(["SM1"], 1), (["SM2", "SM1"], 2), (["SM2", "SM1"], 5)])
def test_fewer_messages_than_equal_deliveries_are_nobodys_until_a_callback_says_whose(
    ids: list[str], rivals: int
) -> None:
    early = verdict(listed(*ids), rivals=rivals, uncertain_seconds=PATIENCE * 2)
    assert (early.answer, early.state, early.seconds is None) == ("cannot_tell", State.UNCERTAIN, False)
    late = verdict(listed(*ids), rivals=rivals, uncertain_seconds=PATIENCE * 3)
    assert (late.answer, late.state, late.seconds) == ("cannot_tell", State.UNCERTAIN, None)


def test_rivals_that_have_no_message_either_do_not_keep_it_from_being_sent_again() -> None:
    assert verdict([], rivals=3, uncertain_seconds=PATIENCE * 3).state is State.QUEUED


def test_a_rivals_claim_that_has_become_known_frees_the_other() -> None:
    assert (
        verdict(listed("SM1"), claimed=frozenset({"SM1"}), uncertain_seconds=PATIENCE).state is State.QUEUED
    )


# ── Cannot tell ──


@pytest.mark.parametrize("asking", [HOLD, RESEND])
def test_a_platform_that_does_not_answer_is_asked_again_for_three_patiences(asking: Asking) -> None:
    found = verdict(AWAY, asking, uncertain_seconds=PATIENCE * 3 - 0.1)
    assert (found.answer, found.state, found.seconds is None) == ("cannot_tell", State.UNCERTAIN, False)
    assert found.detail == AWAY.detail


def test_then_a_person_decides_where_the_account_says_hold() -> None:
    found = verdict(AWAY, HOLD, uncertain_seconds=PATIENCE * 3, **ASKED_OFTEN)
    assert (found.state, found.seconds, found.reason) == (State.UNCERTAIN, None, None)
    assert "a person must decide" in (found.detail or "")


def test_then_it_is_sent_again_where_the_account_says_resend() -> None:
    found = verdict(AWAY, RESEND, uncertain_seconds=PATIENCE * 3, **ASKED_OFTEN)
    assert (found.answer, found.state, found.seconds) == ("cannot_tell", State.QUEUED, 0)


@pytest.mark.parametrize("found", [AWAY, listed("SM1")])
def test_resend_does_not_go_on_beyond_the_last_attempt(found: Found) -> None:
    result = verdict(found, RESEND, rivals=1, uncertain_seconds=PATIENCE * 3, asks=9, in_vain=8, attempts=5)
    assert (result.state, result.reason) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)


# ── Always ──

IDS = st.sampled_from(["SM1", "SM2", "SM3", "SM4"])
FOUND = st.builds(CannotTell, st.text(max_size=5)) | st.lists(IDS, max_size=4, unique=True).map(
    lambda ids: listed(*ids)
)
FACTS = st.fixed_dictionaries(
    {
        "claimed": st.frozensets(IDS),
        "rivals": st.integers(0, 4),
        "uncertain_seconds": st.floats(0, 10_000),
        "asks": st.integers(1, 200),
        "in_vain": st.integers(0, 200),
        "attempts": st.integers(1, 10),
    }
)
ASKINGS = st.builds(
    Asking,
    st.just(HOLD.platform),
    st.just(render),
    st.floats(1, 3600),
    resend=st.booleans(),
    max_attempts=st.integers(1, 8),
)


@UNHURRIED
@given(found=FOUND, facts=FACTS, asking=ASKINGS)
def test_it_is_never_sent_again_while_patience_lasts(
    found: Found, facts: dict[str, Any], asking: Asking
) -> None:
    result = judge(found, asking=asking, **facts)
    if facts["uncertain_seconds"] < asking.patience_seconds:
        assert result.state in (State.SENT, State.UNCERTAIN)
        assert result.state is State.SENT or result.seconds is not None


@UNHURRIED
@given(found=FOUND, facts=FACTS, asking=ASKINGS)
def test_it_is_sent_only_by_a_listed_message_that_no_other_delivery_claims(
    found: Found, facts: dict[str, Any], asking: Asking
) -> None:
    result = judge(found, asking=asking, **facts)
    if result.state is State.SENT:
        assert not isinstance(found, CannotTell)
        assert result.provider_id in {accepted.provider_id for accepted in found} - facts["claimed"]
    else:
        assert result.provider_id is None


@UNHURRIED
@given(found=FOUND, facts=FACTS, asking=ASKINGS)
def test_an_unclaimed_message_that_may_be_a_rivals_is_never_taken_and_never_doubled_on_hold(
    found: Found, facts: dict[str, Any], asking: Asking
) -> None:
    asking = replace(asking, resend=False)
    result = judge(found, asking=asking, **facts)
    if isinstance(found, CannotTell):
        assert result.state is State.UNCERTAIN
        return
    free = {accepted.provider_id for accepted in found} - facts["claimed"]
    if free and len(free) <= facts["rivals"]:
        assert result.state is State.UNCERTAIN
    elif free:
        assert result.state is State.SENT


@UNHURRIED
@given(found=FOUND, facts=FACTS, asking=ASKINGS)
def test_every_verdict_is_complete(found: Found, facts: dict[str, Any], asking: Asking) -> None:
    result = judge(found, asking=asking, **facts)
    assert result.answer in ("found", "absent", "cannot_tell")
    assert result.state in (State.SENT, State.QUEUED, State.FAILED, State.UNCERTAIN)
    assert (result.state is State.FAILED) == (result.reason is not None)
    assert result.reason is None or facts["attempts"] >= asking.max_attempts
    if result.seconds is not None:
        assert 0 <= result.seconds <= 30
        assert result.state is State.QUEUED or result.seconds >= 0.5
    held = result.state is State.UNCERTAIN and result.seconds is None
    assert not held or facts["uncertain_seconds"] >= 3 * asking.patience_seconds
