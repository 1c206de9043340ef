"""Rules of recurrence as RFC 5545 (iCalendar, 3.3.10) writes them, read and checked.

There are none by the hour, minute or second: they would flood a person. DAILY with BYHOUR and BYMINUTE says it. What
a rule must leave out here, because nobody can say what it means or how long it takes, is refused with its remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from daemon.problem import Problem

LONGEST_RULE = 1000  # characters
MOST_A_DAY = 24
MOST_COUNT = 1000
MOST_INTERVAL = 1000

_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_RANGES = {
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (1, 31),
    "BYYEARDAY": (1, 366),
    "BYWEEKNO": (1, 53),
    "BYSETPOS": (1, 366),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
}
_FROM_THE_END = {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"}
_PARTS = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_RANGES)
_NUMBER = re.compile(r"[+-]?[0-9]{1,4}")
_BYDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})(Z)?)?")
_NOT_WITH = {
    "BYWEEKNO": ("MONTHLY", "WEEKLY", "DAILY"),
    "BYYEARDAY": ("MONTHLY", "WEEKLY", "DAILY"),
    "BYMONTHDAY": ("WEEKLY",),
}


class RuleProblem(Problem):
    """What was given is no rule here. The text is "field: what is wrong and what would be right"."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was read, without the time it begins at."""

    text: str
    frequency: str
    interval: int = 1
    count: int | None = None
    until: datetime | None = None  # naive: on the wall clock; aware: an instant
    week_start: int = 0
    by_day: tuple[tuple[int, int], ...] = ()  # (number, 0 for each; weekday from Monday 0)
    by: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def numbers(self, part: str) -> tuple[int, ...]:
        """The numbers of a part such as BYMONTH; none where it is not there."""
        return self.by.get(part, ())


@lru_cache(maxsize=1024)
def parse_rule(text: str) -> Rule:
    """Reads a rule such as FREQ=WEEKLY;BYDAY=MO,TH. Raises `RuleProblem` that names the part and the remedy."""
    parts = _split(text)
    frequency = parts.get("FREQ")
    if frequency is None:
        raise RuleProblem("rrule: FREQ is missing; write for example FREQ=WEEKLY;BYDAY=MO")
    if frequency in ("HOURLY", "MINUTELY", "SECONDLY"):
        raise RuleProblem(
            f"rrule: FREQ={frequency} would flood people; write FREQ=DAILY with BYHOUR and BYMINUTE instead"
        )
    if frequency not in _FREQUENCIES:
        raise RuleProblem(f"rrule: FREQ={frequency[:40]} is none of {', '.join(_FREQUENCIES)}")
    for part, without in _NOT_WITH.items():
        if part in parts and frequency in without:
            raise RuleProblem(
                f"rrule: {part} does not go with FREQ={frequency}; RFC 5545 has it for longer periods only"
            )
    by = {part: _numbers(part, parts[part]) for part in _RANGES if part in parts}
    week_start = parts.get("WKST", "MO")
    if week_start not in _WEEKDAYS:
        raise RuleProblem(f"rrule: WKST={week_start[:40]} is none of {', '.join(_WEEKDAYS)}")
    rule = Rule(
        text=";".join(f"{name}={value}" for name, value in parts.items()),
        frequency=frequency,
        interval=_whole("INTERVAL", parts.get("INTERVAL", "1"), MOST_INTERVAL),
        count=_whole("COUNT", parts["COUNT"], MOST_COUNT, "; give UNTIL instead")
        if "COUNT" in parts
        else None,
        until=_until(parts["UNTIL"]) if "UNTIL" in parts else None,
        week_start=_WEEKDAYS.index(week_start),
        by_day=_by_day(parts["BYDAY"], frequency, by) if "BYDAY" in parts else (),
        by=by,
    )
    _check_together(rule)
    return rule


def _split(text: str) -> dict[str, str]:
    if len(text) > LONGEST_RULE:
        raise RuleProblem(f"rrule: has {len(text)} characters; it may have {LONGEST_RULE}")
    if not text.isascii() or re.search(r"[\x00-\x20\x7f]", text):
        raise RuleProblem("rrule: must be one line of letters, digits and the signs ;=,+- without spaces")
    found: dict[str, str] = {}
    for pair in text.upper().removeprefix("RRULE:").split(";"):
        name, equals, value = pair.partition("=")
        if name.startswith(("DTSTART", "EXDATE", "RDATE", "EXRULE")):
            raise RuleProblem(
                f"rrule: has {name.split(':')[0][:40]}; give begins_at and exceptions beside the rule"
            )
        if name not in _PARTS:
            raise RuleProblem(f"rrule: {name[:40] or 'an empty part'} is none of {', '.join(_PARTS)}")
        if not equals or not value:
            raise RuleProblem(f"rrule: {name} has no value; write {name}=…, or leave it out")
        if name in found:
            raise RuleProblem(f"rrule: {name} is there twice; give it once")
        found[name] = value
    return found


def _whole(part: str, value: str, most: int, more: str = "") -> int:
    if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= most:
        raise RuleProblem(f"rrule: {part} must be a whole number from 1 to {most}{more}")
    return int(value)


def _numbers(part: str, value: str) -> tuple[int, ...]:
    least, most = _RANGES[part]
    found = set()
    for each in value.split(","):
        number = int(each) if _NUMBER.fullmatch(each) else None
        if number is None or not (
            least <= number <= most or (part in _FROM_THE_END and least <= -number <= most)
        ):
            signed = f", or -{most} to -{least}" if part in _FROM_THE_END else ""
            raise RuleProblem(f"rrule: {part} must have numbers from {least} to {most}{signed}, with commas")
        found.add(number)
    return tuple(sorted(found))


def _until(value: str) -> datetime:
    match = _UNTIL.fullmatch(value)
    try:
        if match is None:
            raise ValueError
        *digits, utc = match.groups()
        if digits[3] is None:
            digits[3:] = ["23", "59", "59"]
        year, month, day, hour, minute, second = map(int, digits)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC if utc else None)
    except ValueError:
        raise RuleProblem(
            "rrule: UNTIL must be a day such as 20261231, a time on the wall clock such as 20261231T180000, "
            "or one in UTC, with Z"
        ) from None


def _by_day(value: str, frequency: str, by: Mapping[str, Sequence[int]]) -> tuple[tuple[int, int], ...]:
    most = 5 if frequency == "MONTHLY" or "BYMONTH" in by else 53
    found = set()
    for each in value.split(","):
        match = _BYDAY.fullmatch(each)
        if match is None:
            raise RuleProblem("rrule: BYDAY must have days such as MO,TH or, by month and year, 1MO,-1FR")
        number = int(match[1]) if match[1] else 0
        if match[1] and (frequency in ("WEEKLY", "DAILY") or "BYWEEKNO" in by):
            raise RuleProblem(
                f"rrule: BYDAY={each} has a number, which is for months and years; write {match[2]}"
            )
        if match[1] and not 1 <= abs(number) <= most:
            raise RuleProblem(
                f"rrule: BYDAY={each} is in no such period; its number may be 1 to {most}, or -1 to -{most}"
            )
        found.add((number, _WEEKDAYS.index(match[2])))
    if any(number for number, _ in found):  # dateutil takes days with and without a number for "both"
        each_of = {weekday for number, weekday in found if not number}
        found = {pair for pair in found if pair[0]} | {
            (n, weekday) for weekday in each_of for n in range(1, most + 1)
        }
    return tuple(sorted(found))


def _check_together(rule: Rule) -> None:
    if rule.count is not None and rule.until is not None:
        raise RuleProblem("rrule: has COUNT and UNTIL; give one of them")
    a_day = max(len(rule.numbers("BYHOUR")), 1) * max(len(rule.numbers("BYMINUTE")), 1)
    if a_day > MOST_A_DAY:
        raise RuleProblem(
            f"rrule: BYHOUR and BYMINUTE give {a_day} times a day; at most {MOST_A_DAY} are possible"
        )
    if rule.numbers("BYSETPOS"):
        _check_positions(rule, a_day)


def _check_positions(rule: Rule, a_day: int) -> None:
    if not rule.by_day and len(rule.by) == 1:
        raise RuleProblem("rrule: BYSETPOS chooses among times that another part, such as BYDAY, has to give")
    if rule.numbers("BYWEEKNO"):
        raise RuleProblem("rrule: BYSETPOS does not go with BYWEEKNO; name the days in BYDAY")
    if rule.frequency == "WEEKLY" and rule.numbers("BYMONTH"):
        raise RuleProblem("rrule: BYSETPOS does not go with BYMONTH in a weekly rule; name the days in BYDAY")
    if rule.frequency in ("DAILY", "WEEKLY"):
        most = a_day * (max(len(rule.by_day), 1) if rule.frequency == "WEEKLY" else 1)
        if any(abs(position) > most for position in rule.numbers("BYSETPOS")):
            period = "day" if rule.frequency == "DAILY" else "week"
            raise RuleProblem(
                f"rrule: BYSETPOS goes beyond the {most} times that the rule gives in each {period}"
            )
