"""The actor that lets nobody at the database before its schema fits this code."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from daemon.actor import at_most
from daemon.store.database import Database, DatabaseDown
from daemon.store.migrations import MigrationError, migrate, pending

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 2.0


class Schema:
    """Migrates at start where the TOML allows it, else waits until somebody has."""

    name = "schema"

    def __init__(self, database: Database, *, may_migrate: bool) -> None:
        self._database = database
        self._may_migrate = may_migrate
        self._problem: str | None = "not looked at yet"
        self._stopping = asyncio.Event()
        self.fits = asyncio.Event()

    async def run(self) -> None:
        """Looks until the schema fits, then rests until `stop()`."""
        while not self.fits.is_set() and not self._stopping.is_set():
            problem = await self._look()
            if problem != self._problem and problem is not None:
                log.error("the schema does not fit", problem=problem)
            self._problem = problem
            if problem is None:
                self.fits.set()
            else:
                await at_most(_PAUSE_SECONDS, self._stopping)
        await self._stopping.wait()

    async def stop(self) -> None:
        """Lets `run()` return."""
        self._stopping.set()

    def health(self) -> str | None:
        """What is wrong with the schema."""
        return self._problem

    async def _look(self) -> str | None:
        try:
            async with self._database.acquire() as conn:
                if self._may_migrate:
                    for migration in await migrate(conn):
                        log.info("migrated", migration=migration.name)
                    return None
                missing = await pending(conn)
        except (DatabaseDown, MigrationError) as error:
            return str(error)
        except asyncpg.PostgresError as error:
            return f"{type(error).__name__}: {error}"
        if missing:
            return f"{len(missing)} migrations are pending, from {missing[0].name}: run `duly migrate`"
        return None
