"""Seals what is to be sealed, in batches: what is in clear, and what an older data key has sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import structlog

from daemon.sealing.envelope import CannotOpen, DataKey
from daemon.sealing.keys import DataKeys
from daemon.store.database import Database
from daemon.store.sql import query

log = structlog.get_logger(__name__)

KINDS = ("message", "delivery", "address", "conversation", "inbound")
_BATCH = 500


class Pending:
    """What is still to be sealed, in some workspaces. Values that do not open are told of once and left as they are."""

    def __init__(self, database: Database, keys: DataKeys) -> None:
        self._database = database
        self._keys = keys
        self._broken: dict[str, set[str]] = {kind: set() for kind in KINDS}

    async def seal(self, workspaces: Sequence[int]) -> int:
        """Seals all of it; returns how many rows. A row that somebody has locked is left for the next time.

        Raises `DatabaseDown`; `CannotOpen` for a data key, when everything that others open has been sealed.
        """
        if not workspaces:
            return 0
        newest: dict[int, DataKey] = {}
        wanted: list[tuple[int, int]] = []
        trouble: CannotOpen | None = None
        for workspace_id, generations in (await self._keys.generations(workspaces)).items():
            try:
                newest[workspace_id] = await self._keys.key(workspace_id, generations[-1])
                wanted.append((workspace_id, 0))
                for generation in generations[:-1]:
                    await self._keys.key(workspace_id, generation)
                    wanted.append((workspace_id, generation))
            except CannotOpen as error:
                trouble = error
        sealed = sum([await self._all_of(kind, wanted, newest) for kind in KINDS])
        if trouble is not None:
            raise trouble
        return sealed

    async def _all_of(
        self, kind: str, wanted: Sequence[tuple[int, int]], newest: Mapping[int, DataKey]
    ) -> int:
        workspaces, generations = [w for w, _ in wanted], [g for _, g in wanted]
        sealed = 0
        while True:
            rows = await self._database.fetch(
                query(f"sealable_{kind}"), workspaces, generations, _BATCH, list(self._broken[kind])
            )
            known = len(self._broken[kind])
            done = 0
            for workspace_id, group in groupby(rows, key=itemgetter("workspace_id")):
                done += await self._put(kind, newest[workspace_id], workspace_id, list(group))
            sealed += done
            found_broken = len(self._broken[kind]) > known
            if len(rows) < _BATCH or not (done or found_broken):
                return sealed

    async def _put(self, kind: str, newest: DataKey, workspace_id: int, rows: Sequence[Any]) -> int:
        columns: list[tuple[str, int, bytes]] = []
        for row in rows:
            try:
                parts = await self._parts(kind, row)
            except CannotOpen as error:
                self._broken[kind].add(row["id"])
                log.error("cannot be sealed anew", kind=kind, id=row["id"], why=str(error))
            else:
                columns.append((row["id"], row["sealed_with"], newest.seal(kind, row["id"], parts)))
        if not columns:
            return 0
        ids, was, sealed = map(list, zip(*columns, strict=True))
        row = await self._database.fetchrow(
            query("put_sealed"), kind, workspace_id, ids, was, sealed, newest.generation
        )
        return int(row[0]) if row is not None else 0

    async def _parts(self, kind: str, row: Any) -> Sequence[str | None]:
        if row["sealed"] is None:
            found: Sequence[str | None] = row["parts"]
            return found
        return await self._keys.open(row["workspace_id"], kind, row["id"], row["sealed"])
