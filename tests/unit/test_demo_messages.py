"""The demo's messages: real enough, known beforehand, and never a delivery that nobody can settle."""

from collections import Counter

import phonenumbers
import pytest

from daemon.demo.messages import SHARES, Pace, plan, trickle
from daemon.rules.segments import segments
from daemon.sandbox.behaviours import behaviour_of

PLANNED = plan(2000, Pace.ONCE, 1)


def test_the_same_seed_plans_the_same_messages() -> None:
    assert plan(300, Pace.ONCE, 7) == plan(300, Pace.ONCE, 7)
    assert plan(300, Pace.ONCE, 7) != plan(300, Pace.ONCE, 8)


@pytest.mark.parametrize("how_many", [1, 7, 50, 333])
@pytest.mark.parametrize("pace", list(Pace))
def test_as_many_messages_are_planned_as_asked_for(how_many: int, pace: Pace) -> None:
    assert len(plan(how_many, pace, 1)) == how_many


def test_the_workspaces_are_of_very_unequal_size() -> None:
    assert Counter(m.workspace for m in PLANNED) == {"hospital": 1600, "gym-coach": 340, "florist": 60}
    assert sum(SHARES.values()) == pytest.approx(1)


def test_every_number_is_valid_and_given_once() -> None:
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(m.to)) for m in PLANNED)
    assert len({m.to for m in PLANNED}) == len(PLANNED)
    assert len({phonenumbers.parse(m.to).country_code for m in PLANNED}) > 25


def test_each_behaviour_of_the_stand_in_has_a_known_share() -> None:
    suffixes = Counter(m.to[-4:] for m in PLANNED if behaviour_of(m.to).suffix)
    assert suffixes == {
        "0001": 20, "0002": 20, "0003": 20, "0004": 30, "0005": 40, "0007": 60, "0008": 14, "0009": 30,
        "0014": 20, "0015": 40,
    }  # fmt: skip


@pytest.mark.parametrize("pace", list(Pace))
def test_no_number_leaves_a_delivery_uncertain(pace: Pace) -> None:
    assert not {m.to[-4:] for m in plan(1000, pace, 3)} & {"0010", "0011", "0012", "0013"}


def test_a_run_that_must_end_has_no_number_that_is_never_heard_of_again() -> None:
    assert "0006" not in {m.to[-4:] for m in PLANNED}
    assert max(m.due_seconds for m in PLANNED) <= 6


def test_a_run_that_measures_waits_for_nothing() -> None:
    measured = plan(2000, Pace.SPEED, 1)
    assert all(m.due_seconds == 0 for m in measured if not m.cancel)
    assert not {m.to[-4:] for m in measured} & {"0003", "0005", "0009", "0014"}


def test_bodies_have_one_to_five_segments_in_many_scripts() -> None:
    assert {segments(m.body).count for m in PLANNED} >= {1, 2, 4, 5}
    assert max(segments(m.body).count for m in PLANNED) == 5
    everything = "".join(m.body for m in PLANNED)
    assert all(sign in everything for sign in "é🎉様ا")
    assert "https://" in everything
    assert "{" not in everything


def test_all_priorities_expiries_media_and_cancellations_occur() -> None:
    assert {m.priority for m in PLANNED} == {1, 2, 3}
    assert any(m.media_urls for m in PLANNED)
    assert any(m.cancel for m in PLANNED)
    expiring = [m for m in PLANNED if m.expires_seconds is not None]
    assert expiring
    assert all(m.expires_seconds > m.due_seconds for m in expiring if m.expires_seconds is not None)


def test_the_trickle_does_not_run_dry() -> None:
    endless = trickle(1)
    few = [next(endless) for _ in range(500)]
    assert {m.workspace for m in few} == set(SHARES)
