"""Quiet hours in all zones and in sets of them, for all years: what is answered against clocks read one by one.

The oracle reads the clock on each wall at every quarter of an hour and at every change of offset, between which
nothing begins or ends here, and knows nothing of how the rule reckons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import Channel, Reason
from daemon.rules.answers import Allow, Defer, Skip
from daemon.rules.quiet_hours import DEFAULT_MARKETING, PATIENCE, QuietHours, quiet_hours
from daemon.rules.wall_clock import zone_info
from daemon.rules.zones import Whereabouts, whereabouts
from tests.unit import iana
from tests.unit.iana import YEARS

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)

HOURS = (
    DEFAULT_MARKETING,
    QuietHours(time(1, 30), time(2, 30)),  # begins and ends where clocks jump
    QuietHours(time(2), time(1, 45)),  # all day but for a quarter
    QuietHours(time(23, 45), time(0, 15)),
)
NUMBERS = {
    "Australia": "+61412345678",
    "Indonesia": "+6281234567890",
    "Kazakhstan": "+77012345678",
    "North America": "+15005550006",
    "Portugal": "+351912345678",
    "Russia": "+79161234567",
    "Spain": "+34612345678",
    "Tennessee": "+14235551234",
    "the Yukon to Nunavut": "+18675551234",
}


class Stretch:
    """A stretch of time in which all instants are quiet, or none."""

    def __init__(self, quiet: bool, begin: datetime, end: datetime) -> None:
        self.quiet, self.begin, self.end = quiet, begin, end

    def moments(self) -> tuple[datetime, ...]:
        return (self.begin, self.begin + (self.end - self.begin) / 3, self.end - _MICROSECOND)


Clocks = Sequence[tuple[datetime, Sequence[time]]]


def clocks(zones: Sequence[str], begin: datetime, end: datetime) -> Clocks:
    """What the clocks of `zones` show at every quarter, and whenever one of them is set."""
    moments = {at for zone in zones for at in iana.changes(zone) if begin < at < end}
    moments.update(iana.every_quarter(begin, end))
    theres = [zone_info(zone) for zone in zones]
    return [(at, [at.astimezone(there).time() for there in theres]) for at in sorted(moments)]


def stretches(hours: QuietHours, read: Clocks) -> list[Stretch]:
    """The stretches between the first clock and the last; both may be cut."""
    found: list[Stretch] = []
    for quiet, alike in groupby(read, key=lambda clock: any(wall in hours for wall in clock[1])):
        begin = next(alike)[0]
        if found:
            found[-1].end = begin
        found.append(Stretch(quiet, begin, read[-1][0]))
    return found


def check(hours: QuietHours, zones: tuple[str, ...], read: Clocks) -> int:
    """Compare the rule's answers in `zones` with the clocks; returns how many were compared."""
    where = Whereabouts(zones, "inferred")
    found = stretches(hours, read)
    checked = 0
    for index, stretch in enumerate(found[:-2]):
        following = found[index + 1]
        assert stretch.quiet != following.quiet
        for now in stretch.moments():
            answer = quiet_hours(hours, where, now).answer
            if stretch.quiet:
                assert answer == Defer(following.begin, Reason.QUIET_HOURS), (zones, hours, now)
            else:
                assert answer == Allow(following.begin), (zones, hours, now)
            checked += 1
    return checked


def days_of_each_year(zone: str) -> Iterator[tuple[datetime, datetime]]:
    """The days around each change, and for each year without any a few days of it."""
    changes = iana.changes(zone)
    for change in changes:
        noon = change.replace(hour=12, minute=0)
        yield noon - _DAY, noon + 3 * _DAY
    for year in set(YEARS).difference(change.year for change in changes):
        begin = datetime(year, 1 + year % 12, 1, 12, tzinfo=UTC)
        yield begin, begin + 2 * _DAY


@pytest.mark.parametrize("part", range(4))
def test_in_every_zone_and_year_the_answer_is_that_of_the_clock_on_the_wall(part: int) -> None:
    """The default hours in all zones; trickier ones once for each way in which clocks go."""
    answers = zone_years = 0
    for zone in iana.different_zones()[part::4]:
        hours = HOURS if zone in iana.different_clocks() else HOURS[:1]
        for begin, end in days_of_each_year(zone):
            read = clocks((zone,), begin, end)
            answers += sum(check(each, (zone,), read) for each in hours)
        zone_years += len(YEARS)
    assert zone_years >= 85 * len(YEARS)
    assert answers > 25_000


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS.keys())
def test_where_a_number_allows_several_zones_the_answer_is_that_of_all_their_clocks(number: str) -> None:
    zones = whereabouts(None, Channel.SMS, number).zones
    assert len(zones) > 1
    answers = 0
    for year in YEARS:
        for month in (3, 10):
            begin = datetime(year, month, 1 + 2 * (year % 12), 12, tzinfo=UTC)
            read = clocks(zones, begin, begin + 3 * _DAY)
            answers += check(QuietHours(time(22), time(5)), zones, read)
    assert answers > 250


quarters = st.integers(0, 95).map(lambda quarter: time(quarter // 4, quarter % 4 * 15))
any_hours = (
    st.tuples(quarters, quarters).filter(lambda two: two[0] != two[1]).map(lambda two: QuietHours(*two))
)
sets_of_zones = st.lists(st.sampled_from(iana.different_zones()), min_size=1, max_size=6, unique=True)


@st.composite
def moments(draw: st.DrawFn) -> tuple[tuple[str, ...], datetime]:
    """A few zones, and a moment of the years that is often near a change in one of them."""
    zones = tuple(sorted(draw(sets_of_zones)))
    near = [change for zone in zones for change in iana.changes(zone)]
    any_time = st.datetimes(
        datetime.fromisoformat(f"{YEARS[0]}-01-02"),
        datetime.fromisoformat(f"{YEARS[-1]}-12-25"),
        timezones=st.just(UTC),
    )
    if not near or draw(st.booleans()):
        return zones, draw(any_time)
    return zones, draw(st.sampled_from(near)) + draw(st.timedeltas(-_DAY, _DAY))


@given(any_hours, moments())
def test_in_any_zones_the_answer_is_the_first_that_all_their_clocks_allow(
    hours: QuietHours, drawn: tuple[tuple[str, ...], datetime]
) -> None:
    zones, now = drawn
    begin = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    found = stretches(hours, clocks(zones, begin, begin + PATIENCE + 3 * _DAY))
    current = next(index for index, stretch in enumerate(found) if stretch.begin <= now < stretch.end)
    answer = quiet_hours(hours, Whereabouts(zones, "inferred"), now).answer
    if not found[current].quiet:
        assert answer == Allow(found[current].end)
    elif found[current].end <= now + PATIENCE:
        assert answer == Defer(found[current].end, Reason.QUIET_HOURS)
    else:
        assert answer == Skip(Reason.QUIET_HOURS)


@given(any_hours, moments())
def test_what_was_deferred_may_go_when_it_said_and_not_a_microsecond_before(
    hours: QuietHours, drawn: tuple[tuple[str, ...], datetime]
) -> None:
    zones, now = drawn
    where = Whereabouts(zones, "inferred")
    answer = quiet_hours(hours, where, now).answer
    if isinstance(answer, Defer):
        assert answer.until > now
        assert isinstance(quiet_hours(hours, where, answer.until).answer, Allow)
        assert quiet_hours(hours, where, answer.until - _MICROSECOND).answer == answer
    if isinstance(answer, Allow):
        assert answer.until is not None
        assert answer.until > now
        assert not isinstance(quiet_hours(hours, where, answer.until).answer, Allow)
        assert quiet_hours(hours, where, answer.until - _MICROSECOND).answer == answer
