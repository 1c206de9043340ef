"""What becomes of a message, by the recipient's number; and the dice that faults are rolled with."""

from __future__ import annotations

import random
from collections import Counter
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from daemon.sandbox import behaviours
from daemon.sandbox.behaviours import ORDINARY, behaviour_of
from daemon.sandbox.callbacks import encoded
from daemon.sandbox.faults import CallbackTrouble, Dice, Faults, Trouble
from daemon.sandbox.lifecycle import opt_out_type, plan
from daemon.sandbox.messages import FINAL, Status


@pytest.mark.parametrize(
    ("initial", "number", "statuses"),
    [
        (Status.QUEUED, "+15551110100", "sending sent delivered"),
        (Status.ACCEPTED, "+15551110100", "queued sending sent delivered"),
        (Status.SCHEDULED, "+15551110100", "queued sending sent delivered"),
        (Status.QUEUED, "+15551110003", "sending sent undelivered"),
        (Status.QUEUED, "+15551110004", "sending failed"),
        (Status.QUEUED, "+15551110006", "sending sent"),
        (Status.QUEUED, "whatsapp:+15551110004", "sending failed"),
    ],
)
def test_a_message_goes_through_the_statuses_of_its_number(
    initial: Status, number: str, statuses: str
) -> None:
    assert [step.status for step in plan(initial, behaviour_of(number))] == statuses.split()


def test_every_plan_ends_as_its_behaviour_says_and_only_there() -> None:
    for behaviour in (ORDINARY, *behaviours()):
        *before, last = plan(Status.QUEUED, behaviour)
        assert (last.status, last.error) == (behaviour.ends, behaviour.error)
        assert not FINAL & {step.status for step in before}


def test_the_table_has_one_row_for_each_number_from_one_to_fifteen() -> None:
    assert [behaviour.suffix for behaviour in behaviours()] == [f"{n:04}" for n in range(1, 16)]
    assert all(behaviour.summary for behaviour in behaviours())


@pytest.mark.parametrize(
    ("body", "kind"),
    [("stop", "STOP"), (" Cancel\n", "STOP"), ("UNSTOP", "START"), ("help", "HELP"), ("please stop", None)],
)
def test_only_a_text_that_is_nothing_but_a_keyword_opts_out(body: str, kind: str | None) -> None:
    assert opt_out_type(body) == kind


@given(st.dictionaries(st.sampled_from(["From", "To", "Body"]), st.text()))
def test_a_callback_is_encoded_as_urlencode_does(parameters: dict[str, str]) -> None:
    cleaned = {name: value.encode("utf-8", "replace").decode() for name, value in parameters.items()}
    assert encoded(cleaned) == urlencode(cleaned).encode()


def test_without_faults_nothing_goes_wrong() -> None:
    dice = Dice(random.Random(1))
    assert {dice.call() for _ in range(100)} == {None}
    assert {dice.callback() for _ in range(100)} == {None}
    assert dice.latency_seconds() == 0


def test_faults_strike_as_often_as_they_are_set_to() -> None:
    dice = Dice(random.Random(1))
    dice.set(Faults(too_many_requests=0.25, cut_taken=0.25, callback_drop=1.0))
    struck = Counter(dice.call() for _ in range(4000))
    assert set(struck) == {None, Trouble.TOO_MANY_REQUESTS, Trouble.CUT_TAKEN}
    assert all(900 < struck[kind] < 1100 for kind in (Trouble.TOO_MANY_REQUESTS, Trouble.CUT_TAKEN))
    assert dice.callback() is CallbackTrouble.DROP


def test_the_same_seed_brings_the_same_faults() -> None:
    def rolls() -> list[Trouble | None]:
        dice = Dice(random.Random(7))
        dice.set(Faults(error_not_taken=0.5))
        return [dice.call() for _ in range(50)]

    assert rolls() == rolls()


def test_latency_stays_within_its_jitter_and_is_never_negative() -> None:
    dice = Dice(random.Random(1))
    dice.set(Faults(latency_ms=10, jitter_ms=20))
    assert all(0 <= dice.latency_seconds() <= 0.03 for _ in range(500))


@pytest.mark.parametrize(
    "wrong",
    [{"cut_taken": 1.5}, {"cut_taken": -1}, {"cut_taken": 0.6, "error_taken": 0.6}, {"typo": 0.1}],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Faults(**wrong)
