"""A coach's workspace for the tests of planning: templates, people with preferences and goals, and plans for a day."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zlib import crc32

from daemon.planning.plan_runs import Only, PlanRuns, Progress
from daemon.planning.registry import sources
from daemon.rules.wall_clock import local
from daemon.store.database import Connection, Database
from tests.support import no_keys

STYLES = ("supportive", "snarky")


async def template(conn: Connection, name: str, texts: int = 3, workspace: str = "clinic") -> None:
    """A template with so many texts in each style, which say its name, the style, the number and the goal."""
    owner = await conn.fetchval("select id from duly.workspace where name = $1", workspace)
    variables = {
        "FirstName": {"type": "text", "default": "friend"},
        "goal": {"type": "text"},
        "done": {"type": "number"},
        "target": {"type": "number"},
        "percent": {"type": "number"},
    }
    made = await conn.fetchval(
        """insert into duly.template (id, workspace_id, name, version, variables)
           values (duly.new_id(), $1, $2, 1, $3) returning id""",
        owner,
        name,
        json.dumps(variables),
    )
    for style in STYLES:
        for number in range(1, texts + 1):
            await conn.execute(
                """insert into duly.template_text (id, workspace_id, template_id, style, number, body)
                   values (duly.new_id(), $1, $2, $3, $4, $5)""",
                owner,
                made,
                style,
                number,
                f"{name} {style} {number}: {{{{FirstName}}}}, {{{{goal}}}} {{{{done}}}}/{{{{target}}}}",
            )


async def open_up(conn: Connection, workspace: str = "clinic", **series: Any) -> UUID:
    """A workspace with templates for all kinds and a series of check-ins."""
    await conn.execute("select duly.register_workspace($1)", workspace)
    for name in ("accountability", "partial", "congratulatory"):
        await template(conn, name, workspace=workspace)
    names = "".join(f", {name} => ${n}" for n, name in enumerate(series, start=2))
    found: UUID = await conn.fetchval(
        f"select duly.put_check_in($1, 'check-in'{names})", workspace, *series.values()
    )
    return found


async def person(
    conn: Connection,
    name: str,
    day: date,
    time: str = "18:00",
    *,
    done: float = 0,
    target: float = 4,
    zone: str | None = "UTC",
    to: str | None = None,
    goal: str | None = "Runs",
    period: str = "day",
    workspace: str = "clinic",
    **wants: Any,
) -> UUID:
    """Somebody who is asked on that day of the week, and has done so much of a daily goal on the day itself."""
    number = to or f"+1415556{1000 + crc32(name.encode()) % 9000:04}"
    addresses = "[]" if to == "" else json.dumps([{"channel": "sms", "address": number}])
    contact: UUID = await conn.fetchval(
        "select duly.put_contact($1, $2, $2, time_zone => $3, addresses => $4)",
        workspace,
        name,
        zone,
        addresses,
    )
    if goal is not None:
        await conn.execute(
            "select duly.set_goal($1, $2, $3, $4::float8::numeric, 'runs', $5)",
            workspace,
            name,
            goal,
            target,
            period,
        )
        if done:
            await add(conn, name, done, goal, workspace=workspace)
            await conn.execute(
                """update duly.progress set at = ($2::date + interval '12 hours') at time zone $3
                   where goal_id in (select id from duly.goal where contact_id = $1)""",
                contact,
                day,
                zone or "UTC",
            )
    await wants_it(conn, name, day, time, workspace=workspace, **wants)
    return contact


async def wants_it(
    conn: Connection, name: str, day: date, time: str = "18:00", *, workspace: str = "clinic", **wants: Any
) -> None:
    """Sets somebody's preferences."""
    given = {"send_day": str(day.isoweekday()), "send_time": time, **wants}
    names = "".join(f", {key} => ${n}" for n, key in enumerate(given, start=3))
    await conn.execute(f"select duly.set_preference($1, $2{names})", workspace, name, *given.values())


async def add(
    conn: Connection, name: str, amount: float, goal: str = "Runs", *, workspace: str = "clinic"
) -> None:
    """Writes progress."""
    await conn.execute(
        "select duly.add_progress($1, $2, $3, $4::float8::numeric)", workspace, name, goal, amount
    )


def runs(database: Database, portion: int = 1000) -> PlanRuns:
    """Planning as a daemon does it."""
    return PlanRuns(database, sources(no_keys(database), None), portion=portion)


async def plan(database: Database, day: date, portion: int = 1000) -> Progress:
    """Plans a day to its end, and what is to be planned again."""
    found, progress = runs(database, portion), Progress()
    await found.open(0, Only(on_date=day))
    while await found.step(progress, Only(on_date=day)):
        pass
    assert not progress.troubles
    return progress


def ahead(days: int = 2) -> date:
    """A day soon; none of the days in between is over by then anywhere."""
    return datetime.now(UTC).date() + timedelta(days=days)


def noon() -> str:
    """A zone in which it is about noon now, so that no test runs into midnight."""
    hours = datetime.now(UTC).hour - 12
    return "UTC" if not hours else f"Etc/GMT{hours:+d}"


def there(seconds: float, zone: str) -> tuple[date, str]:
    """The day and time on the wall in some seconds."""
    at = local(datetime.now(UTC) + timedelta(seconds=seconds), zone)
    return at.date(), f"{at:%H:%M:%S}"
