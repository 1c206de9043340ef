"""What has yet to be sent, summed up for the forecast: lane by lane, by when it is due and when it expires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.store.database import Connection
from daemon.store.sql import query

# What expires between two of these is summed up together; from now.
_EXPIRY = [timedelta(seconds=s) for s in (0, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)]
_PORTION = 1000


@dataclass(frozen=True, slots=True)
class Moment:
    """A minute in which deliveries become due."""

    minute: datetime
    messages: int


@dataclass(frozen=True, slots=True)
class Lot:
    """Deliveries of one lane that are due between two of the times asked for. Seconds are from now."""

    workspace: str
    channel: str
    priority: int
    slot: int  # so many of the times asked for are not after it is due
    meant: bool  # of the category asked for
    messages: int
    segments: int
    first_due_seconds: float  # negative: due already
    last_due_seconds: float
    first_expiry_seconds: float | None  # None: never
    last_expiry_seconds: float | None


async def now(conn: Connection) -> datetime:
    """The database's time; within a transaction, that of its begin."""
    at: datetime = await conn.fetchval("select now()")
    return at


async def moments(conn: Connection) -> list[Moment]:
    """The minutes of the next days in which something becomes due, in order."""
    return [Moment(**row) for row in await conn.fetch(query("backlog_moments"))]


async def lots(
    conn: Connection, at: datetime, edges: Sequence[datetime], category: str | None = None
) -> list[Lot]:
    """All that is queued or leased; within a transaction. `edges`: ascending, at least one; `at`: the database's
    time. Read in portions, so that tens of thousands do not keep others from the event loop.
    """
    names = {row["id"]: row["name"] for row in await conn.fetch(query("workspaces"))}
    expiry = [at + span for span in _EXPIRY]
    rows = conn.cursor(query("backlog_lots"), edges, expiry, category, prefetch=_PORTION)
    return [Lot(names.get(row["workspace_id"], "?"), *list(row.values())[1:]) async for row in rows]


async def call_seconds(conn: Connection) -> dict[str, float]:
    """How long each account's platform takes to answer; accounts that have made no call lately are not there."""
    return {row["account"]: row["seconds"] for row in await conn.fetch(query("call_seconds"))}
