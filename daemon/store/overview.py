"""What flows, counted and listed for the page. Every question here is bounded: see sql/queries/recent.sql."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from daemon.jsonb import read_jsonb
from daemon.model import State
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database, DatabaseDown, describe
from daemon.store.sql import query
from daemon.store.timeline import Timeline, load

# A list for people: more than this nobody reads.
LIST_LENGTH = 50
# How many of the newest deliveries a search without an index of its own looks at.
SEARCH_WINDOW = 200_000
# Likewise for an address: those that were tried are found by index, however old.
ADDRESS_WINDOW = 50_000

# To people these are one: what is leased is being sent, what is read was delivered.
_MEANT: Mapping[State, tuple[State, ...]] = {
    State.SENDING: (State.LEASED, State.SENDING),
    State.DELIVERED: (State.DELIVERED, State.READ),
}
# These have an index of their own.
_UNDER_WAY = frozenset({State.QUEUED, State.SENDING, State.UNCERTAIN, State.FAILED})
# The schema is not (yet) ours: no outage, but no answer either.
_NO_ANSWER = (
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
)


class TooSlow(DatabaseDown):
    """The database was there, but the question took it too long."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many deliveries stand where. `sent` and all after it: of the last 24 hours."""

    queued: int = 0
    due: int = 0  # of the queued, those whose time has come
    overdue_seconds: float | None = None  # how long the oldest of them has been due
    sending: int = 0  # leased or sending
    handed_over: int = 0  # at a platform, to be sent later
    uncertain: int = 0
    undecided: int = 0  # of the uncertain, those that a person must decide
    sent: int = 0  # accepted by the platform, and nothing more heard yet
    delivered: int = 0  # or read
    failed: int = 0  # and not dismissed
    expired: int = 0
    skipped: int = 0
    canceled: int = 0

    @property
    def busy(self) -> int:
        """What is under way: sorts the workspaces."""
        return self.queued + self.sending + self.handed_over + self.uncertain

    @property
    def all(self) -> int:
        """Everything counted."""
        return (
            self.busy + self.sent + self.delivered + self.failed + self.expired + self.skipped + self.canceled
        )

    def __add__(self, other: Counts) -> Counts:
        oldest = [s for s in (self.overdue_seconds, other.overdue_seconds) if s is not None]
        numbers = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__slots__
            if name != "overdue_seconds"
        }
        return Counts(**numbers, overdue_seconds=max(oldest, default=None))


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours, by workspace."""

    counts: Mapping[str, Counts] = field(default_factory=dict)
    # Segments by workspace and account: sent in the last ten seconds, in the ten before, and so on for a minute.
    sent: Mapping[tuple[str, str | None], Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """A delivery in a list."""

    id: UUID
    workspace: str
    channel: str
    to: str
    state: str
    reason: str | None
    due_at: datetime
    created_at: datetime
    state_at: datetime


@dataclass(frozen=True, slots=True)
class Search:
    """Which deliveries to list; None: any. `SENDING` means leased, too, `DELIVERED` read."""

    workspace: str | None = None
    state: State | None = None
    to: str | None = None

    def __bool__(self) -> bool:
        return bool(self.workspace or self.state or self.to)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    items: Sequence[Item]
    known_workspace: bool = True
    window: int | None = None  # it may have missed what is older than the newest so many


@dataclass(frozen=True, slots=True)
class Opened:
    """A delivery with what was written in it."""

    timeline: Timeline
    body: str
    media_urls: Sequence[str] = field(default=())


async def under_way(database: Database) -> dict[str, Counts]:
    """What is queued, being sent and uncertain, by workspace; all workspaces are named."""
    async with reading(database) as conn:
        names = await _names(conn)
        rows = await conn.fetch(query("overview_live"))
    numbers: dict[str, dict[str, Any]] = {name: {} for name in names.values()}
    for row in rows:
        if row["workspace_id"] in names:
            numbers[names[row["workspace_id"]]].update(_under_way(row))
    return {name: Counts(**of) for name, of in numbers.items()}


async def last_day(database: Database) -> Day:
    """What became of the last 24 hours' deliveries. `failed` goes by when they failed."""
    async with reading(database) as conn:
        names = await _names(conn)
        rows = await conn.fetch(query("overview_day"))
    numbers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    sent: dict[tuple[str, str | None], list[int]] = defaultdict(lambda: [0] * 6)
    for row in rows:
        if row["workspace_id"] in names:
            name = names[row["workspace_id"]]
            state = "delivered" if row["state"] == "read" else row["state"]
            numbers[name][state] += row["total"]
            if row["tens_ago"] is not None:
                sent[name, row["account"]][min(5, row["tens_ago"])] += row["segments"]
    return Day({name: Counts(**of) for name, of in numbers.items()}, sent)


async def newest(database: Database, length: int) -> list[Item]:
    """The newest deliveries, newest first."""
    async with reading(database) as conn:
        return _items(await conn.fetch(query("recent"), None, None, length, length))


async def search(database: Database, wanted: Search) -> Found:
    """The deliveries asked for: the queued by when they are due, all others newest first."""
    async with reading(database) as conn:
        workspace = await conn.fetchval(query("workspace_id"), wanted.workspace) if wanted.workspace else None
        if wanted.workspace and workspace is None:
            return Found([], known_workspace=False)
        states = list(_MEANT.get(wanted.state, (wanted.state,))) if wanted.state else None
        if wanted.to:
            arguments = (wanted.to, workspace, states, LIST_LENGTH, ADDRESS_WINDOW)
            return Found(_items(await conn.fetch(query("recent_to"), *arguments)), window=ADDRESS_WINDOW)
        if wanted.state in _UNDER_WAY:
            rows = await conn.fetch(query("recent_under_way"), workspace, wanted.state, LIST_LENGTH)
            return Found(_items(rows))
        rows = await conn.fetch(query("recent"), workspace, states, LIST_LENGTH, SEARCH_WINDOW)
        return Found(_items(rows), window=SEARCH_WINDOW if len(rows) < LIST_LENGTH else None)


async def open_delivery(database: Database, delivery_id: UUID, keys: DataKeys) -> Opened | None:
    """One delivery's timeline and text, `<sealed>` where no key opens it; None if there is no such delivery."""
    async with reading(database) as conn:
        timeline = await load(conn, delivery_id, keys)
        row = await conn.fetchrow(query("delivery_body"), delivery_id)
    if timeline is None or row is None:
        return None
    body, media = row["body"], row["media_urls"]
    if row["sealed"] is not None:
        parts = await keys.try_open(row["workspace_id"], "message", row["message_id"], row["sealed"])
        body, media = parts[:2] if parts is not None else ("<sealed>", None)
    return Opened(timeline, body or "", read_jsonb(media or "[]"))


@contextlib.asynccontextmanager
async def reading(database: Database) -> AsyncIterator[Connection]:
    """A connection in a transaction that only reads and is bounded. Raises `TooSlow` and `DatabaseDown`."""
    async with database.acquire() as conn:
        try:
            async with conn.transaction(readonly=True):
                await conn.fetch(query("read_bounds"))
                yield conn
        except asyncpg.QueryCanceledError as error:
            raise TooSlow("it took the database too long to answer") from error
        except _NO_ANSWER as error:
            raise DatabaseDown(describe(error)) from error


async def _names(conn: Connection) -> dict[int, str]:
    return {row["id"]: row["name"] for row in await conn.fetch(query("workspaces"))}


def _under_way(row: asyncpg.Record) -> dict[str, Any]:
    total, now = row["total"], row["now"]
    match row["state"]:
        case "queued":
            return {"queued": total, "due": now, "overdue_seconds": row["overdue_seconds"]}
        case "uncertain":
            return {"uncertain": total, "undecided": now}
        case "handed_over":
            return {"handed_over": total}
        case _:
            return {"sending": total}


def _items(rows: Sequence[asyncpg.Record]) -> list[Item]:
    return [Item(**row) for row in rows]
