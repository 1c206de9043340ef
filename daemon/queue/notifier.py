"""Tells operators' URLs that a delivery was given up, where a retry rule says `notify`."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import asyncpg
import orjson
import structlog

from daemon.actor import at_most, either
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 5.0
_BATCH = 50
_MOST_TRIES = 10
_TIMEOUT_SECONDS = 10.0


class Notifier:
    """An actor: each notice is POSTed until a 2xx, with growing pauses, ten times at most.

    The body is JSON: `delivery`, `workspace`, `reason`, `at`; never the address or the text. A notice may
    arrive twice after a crash; `delivery` tells them apart.
    """

    name = "notifier"

    def __init__(self, database: Database, after: asyncio.Event) -> None:
        """`after`: set when the schema fits."""
        self._database = database
        self._after = after
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Looks every few seconds until `stop()`."""
        await either(self._after, self._stopping)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self._stopping.is_set():
                with contextlib.suppress(DatabaseDown):
                    await self._pass(session)
                await at_most(_PAUSE_SECONDS, self._stopping)

    async def stop(self) -> None:
        """Ends after the pass under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """It needs nothing of its own."""
        return None

    async def _pass(self, session: aiohttp.ClientSession) -> None:
        rows = await self._database.fetch(query("notice_take"), _BATCH)
        await asyncio.gather(*(self._tell(session, row) for row in rows))

    async def _tell(self, session: aiohttp.ClientSession, row: asyncpg.Record) -> None:
        body = {
            "delivery": str(row["delivery_id"]),
            "workspace": row["workspace"],
            "reason": row["reason"],
            "at": row["made_at"],
        }
        problem = None
        try:
            headers = {"Content-Type": "application/json"}
            async with session.post(row["url"], data=orjson.dumps(body), headers=headers) as response:
                if not response.ok:
                    problem = f"HTTP {response.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            problem = type(error).__name__
        if problem is not None and row["tries"] < _MOST_TRIES:
            return
        if problem is not None:
            log.error("a notice could not be told", delivery=str(row["delivery_id"]), problem=problem)
        await self._database.execute(query("notice_done"), row["id"])
