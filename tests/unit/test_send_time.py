"""A learned send time: within the hours, the same each time, at the chosen time until more is known, and worth it."""

from __future__ import annotations

from datetime import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.planning.send_time import Habit, learned
from tests.simulated_people import ALLOWED, World, over, simulate

SUNDAY = 6
AT_EIGHT = SUNDAY * 24 + 8

hours = st.dictionaries(st.integers(0, 167), st.floats(0, 50), max_size=8)


@given(hours, hours, hours, hours, st.sets(st.integers(0, 23)), st.times(), st.integers(0, 6), st.integers())
def test_it_is_the_own_hour_or_an_allowed_one_of_the_same_day_with_the_same_minutes(
    active: dict[int, float],
    sent: dict[int, float],
    answered: dict[int, float],
    all_sent: dict[int, float],
    allowed: set[int],
    preferred: time,
    weekday: int,
    seed: int,
) -> None:
    person, cohort = Habit(active, sent, answered), Habit(answered, all_sent, sent)
    at, because = learned(preferred, weekday, person, cohort, allowed, Random(seed))
    assert at.hour in allowed | {preferred.hour}
    assert at.replace(hour=preferred.hour) == preferred
    assert (because["fixed"], because["learned"]) == (f"{preferred:%H:%M}", f"{at:%H:%M}")
    assert learned(preferred, weekday, person, cohort, allowed, Random(seed)) == (at, because)


def test_who_is_new_among_new_people_is_written_to_at_the_chosen_time() -> None:
    for seed in range(50):
        at, because = learned(time(18, 30), SUNDAY, Habit(), Habit(), ALLOWED, Random(seed))
        assert (at, because["from"]) == (time(18, 30), 0)


def test_who_is_new_begins_with_the_cohorts_hours() -> None:
    cohort = Habit(active={day * 24 + 8: 200.0 for day in range(7)})
    found = [learned(time(18), SUNDAY, Habit(), cohort, ALLOWED, Random(seed))[0].hour for seed in range(50)]
    assert sum(hour in (7, 8, 9) for hour in found) > 40


def test_what_a_person_does_goes_before_what_the_cohort_does() -> None:
    cohort = Habit(active={day * 24 + 8: 200.0 for day in range(7)})
    night = Habit(active={day * 24 + 21: 10.0 for day in range(7)})
    found = [learned(time(18), SUNDAY, night, cohort, ALLOWED, Random(seed))[0].hour for seed in range(50)]
    assert sum(hour in (20, 21) for hour in found) > 40


def test_an_hour_in_which_nobody_ever_answers_is_left() -> None:
    deaf = Habit(sent={SUNDAY * 24 + 18: 30.0, AT_EIGHT: 5.0}, answered={AT_EIGHT: 5.0})
    found = [learned(time(18), SUNDAY, deaf, Habit(), ALLOWED, Random(seed))[0].hour for seed in range(50)]
    assert 18 not in found


def test_answers_that_come_because_a_message_went_then_are_no_reason_to_move_nor_to_stay() -> None:
    """Half of ten messages answered at 18:00, as everywhere: nothing is known of other hours that would be better."""
    person = Habit(sent={SUNDAY * 24 + 18: 10.0}, answered={SUNDAY * 24 + 18: 5.0})
    cohort = Habit(sent=dict.fromkeys(range(168), 50.0), answered=dict.fromkeys(range(168), 25.0))
    found = {learned(time(18), SUNDAY, person, cohort, ALLOWED, Random(seed))[0].hour for seed in range(50)}
    assert found == {18}


# What it is worth, with people whose habits are known. The figures of docs/learning.md are of a larger run.


def test_it_gains_most_of_what_an_oracle_would() -> None:
    runs = simulate(World(), people=150, weeks=26, seed=3)
    first, later = over(runs[:4]), over(runs[13:])
    assert first.gain > 0.15
    assert later.gain > 0.6
    assert later.share > 0.55


def test_it_learns_from_answers_alone() -> None:
    assert over(simulate(World(acts_a_week=0), people=150, weeks=26, seed=3)[13:]).gain > 0.15


@pytest.mark.parametrize(
    ("world", "most"),
    [
        (World(base=0.2, height=0, act_noise=1), 0.0),  # every hour is as good
        (World(peaks=((18.5, 1.0),), shift_hours=0), 0.04),  # the chosen hour is everybody's best
        (
            World(peaks=((18.5, 1.0),), shift_hours=0, act_noise=1),
            0.09,
        ),  # and what people do says nothing of it
    ],
)
def test_where_there_is_nothing_to_gain_little_is_lost(world: World, most: float) -> None:
    assert over(simulate(world, people=150, weeks=26, seed=3)).gain >= -most - 1e-9
