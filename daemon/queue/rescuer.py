"""The slow loop that takes over what others dropped: dead daemons' leases, our own forgotten rows, what has
expired where it waits.

Each pass looks at the database and acts, so that a crash anywhere is just the next pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import structlog

from daemon import metrics
from daemon.actor import at_most, either
from daemon.queue.membership import Membership
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_BATCH = 1000


class Rescuer:
    """The actor that leaves nothing behind."""

    name = "rescuer"

    def __init__(
        self,
        database: Database,
        membership: Membership,
        holds: Callable[[], set[UUID]],
        *,
        lease_seconds: float,
        longest_call_seconds: Callable[[], float],
    ) -> None:
        self._database = database
        self._membership = membership
        self._holds = holds
        self.lease_seconds = lease_seconds
        self._longest_call_seconds = longest_call_seconds
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """A pass three times a lease, until `stop()`."""
        await either(self._membership.joined, self._stopping)
        while not self._stopping.is_set():
            with contextlib.suppress(DatabaseDown):
                await self.once()
            await at_most(self.lease_seconds / 3, self._stopping)

    async def stop(self) -> None:
        """Ends after the pass under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """It needs nothing of its own."""
        return None

    async def once(self) -> None:
        """One pass. Raises `DatabaseDown`."""
        while await self._rescue() >= _BATCH:
            pass
        while len(await self._database.fetch(query("expire"), _BATCH)) >= _BATCH:
            pass
        await self._disown()
        await self._database.execute(query("ask_free"), None)
        await self._database.execute(query("ask_decidable"))
        await self._database.execute(query("node_forget"))

    async def _rescue(self) -> int:
        rows = await self._database.fetch(query("rescue"), _BATCH)
        self._tell("took over from dead daemons", [row["state"] for row in rows])
        return len(rows)

    async def _disown(self) -> None:
        """Finds rows that the database says are ours and nobody here remembers: a crash of one actor."""
        patience = self.lease_seconds + self._longest_call_seconds()
        rows = await self._database.fetch(query("held"), self._membership.node_id, patience)
        known = self._holds()
        forgotten = [row for row in rows if row["id"] not in known]
        if not forgotten:
            return
        given_up = await self._database.fetch(
            query("disown"),
            [row["id"] for row in forgotten],
            [row["workspace_id"] for row in forgotten],
            self._membership.node_id,
        )
        self._tell("gave up what this daemon had forgotten", [row["state"] for row in given_up])

    def _tell(self, event: str, states: list[str]) -> None:
        for state, how_many in Counter(states).items():
            metrics.RESCUED.labels(state).inc(how_many)
            log.warning(event, state=state, count=how_many)
