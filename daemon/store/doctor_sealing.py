"""What `duly doctor` says of keys: which are needed, which are missing or wrong, and which may go."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from daemon.sealing.envelope import CannotOpen, KeyRing
from daemon.store.database import Connection
from daemon.store.findings import Finding, Level
from daemon.store.sql import query

_SHOWN = 5


async def keys(conn: Connection, ring: KeyRing) -> list[Finding]:
    """A finding for each key that the TOML has or a data key needs; none where there are neither."""
    needed: dict[str, list[Any]] = defaultdict(list)
    for row in await conn.fetch(query("data_keys_needed")):
        needed[row["wrapped_by"]].append(row)
    return [_of_key(name, needed.get(name, []), ring) for name in sorted(ring.names | needed.keys())]


def _of_key(name: str, rows: list[Any], ring: KeyRing) -> Finding:
    problem = _problem(rows, ring)
    whose = sorted({row["workspace"] for row in rows})
    more = f" and {len(whose) - _SHOWN} more" if len(whose) > _SHOWN else ""
    what = f"key {name} is needed by {', '.join(whose[:_SHOWN])}{more}"
    if problem is not None:
        cure = "Put the key back into [privacy] keys as it was: without it nothing of theirs can be opened."
        return Finding("keys", Level.PROBLEM, f"{what}: {problem}", cure)
    if name == ring.current:
        return Finding("keys", Level.OK, what if rows else f"key {name} is current, and nothing needs it yet")
    if rows:
        return Finding("keys", Level.OK, what, "Run `duly privacy rotate` before you remove it.")
    cure = "Remove it from [privacy] keys, and keep it for as long as backups from its time."
    return Finding("keys", Level.OK, f"key {name} is not needed any more", cure)


def _problem(rows: list[Any], ring: KeyRing) -> str | None:
    for row in rows:
        try:
            ring.unwrap(row["wrapped_by"], row["wrapped"], row["workspace_id"], row["generation"])
        except CannotOpen as error:
            return str(error)
    return None
