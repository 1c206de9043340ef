"""The application's side of the demo: it queues by plain calls of `duly.enqueue` and reads `duly.delivery`.

All of it as role duly_producer, which may do nothing else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

import asyncpg
import orjson

from daemon.demo.messages import SHARES, DemoMessage
from daemon.demo.settings import RUNDOWN
from daemon.demo.sunday import clear
from daemon.store.database import Connection
from daemon.store.migrations import migrate
from daemon.store.sql import query

_BATCH = 250
_LULL_SECONDS = 2.0

_ENQUEUE = """
select duly.enqueue($1, 'sms', $2, $3, due_at => now() + make_interval(secs => $4), priority => $5,
                    category => $6, expires_at => now() + make_interval(secs => $7),
                    metadata => $8::text::jsonb)
"""
_CANCEL = "select duly.cancel($1)"
_COUNTS = """
select workspace, state, count(*) as count from duly.delivery where id >= $1 and workspace = any ($2) group by 1, 2
"""
_SECONDS = """
select extract(epoch from max(state_at) - min(created_at))::float8 from duly.delivery
where id >= $1 and workspace = any ($2)
"""

# What people want to know apart.
_COLUMN_OF = {"leased": "queued", "uncertain": "sending", "read": "delivered"}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of a run's deliveries stand where."""

    of: Counter[str] = field(default_factory=Counter)

    def __getitem__(self, column: str) -> int:
        return self.of[column]

    @property
    def total(self) -> int:
        """All of them."""
        return self.of.total()

    @property
    def failed(self) -> int:
        """What did not arrive: failed or expired."""
        return self.of["failed"] + self.of["expired"]

    @property
    def skipped(self) -> int:
        """What should not arrive: skipped or canceled."""
        return self.of["skipped"] + self.of["canceled"]

    @property
    def final(self) -> int:
        """What has come to its end."""
        return self.of["delivered"] + self.failed + self.skipped


async def prepare(dsn: str, *, sunday: bool) -> None:
    """Brings the schema up to date, makes the workspaces known and lets duly_producer write to them. `sunday`: also to
    the coach's; what is left of an earlier one is taken back.

    Raises `MigrationError`.
    """
    conn = await asyncpg.connect(dsn)
    try:
        await migrate(conn)
        await clear(conn)
        for name in [*SHARES, RUNDOWN] if sunday else SHARES:
            await conn.execute(query("register_workspace"), name, 0.0, None, None, False)
            await conn.execute("select duly.allow_producer('duly_producer', $1)", name)
    finally:
        await conn.close()


class Producer:
    """Queues on one connection, counts on another."""

    def __init__(self, writer: Connection, reader: Connection, first: UUID) -> None:
        self._writer = writer
        self._reader = reader
        self._first = first  # no delivery of this run has a smaller id

    @classmethod
    async def connect(cls, dsn: str) -> Producer:
        """Connects as duly_producer."""
        writer, reader = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
        first = await reader.fetchval("select duly.first_id_at(clock_timestamp())")
        for conn in (writer, reader):
            await conn.execute("set role duly_producer")
        return cls(writer, reader, first)

    def close(self) -> None:
        """Cuts both connections; nothing is under way that matters."""
        for conn in (self._writer, self._reader):
            conn.terminate()

    async def queue(self, messages: Sequence[DemoMessage]) -> None:
        """Queues all, one transaction per some hundred, and takes back at once what is to be canceled."""
        for start in range(0, len(messages), _BATCH):
            batch = messages[start : start + _BATCH]
            async with self._writer.transaction():
                rows = await self._writer.fetchmany(_ENQUEUE, [_arguments(message) for message in batch])
            unwanted = [(row[0],) for row, message in zip(rows, batch, strict=True) if message.cancel]
            if unwanted:
                await self._writer.executemany(_CANCEL, unwanted)

    async def trickle(self, messages: Iterable[DemoMessage]) -> None:
        """Queues a few now and then, for as long as there are any."""
        endless = iter(messages)
        while few := list(islice(endless, 3)):
            await self.queue(few)
            await asyncio.sleep(_LULL_SECONDS)

    async def counts(self) -> dict[str, Counts]:
        """By workspace, of what this run queued."""
        found = {name: Counts() for name in SHARES}
        for row in await self._reader.fetch(_COUNTS, self._first, list(SHARES)):
            column = _COLUMN_OF.get(row["state"], row["state"])
            found[row["workspace"]].of[column] += row["count"]
        return found

    async def seconds(self) -> float:
        """From the first enqueue to the last change of a state, by the database's clock."""
        return float(await self._reader.fetchval(_SECONDS, self._first, list(SHARES)) or 0.0)


def total(counts: Iterable[Counts]) -> Counts:
    """All workspaces together."""
    return Counts(sum((each.of for each in counts), Counter()))


def _arguments(message: DemoMessage) -> tuple[object, ...]:
    metadata = {"media_urls": message.media_urls} if message.media_urls else {}
    return (
        message.workspace,
        message.to,
        message.body,
        message.due_seconds,
        message.priority,
        message.category,
        message.expires_seconds,
        orjson.dumps(metadata).decode(),
    )
