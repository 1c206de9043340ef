"""The workspaces' data keys: read, made, renewed and wrapped anew; those once opened are remembered."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from daemon.config import PrivacyConfig
from daemon.sealing.envelope import CannotOpen, DataKey, KeyRing, generation_of, new_data_key
from daemon.store.sql import query


class Source(Protocol):
    """A database, or a connection to one."""

    async def fetch(self, query: str, /, *args: Any) -> list[Any]:
        """All rows of a statement."""


def ring_of(privacy: PrivacyConfig) -> KeyRing:
    """The keys of a configuration."""
    keys = {name: base64.b64decode(key.reveal()) for name, key in privacy.keys.items()}
    return KeyRing(keys, privacy.current)


class DataKeys:
    """All data keys of a database, as far as the configuration's keys open them."""

    def __init__(self, source: Source, ring: Callable[[], KeyRing]) -> None:
        self._source = source
        self._ring = ring
        self._opened: dict[tuple[int, int], DataKey] = {}

    def forget(self) -> None:
        """Opens all anew, as after a reload: a key that was taken away opens nothing from then on."""
        self._opened.clear()

    async def key(self, workspace_id: int, generation: int) -> DataKey:
        """One data key. Raises `CannotOpen`."""
        found = self._opened.get((workspace_id, generation))
        if found is not None:
            return found
        for row in await self._rows([workspace_id]):
            if row["generation"] == generation:
                return self._open(row)
        raise CannotOpen(f"there is no data key {generation} of workspace {workspace_id}")

    async def generations(self, workspaces: Sequence[int]) -> dict[int, list[int]]:
        """Which generations each of these workspaces has, the newest last; one without any gets its first.

        Raises `CannotOpen` without a current key.
        """
        rows = await self._rows(workspaces)
        found: dict[int, list[int]] = {workspace_id: [] for workspace_id in workspaces}
        for row in rows:
            found[row["workspace_id"]].append(row["generation"])
        for workspace_id in [each for each, generations in found.items() if not generations]:
            found[workspace_id] = [(await self._make(workspace_id, 1)).generation]
        return found

    async def newest(self, workspace_id: int) -> DataKey:
        """What a workspace's rows are sealed with now. Raises `CannotOpen`."""
        generations = await self.generations([workspace_id])
        return await self.key(workspace_id, generations[workspace_id][-1])

    async def renew(self, workspace_id: int) -> DataKey:
        """Makes the next generation; where somebody else was faster, theirs. Raises `CannotOpen`."""
        rows = await self._rows([workspace_id])
        return await self._make(workspace_id, max((row["generation"] for row in rows), default=0) + 1)

    async def workspaces(self) -> list[int]:
        """Those that have data keys."""
        return sorted({row["workspace_id"] for row in await self._rows(None)})

    async def rewrap(self) -> int:
        """Wraps every data key with the current key; returns how many were not. Raises `CannotOpen`."""
        ring = self._ring()
        done = 0
        for row in await self._rows(None):
            if row["wrapped_by"] == ring.current:
                continue
            workspace_id, generation = row["workspace_id"], row["generation"]
            key = ring.unwrap(row["wrapped_by"], row["wrapped"], workspace_id, generation)
            name, wrapped = ring.wrap(key, workspace_id, generation)
            await self._source.fetch(
                query("data_key_rewrap"), workspace_id, generation, wrapped, name, row["wrapped_by"]
            )
            done += 1
        return done

    async def open(self, workspace_id: int, kind: str, identity: str, sealed: bytes) -> list[str | None]:
        """What was sealed for a row. Raises `CannotOpen`."""
        key = await self.key(workspace_id, generation_of(sealed))
        return key.open(kind, identity, sealed)

    async def try_open(
        self, workspace_id: int, kind: str, identity: str, sealed: bytes
    ) -> list[str | None] | None:
        """The same for those who only look; None where it cannot be opened."""
        try:
            return await self.open(workspace_id, kind, identity, sealed)
        except CannotOpen:
            return None

    async def _make(self, workspace_id: int, generation: int) -> DataKey:
        """Makes a generation, or takes the one that somebody else has made."""
        name, wrapped = self._ring().wrap(new_data_key(), workspace_id, generation)
        await self._source.fetch(query("data_key_make"), workspace_id, generation, wrapped, name)
        return await self.key(workspace_id, generation)

    async def _rows(self, workspaces: Sequence[int] | None) -> list[Any]:
        return await self._source.fetch(query("data_keys"), workspaces)

    def _open(self, row: Any) -> DataKey:
        workspace_id, generation = row["workspace_id"], row["generation"]
        key = self._ring().unwrap(row["wrapped_by"], row["wrapped"], workspace_id, generation)
        opened = DataKey(key, workspace_id, generation)
        self._opened[workspace_id, generation] = opened
        return opened
