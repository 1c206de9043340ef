"""All zones of the IANA database over the years that the rules of time are checked for, found by brute force."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from daemon.rules.wall_clock import ZONES, zone_info

YEARS = range(2020, 2036)
QUARTER = timedelta(minutes=15)
"""What all offsets in these years are multiples of: a test says so."""

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


def rules_of(zone: str) -> bytes:
    """The zone's compiled rules, as the tzdata package has them."""
    return files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()


@cache
def different_zones() -> tuple[str, ...]:
    """One name for each different set of rules: what holds for it holds for its other names."""
    return tuple(sorted({rules_of(zone): zone for zone in sorted(ZONES, reverse=True)}.values()))


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """Every instant in the years at which the zone's offset from UTC changes, looked for minute by minute."""
    there, found = zone_info(zone), []
    day, end = datetime(YEARS[0], 1, 1, tzinfo=UTC), datetime(YEARS[-1] + 1, 1, 1, tzinfo=UTC)
    offset = _offset(day, there)
    while day < end:
        if (after := _offset(day + _DAY, there)) != offset:
            quarters = (day + n * QUARTER for n in range(1, _DAY // QUARTER + 1))
            quarter = next(at for at in quarters if _offset(at, there) == after)
            minutes = (quarter - QUARTER + n * _MINUTE for n in range(1, 16))
            found.append(next(at for at in minutes if _offset(at, there) == after))
            offset = after
        day += _DAY
    return tuple(found)


@cache
def different_clocks() -> tuple[str, ...]:
    """One name for each different way in which clocks go in the years."""
    begin = datetime(YEARS[0], 1, 1, tzinfo=UTC)
    ways: dict[tuple[tuple[datetime, timedelta], ...], str] = {}
    for zone in different_zones():
        there = zone_info(zone)
        ways.setdefault(tuple((at, _offset(at, there)) for at in (begin, *changes(zone))), zone)
    return tuple(ways.values())


def written_changes(zone: str) -> list[datetime]:
    """The instants of change that are written in the zone's file (RFC 9636), without those its last rule makes."""
    rules = rules_of(zone)
    head = struct.Struct(">4sc15x6l")
    _magic, _version, utc, standard, leaps, times, types, letters = head.unpack_from(rules)
    second = head.size + times * 5 + types * 6 + letters + leaps * 8 + standard + utc
    count = head.unpack_from(rules, second)[5]
    seconds: Sequence[int] = struct.unpack_from(f">{count}q", rules, second + head.size)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [epoch + timedelta(seconds=at) for at in seconds if at > -(2**33)]


def every_quarter(begin: datetime, end: datetime) -> Iterator[datetime]:
    """The quarters of an hour from `begin` until before `end`."""
    while begin < end:
        yield begin
        begin += QUARTER


def _offset(at: datetime, there: ZoneInfo) -> timedelta:
    offset = at.astimezone(there).utcoffset()
    assert offset is not None
    return offset
