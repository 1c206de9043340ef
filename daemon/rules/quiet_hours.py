"""Quiet hours: no message while it is too early or too late in the day where its recipient is, or may be.

An instant is quiet if the clock on the wall shows a quiet time in any of the zones that the recipient may be
in. What is deferred waits for the first instant that is quiet in none of them. All is reckoned in instants,
change of offset by change of offset, so that daylight saving neither lets a message through nor holds it back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain
from typing import Literal

from daemon.model import Reason
from daemon.rules import wall_clock
from daemon.rules.answers import Allow, Defer, Ruling, Skip
from daemon.rules.zones import Whereabouts

RULE = "quiet_hours"

PATIENCE = timedelta(hours=48)
"""How far ahead an hour is looked for that all zones allow."""

_DAY = timedelta(days=1)
_AHEAD = _DAY + PATIENCE  # from the begin of a day, for all of its instants
_ZONES_NAMED = 5
_NO_COMMON_HOUR = f"no instant within {PATIENCE // timedelta(hours=1)} hours is allowed in all of these zones"
_NO_ZONE = "nothing tells the zone"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `begins` until just before `ends`, by the wall clock; over midnight if `ends` is the earlier.

    Raises `ValueError` if they are the same, which could mean always or never, or if one names a zone.
    """

    begins: time
    ends: time

    def __post_init__(self) -> None:
        if self.begins.tzinfo is not None or self.ends.tzinfo is not None:
            raise ValueError("quiet hours are in the recipient's zone and name none themselves")
        if self.begins == self.ends:
            raise ValueError(
                f"quiet hours begin and end at {self.begins}: say when they end, or leave them out"
            )

    def __contains__(self, wall: time) -> bool:
        """Whether a clock that shows `wall` shows a quiet time."""
        if self.begins < self.ends:
            return self.begins <= wall < self.ends
        return wall >= self.begins or wall < self.ends

    def __str__(self) -> str:
        begins, ends = self.begins.isoformat(), self.ends.isoformat()
        return f"{begins.removesuffix(':00')} to {ends.removesuffix(':00')}"


DEFAULT_MARKETING = QuietHours(time(21), time(8))
"""What US law forbids for telephone solicitation: "before the hour of 8 a.m. or after 9 p.m. (local time at the
called party's location)", 47 CFR 64.1200(c)(1)."""


@dataclass(frozen=True, slots=True)
class Assume:
    """Take the recipient to be in this IANA zone. Raises `ValueError` for a name that is none."""

    zone: str

    def __post_init__(self) -> None:
        if self.zone not in wall_clock.ZONES:
            raise ValueError(f"{self.zone!r} is no zone of the IANA time zone database")


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """What the operator chose for a recipient whose zones decide nothing.

    `no_common_hour`: the zones they may be in never allow the same instant (within `PATIENCE`). `no_zone`:
    nothing is known of where they are.
    """

    no_common_hour: Literal["skip"] | Assume = "skip"
    no_zone: Literal["skip", "allow"] | Assume = "skip"


_CAUTIOUS = Fallbacks()


def quiet_hours(
    hours: QuietHours | None, whereabouts: Whereabouts, now: datetime, fallbacks: Fallbacks = _CAUTIOUS
) -> Ruling:
    """May it go at the aware `now`? `hours` None: there are none.

    `Allow.until` is the next instant that is quiet in any zone, `Defer.until` the next that is so in none.
    """
    if hours is None:
        return Ruling(RULE, Allow(), {"hours": None})
    now = now.astimezone(UTC)
    if not whereabouts.zones:
        return _fallen_back(fallbacks.no_zone, _NO_ZONE, hours, whereabouts, now)
    timetable = _timetable(hours, whereabouts.zones, now.date())
    answer = timetable.answer(now)
    if answer is None:
        return _fallen_back(fallbacks.no_common_hour, _NO_COMMON_HOUR, hours, whereabouts, now)
    because = {
        "hours": timetable.hours,
        "zones": timetable.zones,
        "source": whereabouts.source,
        "local": timetable.local(now),
    }
    return Ruling(RULE, answer, because)


def _fallen_back(
    choice: Literal["skip", "allow"] | Assume,
    why: str,
    hours: QuietHours,
    whereabouts: Whereabouts,
    now: datetime,
) -> Ruling:
    because: dict[str, str | int | bool | None] = {
        "hours": str(hours),
        "zones": _named(whereabouts.zones) or None,
        "source": whereabouts.source,
        "why": why,
    }
    if not isinstance(choice, Assume):
        because["choice"] = choice
        return Ruling(RULE, Allow() if choice == "allow" else Skip(Reason.QUIET_HOURS), because)
    timetable = _timetable(hours, (choice.zone,), now.date())
    because |= {"choice": "assume", "assumed": choice.zone, "local": timetable.local(now)}
    return Ruling(RULE, timetable.answer(now) or Skip(Reason.QUIET_HOURS), because)


@dataclass(frozen=True, slots=True)
class _Timetable:
    """When the zones allow it, from the begin of a UTC day on: windows from each of `opens` to each of `closes`.

    `changed` is when one of the zones last changed its offset, and `least` and `most` the offsets since.
    """

    hours: str
    zones: str
    opens: tuple[datetime, ...]
    closes: tuple[datetime, ...]
    changed: tuple[datetime, ...]
    least: tuple[timedelta, ...]
    most: tuple[timedelta, ...]

    def answer(self, now: datetime) -> Allow | Defer | None:
        """The answer at an instant of the day; None if no window opens within `PATIENCE`."""
        opened = bisect_right(self.opens, now)
        if opened and now < self.closes[opened - 1]:
            return Allow(self.closes[opened - 1])
        if opened < len(self.opens) and self.opens[opened] <= now + PATIENCE:
            return Defer(self.opens[opened], Reason.QUIET_HOURS)
        return None

    def local(self, now: datetime) -> str:
        """What the clocks show at an instant of the day; the earliest and the latest if they differ."""
        since = bisect_right(self.changed, now) - 1
        least, most = self.least[since], self.most[since]
        if least == most:
            return _shown(now + least)
        return f"{_shown(now + least)} to {_shown(now + most)}"


def _shown(wall: datetime) -> str:
    return wall.replace(tzinfo=None).isoformat(" ", "minutes")


def _named(zones: Sequence[str]) -> str:
    names = ", ".join(zones[:_ZONES_NAMED])
    return names if len(zones) <= _ZONES_NAMED else f"{names} and {len(zones) - _ZONES_NAMED} more"


@lru_cache(maxsize=1024)
def _timetable(hours: QuietHours, zones: tuple[str, ...], day: date) -> _Timetable:
    begin = datetime.combine(day, time(), UTC)
    end = begin + _AHEAD
    offsets = [wall_clock.offsets(zone, begin, end) for zone in zones]
    quiet = chain.from_iterable(_quiet(hours, in_zone, end) for in_zone in offsets)
    windows = list(_between(sorted(quiet), begin, end))
    changed = sorted({at for in_zone in offsets for at, _offset in in_zone})
    ranges = [_range(offsets, at) for at in changed]
    return _Timetable(
        hours=str(hours),
        zones=_named(zones),
        opens=tuple(opens for opens, _closes in windows),
        closes=tuple(closes for _opens, closes in windows),
        changed=tuple(changed),
        least=tuple(least for least, _most in ranges),
        most=tuple(most for _least, most in ranges),
    )


def _quiet(
    hours: QuietHours, offsets: Sequence[tuple[datetime, timedelta]], end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The quiet stretches of one zone until `end`, cut where its offset changes."""
    night = _DAY if hours.ends < hours.begins else timedelta(0)
    untils = [at for at, _offset in offsets[1:]] + [end]
    for (since, offset), until in zip(offsets, untils, strict=True):
        day, last = (since + offset).date() - _DAY, (until + offset).date()
        while day <= last:
            begins = datetime.combine(day, hours.begins, UTC) - offset
            ends = datetime.combine(day + night, hours.ends, UTC) - offset
            if begins < until and ends > since:
                yield max(begins, since), min(ends, until)
            day += _DAY


def _between(
    quiet: Iterable[tuple[datetime, datetime]], begin: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The windows between sorted quiet stretches, from `begin` to `end`."""
    free = begin
    for begins, ends in quiet:
        if begins > free:
            yield free, begins
        free = max(free, ends)
    if free < end:
        yield free, end


def _range(
    offsets: Sequence[Sequence[tuple[datetime, timedelta]]], at: datetime
) -> tuple[timedelta, timedelta]:
    """The least and the most of the zones' offsets at `at`."""
    current = [max(change for change in in_zone if change[0] <= at)[1] for in_zone in offsets]
    return min(current), max(current)
