"""What the planner plans from: a series, and what each kind of series must know to decide for its people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import orjson

from daemon.store.database import Connection

Item = dict[str, Any]
"""One decision, with the fields that duly.enqueue_planned takes; and `links`, those that its text has."""


@dataclass(frozen=True, slots=True)
class Series:
    """A row of duly.series, with its workspace's name. Times without a zone are those of the wall clock."""

    id: UUID
    workspace_id: int
    workspace: str
    name: str
    kind: str
    templates: Mapping[str, str]
    category: str | None
    priority: int | None
    channels: Sequence[str]
    rrule: str | None
    begins_at: datetime | None
    zone: str | None
    exceptions: Sequence[datetime]
    catch_up: str
    earlier: timedelta
    later: timedelta


def series_of(row: Any) -> Series:
    """A row of duly.series with `workspace`, its JSON as texts, as the queries of the planner have it."""
    return Series(
        id=row["series_id"],
        workspace_id=row["workspace_id"],
        workspace=row["workspace"],
        name=row["name"],
        kind=row["kind"],
        templates=orjson.loads(row["templates"]),
        category=row["category"],
        priority=row["priority"],
        channels=row["channels"],
        rrule=row["rrule"],
        begins_at=row["begins_at"],
        zone=row["zone"],
        exceptions=row["exceptions"],
        catch_up=row["catch_up"],
        earlier=row["earlier"],
        later=row["later"],
    )


class Source(Protocol):
    """One kind of series."""

    async def members(
        self, conn: Connection, series: Series, on_date: date, after: UUID | None, limit: int
    ) -> Sequence[UUID]:
        """The next contacts after one, by id, who may have an occurrence on that day; fewer than `limit`: there are no
        more.
        """

    async def decide(
        self, conn: Connection, series: Series, on_date: date, contacts: Sequence[UUID], now: datetime
    ) -> list[Item]:
        """What is to be said to these contacts on a day of their own calendar: an item for each occurrence, also for
        one that is not sent, with its `reason`. Nothing is written. `now` (aware): what is late is judged by it.
        """

    async def keep(self, conn: Connection, series: Series, items: Sequence[Item]) -> None:
        """Stores what items need beside themselves, right before they are queued in the same transaction: their links."""
