"""Caps by hand and by property: what counts, and when there is room again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import Charge, Reason
from daemon.rules import wall_clock
from daemon.rules.answers import Allow, Defer, Skip
from daemon.rules.caps import Cap, cap, period

NOW = datetime(2026, 3, 11, 15, 30, tzinfo=UTC)  # a Wednesday
DAY = timedelta(days=1)
ZONES = (
    "UTC",
    "America/New_York",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "America/Santiago",
)


def test_a_sliding_window_has_room_when_the_oldest_that_matters_leaves() -> None:
    marks = [NOW - DAY * 29, NOW - DAY * 31, NOW - DAY, NOW]
    three = Cap("recipient", 3, timedelta(days=30))
    ruling, charge = cap(three, marks, NOW)
    assert ruling.answer == Defer(NOW + DAY, Reason.CAP_REACHED)
    assert charge == Charge("recipient", 3, 30 * 86_400.0)
    assert cap(three, marks[1:], NOW)[0].answer == Allow()
    # Of two too many the second to leave makes the room.
    assert cap(Cap("few", 1, DAY * 30), marks, NOW)[0].answer == Defer(NOW + DAY * 30, Reason.CAP_REACHED)


@pytest.mark.parametrize(
    ("calendar", "begins", "ends"),
    [
        ("day", datetime(2026, 3, 11, 4, tzinfo=UTC), datetime(2026, 3, 12, 4, tzinfo=UTC)),
        # The clocks went forward on Sunday the 8th: the week that ends then is an hour shorter.
        ("week", datetime(2026, 3, 9, 4, tzinfo=UTC), datetime(2026, 3, 16, 4, tzinfo=UTC)),
        ("month", datetime(2026, 3, 1, 5, tzinfo=UTC), datetime(2026, 4, 1, 4, tzinfo=UTC)),
    ],
)
def test_a_calendar_s_period_is_the_recipient_s(calendar: str, begins: datetime, ends: datetime) -> None:
    assert period(calendar, NOW, "America/New_York") == (begins, ends)  # type: ignore[arg-type]
    one = Cap("one", 1, calendar=calendar)  # type: ignore[arg-type]
    assert cap(one, [begins - DAY], NOW, "America/New_York")[0].answer == Allow()
    held, charge = cap(one, [begins + timedelta(seconds=1)], NOW, "America/New_York")
    assert held.answer == Defer(ends, Reason.CAP_REACHED)
    assert charge == Charge("one", 1, None, begins, ends)


def test_what_has_no_room_is_skipped_where_the_cap_says_so_or_there_never_is_any() -> None:
    assert cap(Cap("c", 1, DAY, skips=True), [NOW], NOW)[0].answer == Skip(Reason.CAP_REACHED)
    assert cap(Cap("c", 0, calendar="week"), [], NOW)[0].answer == Skip(Reason.CAP_REACHED)


@given(
    ages=st.lists(st.floats(0, 20 * 86_400), max_size=12),
    limit=st.integers(1, 6),
    days=st.floats(0.01, 15),
)
def test_a_sliding_cap_is_never_over_and_never_waits_too_long(
    ages: list[float], limit: int, days: float
) -> None:
    window, marks = timedelta(days=days), [NOW - timedelta(seconds=age) for age in ages]
    answer = cap(Cap("c", limit, window), marks, NOW)[0].answer

    def used(at: datetime) -> int:
        return sum(mark > at - window for mark in marks)

    if isinstance(answer, Allow):
        assert used(NOW) < limit
    else:
        assert isinstance(answer, Defer)
        assert used(NOW) >= limit
        assert used(answer.until) < limit
        assert used(answer.until - timedelta(microseconds=1)) >= limit


@given(
    seconds=st.integers(0, 16 * 365 * 86_400),
    zone=st.sampled_from(ZONES),
    calendar=st.sampled_from(["day", "week", "month"]),
)
def test_every_moment_is_within_its_period(seconds: int, zone: str, calendar: str) -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    begins, ends = period(calendar, now, zone)  # type: ignore[arg-type]
    assert begins <= now < ends
    same = wall_clock.local(now, zone).date()
    last = wall_clock.local(ends - timedelta(microseconds=1), zone).date()
    first = wall_clock.local(begins, zone).date()
    assert first <= same <= last
    assert calendar != "week" or (first.weekday(), last.weekday()) in ((0, 6), (0, 5), (1, 6))
