"""Waits: until several works are done, and until nothing moves any more."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg

from daemon.chaos.cluster import Cluster
from daemon.store.database import Connection
from daemon.store.sql import query

# Rest never comes if nothing has moved for so long: the reconciler's longest claim and several patiences.
_NOTHING_MOVED_SECONDS = 150.0
_LOOK_SECONDS = 0.5
_TELL_SECONDS = 5.0


async def rest(conn: Connection, cluster: Cluster, tell: Callable[[str], None]) -> list[asyncpg.Record]:
    """Returns when every delivery rests and the stand-in has no more to say; else what never does."""
    least, moved_at, told_at = None, time.monotonic(), 0.0
    calm = 0
    while True:
        stuck = await conn.fetch(query("chaos_unrest"))
        left = len(stuck) + await cluster.pending()
        calm = 0 if left else calm + 1
        if calm > 1:
            return []
        now = time.monotonic()
        if least is None or left < least:
            least, moved_at = left, now
        elif any(row["ahead"] for row in stuck):
            moved_at = now
        if now - moved_at > _NOTHING_MOVED_SECONDS:
            return list(stuck)
        if now - told_at > _TELL_SECONDS:
            told_at = now
            states = Counter(row["state"] for row in stuck)
            waiting = ", ".join(f"{count} {state}" for state, count in states.items()) or "callbacks"
            tell(f"not at rest yet: {waiting}")
        await asyncio.sleep(_LOOK_SECONDS)


async def all_of(*works: Coroutine[Any, Any, None]) -> None:
    """Returns when all are done; the first failure ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
