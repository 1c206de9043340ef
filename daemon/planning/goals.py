"""What somebody wanted to reach and what they did: whether goals are met, and over which days. Pure.

A goal counts from midnight to midnight of the person's own wall clock. Asked on a Monday, a week's goal is the week that
has just ended, and so is a month's on the first of a month: nobody can have begun the new one yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from daemon.rules.wall_clock import instant

PERIODS = ("day", "week", "month")

_DAY = timedelta(days=1)


class Kind(StrEnum):
    """What a check-in has to say."""

    MET = "met"  # every goal is reached
    PARTIAL = "partial"  # something is done, and not all of it
    MISSED = "missed"  # nothing is done


class Goal(NamedTuple):
    """A goal and what was done for it in the period that is asked about."""

    name: str
    unit: str
    target: Decimal
    period: str
    done: Decimal

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.done >= self.target

    @property
    def share(self) -> Decimal:
        """What is done, as a part of the target."""
        return self.done / self.target

    @property
    def percent(self) -> int:
        """The same in whole hundredths: 100 only when it is reached, and never below 0."""
        whole = int(self.share * 100)
        return max(0, whole if self.reached else min(whole, 99))

    def as_json(self) -> dict[str, Any]:
        """For the receipt."""
        return {
            "name": self.name,
            "done": plain(self.done),
            "target": plain(self.target),
            "unit": self.unit,
            "period": self.period,
        }


def kind_of(goals: Sequence[Goal]) -> Kind:
    """What goals, at least one, come to."""
    if all(goal.reached for goal in goals):
        return Kind.MET
    return Kind.PARTIAL if any(goal.done > 0 for goal in goals) else Kind.MISSED


def foremost(goals: Sequence[Goal]) -> Goal:
    """The goal that a text names: of those not reached the one that is furthest from its target, by the part of it that
    is done; when all are reached, the one that went furthest beyond. Among equals the first by name.
    """
    left = [goal for goal in goals if not goal.reached]
    if left:
        return min(left, key=lambda goal: (goal.share, goal.name))
    return min(goals, key=lambda goal: (-goal.share, goal.name))


def days(period: str, on: date) -> tuple[date, date]:
    """The first day that counts for a goal of this period asked about `on`, and the first day after."""
    if period == "day":
        return on, on + _DAY
    if period == "week":
        last = on - _DAY if on.isoweekday() == 1 else on
        begin = last - timedelta(days=last.isoweekday() - 1)
        return begin, begin + timedelta(days=7)
    last = on - _DAY if on.day == 1 else on
    begin = last.replace(day=1)
    return begin, (begin + timedelta(days=31)).replace(day=1)


@lru_cache(maxsize=8192)
def spans(on: date, zone: str) -> tuple[datetime, ...]:
    """From when until before when progress counts, for a day's, a week's and a month's goal: six instants in UTC."""
    return tuple(
        instant(datetime.combine(day, time()), zone) for period in PERIODS for day in days(period, on)
    )


def plain(number: Decimal) -> int | float:
    """A number as JSON has it: whole where it is whole."""
    whole = int(number)
    return whole if whole == number else float(number)
