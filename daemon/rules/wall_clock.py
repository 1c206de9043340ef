"""Wall clocks: which instant a local time is, and what a clock on the wall shows at an instant.

The written rule for what daylight saving makes of a local time:

* A time that does not exist, because clocks jump over it, is the first instant after the jump. The wall then
  shows a later time than the one asked for, so nothing happens early, and nothing happens later than it must.
  RFC 5545 (3.3.5) would go on counting from before the jump: that is up to the jump's length later.
* A time that exists twice is the first of the two, as in RFC 5545. So it comes once.

The rules of the zones are those of the `tzdata` package, which Duly's lock file pins, and not those of the
host, which `zoneinfo` prefers and which may be older: the same answer on every machine.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ZONES = frozenset((files("tzdata") / "zones").read_text("utf-8").split())
"""The names of all zones."""

_STEP = timedelta(days=5)  # no zone ever changed its offset twice within six days
_SECOND = timedelta(seconds=1)


@cache
def zone_info(zone: str) -> ZoneInfo:
    """The rules of an IANA zone. Raises `ZoneInfoNotFoundError`, a `KeyError`, for a name that is none."""
    if zone not in ZONES:
        raise ZoneInfoNotFoundError(f"{zone!r} is no zone of the IANA time zone database")
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=zone)


def local(at: datetime, zone: str) -> datetime:
    """What a clock on the wall in `zone` shows at the aware `at`, as a naive datetime."""
    return at.astimezone(zone_info(zone)).replace(tzinfo=None, fold=0)


@lru_cache(maxsize=8192)
def instant(wall: datetime, zone: str) -> datetime:
    """The instant, in UTC, of the naive `wall` in `zone`, by the rule above. Raises `ValueError` if it is aware."""
    if wall.tzinfo is not None:
        raise ValueError(f"a wall-clock time has no zone of its own, but {wall.isoformat()} has")
    first = wall.replace(tzinfo=zone_info(zone), fold=0)
    at = first.astimezone(UTC)
    if local(at, zone) == wall:
        return at
    before_the_jump = first.replace(fold=1).astimezone(UTC)
    return offsets(zone, before_the_jump, at)[-1][0]


def offsets(zone: str, begin: datetime, end: datetime) -> list[tuple[datetime, timedelta]]:
    """The offsets from UTC of `zone` between two instants: `begin` with its offset, then each change.

    A change counts if it is after `begin` and not after `end`. Instants are in UTC.
    """
    there = zone_info(zone)
    at, offset = begin, _offset(begin, there)
    found = [(at, offset)]
    while at < end:
        step = min(at + _STEP, end)
        after = _offset(step, there)
        if after != offset:
            found.append((_change(there, at, step), after))
            offset = after
        at = step
    return found


def _offset(at: datetime, there: ZoneInfo) -> timedelta:
    offset = at.astimezone(there).utcoffset()
    assert offset is not None
    return offset


def _change(there: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first instant in (`before`, `after`] with the offset of `after`: changes come at whole seconds."""
    offset = _offset(after, there)
    before = before.replace(microsecond=0)
    low, high = 0, (after - before) // _SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(before + middle * _SECOND, there) == offset:
            high = middle
        else:
            low = middle
    return before + high * _SECOND
