"""Series of reminders as people and programs write them: read, checked in full, and put into the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from daemon.planning.recurrence import recurrence
from daemon.planning.rrule import RuleProblem, parse_rule
from daemon.planning.sources import Series, series_of
from daemon.rules.wall_clock import ZONES, instant, local
from daemon.store.database import Connection
from daemon.store.sql import query

MOST_SHOWN = 100
_TEXTS = ("template", "rrule", "begins_at", "zone", "catch_up", "category")
_OTHERS = ("exceptions", "earlier_minutes", "later_minutes", "priority", "channels")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a series shall be: the parameters of duly.put_series."""

    template: str
    rrule: str | None = None
    begins_at: datetime | None = None
    zone: str | None = None
    exceptions: Sequence[datetime] = ()
    catch_up: str = "skip"
    earlier: timedelta = timedelta(0)
    later: timedelta = timedelta(hours=4)
    category: str | None = None
    priority: int | None = None
    channels: Sequence[str] = ()


class Coming(NamedTuple):
    """One of the next times of a series."""

    wall: datetime
    at: datetime  # in UTC
    shown: datetime  # what the clock shows then: later than `wall` where clocks jump over it


def wanted_of(given: Mapping[str, Any]) -> Wanted:
    """Reads what a JSON object or a command says of a series. Raises `RuleProblem` with "field: what is wrong"."""
    unknown = sorted(given.keys() - {*_TEXTS, *_OTHERS})
    if unknown:
        raise RuleProblem(f"{unknown[0][:40]}: is none of the fields {', '.join((*_TEXTS, *_OTHERS))}")
    texts = {name: given[name] for name in _TEXTS if given.get(name) is not None}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise RuleProblem(f"{name}: must be a text")
    if "template" not in texts:
        raise RuleProblem("template: is missing; give the name of a template")
    begins_at = texts.pop("begins_at", None)
    found = Wanted(
        **texts,
        begins_at=None if begins_at is None else wall_time("begins_at", begins_at),
        exceptions=[wall_time("exceptions", each) for each in _list("exceptions", given)],
        earlier=_minutes("earlier_minutes", given, 0),
        later=_minutes("later_minutes", given, 240),
        priority=_priority(given.get("priority")),
        channels=_list("channels", given),
    )
    check(found)
    return found


def wall_time(field: str, text: str) -> datetime:
    """A time on the wall clock; a day is its midnight. Raises `RuleProblem`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise RuleProblem(f"{field}: {text[:40]!r} is no time such as 2026-12-01T09:00") from None
    if found.tzinfo is not None:
        raise RuleProblem(f"{field}: {text[:40]!r} has a zone; give the time on the recipient's wall clock")
    return found


def check(wanted: Wanted) -> None:
    """Reads the rule in full, as the planner will. Raises `RuleProblem`."""
    if wanted.zone is not None and wanted.zone not in ZONES:
        raise RuleProblem(f"zone: {wanted.zone[:64]!r} is no IANA zone such as America/New_York")
    if wanted.rrule is None and wanted.begins_at is None:
        raise RuleProblem(
            "begins_at: is missing; give when it comes, or a rrule and each member's own beginning"
        )
    if wanted.rrule is not None:
        parse_rule(wanted.rrule)
    if wanted.begins_at is not None:
        recurring = recurrence(wanted.begins_at, wanted.rrule, wanted.exceptions)
        if not recurring.first(1, wanted.begins_at, wanted.zone or "UTC"):
            raise RuleProblem("rrule: gives no time within 30 years of begins_at; change it or begins_at")


async def put_series(conn: Connection, workspace: str, name: str, wanted: Wanted) -> tuple[UUID, bool]:
    """Makes or changes a series: its id, and whether it is new. Raises asyncpg's InvalidParameterValueError."""
    row = await conn.fetchrow(
        query("put_series"),
        workspace,
        name,
        wanted.template,
        wanted.rrule,
        wanted.begins_at,
        wanted.zone,
        wanted.exceptions,
        wanted.catch_up,
        wanted.earlier,
        wanted.later,
        wanted.category,
        wanted.priority,
        wanted.channels,
    )
    assert row is not None
    return row["id"], row["created"]


def coming(series: Series, how_many: int, after: datetime, zone: str | None = None) -> list[Coming]:
    """The next times of a series after an instant, by its own clock, else the one of `zone`, else UTC.

    None where each member has a beginning of their own. Raises `RuleProblem`.
    """
    if series.begins_at is None:
        return []
    clock = series.zone or zone or "UTC"
    recurring = recurrence(series.begins_at, series.rrule, series.exceptions)
    walls = recurring.first(min(how_many, MOST_SHOWN), local(after, clock), clock)
    return [Coming(wall, at, local(at, clock)) for wall in walls for at in (instant(wall, clock),)]


def facts(row: Any) -> dict[str, Any]:
    """A row of sql/queries/series.sql for --json and HTTP."""
    series = series_of(row)
    return {
        "name": series.name,
        "kind": series.kind,
        "template": series.templates.get("reminder"),
        "rrule": series.rrule,
        "begins_at": None if series.begins_at is None else series.begins_at.isoformat(timespec="minutes"),
        "zone": series.zone,
        "exceptions": [each.isoformat(timespec="minutes") for each in series.exceptions],
        "catch_up": series.catch_up,
        "earlier_minutes": series.earlier // timedelta(minutes=1),
        "later_minutes": series.later // timedelta(minutes=1),
        "category": series.category,
        "priority": series.priority,
        "channels": list(series.channels),
        "enabled": row["enabled"],
        "problem": row["problem"],
        "members": row["members"],
        "ahead": row["ahead"],
    }


def _minutes(field: str, given: Mapping[str, Any], usual: int) -> timedelta:
    value = given.get(field)
    value = usual if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 7 * 24 * 60:
        raise RuleProblem(f"{field}: must be a whole number from 0 to {7 * 24 * 60}")
    return timedelta(minutes=value)


def _priority(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or value not in (1, 2, 3)):
        raise RuleProblem("priority: is none of 1 (high), 2 (normal), 3 (bulk)")
    return None if value is None else int(value)


def _list(field: str, given: Mapping[str, Any]) -> list[str]:
    value = given.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RuleProblem(f"{field}: must be a list of texts")
    return list(value)
