"""Queues what is planned and stops it at its moment, as applications, people and operators do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, cast
from uuid import UUID

import asyncpg

from daemon.chaos.opt_out.judging import Stopped
from daemon.chaos.opt_out.phone import Phone
from daemon.chaos.opt_out.plan import Planned, Stop
from daemon.chaos.opt_out.rules import AMPLE, PLAIN
from daemon.chaos.settings import Tuning
from daemon.store.database import Connection
from daemon.store.sql import query

_CONNECTIONS = 12
# How stops are held back: a look every so often moves it by so much, as far as their share is from even.
_LOOK_SECONDS = 0.3
_STEP_SECONDS = 0.3
_EVEN = 0.5
_MOST_HELD_BACK_SECONDS = 3.0

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


class Queued(NamedTuple):
    """What a delivery was queued as: the plan's number, for whom, and seconds until due."""

    number: int
    to: str
    due_seconds: float


class Racer:
    """Plays a plan over connections of its own. `stopped`: every stop that was in time or holds for what comes."""

    def __init__(self, dsn: str, planned: Sequence[Planned], tuning: Tuning, phone: Phone) -> None:
        self._dsn = dsn
        self._planned = planned
        self._tuning = tuning
        self._phone = phone
        self._began = 0.0
        self._held_back_seconds = 0.0
        self._ids: dict[int, asyncio.Future[UUID]] = {}
        self.stopped: list[Stopped] = []
        self.queued: dict[UUID, Queued] = {}  # the database forgets whose a delivery of an erased person was

    async def run(self, began: float) -> None:
        """Returns when all is queued and every stop has been answered. `began`: by the loop's clock."""
        self._began = began
        loop = asyncio.get_running_loop()
        self._ids = {planned.number: loop.create_future() for planned in self._planned}
        handicap = asyncio.create_task(self._handicap())
        try:
            async with (
                asyncpg.create_pool(
                    self._dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS, command_timeout=60
                ) as pool,
                asyncio.TaskGroup() as tasks,
            ):
                for planned in self._planned:
                    tasks.create_task(self._enqueue(pool, planned))
                    if planned.stop is not None:
                        tasks.create_task(self._stop(pool, planned, planned.stop))
        finally:
            handicap.cancel()
            await asyncio.gather(handicap, return_exceptions=True)

    async def _handicap(self) -> None:
        """Holds stops back while they win too often: on a busy machine marks come late, and none would lose."""
        conn = await asyncpg.connect(self._dsn, timeout=10, command_timeout=60)
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                won = await conn.fetchval(query("chaos_share"), [PLAIN, AMPLE])
                if won is not None:
                    held = self._held_back_seconds + _STEP_SECONDS * (won - _EVEN)
                    self._held_back_seconds = min(max(held, 0.0), _MOST_HELD_BACK_SECONDS)
        finally:
            await conn.close()

    async def _until(self, at: float) -> None:
        await asyncio.sleep(self._began + at - asyncio.get_running_loop().time())

    async def _enqueue(self, pool: Pool, planned: Planned) -> None:
        await self._until(planned.at)
        async with pool.acquire() as conn:
            if planned.zone is not None:
                await conn.execute(query("chaos_person"), planned.workspace, planned.to, planned.zone)
            due_seconds = self._began + planned.due - asyncio.get_running_loop().time()
            delivery = await conn.fetchval(
                query("chaos_enqueue"),
                planned.workspace,
                planned.to,
                f"Message {planned.number}",
                due_seconds,
                planned.priority,
                None,
                None,
                planned.number,
                planned.category,
            )
        self.queued[delivery] = Queued(planned.number, planned.to, due_seconds)
        self._ids[planned.number].set_result(delivery)

    async def _stop(self, pool: Pool, planned: Planned, kind: Stop) -> None:
        await self._until(planned.stop_at)
        await asyncio.sleep(self._held_back_seconds)
        if kind is Stop.CANCEL:
            await self._ids[planned.number]
        async with pool.acquire() as pooled:
            conn = cast("Connection", pooled)
            if await self._done(conn, planned, kind):
                answered_at = await conn.fetchval(query("chaos_clock"))
                self.stopped.append(Stopped(kind, planned.number, planned.to, answered_at))

    async def _done(self, conn: Connection, planned: Planned, kind: Stop) -> bool:
        """Stops it, again where Postgres ended the transaction. Whether it holds: a cancellation may be too late."""
        while True:
            try:
                return await self._ask(conn, planned, kind)
            except asyncpg.DeadlockDetectedError:
                pass  # counted by the database

    async def _ask(self, conn: Connection, planned: Planned, kind: Stop) -> bool:
        match kind:
            case Stop.CANCEL:
                return bool(await conn.fetchval(query("chaos_cancel"), self._ids[planned.number].result()))
            case Stop.CONSENT:
                await conn.execute(query("chaos_withdraw"), planned.workspace, planned.to)
            case Stop.LISTED:
                await conn.execute(query("chaos_list"), planned.workspace, planned.to)
            case Stop.LISTED_BY_ALL:
                await conn.execute(query("chaos_list"), None, planned.to)
            case Stop.ERASED:
                await conn.execute(query("chaos_erase"), planned.workspace, planned.to)
            case Stop.WORDS:
                sender = self._tuning.senders.get(planned.workspace)
                await self._phone.stop(self._tuning.account_of(planned.workspace), planned.to, sender)
        return True
