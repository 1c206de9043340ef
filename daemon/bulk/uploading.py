"""The upload: chunk after chunk, each in a transaction that also notes how far the file has come.

A chunk asked for twice is queued once (`duly.upload_lines`), so whatever interrupts an upload, the same command
goes on where it stopped. While the database works on one chunk, the next is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import asyncpg
import orjson

from daemon.bulk.chunks import Chunk, chunks
from daemon.bulk.reading import FIELDS, CsvProblem, RecipientFile
from daemon.bulk.repeats import repeats
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

SHOWN = 20
"""How many wrong rows a tally keeps."""
_PATIENCE_SECONDS = 30.0
_OWN_MESSAGE = ("body", "idempotency_key", "category", "metadata", "media")


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all rows that do not say otherwise."""

    workspace: str
    key: str
    channel: str
    body: str  # where the file has no column for it
    due_at: datetime | None
    priority: int
    category: str
    expires_at: datetime | None
    media: tuple[str, ...]

    def digest(self, file: RecipientFile) -> bytes:
        """Of all that decides what is sent to whom: another digest is another campaign."""
        said = [
            file.digest.hex(), file.header.fields, self.channel, self.body, self.due_at, self.priority, self.category,
            self.expires_at, self.media,
        ]  # fmt: skip
        return hashlib.sha256(orjson.dumps(said)).digest()

    @property
    def metadata(self) -> str:
        """As JSON."""
        return orjson.dumps({"media_urls": self.media} if self.media else {}).decode()


@dataclass(slots=True)
class Tally:
    """How far an upload is."""

    id: str = ""
    rows: int = 0
    queued: int = 0
    queued_before: int = 0  # of the queued: by an earlier run of the same command
    wrong: int = 0
    repeated: int = 0
    first_wrong: list[tuple[int, str]] = field(default_factory=list)
    first_repeats: list[tuple[int, int]] = field(default_factory=list)

    def add(self, chunk: Chunk, wrong: dict[int, str], queued: int) -> None:
        """A chunk that is done."""
        self.rows += len(chunk.rows)
        self.queued += queued
        self.wrong += len(wrong)
        self.repeated += len(chunk.repeats)
        self.first_wrong += islice(wrong.items(), SHOWN - len(self.first_wrong))
        self.first_repeats += islice(chunk.repeats.items(), SHOWN - len(self.first_repeats))


Report = Callable[[Tally, Chunk, dict[int, str]], None]
"""Told after each chunk, with its wrong rows."""


async def upload(database: Database, file: RecipientFile, terms: Terms, tally: Tally, report: Report) -> None:
    """Queues the file, counting into `tally`.

    Raises `DatabaseDown` after half a minute of it, `CsvProblem` where the file was changed meanwhile, and
    asyncpg's InvalidParameterValueError for terms that `duly.enqueue` would refuse or a key of another file.
    """
    shared = not any(name in file.header.fields for name in _OWN_MESSAGE)
    begun = await _begin(database, file, terms, terms.body if shared else None)
    tally.id, tally.queued_before = str(begun["id"]), begun["queued"]
    with repeats() as seen:
        source = chunks(file, seen)
        following = asyncio.create_task(asyncio.to_thread(_next, source))
        try:
            while (chunk := await following) is not None:
                following = asyncio.create_task(asyncio.to_thread(_next, source))
                if file.changed:
                    raise CsvProblem(
                        f"was changed while it was read: rows up to line {chunk.after_line} are queued"
                    )
                if not shared:
                    chunk.columns.setdefault("body", [terms.body] * len(chunk.lines))
                refused = await _queue(database, begun, chunk)
                wrong = dict(sorted((chunk.wrong | refused).items()))
                tally.add(chunk, wrong, len(chunk.lines) - len(refused))
                report(tally, chunk, wrong)
        finally:
            await asyncio.wait([following])  # the thread must have let go of the file


def _next(source: Iterator[Chunk]) -> Chunk | None:
    return next(source, None)


async def _begin(database: Database, file: RecipientFile, terms: Terms, body: str | None) -> asyncpg.Record:
    """The upload's row: its id, how far it is, and how many it has queued. `body`: if it is the text of all."""
    row = await database.fetchrow(
        query("upload_begin"),
        terms.workspace,
        terms.key,
        terms.digest(file),
        terms.channel,
        body,
        terms.due_at,
        terms.priority,
        terms.category,
        terms.expires_at,
        terms.metadata,
    )
    assert row is not None
    return row


async def _queue(database: Database, begun: asyncpg.Record, chunk: Chunk) -> dict[int, str]:
    """The lines that were refused, and why."""
    done = chunk.last_line <= begun["line_done"]  # only the answer is wanted again
    lines = [] if done else chunk.lines
    columns = [None if done else chunk.columns.get(name) for name in FIELDS]
    columns[0] = columns[0] or []

    async def ask() -> list[asyncpg.Record]:
        return await database.fetch(
            query("upload_lines"), begun["id"], chunk.after_line, chunk.last_line, lines, *columns
        )

    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            rows = await database.insist(ask)
    except TimeoutError:
        raise DatabaseDown(database.problem or "it did not answer in time") from None
    return {row["line"]: row["error"] for row in rows}
