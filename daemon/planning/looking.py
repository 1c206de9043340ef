"""Looks at the queue as a forecast needs it: two questions at one moment, the second cut by the first's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.planning.cohorts import Cohort, busy, edges, up_to
from daemon.planning.spread_chart import Planned, planned_cohorts
from daemon.store import backlog
from daemon.store.backlog import Lot
from daemon.store.database import Connection
from daemon.store.sql import query

# What a workspace has of lanes, about.
_LANES_OF_ONE = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What is queued, cut at `edges` for `cohorts`: those asked for, the next busy moments, and the last minutes of what
    was planned for one moment and spread.
    """

    at: datetime
    lots: Sequence[Lot]
    edges: Sequence[datetime]
    asked: Sequence[Cohort]
    busy: Sequence[Cohort]
    call_seconds: dict[str, float]
    alive: int  # daemons
    planned: Sequence[Planned] = ()

    @property
    def last_minutes(self) -> list[Cohort]:
        """Of each of `planned`: its last messages."""
        return [last_minute(each) for each in self.planned]


def last_minute(planned: Planned) -> Cohort:
    """The minute up to the last time that something planned is placed at."""
    until = up_to(planned.last_due)
    return Cohort(until - timedelta(minutes=1), until)


async def look(conn: Connection, asked: Sequence[Cohort] = (), category: str | None = None) -> Seen:
    """Call it within a transaction, so that all is as of one moment. `category`: of the cohorts asked for."""
    at = await backlog.now(conn)
    moments = await backlog.moments(conn)
    next_busy = busy(moments)
    workspaces = len(await conn.fetch(query("workspaces")))
    planned = await planned_cohorts(conn)
    last = [last_minute(each) for each in planned]
    cuts = edges(at, moments, [*asked, *next_busy, *last], lanes=_LANES_OF_ONE * workspaces)
    return Seen(
        at=at,
        lots=await backlog.lots(conn, at, cuts, category),
        edges=cuts,
        asked=asked,
        busy=next_busy,
        planned=planned,
        call_seconds=await backlog.call_seconds(conn),
        alive=sum(row["alive"] for row in await conn.fetch(query("status_nodes"))),
    )
