"""What the planner plans from: a series, and what each kind of series must know to decide for its people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from daemon.store.database import Connection

Item = dict[str, Any]
"""One decision, with the fields that duly.enqueue_planned takes."""


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


class Source(Protocol):
    """One kind of series."""

    async def members(
        self, conn: Connection, series: Series, after: UUID | None, limit: int
    ) -> Sequence[UUID]:
        """The next contacts after one, by id; fewer than `limit`: there are no more."""

    async def decide(
        self, conn: Connection, series: Series, on_date: date, contacts: Sequence[UUID], now: datetime
    ) -> list[Item]:
        """What is to be said to these contacts on a day of their own calendar: an item for each occurrence, also for
        one that is not sent, with its `reason`. Nothing is written. `now` (aware): what is late is judged by it.
        """
