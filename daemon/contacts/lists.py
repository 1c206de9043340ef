"""Do-not-contact lists as files: addresses to be put on one, or the keyed hashes that an export has instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from daemon.bulk.csvfile import CsvFile, CsvProblem
from daemon.bulk.whole import Report, RowProblem, Tally, take
from daemon.contacts.addresses import AddressProblem, normalise
from daemon.contacts.transaction import in_one_transaction
from daemon.model import Channel
from daemon.store.database import Connection
from daemon.store.sql import query

EXPORTED = ("hash", "key", "channel", "category", "workspace", "reason", "source", "at")
"""The columns of an export: `key` tells whose hashes they are, an empty channel or category means all."""

_COLUMNS = ("address", *EXPORTED)
_CHANNELS = ", ".join(channel.value for channel in Channel)
_HASH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class ListTerms:
    """Which list is meant, None for that of all workspaces; what holds for rows that do not say it; and what to do."""

    workspace: str | None
    channel: str | None
    region: str | None
    skip_wrong: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Listed(Tally):
    """What became of a file. `skipped`: deliveries that it ended."""

    added: int = 0
    skipped: int = 0
    written: bool = False


class ListFile(CsvFile):
    """An open file of addresses or hashes. Raises `CsvProblem` where it cannot be used."""

    def __init__(self, path: Path, ignored: Collection[str] = ()) -> None:
        self._ignored = ignored
        super().__init__(path)

    def look_through(self) -> None:
        """Reads the columns and counts the rows."""
        self.columns = self.positions(_COLUMNS, self._ignored, "field of a do-not-contact list")
        if not {"address", "hash"} & self.columns.keys():
            raise CsvProblem("has neither a column address nor, as an export has it, hash and key")
        if "hash" in self.columns and "key" not in self.columns:
            raise CsvProblem("column key is missing: it tells which database's hashes these are")
        super().look_through()


async def import_list(
    conn: Connection, file: ListFile, terms: ListTerms, tally: Listed, report: Report
) -> None:
    """Puts all of a file on a list, counting into `tally`; nothing of it where a row is wrong, unless those are to
    be skipped. Raises `CsvProblem` where the file was changed meanwhile, and asyncpg's errors.

    What waits for these addresses is ended after the list is committed, in many short transactions: from then on
    nothing of it goes, and no line has to wait until a long file is done.
    """
    key = str(await conn.fetchval(query("hash_key_name")))

    def read(cells: list[str]) -> dict[str, Any]:
        return _item(file, cells, terms, key)

    async def ask(items: Mapping[int, dict[str, Any]], *, skip: bool) -> list[asyncpg.Record]:
        given = orjson.dumps(list(items.values())).decode()
        return await conn.fetch(query("do_not_contact_batch"), terms.workspace, given, skip)

    async def put(items: Mapping[int, dict[str, Any]]) -> Mapping[int, str]:
        rows = await ask(items, skip=False)
        tally.added += sum(row["added"] or 0 for row in rows)
        return {line: row["error"] for line, row in zip(items, rows, strict=True) if row["error"] is not None}

    async def end_waiting(items: Mapping[int, dict[str, Any]]) -> Mapping[int, str]:
        tally.skipped += sum(row["skipped"] or 0 for row in await ask(items, skip=True))
        return {}

    async def work(_now: datetime) -> bool:
        await take(file, read, put, tally, report)
        return not terms.dry_run and (tally.wrong == 0 or terms.skip_wrong)

    tally.written = await in_one_transaction(conn, terms.workspace or "", work)
    if tally.written:
        await take(file, read, end_waiting, Tally(), lambda *_: None)


def _item(file: ListFile, cells: list[str], terms: ListTerms, key: str) -> dict[str, Any]:
    """A row as `duly.do_not_contact_batch` takes it. Raises `RowProblem`."""
    said = {name: cell for name, at in file.columns.items() if (cell := cells[at].strip())}
    channel = said.get("channel", "" if "hash" in said else terms.channel or "").lower()
    item = {"channel": channel, "category": said.get("category", ""), "source": "csv"}
    if "hash" in said:
        if "address" in said:
            raise RowProblem("hash: the row has an address too; give one of them")
        if not _HASH.fullmatch(said["hash"]):
            raise RowProblem("hash: is not one of an export")
        if said.get("key") != key:
            raise RowProblem(
                f"key: {said.get('key', '')[:40]!r} is not this database's ({key}): its hashes mean nothing here; "
                "give the addresses"
            )
        return item | {"hash": said["hash"]}
    if channel not in set(Channel):
        raise RowProblem(f"channel: {channel[:40]!r} is none of {_CHANNELS}")
    try:
        return item | {"to": normalise(Channel(channel), said.get("address", ""), terms.region)}
    except AddressProblem as problem:
        raise RowProblem(f"address: {problem}") from None
