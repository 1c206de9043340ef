"""Spreading: within capacity, never in a quiet slot, nobody beyond tolerance who need not be, fair, near the optimum."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.planning.slot_board import Kind, Opening
from daemon.planning.spreading import Spread, Wish, beyond, lateness, spread
from tests.bench.spreading import day
from tests.optimum import DAY, HOUR, in_segments, optimum, week, whole_optimum

# Weeks on which the optimum is compared, among them the hardest that were found; the bench has more.
WEEKS = (1, 11, 37, 44, 65, 76, 85, 102, 144)
LONG_WEEKS = (3, 14, 21, 36)


def loads(wishes: list[Wish], found: Spread) -> Counter[int]:
    return Counter(
        {
            slot: sum(w.kind.segments * of.get(slot, 0) for w, of in zip(wishes, found.placed, strict=True))
            for slot in {slot for of in found.placed for slot in of}
        }
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Wish], list[int]]:
    slots = draw(st.integers(20, 40))
    openings: list[Opening | None] = [None, Opening((0, 15), (6, slots)), Opening((3,), (12,))]
    wishes = []
    for _ in range(draw(st.integers(1, 6))):
        wished = draw(st.integers(-2, 14))
        wishes.append(
            Wish(
                draw(st.sampled_from("abc")),
                Kind(
                    draw(st.integers(1, 3)),
                    wished,
                    wished - draw(st.integers(0, 4)),
                    wished + draw(st.integers(0, 8)),
                    draw(st.integers(1, 3)),
                    draw(st.sampled_from(openings)),
                    draw(st.one_of(st.none(), st.integers(8, 30))),
                ),
                draw(st.integers(1, 12)),
            )
        )
    return wishes, draw(st.lists(st.integers(0, 5), min_size=slots, max_size=slots))


@settings(max_examples=50, deadline=None)
@given(problems())
def test_capacity_quiet_hours_and_earliest_and_end_hold_whatever_is_wished(
    problem: tuple[list[Wish], list[int]],
) -> None:
    wishes, capacity = problem
    found = spread(wishes, capacity)
    assert all(load <= capacity[slot] for slot, load in loads(wishes, found).items())
    for wish, of, without in zip(wishes, found.placed, found.unplaced, strict=True):
        assert sum(of.values()) + without == wish.messages
        for slot in of:
            kind = wish.kind
            assert slot >= max(0, kind.earliest)
            assert kind.opening is None or kind.opening.next(slot) == slot
            assert kind.expires is None or slot < kind.expires


@pytest.mark.parametrize("seed", WEEKS)
def test_on_generated_weeks_as_few_are_beyond_tolerance_as_can_be_and_lateness_is_near_the_optimum(
    seed: int,
) -> None:
    given_week = week(seed, crowd=300)
    found = spread(given_week.wishes, given_week.capacity)
    assert not any(found.unplaced)
    best = optimum(given_week)
    late, slots = in_segments(given_week, found.placed)
    assert late == {priority: round(segments) for priority, segments in best.beyond.items()}
    assert slots <= 1.05 * best.lateness + 1e-6


@pytest.mark.parametrize("seed", LONG_WEEKS)
def test_long_messages_are_near_the_optimum_of_those_that_stay_whole(seed: int) -> None:
    given_week = week(seed, long_texts=True, crowd=300)
    found = spread(given_week.wishes, given_week.capacity)
    assert not any(found.unplaced)
    best = whole_optimum(given_week)
    late, slots = in_segments(given_week, found.placed)
    assert slots <= 1.05 * best.lateness + 1e-6
    segments = sum(wish.messages * wish.kind.segments for wish in given_week.wishes)
    assert sum(late.values()) <= sum(best.beyond.values()) + 0.01 * segments


def test_a_day_of_a_million_messages_takes_seconds() -> None:
    wishes = day(1_000_000)
    begun = time.process_time()
    found = spread(wishes, [1_000_000 * 8 // 100 // HOUR] * (4 * DAY))
    assert time.process_time() - begun < 10
    assert sum(beyond(wishes, found).values()) == 0


def test_a_coach_goes_first_and_moves_others_only_within_their_tolerance() -> None:
    wishes = [
        Wish("gym", Kind(3, 0, 0, 20), 30),
        Wish("gym", Kind(1, 2, 2, 20), 4),
        Wish("gym", Kind(3, 0, 0, 1), 4),  # cannot wait
    ]
    found = spread(wishes, [4] * 40)
    assert found.placed[1] == {2: 4}
    assert max(found.placed[2]) <= 1
    assert beyond(wishes, found) == {1: 0, 3: 0}


def test_a_coach_waits_within_tolerance_where_another_would_go_beyond_theirs() -> None:
    wishes = [Wish("a", Kind(1, 0, 0, 5), 4), Wish("b", Kind(3, 0, 0, 0), 4)]
    found = spread(wishes, [4] * 10)
    assert found.placed == [{1: 4}, {0: 4}]


def test_nobody_waits_behind_another_workspaces_thousands() -> None:
    wishes = [Wish("large", Kind(2, 0, 0, 400), 5000), Wish("small", Kind(2, 6, 6, 30), 8)]
    found = spread(wishes, [10] * 1200)
    assert max(found.placed[1]) <= 8
    assert beyond(wishes, found)[2] == 5000 - 4010 + 8  # of the large one's alone
    assert sum(n for slot, n in found.placed[1].items() if slot > 30) == 0


def test_of_too_many_each_workspace_has_as_many_within_tolerance() -> None:
    wishes = [Wish(name, Kind(2, 0, 0, 9), 90) for name in "abc"]
    found = spread(wishes, [10] * 100)
    within = [sum(n for slot, n in of.items() if slot <= 9) for of in found.placed]
    assert max(within) - min(within) <= 1
    assert sum(within) == 100


def test_early_is_taken_only_as_far_as_it_keeps_somebody_from_being_late() -> None:
    calm = spread([Wish("a", Kind(2, 10, 0, 20), 3)], [4] * 30)
    assert calm.placed == [{10: 3}]
    wishes = [Wish("a", Kind(2, 10, 8, 20), 14)]
    rush = spread(wishes, [4] * 30)
    assert rush.placed == [{8: 4, 9: 4, 10: 4, 11: 2}]
    assert lateness(wishes, rush.placed) == 2


def test_who_may_go_at_night_makes_room_for_who_may_not() -> None:
    by_day = Opening((0, 50), (4, 100))
    wishes = [Wish("b", Kind(2, 0, 0, 99), 8), Wish("a", Kind(2, 0, 0, 99, 1, by_day), 8)]
    found = spread(wishes, [4] * 100)
    assert max(found.placed[1]) < 4
    assert found.placed[0].keys() | found.placed[1].keys() == {0, 1, 2, 3}


def test_long_messages_take_their_segments() -> None:
    wishes = [Wish("a", Kind(2, 0, 0, 50, segments=3), 4), Wish("a", Kind(2, 0, 0, 50), 4)]
    found = spread(wishes, [4] * 60)
    assert loads(wishes, found) == {0: 4, 1: 4, 2: 4, 3: 4}
