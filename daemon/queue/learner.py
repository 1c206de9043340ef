"""The slow loop that learns when people answer, for the workspaces that ask for it; and removes links that have expired.

What a pass has learned and how far it has come are written in one transaction, a portion at a time: nothing is learned
twice. Whoever holds a workspace's row learns; the other daemons go on to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from daemon.actor import at_most, either
from daemon.config import Config
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 300.0
_PORTION = 2000
# Between portions others have the database to themselves.
_PAUSE_SECONDS = 0.05


class Learner:
    """The actor that learns."""

    name = "learner"

    def __init__(self, database: Database, config: Callable[[], Config], after: asyncio.Event) -> None:
        """`after`: set when the schema fits."""
        self._database = database
        self._config = config
        self._after = after
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """A pass each five minutes, until `stop()`."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            with contextlib.suppress(DatabaseDown):
                await self.once()
            await at_most(_LOOK_SECONDS, self._stopping)

    async def stop(self) -> None:
        """Ends after the portion under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """Nobody waits for it."""
        return None

    async def once(self) -> int:
        """Learns all that there is to learn now; how many events were looked at. Raises `DatabaseDown`."""
        await self._all("forget_expired_links")
        wanted = {name for name, workspace in self._config().workspaces.items() if workspace.learn_send_time}
        total = 0
        if wanted:
            for row in await self._database.fetch(query("workspaces")):
                if row["name"] in wanted:
                    total += await self._all("learn_habits", row["id"])
        if total:
            log.info("learned when people answer", events=total)
        return total

    async def _all(self, name: str, *whose: int) -> int:
        """Portion after portion, until one finds nothing."""
        total = 0
        while not self._stopping.is_set():
            row = await self._database.fetchrow(query(name), *whose, _PORTION)
            done: int = (row[0] or 0) if row is not None else 0
            total += done
            if not done:
                break
            await at_most(_PAUSE_SECONDS, self._stopping)
        return total
