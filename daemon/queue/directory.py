"""Makes the TOML's workspaces and accounts known to the database, and knows all workspaces by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from daemon.actor import either
from daemon.config import Config
from daemon.content.footers import footers
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

_RETRY_SECONDS = 0.5


Registration = tuple[str, float, str | None, list[str] | None, bool]
"""What register_workspace.sql takes: name, duplicate window in seconds, footers as JSON, their categories,
and whether a yes from a form waits for the person's own."""


def registration(config: Config, workspace: str) -> Registration:
    """How a workspace of the TOML is registered."""
    rules = config.rules_for(workspace)
    appended = footers(rules, workspace)
    window = config.workspaces[workspace].duplicate_window_seconds
    categories = rules.footer_categories if appended is not None else None
    return workspace, window, appended, categories, rules.double_opt_in


class Directory:
    """An actor: registers what the TOML names, at start and after each reload, and answers id → name."""

    name = "directory"

    def __init__(
        self,
        database: Database,
        workspaces: Callable[[], Sequence[Registration]],
        platforms: Callable[[], Mapping[str, str]],
        on_change: Callable[[], None],
        *,
        after: asyncio.Event | None = None,
        link_base: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`link_base`: what the links in texts begin with, where they can be."""
        self._link_base = link_base
        self._database = database
        self._workspaces = workspaces  # those that the TOML names
        self._platforms = platforms  # account → platform
        self._on_change = on_change
        self._after = after
        self._names: dict[int, str] = {}
        self._version = 1  # of what the TOML names
        self._registered = 0  # the last version that is in the database
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._stopping = asyncio.Event()

    def name_of(self, workspace_id: int) -> str | None:
        """A workspace's name; None for one not heard of yet, which is then looked up."""
        found = self._names.get(workspace_id)
        if found is None:
            self._wanted.set()
        return found

    def id_of(self, name: str) -> int | None:
        """A workspace's id, if it is known."""
        return next((i for i, n in self._names.items() if n == name), None)

    def reload(self) -> None:
        """Registers again what the TOML names now."""
        self._version += 1
        self._wanted.set()

    async def run(self) -> None:
        """Looks up what is missing, until `stop()`."""
        if self._after is not None:
            await either(self._after, self._stopping)
        while not self._stopping.is_set():
            await self._wanted.wait()
            self._wanted.clear()
            try:
                if self._registered < self._version:
                    await self._register()
                rows = await self._database.fetch(query("workspaces"))
            except DatabaseDown:
                self._wanted.set()
            except BaseException:
                self._wanted.set()  # whoever runs next must look again
                raise
            else:
                known = len(self._names)
                self._names = {row["id"]: row["name"] for row in rows}
                if len(self._names) != known:
                    self._on_change()
            await asyncio.sleep(_RETRY_SECONDS if self._wanted.is_set() else 0)

    async def stop(self) -> None:
        """Ends after the look-up under way."""
        self._stopping.set()
        self._wanted.set()

    def health(self) -> str | None:
        """Until the first registration nothing can be queued for a new workspace."""
        return None if self._registered else "workspaces are not registered yet"

    async def _register(self) -> None:
        version = self._version
        async with self._database.acquire() as conn:
            await conn.executemany(query("register_workspace"), list(self._workspaces()))
            await conn.executemany(query("register_account"), list(self._platforms().items()))
            if base := self._link_base():
                await conn.execute(query("register_link_base"), base)
        self._registered = version
