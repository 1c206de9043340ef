"""The slow loop of the audit: writes down what this daemon did itself, and chains what waits, of everybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import asyncpg
import structlog

from daemon import clock
from daemon.actor import either
from daemon.store import audit
from daemon.store.audit import Head, Note
from daemon.store.database import Database, DatabaseDown, describe

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 5.0
_BATCH = 1000
_HEAD_SECONDS = 3600.0
_LAST_SECONDS = 2.0
# Notes that wait for the database to come back.
_INBOX = 1000


class Auditor:
    """The actor that keeps the audit.

    Notes are kept here while the database is away. One may be written twice, where the connection broke meanwhile.
    """

    name = "auditor"

    def __init__(
        self,
        database: Database,
        after: asyncio.Event,
        gather: Callable[[], None],
        *,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`after`: set when the schema fits. `gather`: called before each pass, to note what has been held back."""
        self._database = database
        self._after = after
        self._gather = gather
        self._monotonic = monotonic
        self._inbox: deque[tuple[float, Note]] = deque()
        self._lost = 0
        self._problem: str | None = None
        self._told_at: float | None = None  # when the head was last logged
        self._noted = asyncio.Event()
        self._stopping = asyncio.Event()

    def note(self, note: Note) -> None:
        """Will be written within moments, or when the database is back."""
        if len(self._inbox) >= _INBOX:
            self._lost += 1
            return
        self._inbox.append((self._monotonic(), note))
        self._noted.set()

    async def run(self) -> None:
        """Looks every few seconds, and at once when there is a note, until `stop()`; then once more."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            self._noted.clear()
            with contextlib.suppress(DatabaseDown):
                await self.once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS):
                    await either(self._noted, self._stopping)
        if self._after.is_set():
            with contextlib.suppress(DatabaseDown, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self.once()
        self._lost += len(self._inbox)
        self._tell_loss()

    async def stop(self) -> None:
        """Lets `run()` write what is still noted, if the database answers."""
        self._stopping.set()

    def health(self) -> str | None:
        """A chain that stands still keeps no message back: `duly doctor` tells of it."""
        return None

    async def once(self) -> None:
        """One pass. Raises `DatabaseDown`."""
        self._gather()
        while self._inbox:
            noted_at, note = self._inbox[0]
            await audit.append(self._database, _dated(note, self._monotonic() - noted_at))
            self._inbox.popleft()
        self._tell_loss()
        await self._chain()

    async def _chain(self) -> None:
        """What keeps the chain from growing, such as a forged line at its end, must end nothing else."""
        chained, head = _BATCH, None
        try:
            while chained >= _BATCH:
                chained, newest = await audit.chain(self._database, _BATCH)
                head = newest or head
        except asyncpg.PostgresError as error:
            problem = describe(error)
            if problem != self._problem:
                log.error("the audit's chain cannot grow: see `duly doctor`", problem=problem)
            self._problem = problem
        else:
            self._problem = None
        if head is not None:
            self._tell_head(head)

    def _tell_loss(self) -> None:
        if self._lost:
            log.error("notes for the audit were lost: the database was away for too long", count=self._lost)
        self._lost = 0

    def _tell_head(self, head: Head) -> None:
        """Logs the head once an hour: outside of the database, it shows whether the newest lines were removed."""
        now = self._monotonic()
        if self._told_at is None or now - self._told_at >= _HEAD_SECONDS:
            self._told_at = now
            log.info("audit head", head=str(head))


def _dated(note: Note, waited_seconds: float) -> Note:
    """The line has the time of its writing; where that is later than the act, it says by how much."""
    if waited_seconds < 1:
        return note
    return replace(note, detail={**note.detail, "seconds_late": round(waited_seconds)})
