"""The forecast on the command line: which cohorts are asked for, and how the answer is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from daemon.cli.common import fail, parse_time
from daemon.config import Config
from daemon.planning.cohorts import Cohort, up_to
from daemon.planning.forecast import Forecast, Known, Outlook, forecast
from daemon.planning.looking import Seen
from daemon.planning.spread_chart import Planned
from daemon.store.status import Snapshot


def cohorts(
    due: Sequence[str], workspace: str | None, priority: int | None, category: str | None
) -> list[Cohort]:
    """What the options ask for; the end of the command where one makes no sense."""
    if not due and (workspace or priority or category):
        fail("--workspace, --priority and --category narrow down what --due asks for: name a time", 2)
    return [Cohort(*_span(text), workspace=workspace, priority=priority) for text in due]


def _span(text: str) -> tuple[datetime | None, datetime]:
    """`T`: that minute, or that second where it has seconds. `A..B`, `..B`: both ends included."""
    since_text, dots, until_text = text.partition("..")
    if not dots:
        at = _time(text)
        return at, at + (timedelta(seconds=1) if at.second or at.microsecond else timedelta(minutes=1))
    since = _time(since_text) if since_text else None
    until = _time(until_text)
    if since is not None and since > until:
        fail(f"--due: {text!r} ends before it begins", 2)
    return since, up_to(until)


def _time(text: str) -> datetime:
    found = parse_time("--due", text)
    assert found is not None
    return found


def foretell(seen: Seen, found: Snapshot, config: Config, daemon: Mapping[str, Any] | None) -> Forecast:
    """`daemon`: what /readyz answers, None where nobody does."""
    known = Known(
        alive=seen.alive,
        states=(daemon or {}).get("accounts", {}),
        sent={key: passing.spans for key, passing in found.passing.items()},
        call_seconds=seen.call_seconds,
        present={account: speed["per_second"] for account, speed in (daemon or {}).get("speeds", {}).items()},
    )
    return forecast(
        seen.at, seen.lots, seen.edges, [*seen.asked, *seen.busy, *seen.last_minutes], config, known
    )


def part_facts(outlook: Outlook, future: Forecast) -> dict[str, Any]:
    """For --json: of all, a workspace or an account."""
    return {
        "eta_seconds": _rounded(outlook.empty_seconds),
        "empty_at": future.moment(outlook.empty_seconds),
        "all_gone_at": future.moment(outlook.ends_seconds),
        "will_expire": outlook.expiring,
        "why": outlook.why,
    }


def cohort_facts(cohort: Cohort, outlook: Outlook, future: Forecast) -> dict[str, Any]:
    """For --json: of a cohort."""
    return {
        "due_since": cohort.since,
        "due_before": cohort.until,
        "workspace": cohort.workspace,
        "priority": cohort.priority,
        "messages": outlook.messages,
        "segments": outlook.segments,
        "ends_at": future.moment(outlook.ends_seconds) if outlook.messages else None,
        "ends_seconds": _rounded(outlook.ends_seconds) if outlook.messages else None,
        "will_expire": outlook.expiring,
        "why": outlook.why,
    }


def planned_facts(planned: Planned, outlook: Outlook, future: Forecast) -> dict[str, Any]:
    """For --json: of what was planned for one moment and spread. `outlook`: of the last of it."""
    ends = future.moment(outlook.ends_seconds)
    return {
        "wished": planned.wished,
        "messages": planned.messages,
        "segments": planned.segments,
        "gone": planned.gone,
        "beyond_tolerance": planned.beyond,
        "placed_until": planned.last_due,
        "ends_at": None if ends is None else max(ends, planned.last_due),
        "why": outlook.why,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


# For people.


def lines(found: Mapping[str, Any]) -> list[str]:
    """Of the facts: what will expire, the cohorts asked for, and the next busy moments."""
    said = []
    if found["will_expire"]:
        said.append(f"EXPIRES    {found['will_expire']:,} will expire unsent")
    said += [f"Due        {cohort_line(cohort, found['at'])}" for cohort in found["cohorts"]]
    said += [f"Next       {cohort_line(_in_our_zone(cohort), found['at'])}" for cohort in found["busy"]]
    said += [f"Planned    {planned_line(planned)}" for planned in found["planned"]]
    return said


def planned_line(planned: Mapping[str, Any]) -> str:
    """`Sunday 29 Nov 18:00 UTC: 420 messages, 20 gone, ends about 22:40`."""
    wished = planned["wished"].astimezone()
    size = f"{planned['messages']:,} messages, {planned['gone']:,} gone"
    if planned["ends_at"] is None:
        end = f"nobody can say when it ends: {planned['why']}"
    else:
        end = f"ends about {when(planned['ends_at'], wished)}"
    late = f"; {planned['beyond_tolerance']:,} beyond their tolerance" if planned["beyond_tolerance"] else ""
    return f"{wished:%A %d %b %H:%M %Z}: {size}, {end}{late}"


def _in_our_zone(cohort: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {name: cohort[name].astimezone() for name in ("due_since", "due_before")}
    return {**cohort, **bounds}


def cohort_line(cohort: Mapping[str, Any], at: datetime) -> str:
    """`Sunday 29 Nov 18:00 +01:00: 4,200 messages, 5,100 segments, ends about 22:40`."""
    name, zone = _name(cohort), cohort["due_before"].tzinfo
    if not cohort["messages"]:
        return f"{name}: nothing of it is left, or ever was"
    size = f"{cohort['messages']:,} messages, {cohort['segments']:,} segments"
    if cohort["ends_at"] is None:
        end = f"nobody can say when it ends: {cohort['why']}"
    else:
        end = f"ends about {when(cohort['ends_at'], cohort['due_since'] or at, zone)}"
    lost = f"; {cohort['will_expire']:,} will expire unsent" if cohort["will_expire"] else ""
    return f"{name}: {size}, {end}{lost}"


def when(moment: datetime, near: datetime, zone: Any = None) -> str:
    """A time of the day to the minute, with the day where that is not the one of `near`. Zone: None for ours."""
    there, here = moment.astimezone(zone), near.astimezone(zone)
    shown = there if (moment - near).total_seconds() < 120 else there + timedelta(seconds=30)
    clock = f"{shown:%H:%M:%S}" if (moment - near).total_seconds() < 120 else f"{shown:%H:%M}"
    return clock if shown.date() == here.date() else f"{shown:%A %d %b} {clock}"


def _name(cohort: Mapping[str, Any]) -> str:
    since, before = cohort["due_since"], cohort["due_before"]
    if since is None:
        until = before - timedelta(microseconds=1)
        name = f"up to {until:%A %d %b %H:%M %Z}"
    else:
        name = f"{since:%A %d %b %H:%M %Z}"
        if before - since > timedelta(minutes=1):
            name += f" to {before - timedelta(microseconds=1):%H:%M}"
    of = [cohort["workspace"]] if cohort["workspace"] else []
    of += [f"priority {cohort['priority']}"] if cohort["priority"] else []
    return " of ".join([name, *of])
