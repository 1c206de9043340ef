"""Plans series for days, in portions: each is one transaction, which holds the run, decides for the next people, queues
what they get and moves on. Any daemon may do the next portion; whatever is killed, nobody is left out or asked twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

import asyncpg
import orjson
import structlog

from daemon import metrics
from daemon.planning.sources import Item, Series, Source, series_of
from daemon.store.database import Connection, Database, DatabaseDown, describe
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_AGAIN = 500
# What the next look may get past: it is nobody's fault.
_PASSING = (
    DatabaseDown,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
)


@dataclass(frozen=True, slots=True)
class Only:
    """What is planned: all of it, or that of one workspace or for one day."""

    workspace: str | None = None
    on_date: date | None = None


EVERYTHING = Only()


@dataclass(slots=True)
class Progress:
    """What was decided so far."""

    planned: int = 0
    skipped: int = 0
    portions: int = 0
    troubles: dict[str, str] = field(default_factory=dict)  # series → why it could not be planned

    @property
    def decided(self) -> int:
        """Of how many people and occurrences."""
        return self.planned + self.skipped


class PlanRuns:
    """All planning of a database."""

    def __init__(self, database: Database, sources: Mapping[str, Source], *, portion: int = 1000) -> None:
        """`sources`: by the kind of series; `portion`: people in one transaction."""
        self.portion = portion
        self._database = database
        self._sources = sources

    async def open(self, lead_hours: int, only: Only = EVERYTHING) -> int:
        """Opens the days that are near enough; how many there were to open. Raises `DatabaseDown`."""
        return len(await self._database.fetch(query("plan_open"), lead_hours, only.workspace, only.on_date))

    async def step(self, progress: Progress, only: Only = EVERYTHING) -> bool:
        """Plans again for who asks for it, then the next portion. Whether there was anything. Raises `DatabaseDown`."""
        await self._database.execute(query("reopen_series"))
        asked = await self.again(progress)
        return await self.portion_of(progress, only) or asked

    async def portion_of(self, progress: Progress, only: Only = EVERYTHING) -> bool:
        """Plans the next portion of a run that nobody is at. Whether there was one. Raises `DatabaseDown`."""
        series: Series | None = None
        try:
            async with self._database.acquire() as conn, conn.transaction():
                row = await conn.fetchrow(
                    query("plan_take"),
                    list(self._sources),
                    [UUID(each) for each in progress.troubles],
                    only.workspace,
                    only.on_date,
                )
                if row is None:
                    return False
                series = series_of(row)
                planned, skipped = await self._plan(conn, series, row)
        except DatabaseDown:
            raise
        except Exception as error:
            if series is None:
                raise
            # It is this series', or what somebody has stored for it: the others go on.
            progress.troubles[str(series.id)] = f"{series.workspace} {series.name}: {_words(error)}"
            log.error(
                "a series cannot be planned",
                workspace=series.workspace,
                series=series.name,
                error=_words(error),
            )
            return True
        progress.planned += planned
        progress.skipped += skipped
        progress.portions += 1
        metrics.PLANNED.labels(series.kind, "queued").inc(planned)
        metrics.PLANNED.labels(series.kind, "not_sent").inc(skipped)
        return True

    async def again(self, progress: Progress) -> bool:
        """Plans the check-ins again of the next people who ask for it. Whether there were any. Raises `DatabaseDown`."""
        async with self._database.acquire() as conn, conn.transaction():
            asking: dict[int, list[UUID]] = defaultdict(list)
            for row in await conn.fetch(query("plan_again"), _AGAIN):
                asking[row["workspace_id"]].append(row["contact_id"])
            for workspace_id, contacts in sorted(asking.items()):
                planned, skipped = await self._again_contained(conn, workspace_id, contacts)
                progress.planned += planned
                progress.skipped += skipped
        return bool(asking)

    async def _plan(self, conn: Connection, series: Series, row: asyncpg.Record) -> tuple[int, int]:
        source = self._sources[series.kind]
        contacts = await source.members(conn, series, row["on_date"], row["last_contact"], self.portion)
        items = await source.decide(conn, series, row["on_date"], contacts, row["now"]) if contacts else []
        await source.keep(conn, series, items)
        planned, skipped = await enqueue(conn, series.workspace_id, items)
        await conn.execute(
            query("plan_move"),
            series.id,
            row["on_date"],
            series.workspace_id,
            contacts[-1] if contacts else None,
            planned,
            skipped,
            len(contacts) < self.portion,
        )
        return planned, skipped

    async def _again_contained(
        self, conn: Connection, workspace_id: int, contacts: Sequence[UUID]
    ) -> tuple[int, int]:
        """As `_again`; of people who cannot be planned, nothing is, and the others are."""
        try:
            async with conn.transaction():
                return await self._again(conn, workspace_id, contacts)
        except _PASSING:
            raise
        except Exception as error:
            if conn.is_closed():
                raise
            if len(contacts) == 1:
                log.error(
                    "check-ins cannot be planned again",
                    workspace_id=workspace_id,
                    contact=str(contacts[0]),
                    error=_words(error),
                )
                await conn.execute(query("plan_again_done"), workspace_id, contacts)
                return 0, 1
        middle = len(contacts) // 2
        first = await self._again_contained(conn, workspace_id, contacts[:middle])
        second = await self._again_contained(conn, workspace_id, contacts[middle:])
        return first[0] + second[0], first[1] + second[1]

    async def _again(self, conn: Connection, workspace_id: int, contacts: Sequence[UUID]) -> tuple[int, int]:
        """Only by runs that have passed them already: the others come to them."""
        planned = skipped = 0
        runs = await conn.fetch(query("plan_again_runs"), workspace_id)
        await conn.execute(query("plan_afresh"), workspace_id, contacts)
        for row in runs:
            passed = [
                c for c in contacts if row["done"] or (row["last_contact"] and c <= row["last_contact"])
            ]
            if passed:
                series = series_of(row)
                source = self._sources[series.kind]
                items = await source.decide(conn, series, row["on_date"], passed, row["now"])
                await source.keep(conn, series, items)
                queued, left_out = await enqueue(conn, workspace_id, items)
                planned += queued
                skipped += left_out
        await conn.execute(query("plan_again_done"), workspace_id, contacts)
        return planned, skipped


def _words(error: Exception) -> str:
    """What may be logged of an error: of one that is not the database's its kind, as its text may quote what was read."""
    return describe(error) if isinstance(error, asyncpg.PostgresError) else type(error).__name__


async def enqueue(conn: Connection, workspace_id: int, items: Sequence[Item]) -> tuple[int, int]:
    """Queues items in the caller's transaction: how many are planned, and how many decided without a delivery."""
    if not items:
        return 0, 0
    row = await conn.fetchrow(
        query("enqueue_planned"), workspace_id, orjson.dumps(items, default=str).decode()
    )
    assert row is not None
    return row["planned"], row["skipped"]
