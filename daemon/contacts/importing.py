"""Importing contacts: a file in one transaction, so that it is all there or nothing of it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from daemon.bulk.csvfile import CsvProblem
from daemon.bulk.whole import Report, Tally, take
from daemon.contacts.rows import ContactFile, ContactRow, reader
from daemon.contacts.transaction import in_one_transaction
from daemon.store.database import Connection
from daemon.store.sql import query


@dataclass(slots=True)
class Imported(Tally):
    """What became of a file. `skipped`: deliveries that a withdrawn consent ended."""

    created: int = 0
    changed: int = 0
    consents: int = 0
    skipped: int = 0
    written: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """How a file is imported. `region`: whose numbers have no country code."""

    workspace: str
    region: str | None
    skip_wrong: bool = False
    dry_run: bool = False


async def import_contacts(
    conn: Connection, file: ContactFile, terms: Terms, tally: Imported, report: Report
) -> None:
    """Writes the file, counting into `tally`; nothing of it where a row is wrong, unless those are to be skipped.

    Consent comes after all contacts: a withdrawal locks deliveries, and so only for the end of the transaction.
    Raises `CsvProblem` where the file was changed meanwhile or another import is under way, and asyncpg's errors.
    """

    async def work(now: datetime) -> bool:
        passing = _Passing(conn, terms.workspace, file, reader(file, terms.region, now), tally)
        await passing.contacts(report)
        right = tally.wrong == 0 or terms.skip_wrong
        if right and "consent" in file.columns:
            await passing.consents()
        return right and not terms.dry_run

    tally.written = await in_one_transaction(conn, terms.workspace, work)


class _Passing:
    """The two passes over a file."""

    def __init__(
        self,
        conn: Connection,
        workspace: str,
        file: ContactFile,
        read: Callable[[list[str]], ContactRow],
        tally: Imported,
    ) -> None:
        self._conn = conn
        self._workspace = workspace
        self._file = file
        self._read = read
        self._tally = tally
        self._wrong: set[int] = set()

    async def contacts(self, report: Report) -> None:
        def note(tally: Tally, rows: Mapping[int, list[str]], wrong: Mapping[int, str]) -> None:
            self._wrong.update(wrong)
            report(tally, rows, wrong)

        await take(self._file, self._read, self._put, self._tally, note)

    async def consents(self) -> None:
        """Of the rows that are right."""
        await take(self._file, self._read, self._record, Tally(), lambda *_: None)

    async def _put(self, items: Mapping[int, ContactRow]) -> Mapping[int, str]:
        rows = await self._conn.fetch(
            query("put_contacts"), self._workspace, _json([row.contact for row in items.values()])
        )
        wrong = {}
        for line, row in zip(items, rows, strict=True):
            if row["error"] is not None:
                wrong[line] = row["error"].removeprefix("addresses.")
            elif row["change"] == "created":
                self._tally.created += 1
            elif row["change"] == "changed":
                self._tally.changed += 1
        return wrong

    async def _record(self, items: Mapping[int, ContactRow]) -> Mapping[int, str]:
        said = [(line, c) for line, row in items.items() if line not in self._wrong for c in row.consents]
        rows = await self._conn.fetch(
            query("record_consents"), self._workspace, _json([consent for _, consent in said])
        )
        for (line, _), row in zip(said, rows, strict=True):
            if row["error"] is not None:
                raise CsvProblem(f"line {line}: consent: {row['error']}")
            self._tally.consents += not row["repeated"]
            self._tally.skipped += row["skipped"]
        return {}


def _json(items: list[dict[str, Any]]) -> str:
    return orjson.dumps(items).decode()
