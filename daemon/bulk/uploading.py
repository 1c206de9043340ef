"""The upload: chunk after chunk, each in a transaction that also notes how far the file has come.

A chunk asked for twice is queued once (`duly.upload_lines`), so whatever interrupts an upload, the same command
goes on where it stopped. While the database works on one chunk, the next one waits there and a third is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import asyncpg
import orjson

from daemon.bulk.chunks import Chunk, chunks
from daemon.bulk.csvfile import CsvProblem
from daemon.bulk.reading import FIELDS, RecipientFile
from daemon.bulk.repeats import repeats
from daemon.bulk.templated import TemplateLines
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

SHOWN = 20
"""How many wrong rows a tally keeps."""
_PATIENCE_SECONDS = 30.0
_HEAD_START_SECONDS = 0.008
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
    template: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)  # of it
    style: str | None = None
    language: str | None = None

    def digest(self, file: RecipientFile) -> bytes:
        """Of all that decides what is sent to whom: another digest is another campaign."""
        said: list[object] = [
            file.digest.hex(), file.header.fields, self.channel, self.body, self.due_at, self.priority, self.category,
            self.expires_at, self.media,
        ]  # fmt: skip
        if self.template is not None:
            said += [self.template, self.variables, self.style, self.language, file.header.variables]
        return hashlib.sha256(orjson.dumps(said)).digest()

    @property
    def metadata(self) -> str:
        """As JSON."""
        found: dict[str, Any] = {"media_urls": self.media} if self.media else {}
        found |= {key: value for key, value in (("style", self.style), ("language", self.language)) if value}
        return orjson.dumps(found).decode()


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

    def add(self, chunk: Chunk, refused: dict[int, str]) -> tuple[Chunk, dict[int, str]]:
        """A chunk that is done, with what the database refused; returns it with all that is wrong in it."""
        wrong = dict(sorted((chunk.wrong | refused).items()))
        self.rows += len(chunk.rows)
        self.queued += len(chunk.lines) - len(refused)
        self.wrong += len(wrong)
        self.repeated += len(chunk.repeats)
        self.first_wrong += islice(wrong.items(), SHOWN - len(self.first_wrong))
        self.first_repeats += islice(chunk.repeats.items(), SHOWN - len(self.first_repeats))
        return chunk, wrong


Report = Callable[[Tally, Chunk, dict[int, str]], None]
"""Told after each chunk, with its wrong rows."""


async def upload(database: Database, file: RecipientFile, terms: Terms, tally: Tally, report: Report) -> None:
    """Queues the file, counting into `tally`.

    Raises `DatabaseDown` after half a minute of it, `CsvProblem` where the file was changed meanwhile or its template
    may not be read, and
    asyncpg's InvalidParameterValueError for terms that `duly.enqueue` would refuse or a key of another file.
    """
    shared = terms.template is None and not any(name in file.header.fields for name in _OWN_MESSAGE)
    begun = await _begin(database, file, terms, terms.body if shared else None)
    tally.id, tally.queued_before = str(begun["id"]), begun["queued"]
    turns = Turns(database, begun)
    lines = None
    if begun["pinned"] is not None:
        lines = await TemplateLines.load(database, terms.workspace, terms.channel, begun["pinned"], terms)
    with repeats() as seen:
        source = chunks(file, seen)
        following = asyncio.create_task(_next(source, 0))
        try:
            while (chunk := await following) is not None:
                following = asyncio.create_task(_next(source, _HEAD_START_SECONDS))
                if file.changed:
                    raise CsvProblem("was changed while it was read: send what is left as a file of its own")
                if lines is not None:
                    await lines.render(database, chunk)
                elif not shared:
                    chunk.columns.setdefault("body", [terms.body] * len(chunk.lines))
                if (done := await turns.take(chunk)) is not None:
                    report(tally, *tally.add(*done))
            if (done := await turns.last()) is not None:
                report(tally, *tally.add(*done))
        finally:
            await turns.close()
            await asyncio.gather(following, return_exceptions=True)  # the thread must have let go of the file
    await _insist(database, query("upload_end"), begun["id"])


async def _next(source: Iterator[Chunk], after_seconds: float) -> Chunk | None:
    """Reads in a thread; not at once, as it would fight for the interpreter with the sending of the chunk before."""
    await asyncio.sleep(after_seconds)
    return await asyncio.to_thread(next, source, None)


Done = tuple[Chunk, dict[int, str]]
"""A chunk, and which of its lines the database refused."""


class Turns:
    """At most two chunks at once: while the database works on one, the next lies before it already.

    The upload's row makes the second wait for the first. Should it overtake it, the database says so, and it is
    given again.
    """

    def __init__(self, database: Database, begun: asyncpg.Record) -> None:
        self._database = database
        self._begun = begun
        self._under_way: asyncio.Task[Done] | None = None

    async def take(self, chunk: Chunk) -> Done | None:
        """Gives the database a chunk, and returns the one before it when that is done."""
        before = self._under_way
        self._under_way = asyncio.create_task(self.queue(chunk, before))
        return None if before is None else await before

    async def last(self) -> Done | None:
        """The last one, when it is done."""
        return None if self._under_way is None else await self._under_way

    async def close(self) -> None:
        """Takes back what is still under way."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    async def queue(self, chunk: Chunk, before: asyncio.Task[Done] | None) -> Done:
        """Queues a chunk; `before` is the one that goes first."""
        try:
            return chunk, await _queue(self._database, self._begun, chunk)
        except asyncpg.ObjectNotInPrerequisiteStateError:
            if before is None:
                raise
            await asyncio.wait([before])
            return chunk, await _queue(self._database, self._begun, chunk)


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
        terms.template,
    )
    assert row is not None
    return row


async def _queue(database: Database, begun: asyncpg.Record, chunk: Chunk) -> dict[int, str]:
    """The lines that were refused, and why."""
    done = chunk.last_line <= begun["line_done"]  # only the answer is wanted again
    lines = [] if done else chunk.lines
    columns = [None if done else chunk.columns.get(name) for name in (*FIELDS, "variables", "text_ids")]
    columns[0] = columns[0] or []
    rows = await _insist(
        database, query("upload_lines"), begun["id"], chunk.after_line, chunk.last_line, lines, *columns
    )
    return {row["line"]: row["error"] for row in rows}


async def _insist(database: Database, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """The rows of a statement that may be repeated. Raises `DatabaseDown` after half a minute without an answer."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await database.insist(lambda: database.fetch(statement, *arguments))
    except TimeoutError:
        raise DatabaseDown(database.problem or "it did not answer in time") from None
