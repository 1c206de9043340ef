"""Loops of automatic answers: two robots that write to each other fall silent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.rules.loops import Patience, may_answer

DAY = 86_400.0
UNHURRIED = settings(deadline=None)  # the machine may be busy
patiences = st.builds(
    Patience,
    answers=st.integers(0, 6),
    window_seconds=st.floats(10, 2 * DAY),
    repeats=st.integers(1, 6),
    repeat_window_seconds=st.floats(1, 600),
)
ages = st.lists(st.floats(-60, 3 * DAY), max_size=12)


@pytest.mark.parametrize(
    ("answered", "repeated", "allowed"),
    [
        ([], [], True),
        ([5.0, 10.0], [], True),
        ([5.0, 10.0, 15.0], [], False),
        ([5.0, 10.0, DAY], [], True),
        ([5.0, 10.0, DAY - 1], [], False),
        ([], [1.0, 2.0], True),
        ([], [1.0, 2.0, 3.0], False),
        ([], [1.0, 2.0, 60.0], True),
        ([-3.0, -2.0, -1.0], [], False),
    ],
)
def test_three_answers_a_day_and_three_repeats_a_minute_are_the_end(
    answered: list[float], repeated: list[float], allowed: bool
) -> None:
    assert may_answer(answered, repeated) is allowed


@UNHURRIED
@given(patiences, st.lists(st.floats(0.01, 5_000), min_size=40, max_size=40), st.booleans())
def test_two_robots_that_answer_each_other_stop_after_the_allowed_number(
    patience: Patience, delays: list[float], same_text: bool
) -> None:
    """Robot 0 is ours; robot 1 answers everything at once. A person wrote first."""
    now, answers, heard = 0.0, list[float](), list[float]()
    for delay in delays:
        now += delay
        repeated = [now - moment for moment in heard] if same_text else []
        heard.append(now)
        if not may_answer([now - moment for moment in answers], repeated, patience):
            break
        answers.append(now)
    for moment in answers:
        assert sum(0 <= moment - other < patience.window_seconds for other in answers) <= patience.answers
    if sum(delays) < patience.window_seconds:
        assert len(answers) <= patience.answers
    if not same_text and sum(delays) < patience.window_seconds:
        assert len(answers) == patience.answers


@UNHURRIED
@given(st.lists(st.floats(0.01, 10), min_size=20, max_size=20))
def test_of_two_robots_with_this_guard_the_exchange_ends_by_itself(delays: list[float]) -> None:
    now, turn, answers = 0.0, 0, (list[float](), list[float]())
    for delay in delays:
        now += delay
        if not may_answer([now - moment for moment in answers[turn]]):
            break
        answers[turn].append(now)
        turn = 1 - turn
    else:
        pytest.fail("they still write to each other")
    assert (len(answers[0]), len(answers[1])) == (3, 3)


@UNHURRIED
@given(patiences, ages, ages, st.floats(-60, 3 * DAY))
def test_one_more_answer_or_repeat_never_allows_what_was_refused(
    patience: Patience, answered: list[float], repeated: list[float], more: float
) -> None:
    if not may_answer(answered, repeated, patience):
        assert not may_answer([*answered, more], repeated, patience)
        assert not may_answer(answered, [*repeated, more], patience)


@UNHURRIED
@given(patiences, ages, ages, st.floats(0, DAY))
def test_waiting_never_forbids_what_was_allowed(
    patience: Patience, answered: list[float], repeated: list[float], wait: float
) -> None:
    if may_answer(answered, repeated, patience):
        later = ([age + wait for age in answered], [age + wait for age in repeated])
        assert may_answer(*later, patience)
