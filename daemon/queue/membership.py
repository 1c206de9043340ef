"""This daemon among the others: its claim on what it leases."""

from __future__ import annotations

import asyncio

import structlog

from daemon import __version__, clock
from daemon.actor import at_most, either
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

# A lease token is the node's id above its count of leases.
_NODE_SHIFT = 32


class Membership:
    """An actor that keeps this process's row in duly.node alive.

    All leases of a process stand and fall with that row: one heartbeat renews them all. If the database's
    clock says that the claim ran out (the process was suspended, the database long away), what was leased may
    be another daemon's by now, so the process takes a new id and starts over.
    """

    name = "membership"

    def __init__(
        self,
        database: Database,
        node: str,
        lease_seconds: float,
        *,
        after: asyncio.Event | None = None,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`after`: set when the schema is fit to join."""
        self._after = after
        self._database = database
        self._node = node
        self.lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._valid_until = 0.0
        self._tokens = 0
        self._stopping = asyncio.Event()
        self.joined = asyncio.Event()
        self.node_id = 0
        self.alive = 1

    @property
    def share(self) -> float:
        """This daemon's even part of the work."""
        return 1.0 / max(1, self.alive)

    @property
    def valid(self) -> bool:
        """Whether what this daemon has leased is surely still its own."""
        return self._monotonic() < self._valid_until

    def new_token(self) -> int:
        """A lease token that no other lease of any daemon ever has."""
        self._tokens += 1
        return (self.node_id << _NODE_SHIFT) | self._tokens

    def owns(self, token: int) -> bool:
        """Whether what was leased under this token is surely still this daemon's own.

        A valid claim is not enough: after one that ran out comes the next, and what was leased under the first
        may be another daemon's by then.
        """
        return self.valid and token >> _NODE_SHIFT == self.node_id

    async def run(self) -> None:
        """Joins, then renews the claim three times a lease."""
        if self._after is not None:
            await either(self._after, self._stopping)
        while not self._stopping.is_set():
            try:
                await self._beat()
            except DatabaseDown:
                await at_most(min(1.0, self.lease_seconds / 10), self._stopping)
            else:
                await at_most(self.lease_seconds / 3, self._stopping)

    async def stop(self) -> None:
        """Leaves: what may still be held is free for the others at once."""
        self._stopping.set()
        self._valid_until = 0.0
        if not self.node_id:
            return
        try:
            await self._database.execute(query("node_leave"), self.node_id)
        except DatabaseDown:
            log.warning("could not say goodbye: the others wait until the lease runs out")

    def health(self) -> str | None:
        """Not valid means that nothing may be sent."""
        return None if self.valid else "holds no valid lease"

    async def _beat(self) -> None:
        asked_at = self._monotonic()
        if self.node_id:
            row = await self._database.fetchrow(query("node_heartbeat"), self.node_id, self.lease_seconds)
            if row is not None:
                self.alive = row["alive"]
                self._valid_until = asked_at + self.lease_seconds
                return
            log.warning("the lease ran out; joining anew", node_id=self.node_id)
        await self._join()

    async def _join(self) -> None:
        self._valid_until = 0.0
        asked_at = self._monotonic()
        row = await self._database.fetchrow(query("node_join"), self._node, __version__, self.lease_seconds)
        assert row is not None
        self.node_id, self._tokens, self.alive = row["id"], 0, row["others"] + 1
        self._valid_until = asked_at + self.lease_seconds
        self.joined.set()
        log.info("joined", node=self._node, node_id=self.node_id, alive=self.alive)
