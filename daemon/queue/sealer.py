"""The actor that seals: within seconds of its commit, what a producer has written is no longer there to be read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from daemon.actor import at_most, either
from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys
from daemon.sealing.pending import Pending
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 2.0
_OLDER = 1000


class Sealer:
    """Seals what the workspaces that ask for it have queued. Without any it asks the database nothing."""

    name = "sealer"

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        wanted: Callable[[], Mapping[str, bool]],
        after: asyncio.Event,
    ) -> None:
        """`wanted`: workspace → whether the TOML says seal. `after`: set when the schema fits."""
        self._database = database
        self._keys = keys
        self._wanted = wanted
        self._after = after
        self._pending = Pending(database, keys)
        self._told: dict[str, bool] = {}  # what the database knows of what is wanted
        self._ids: dict[str, int] = {}  # the workspaces that seal
        self._trouble: str | None = None
        self._stopping = asyncio.Event()

    @property
    def active(self) -> bool:
        """Whether any workspace seals."""
        return bool(self._ids)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be sealed at present."""
        return self._trouble

    def reload(self) -> None:
        """Tells the database again what is wanted, and opens the data keys anew."""
        self._told.clear()
        self._keys.forget()

    async def run(self) -> None:
        """Seals every few seconds until `stop()`."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            with contextlib.suppress(DatabaseDown):
                await self.once()
            await at_most(_PAUSE_SECONDS, self._stopping)

    async def stop(self) -> None:
        """Ends after the batch under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """What it cannot seal is told by /readyz as `sealing`; messages flow all the same."""
        return None

    async def once(self) -> int:
        """Seals all there is; returns how many rows. Raises `DatabaseDown`."""
        await self._tell()
        workspaces = list(self._ids.values())
        if not workspaces:
            return 0
        while await self._ask_for_older(workspaces):
            pass
        try:
            sealed = await self._pending.seal(workspaces)
        except CannotOpen as error:
            if str(error) != self._trouble:
                log.error("nothing can be sealed", why=str(error))
            self._trouble = str(error)
            return 0
        self._trouble = None
        return sealed

    async def _tell(self) -> None:
        """Makes the database know which workspaces seal; those not registered yet are told of the next time."""
        news = {name: seal for name, seal in self._wanted().items() if self._told.get(name) is not seal}
        if not news:
            return
        for row in await self._database.fetch(query("set_sealing"), list(news), list(news.values())):
            if row["id"] is not None:
                self._told[row["name"]] = row["seal"]
                self._ids.pop(row["name"], None)
                if row["seal"]:
                    self._ids[row["name"]] = row["id"]

    async def _ask_for_older(self, workspaces: list[int]) -> bool:
        row = await self._database.fetchrow(query("ask_for_older"), workspaces, _OLDER)
        return row is not None and bool(row[0]) and not self._stopping.is_set()
