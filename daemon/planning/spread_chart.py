"""The spreading as a chart's data: how many wished for each slot of time, and how many were placed there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.store.database import Connection
from daemon.store.sql import query

SLOT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Bar:
    """Messages of one lane and priority in one slot. `gone`: of those placed there, what has been sent."""

    slot: datetime
    workspace: str
    channel: str
    priority: int
    wished: int
    placed: int
    gone: int
    segments: int  # of those placed

    def as_json(self) -> dict[str, Any]:
        """For --json and the page."""
        return asdict(self) | {"slot": self.slot.isoformat()}


async def chart(
    conn: Connection,
    since: datetime,
    until: datetime,
    *,
    workspace: str | None = None,
    slot_seconds: float = SLOT_SECONDS,
) -> list[Bar]:
    """What was wished for from `since` until before `until` (aware), wherever it was placed, in order of the slots.

    Raises `ValueError` for a time that makes no sense.
    """
    if since.tzinfo is None or until.tzinfo is None or since >= until:
        raise ValueError("from: must be a time with its zone, before until")
    if until - since > timedelta(days=35):
        raise ValueError("until: must be within 35 days of from")
    if not 1 <= slot_seconds <= 86_400:
        raise ValueError("slot_seconds: must be from 1 to 86400")
    rows = await conn.fetch(query("spread_chart"), workspace, since, until, float(slot_seconds))
    return [Bar(**row) for row in rows]


async def peak(conn: Connection, least: int) -> datetime | None:
    """The quarter of an hour, of the last hours and the next days, for which most is planned; None: less than `least`."""
    found: datetime | None = await conn.fetchval(query("spread_peak"), least)
    return found


@dataclass(frozen=True, slots=True)
class Planned:
    """A quarter of an hour that much was planned for: its size, what of it is gone, and until when the rest is placed."""

    wished: datetime
    messages: int
    segments: int
    gone: int
    last_due: datetime
    beyond: int


async def planned_cohorts(conn: Connection, most: int = 4) -> Sequence[Planned]:
    """Those of which most is still to go, by time."""
    rows = await conn.fetch(query("spread_cohorts"), most)
    return sorted((Planned(**row) for row in rows), key=lambda each: each.wished)
