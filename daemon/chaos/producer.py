"""Queues the planned messages as applications do: over connections of their own, again where they must."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg

from daemon.chaos.messages import Planned
from daemon.chaos.verdict import Told
from daemon.store.database import Connection
from daemon.store.sql import query

_CONNECTIONS = 4
_PAUSE_SECONDS = 0.1
# Postgres went away under us.
GONE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ended the connection just as we began to speak
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
# Another transaction was in the way; nothing was done.
_TRY_AGAIN = (asyncpg.TransactionRollbackError,)


class Producer:
    """Plays a plan against the database and remembers what it was told."""

    def __init__(self, dsn: Callable[[], str], planned: Sequence[Planned]) -> None:
        self._dsn = dsn
        self._planned = planned
        self._due: asyncio.Queue[tuple[Planned, str]] = asyncio.Queue()
        self._later: set[asyncio.Task[None]] = set()
        self._unsure: set[int] = set()  # whose enqueue may have committed without an answer
        self.told = {p.number: Told(p.number) for p in planned}

    @property
    def queued(self) -> int:
        """How many messages the database has taken."""
        return sum(bool(told.ids) for told in self.told.values())

    async def run(self) -> None:
        """Returns when every planned step has been taken, however long the database was away."""
        workers = [asyncio.create_task(self._work()) for _ in range(_CONNECTIONS)]
        feeding = asyncio.create_task(self._feed())
        try:
            done, _ = await asyncio.wait([*workers, feeding], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*workers, feeding, *self._later):
                task.cancel()
            await asyncio.gather(*workers, feeding, *self._later, return_exceptions=True)

    async def _feed(self) -> None:
        began = asyncio.get_running_loop().time()
        for planned in self._planned:
            await asyncio.sleep(began + planned.at - asyncio.get_running_loop().time())
            self._due.put_nowait((planned, "enqueue"))
            if planned.again_seconds is not None:
                self._in(planned.again_seconds, planned, "enqueue")
        while True:
            await self._due.join()
            if not self._later:
                return
            await asyncio.wait(set(self._later))

    def _in(self, seconds: float, planned: Planned, step: str) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            self._due.put_nowait((planned, step))

        task = asyncio.create_task(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _work(self) -> None:
        conn: Connection | None = None
        try:
            while True:
                planned, step = await self._due.get()
                while True:
                    try:
                        if conn is None or conn.is_closed():
                            conn = await asyncpg.connect(self._dsn(), timeout=5, command_timeout=20)
                        await (self._enqueue if step == "enqueue" else self._cancel)(conn, planned)
                        break
                    except GONE:
                        if conn is not None:
                            conn.terminate()
                        conn = None
                    except _TRY_AGAIN:
                        pass
                    await asyncio.sleep(_PAUSE_SECONDS)
                self._due.task_done()
        finally:
            if conn is not None:
                with contextlib.suppress(*GONE):
                    await conn.close(timeout=1)

    async def _enqueue(self, conn: Connection, planned: Planned) -> None:
        told = self.told[planned.number]
        known = (
            await conn.fetch(query("chaos_find"), planned.number) if planned.number in self._unsure else []
        )
        if planned.key is not None or not known:
            self._unsure.add(planned.number)
            told.ids.add(await self._queue(conn, planned))
            self._unsure.discard(planned.number)
        else:
            told.ids |= {row["id"] for row in known}
        if planned.cancel_seconds is not None:
            self._in(planned.cancel_seconds, planned, "cancel")

    @staticmethod
    async def _queue(conn: Connection, planned: Planned) -> UUID:
        found: UUID = await conn.fetchval(
            query("chaos_enqueue"),
            planned.workspace,
            planned.to,
            planned.body,
            planned.due_seconds,
            planned.priority,
            planned.key,
            planned.expires_seconds,
            planned.number,
            "transactional",
        )
        return found

    async def _cancel(self, conn: Connection, planned: Planned) -> None:
        told = self.told[planned.number]
        for delivery in told.ids:
            if await conn.fetchval(query("chaos_cancel"), delivery):
                told.canceled = True
