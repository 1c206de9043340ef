"""The audit: who changed what. Its lines, their hashes, and how they are written and listed.

sql/migrations/0008_audit.sql says how a line comes into the chain; `daemon.store.audit_chain` examines it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg
import orjson

from daemon.store.database import Connection, Database
from daemon.store.sql import query

_NO_TIME = -(2**63)
_HASH_BYTES = 32
_AT_A_TIME = 2000  # rows that are held while a whole table is read


class Act(StrEnum):
    """What was done. The same list as the type duly.act."""

    CONFIG_RELOADED = "config_reloaded"
    REPLAYED = "replayed"
    DISMISSED = "dismissed"
    CANCELED = "canceled"
    CONSENT_RECORDED = "consent_recorded"
    SUPPRESSION_ADDED = "suppression_added"
    SUPPRESSION_LIFTED = "suppression_lifted"
    CONTACTS_IMPORTED = "contacts_imported"
    ERASED = "erased"
    EXPORTED = "exported"
    VERIFIED = "verified"
    VERIFICATION_WITHDRAWN = "verification_withdrawn"
    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    RETENTION_APPLIED = "retention_applied"
    KEYS_ROTATED = "keys_rotated"
    RESCHEDULED = "rescheduled"


@dataclass(frozen=True, slots=True)
class Note:
    """An act of the daemon's own, of the whole instance. No address, no secret: a line can never be erased."""

    who: str  # 1 to 200 characters
    what: Act
    detail: Mapping[str, Any] = field(default_factory=dict)  # JSON of at most 8 KiB
    subject: str | None = None  # an id of at most 200 characters


@dataclass(frozen=True, slots=True)
class Head:
    """A line's number and hash, written `ID:HASH`. Whoever keeps it elsewhere can tell later that nothing was removed."""

    id: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.id}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """What `str` writes. Raises `ValueError` for anything else."""
        if not re.fullmatch(r"[0-9]{1,18}:[0-9a-fA-F]{64}", text):
            raise ValueError(f"{text[:100]!r} is not ID:HASH, a line's number and its 64 hexadecimal digits")
        number, _, digits = text.partition(":")
        return cls(int(number), bytes.fromhex(digits))


GENESIS = Head(0, bytes(_HASH_BYTES))
"""What the first line follows."""


def line_hash(
    previous: bytes,
    id: int,
    microseconds: int | None,
    who: str | None,
    what: str | None,
    workspace_id: int | None,
    subject: str | None,
    detail: str | None,
) -> bytes:
    """The hash of a line: the same bytes as `duly.audit_hash`, which describes them.

    `microseconds`: its time, since 1970; `detail`: as Postgres writes it.

    What no line is written with, such as no time, has a hash too: whoever examines the chain must not stumble over it.
    """
    digest = hashlib.sha256(previous)
    digest.update(struct.pack(">qq", id, _NO_TIME if microseconds is None else microseconds))
    workspace = None if workspace_id is None else struct.pack(">i", workspace_id)
    for value in (who, what, workspace, subject, detail):
        encoded = value.encode() if isinstance(value, str) else value
        digest.update(struct.pack(">i", -1 if encoded is None else len(encoded)))
        digest.update(encoded or b"")
    return digest.digest()


async def append(database: Database, note: Note) -> None:
    """Writes a note in a transaction of its own. Raises `DatabaseDown`; then it may or may not be written."""
    detail = orjson.dumps(note.detail).decode()
    await database.execute(query("audit_append"), note.who, note.what.value, note.subject, detail)


async def chain(database: Database, most: int) -> tuple[int, Head | None]:
    """Chains up to `most` lines that wait: how many, and the newest if there were any. Raises `DatabaseDown`."""
    row = await database.fetchrow(query("audit_chain"), most)
    assert row is not None
    return row["chained"], Head(row["head_id"], row["head_hash"]) if row["chained"] else None


async def lines(
    conn: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    what: Act | None = None,
    workspace_id: int | None = None,
) -> AsyncIterator[asyncpg.Record]:
    """The lines of that time, act and workspace in order, then those that wait to be chained (without id and hash)."""
    meant = (since, until, what and what.value, workspace_id)
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        for name in ("audit_lines", "audit_lines_waiting"):
            async for row in conn.cursor(query(name), *meant, prefetch=_AT_A_TIME):
                yield row


async def links(conn: Connection) -> AsyncIterator[asyncpg.Record]:
    """All lines of the chain in order. Within the caller's transaction."""
    async for row in conn.cursor(query("audit_links"), prefetch=_AT_A_TIME):
        yield row
