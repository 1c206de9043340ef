"""Publishes to the database what its own answers need: the rules of the TOML, and the almanac."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import structlog

from daemon.actor import either
from daemon.config import Config
from daemon.queue.rule_sets import rule_sets
from daemon.rules import almanac
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5


class Publisher:
    """An actor: publishes at start and after each reload. Nothing that is sent waits for it."""

    name = "publisher"

    def __init__(self, database: Database, config: Callable[[], Config], after: asyncio.Event) -> None:
        """`after`: set when the database's schema fits."""
        self._database = database
        self._config = config
        self._after = after
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._stopping = asyncio.Event()

    def reload(self) -> None:
        """Publishes what the TOML says now."""
        self._wanted.set()

    async def run(self) -> None:
        """Publishes what is wanted, until `stop()`."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await publish_rules(self._database, self._config())
                await publish_almanac(self._database)
            except DatabaseDown:
                self._wanted.set()
            except BaseException:
                self._wanted.set()  # whoever runs next must publish it
                raise
            await asyncio.sleep(_RETRY_SECONDS if self._wanted.is_set() else 0)

    async def stop(self) -> None:
        """Ends after what is under way."""
        self._stopping.set()
        self._wanted.set()

    def health(self) -> None:
        """Never keeps the daemon from its work."""


async def publish_rules(database: Database, config: Config) -> None:
    """Puts the rules of all workspaces in the place of those that are there. Raises `DatabaseDown`."""
    await database.execute(query("register_rules"), orjson.dumps(rule_sets(config)).decode())


async def publish_almanac(database: Database) -> None:
    """Makes the tables, unless the database has them of this version: a second, in a thread. Raises `DatabaseDown`."""
    present = await database.fetchrow(query("almanac_version"))
    if present is not None and present["version"] == almanac.VERSION:
        return
    tables = await asyncio.to_thread(almanac.almanac)
    await database.execute(
        query("register_almanac"),
        almanac.VERSION,
        almanac.FIRST,
        almanac.LAST,
        tables.offsets,
        tables.plans,
        tables.regions,
        tables.areas,
    )
    log.info("the almanac is in the database", version=almanac.VERSION)
