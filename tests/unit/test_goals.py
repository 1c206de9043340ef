"""Goals: what they come to, over which days, and which one a text names."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.planning.goals import Goal, Kind, days, foremost, kind_of, plain, spans

amounts = st.decimals(min_value=-10, max_value=100, places=2)
goals = st.builds(
    Goal,
    st.sampled_from(["a", "b", "c"]),
    st.just("km"),
    st.decimals(min_value=1, max_value=50, places=1),
    st.just("week"),
    amounts,
)


@given(st.lists(goals, min_size=1, max_size=4))
def test_all_reached_is_met_something_done_is_partial_nothing_is_missed(some: list[Goal]) -> None:
    kind = kind_of(some)
    assert (kind is Kind.MET) == all(goal.done >= goal.target for goal in some)
    assert (kind is Kind.MISSED) == (not any(goal.done > 0 for goal in some))
    named = foremost(some)
    assert named.reached == (kind is Kind.MET)
    assert all(named.share <= goal.share for goal in some if not goal.reached) or kind is Kind.MET


@given(goals)
def test_a_hundred_percent_is_said_only_of_what_is_reached(goal: Goal) -> None:
    assert (goal.percent >= 100) == goal.reached
    assert goal.percent >= 0


@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.sampled_from(["day", "week", "month"]))
def test_the_period_holds_the_day_or_has_just_ended(on: date, period: str) -> None:
    begin, after = days(period, on)
    ended = (period == "week" and on.isoweekday() == 1) or (period == "month" and on.day == 1)
    assert after == on if ended else begin <= on < after
    assert {"day": 1, "week": 7}.get(period, (after - begin).days) == (after - begin).days
    assert period != "week" or begin.isoweekday() == 1
    assert period != "month" or (begin.day, after.day) == (1, 1)
    assert period != "month" or 28 <= (after - begin).days <= 31


def test_a_day_with_a_clock_change_counts_whole() -> None:
    spring = spans(date(2026, 3, 29), "Europe/Berlin")
    assert spring[1] - spring[0] == timedelta(hours=23)
    assert spring[0] == datetime(2026, 3, 28, 23, tzinfo=UTC)
    autumn = spans(date(2026, 10, 25), "Europe/Berlin")
    assert (autumn[1] - autumn[0], autumn[3] - autumn[2]) == (timedelta(hours=25), timedelta(days=7, hours=1))


@pytest.mark.parametrize(("number", "shown"), [("3", 3), ("3.50", 3.5), ("1e3", 1000), ("-0", 0)])
def test_a_number_is_shown_as_people_write_it(number: str, shown: float) -> None:
    assert plain(Decimal(number)) == shown
    assert isinstance(plain(Decimal(number)), type(shown))
