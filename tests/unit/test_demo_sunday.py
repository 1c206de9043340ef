"""The demo's Sunday: always ahead, and what is done now counts in its week, on whatever day and in whatever zone."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.demo.people import people
from daemon.demo.sunday import coming_sunday, in_its_week, over_capacity
from daemon.planning.goals import spans
from daemon.rules.wall_clock import local


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Pacific/Auckland"])
@pytest.mark.parametrize("hours", range(0, 7 * 24, 5))
def test_the_sunday_is_ahead_and_what_is_done_now_counts_for_it(hours: int, zone: str) -> None:
    now = datetime(2026, 11, 23, 0, 1, tzinfo=UTC) + timedelta(hours=hours)
    sunday = coming_sunday(now, zone)
    assert sunday.isoweekday() == 7
    assert timedelta(0) < sunday - local(now, zone).date() <= timedelta(days=7)
    at = in_its_week(now, sunday, zone)
    _, _, begin, end, _, _ = spans(sunday, zone)
    assert begin <= at < end
    assert now <= at < now + timedelta(days=1)  # as duly.add_progress takes it


def test_there_are_as_many_people_as_asked_for_with_numbers_of_their_own_and_most_want_the_same_time() -> (
    None
):
    found = people(420)
    assert len({p.number for p in found}) == len({p.name for p in found}) == 420
    assert sum(p.time == "18:00" for p in found) > 300
    assert 0 < sum(p.coach for p in found) < 30
    assert {p.style for p in found} == {"supportive", "snarky", "chaotic"}
    assert found[:20] == people(20)


def test_more_than_an_account_carries_in_five_minutes_is_counted() -> None:
    at = datetime(2026, 11, 29, 18, tzinfo=UTC)
    assert over_capacity([(at, 1)] * 8) == 0
    assert over_capacity([(at, 1)] * 10) == 1
