"""All that is known of a person, as one JSON document that is written while it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

# The parts of the document, each a query export_PART.sql of a workspace and either the contacts or the address keys.
SECTIONS = (
    "contacts", "addresses", "preferences", "goals", "series", "plans", "campaigns", "habits", "consents", "suppressions",
    "deliveries", "links", "inbound",
)  # fmt: skip
_OF_CONTACTS = frozenset(
    {"contacts", "addresses", "preferences", "goals", "series", "plans", "campaigns", "habits"}
)
_JSON = "_json"  # the end of the names of columns that are JSON already
_PORTION = 100
# What was sealed together, by kind: the names of the columns that it comes from; None: not exported by itself.
_SEALED: Mapping[str, Sequence[str | None]] = {
    "delivery": ("to",),
    "message": ("body", None, "variables_json", "metadata_json"),
    "address": ("address",),
    "link": ("target",),
    "inbound": ("from_address", "body", "media_urls_json"),
}
_UNOPENED = '"<sealed>"'


@dataclass(frozen=True, slots=True)
class Person:
    """Under which contacts and address keys somebody is known in a workspace."""

    workspace_id: int
    contacts: Sequence[UUID]
    keys: Sequence[UUID]


async def find(
    conn: Connection, workspace: str, channel: str, to: str | None, contact: UUID | None
) -> Person | None:
    """Who has this address, with the contact's other addresses, or who this contact is; None: no such workspace."""
    row = await conn.fetchrow(query("person"), workspace, channel, to, contact)
    return None if row is None else Person(**row)


async def document(
    conn: Connection, person: Person, counts: Counter[str], keys: DataKeys
) -> AsyncIterator[bytes]:
    """The document in pieces: an object with a list for each of `SECTIONS`. `counts` gets the lists' lengths.

    What is sealed and cannot be opened is `<sealed>`. Call it within a transaction, so that all is as of one moment.
    """
    yield b"{"
    for place, section in enumerate(SECTIONS):
        yield (b",\n" if place else b"\n") + orjson.dumps(section) + b": ["
        async for row in _rows(conn, person, section):
            yield (b",\n  " if counts[section] else b"\n  ") + orjson.dumps(
                await _item(row, person.workspace_id, keys), default=str
            )
            counts[section] += 1
        yield b"]"
    yield b"\n}\n"


def _rows(conn: Connection, person: Person, section: str) -> AsyncIterator[asyncpg.Record]:
    whose = person.contacts if section in _OF_CONTACTS else person.keys
    rows: AsyncIterator[asyncpg.Record] = aiter(
        conn.cursor(query(f"export_{section}"), person.workspace_id, whose, prefetch=_PORTION)
    )
    return rows


async def _item(row: asyncpg.Record, workspace_id: int, keys: DataKeys) -> dict[str, Any]:
    found = {name: value for name, value in row.items() if not name.startswith(("sealed_", "identity_"))}
    for kind, names in _SEALED.items():
        sealed = row.get(f"sealed_{kind}")
        if sealed is not None:
            parts = await keys.try_open(workspace_id, kind, row[f"identity_{kind}"], sealed)
            found |= _named(names, parts)
    return {
        name.removesuffix(_JSON): orjson.Fragment(value) if name.endswith(_JSON) else value
        for name, value in found.items()
    }


def _named(names: Sequence[str | None], parts: Sequence[str | None] | None) -> dict[str, Any]:
    """What was sealed together under the columns' names; `<sealed>` everywhere where it could not be opened."""
    if parts is None:
        return {n: _UNOPENED if n.endswith(_JSON) else _UNOPENED.strip('"') for n in names if n is not None}
    return {name: part for name, part in zip(names, parts, strict=True) if name is not None}
