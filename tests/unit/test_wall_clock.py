"""Local times and instants: the written rule, by examples and around every change of every zone's offset."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rules.wall_clock import ZONES, instant, local, offsets, zone_info
from tests.unit import iana
from tests.unit.iana import QUARTER, YEARS

_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)

zones = st.sampled_from(iana.different_zones())
walls = st.datetimes(
    datetime.fromisoformat(f"{YEARS[0]}-01-01"), datetime.fromisoformat(f"{YEARS[-1]}-12-31T23:59")
)


@pytest.mark.parametrize(
    ("zone", "wall", "expected"),
    [
        ("Europe/Paris", "2026-01-15T09:00", "2026-01-15T08:00Z"),
        ("Europe/Paris", "2026-07-15T09:00:01.000001", "2026-07-15T07:00:01.000001Z"),
        # what does not exist is the first instant after the jump
        ("Europe/Paris", "2026-03-29T01:59:59.999999", "2026-03-29T00:59:59.999999Z"),
        ("Europe/Paris", "2026-03-29T02:00", "2026-03-29T01:00Z"),
        ("Europe/Paris", "2026-03-29T02:30", "2026-03-29T01:00Z"),
        ("Europe/Paris", "2026-03-29T02:59:59.999999", "2026-03-29T01:00Z"),
        ("Europe/Paris", "2026-03-29T03:00", "2026-03-29T01:00Z"),
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30Z"),  # clocks jump by half an hour
        ("Antarctica/Troll", "2026-03-29T01:30", "2026-03-29T01:00Z"),  # by two hours
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00Z"),  # over a whole day
        # what exists twice is the first of the two
        ("America/New_York", "2026-11-01T01:30", "2026-11-01T05:30Z"),
        ("America/New_York", "2026-11-01T02:00", "2026-11-01T07:00Z"),
        ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45Z"),
        ("Europe/Dublin", "2026-10-25T01:30", "2026-10-25T00:30Z"),  # its winter time is the daylight saving
        ("Africa/Casablanca", "2026-02-15T02:30", "2026-02-15T01:30Z"),  # Ramadan begins
        # the ends of the world
        ("Pacific/Kiritimati", "2026-01-01T00:00", "2025-12-31T10:00Z"),
        ("Etc/GMT+12", "2026-01-01T00:00", "2026-01-01T12:00Z"),
    ],
)
def test_a_wall_clock_time_is_the_instant_that_the_rule_says(zone: str, wall: str, expected: str) -> None:
    assert instant(datetime.fromisoformat(wall), zone) == datetime.fromisoformat(expected)


def test_an_aware_time_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone of its own"):
        instant(datetime(2026, 1, 1, tzinfo=UTC), "Europe/Paris")


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../zones", "/etc/passwd", "localtime"])
def test_a_name_that_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(KeyError, match="is no zone"):
        zone_info(zone)


def test_the_rules_are_those_of_the_package_whatever_the_host_says(tmp_path: Path) -> None:
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia" / "Tokyo").write_bytes(iana.rules_of("Etc/UTC"))
    zoneinfo.reset_tzpath([tmp_path])
    try:
        host = zoneinfo.ZoneInfo.no_cache("Asia/Tokyo")
        zone_info.cache_clear()
        assert datetime(2026, 1, 1, tzinfo=host).utcoffset() == timedelta(0)
        assert instant(datetime.fromisoformat("2026-01-01T09:00"), "Asia/Tokyo") == datetime(
            2026, 1, 1, tzinfo=UTC
        )
    finally:
        zoneinfo.reset_tzpath()


def test_no_zone_ever_changes_its_offset_twice_within_six_days() -> None:
    """So `offsets` may step two days at a time and misses none."""
    written = [iana.written_changes(zone) for zone in ZONES]
    assert sum(map(len, written)) > 25_000
    assert all(later - earlier > timedelta(days=6) for times in written for earlier, later in pairwise(times))


def test_offsets_has_every_change_of_every_zone() -> None:
    begin, end = datetime(YEARS[0], 1, 1, tzinfo=UTC), datetime(YEARS[-1] + 1, 1, 1, tzinfo=UTC)
    checked = 0
    for zone in iana.different_zones():
        found = offsets(zone, begin, end)
        assert [at for at, _offset in found] == [begin, *iana.changes(zone)]
        assert all(at.astimezone(zone_info(zone)).utcoffset() == offset for at, offset in found)
        checked += len(found) - 1
    assert checked >= 3_400


def test_every_offset_is_a_multiple_of_a_quarter() -> None:
    """So what holds for every quarter of an hour in the tests of this folder holds for all times between."""
    for zone in iana.different_zones():
        for at in (datetime(YEARS[0], 1, 1, tzinfo=UTC), *iana.changes(zone)):
            offset = at.astimezone(zone_info(zone)).utcoffset()
            assert offset is not None
            assert not offset % QUARTER


def test_around_every_change_each_time_comes_once_never_early_and_in_order() -> None:
    """An oracle that looks at the clock on the wall each quarter of an hour, and knows nothing of offsets."""
    checked = skipped = doubled = 0
    for zone in iana.different_zones():
        for change in iana.changes(zone):
            shown = [
                (at, local(at, zone)) for at in iana.every_quarter(change - 5 * _HOUR, change + 5 * _HOUR)
            ]
            first_at = {wall: at for at, wall in reversed(shown)}
            walls = list(iana.every_quarter(shown[0][1] + 3 * _HOUR, shown[-1][1] - 3 * _HOUR))
            instants = [instant(wall, zone) for wall in walls]
            for wall, at in zip(walls, instants, strict=True):
                if wall in first_at:
                    assert at == first_at[wall], (zone, wall)
                else:
                    assert at == change, (zone, wall)
                    assert local(at, zone) > wall > local(at - _MICROSECOND, zone)
                    skipped += 1
                assert instant(local(at, zone), zone) == at, (zone, wall)
            assert instants == sorted(instants)
            checked += len(walls)
            doubled += len(shown) - len(first_at)
    assert checked >= 50_000
    assert skipped >= 6_000
    assert doubled >= 6_000


@given(zones, walls)
def test_a_time_that_exists_is_what_the_clock_shows_then(zone: str, wall: datetime) -> None:
    at = instant(wall, zone)
    shown = local(at, zone)
    assert shown >= wall
    assert shown == wall or at in iana.changes(zone)


@given(zones, walls)
def test_an_instant_is_found_again_by_its_wall_clock_unless_that_came_before(
    zone: str, wall: datetime
) -> None:
    at = wall.replace(tzinfo=UTC)
    found = instant(local(at, zone), zone)
    assert found == at or (found < at and local(found, zone) == local(at, zone))


@given(zones, walls)
def test_the_same_time_of_each_day_comes_once_a_day(zone: str, wall: datetime) -> None:
    week = [instant(wall + timedelta(days=day), zone) for day in range(8)]
    assert all(22 * _HOUR <= later - earlier <= 26 * _HOUR for earlier, later in pairwise(week))
