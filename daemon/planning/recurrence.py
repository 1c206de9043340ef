"""Recurrence: the times of a rule as RFC 5545 (iCalendar) writes it, on the wall clock.

python-dateutil knows the calendar. Around it stands here what it leaves open:

* Each answer takes time by the length of what was asked, whatever the rule: dateutil alone looks on to the year 9999 for
  a 30th of February. So it is asked for one year or month at a time; and of rules by day and week it is asked without
  their limits (BYMONTH, BYMONTHDAY and, by day, BYDAY), which are then held against each time.
* It begins where the answer begins and not with the rule. Only COUNT is counted from the start, once, through 30 years.
* Where it differs from the RFC: BYSETPOS in the week that a rule begins in, BYWEEKNO (at the turn of a year; and without
  BYDAY it is the weekday of the first time, not all seven), and BYDAY with numbers for some days only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from dateutil import rrule as rules

from daemon.planning.rrule import Rule, RuleProblem, parse_rule
from daemon.rules.wall_clock import instant

MOST_EXCEPTIONS = 1000
FIRST_YEAR, LAST_YEAR = 1970, 2199
HORIZON = timedelta(days=30 * 366)
"""How far `first` looks for a time, and how long COUNT counts."""

_DAY = timedelta(days=1)
_FREQUENCIES: dict[str, Literal[0, 1, 2, 3]] = {
    "YEARLY": rules.YEARLY,
    "MONTHLY": rules.MONTHLY,
    "WEEKLY": rules.WEEKLY,
    "DAILY": rules.DAILY,
}
_BEYOND = 200_000  # an interval that leads past the last year at once: one period is looked at and no other


@dataclass(frozen=True, slots=True)
class Recurrence:
    """When something recurs. Times are those of a wall clock, without a zone."""

    begins_at: datetime
    rule: Rule | None = None  # None: once
    exceptions: frozenset[datetime] = frozenset()  # one at midnight takes away its whole day

    def between(self, begin: datetime, end: datetime, zone: str = "UTC") -> list[datetime]:
        """The times from `begin`, before `end`, in order. `zone` matters where the rule's UNTIL is an instant."""
        begin, rule = max(begin, self.begins_at), self.rule
        if rule is None:
            found = [self.begins_at] if begin <= self.begins_at < end else []
        else:
            if rule.count is not None:
                end = min(end, _after_count(rule, self.begins_at))
            found = [at for at in _times(rule, self.begins_at, begin, end) if not _past(at, rule.until, zone)]
        return [at for at in found if not self._excepted(at)]

    def first(self, how_many: int, after: datetime, zone: str = "UTC") -> list[datetime]:
        """The next times from `after`; fewer where the rule ends or gives no more within 30 years."""
        found: list[datetime] = []
        begin = max(after, self.begins_at)
        last = begin + HORIZON
        days = 32
        while len(found) < how_many and begin < last:
            found += self.between(begin, begin + timedelta(days=days), zone)
            begin += timedelta(days=days)
            days = min(2 * days, 3660)
        return found[:how_many]

    def _excepted(self, at: datetime) -> bool:
        return at in self.exceptions or datetime.combine(at.date(), time()) in self.exceptions


def recurrence(
    begins_at: datetime, rrule: str | None = None, exceptions: Sequence[datetime] = ()
) -> Recurrence:
    """When something recurs, from what was given. Raises `RuleProblem`."""
    if begins_at.tzinfo is not None:
        raise RuleProblem("begins_at: has a zone; give the time on the recipient's wall clock, without one")
    if not FIRST_YEAR <= begins_at.year <= LAST_YEAR:
        raise RuleProblem(f"begins_at: must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    if begins_at.second or begins_at.microsecond:
        raise RuleProblem("begins_at: must be a whole minute")
    if len(exceptions) > MOST_EXCEPTIONS:
        raise RuleProblem(f"exceptions: are more than {MOST_EXCEPTIONS}; let the rule end, and begin another")
    if any(each.tzinfo is not None for each in exceptions):
        raise RuleProblem("exceptions: has a time with a zone; give times on the wall clock, without one")
    return Recurrence(begins_at, None if rrule is None else parse_rule(rrule), frozenset(exceptions))


def _past(at: datetime, until: datetime | None, zone: str) -> bool:
    if until is None:
        return False
    return at > until if until.tzinfo is None else instant(at, zone) > until


@lru_cache(maxsize=4096)
def _after_count(rule: Rule, begins_at: datetime) -> datetime:
    """When a rule with COUNT has come to its end: just after the last time, or 30 years after the first."""
    end = begins_at + HORIZON
    counted = list(islice(_times(rule, begins_at, begins_at, end), rule.count))
    return counted[-1] + timedelta(minutes=1) if len(counted) == rule.count else end


def _times(rule: Rule, begins_at: datetime, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The times of a rule from `begin` (not before `begins_at`) and before `end`, without COUNT, UNTIL, exceptions."""
    if rule.frequency in ("DAILY", "WEEKLY"):
        found = _by_days(rule, begins_at, begin, end)
    else:
        found = _by_periods(rule, begins_at, begin, end)
    for at in found:
        if at >= end:
            return
        if at >= begin:
            yield at


def _by_days(rule: Rule, begins_at: datetime, begin: datetime, end: datetime) -> Iterator[datetime]:
    first, step = begins_at.date(), rule.interval
    by_day: tuple[int, ...] | None = None
    if rule.frequency == "WEEKLY":
        by_day = tuple(weekday for _, weekday in rule.by_day) or (first.weekday(),)
        first -= ((first.weekday() - rule.week_start) % 7) * _DAY
        step *= 7
    skipped = max((begin.date() - first).days // step, 0)
    found = rules.rrule(
        _FREQUENCIES[rule.frequency],
        dtstart=_midnight(first + skipped * step * _DAY),
        interval=rule.interval,
        until=end,
        wkst=rule.week_start,
        byweekday=by_day,
        **_common(rule, begins_at),
    )
    return (at for at in found if _within_limits(rule, at))


def _within_limits(rule: Rule, at: datetime) -> bool:
    months, days = rule.numbers("BYMONTH"), rule.numbers("BYMONTHDAY")
    if months and at.month not in months:
        return False
    if days and at.day not in days and at.day - _month_length(at.year, at.month) - 1 not in days:
        return False
    return rule.frequency == "WEEKLY" or not rule.by_day or (0, at.weekday()) in rule.by_day


def _by_periods(rule: Rule, begins_at: datetime, begin: datetime, end: datetime) -> Iterator[datetime]:
    """By year or month: each period is asked for by itself, so that a rule that never comes true costs no more."""
    yearly = rule.frequency == "YEARLY"
    first = begins_at.year if yearly else _month(begins_at)
    wanted = begin.year if yearly else _month(begin)
    last = end.year if yearly else _month(end)
    defaults = _Defaults(
        begins_at.month, begins_at.day, begins_at.weekday(), begins_at.hour, begins_at.minute
    )
    for period in range(
        first + -(-(wanted - first) // rule.interval) * rule.interval, last + 1, rule.interval
    ):
        yield from _in_period(rule, defaults, period)


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What a rule takes from the time it begins at, where it does not say so itself."""

    month: int
    day: int
    weekday: int
    hour: int
    minute: int


@lru_cache(maxsize=64)  # a year may have some thousand times
def _in_period(rule: Rule, defaults: _Defaults, period: int) -> tuple[datetime, ...]:
    """The times in one year, or in one month counted from the year 0."""
    yearly = rule.frequency == "YEARLY"
    start = date(period, 1, 1) if yearly else date(period // 12, period % 12 + 1, 1)
    months = rule.numbers("BYMONTH") or None
    monthdays = rule.numbers("BYMONTHDAY") or None
    by_day: Sequence[Any] | None = [
        rules.weekday(weekday, number) if number else weekday for number, weekday in rule.by_day
    ]
    if not (rule.by_day or monthdays or rule.numbers("BYYEARDAY")):
        if rule.numbers("BYWEEKNO"):
            by_day = [defaults.weekday]
        else:
            monthdays = (defaults.day,)
            months = months or ((defaults.month,) if yearly else None)
    found = rules.rrule(
        _FREQUENCIES[rule.frequency],
        dtstart=_midnight(start),
        interval=_BEYOND,
        wkst=rule.week_start,
        bymonth=months,
        bymonthday=monthdays,
        byyearday=rule.numbers("BYYEARDAY") or None,
        byweekday=by_day or None,
        **_common(rule, _midnight(start).replace(hour=defaults.hour, minute=defaults.minute)),
    )
    weeks = rule.numbers("BYWEEKNO")
    return tuple(at for at in found if not weeks or _in_weeks(at.date(), weeks, rule.week_start))


def _in_weeks(day: date, weeks: Sequence[int], week_start: int) -> bool:
    """Whether a day is in one of a year's weeks: the first is the one with at least four days of the year."""
    number, year = _week(day, week_start)
    last, _ = _week(date(year, 12, 28), week_start)
    return number in weeks or number - last - 1 in weeks


def _week(day: date, week_start: int) -> tuple[int, int]:
    """The number of a day's week, and the year that the week belongs to."""
    fourth = day + (3 - (day.weekday() - week_start) % 7) * _DAY
    return (fourth - date(fourth.year, 1, 1)).days // 7 + 1, fourth.year


def _common(rule: Rule, begins_at: datetime) -> dict[str, Any]:
    """The parts that all frequencies take alike."""
    return {
        "byhour": rule.numbers("BYHOUR") or (begins_at.hour,),
        "byminute": rule.numbers("BYMINUTE") or (begins_at.minute,),
        "bysecond": 0,
        "bysetpos": rule.numbers("BYSETPOS") or None,
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _month(at: datetime) -> int:
    return at.year * 12 + at.month - 1


def _month_length(year: int, month: int) -> int:
    return (date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days
