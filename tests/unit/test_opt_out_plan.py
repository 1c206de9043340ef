"""What a race queues and stops, and the rules that it runs under."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.chaos.opt_out.plan import Part, Planned, Stop, plan
from daemon.chaos.opt_out.rules import CAPS, CROWD, NARROW, NIGHTS, PACED, QUIET_SECONDS, quiet, tuned
from daemon.chaos.settings import Place, toml
from daemon.config import parse_config
from daemon.model import Channel
from daemon.queue.rulebook import Rulebook
from daemon.rules.answers import Allow
from daemon.rules.judgement import Known, judge
from daemon.rules.zones import whereabouts
from daemon.sandbox.behaviours import ORDINARY, behaviour_of

seeds = st.integers(0, 1_000_000)
QUIET_AT = datetime(2026, 10, 25, 0, 59, 58, tzinfo=UTC)  # two seconds before summer time ends in Europe


def planned(pairs: int = 150, seed: int = 1) -> list[Planned]:
    return plan(seed=seed, pairs=pairs, seconds=14, quiet_at=6)


@given(seeds)
def test_the_same_seed_makes_the_same_race(seed: int) -> None:
    race = planned(seed=seed)
    assert race == planned(seed=seed)
    assert [each.number for each in race] == list(range(len(race)))
    assert all(0 <= each.at <= each.due and each.stop_at >= 0 for each in race)


@given(seeds)
def test_a_short_race_has_every_kind_of_stop_and_as_many_pairs_as_asked_for(seed: int) -> None:
    stops = Counter(each.stop for each in planned(seed=seed) if each.part is Part.PAIR and each.stop)
    assert set(stops) == set(Stop)
    assert stops.total() == 150


@given(seeds)
def test_a_short_race_has_quiet_hours_in_its_middle_and_more_than_each_cap_lets_through(seed: int) -> None:
    race = planned(seed=seed)
    due = [each.due for each in race if each.part is Part.NIGHT]
    assert min(due) < 6
    assert any(6 < at < 6 + QUIET_SECONDS for at in due)
    assert {each.category for each in race if each.part is Part.NIGHT} == set(NIGHTS)
    for part, category in ((Part.CROWD, CROWD), (Part.PACED, PACED)):
        people = Counter(each.to for each in race if each.part is part)
        assert len(people) >= 2
        assert min(people.values()) > CAPS[category].most


def test_nobody_is_in_two_parts_and_no_address_means_anything_special_to_the_stand_in() -> None:
    race = planned(pairs=12_000)
    people: dict[str, set[Part]] = {}
    for each in race:
        people.setdefault(each.to, set()).add(each.part)
    assert all(len(parts) == 1 for parts in people.values())
    assert all(behaviour_of(to) is ORDINARY for to in people)


@pytest.mark.parametrize("category", NIGHTS)
def test_quiet_hours_begin_and_end_to_the_second_where_the_recipients_are(category: str) -> None:
    """Also at a daylight saving's end, when a wall-clock time comes twice."""
    night = next(each for each in planned() if each.category == category)
    place = Place("a", 1, "postgresql://x@127.0.0.1/x", "http://127.0.0.1:1")
    config = parse_config(toml(place, tuned(NARROW, QUIET_AT)), environ={})
    rules = Rulebook(config).of(night.workspace, night.category)
    assert rules is not None
    assert whereabouts(night.zone, Channel.SMS, night.to).zones == (NIGHTS[night.category].zone,)

    def goes(now: datetime) -> bool:
        return isinstance(judge(rules, Known(now, Channel.SMS, night.to, time_zone=night.zone)).answer, Allow)

    begins, ends = quiet(QUIET_AT)[night.category]
    moment = timedelta(microseconds=1)
    assert [goes(at) for at in (begins - moment, begins, ends - moment, ends)] == [True, False, False, True]
