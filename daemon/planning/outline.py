"""What a day's plan comes to in numbers: as it was decided, or as it would be, without deciding anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from daemon.planning.plan_runs import Only
from daemon.planning.sources import Source, series_of
from daemon.store.database import Database
from daemon.store.sql import query


@dataclass(slots=True)
class Outline:
    """How many are written to about what, why others are not, and in which hours (UTC, as wished)."""

    planned: int = 0
    skipped: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    hours: Counter[datetime] = field(default_factory=Counter)

    def count(self, kind: str, reason: str | None, hour: datetime | None, how_many: int = 1) -> None:
        """Adds decisions."""
        if reason is not None:
            self.skipped += how_many
            self.reasons[reason.partition(":")[0]] += how_many
            return
        self.planned += how_many
        self.kinds[kind] += how_many
        if hour is not None:
            self.hours[hour] += how_many

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "users": self.planned + self.skipped,
            "planned": self.planned,
            "skipped": self.skipped,
            "kinds": dict(sorted(self.kinds.items())),
            "reasons": dict(self.reasons.most_common()),
            "hours": {hour.isoformat(): count for hour, count in sorted(self.hours.items())},
        }


async def decided(database: Database, only: Only) -> Outline:
    """What has been decided for a day. Raises `DatabaseDown`."""
    found = Outline()
    for _, kind, reason, hour, how_many in await database.fetch(
        query("plan_counts"), only.workspace, only.on_date
    ):
        found.count(kind, reason, hour, how_many)
    return found


async def foreseen(
    database: Database, sources: Mapping[str, Source], only: Only, on_date: date, portion: int
) -> Outline:
    """What a day comes to: what is planned, and what would be decided now of the others. Raises `DatabaseDown`."""
    found = await decided(database, Only(only.workspace, on_date))
    found.skipped = 0
    found.reasons.clear()
    for row in await database.fetch(query("plan_series"), list(sources), only.workspace, None):
        if not row["enabled"]:
            continue
        series, source = series_of(row), sources[row["kind"]]
        after = None
        while True:
            async with database.acquire() as conn, conn.transaction(readonly=True):
                members = await source.members(conn, series, on_date, after, portion)
                items = await source.decide(conn, series, on_date, members, row["now"]) if members else []
            for item in items:
                wished = item.get("wished_at") or item.get("due_at")
                hour = (
                    None
                    if wished is None
                    else wished.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
                )
                found.count(item.get("kind", ""), item.get("reason"), hour)
            if len(members) < portion:
                break
            after = members[-1]
    return found
