"""A campaign's audience from a file: a file of contacts, with columns `var.NAME` for what is said to each alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from daemon.bulk.csvfile import CsvFile, CsvProblem
from daemon.bulk.whole import Report, Tally, take
from daemon.contacts.rows import CHANNELS, COLUMNS, CONSENT, ContactFile, reader
from daemon.store.database import Connection
from daemon.store.sql import query

VARIABLE = "var."
"""What a column's name begins with that holds one variable."""


class AudienceFile(ContactFile):
    """An open file of a campaign's people. Raises `CsvProblem` where it cannot be used."""

    def look_through(self) -> None:
        """Reads the columns and counts the rows."""
        own = [name for name in self.names if name.startswith(("attr.", VARIABLE)) and not name.endswith(".")]
        known = [name for name in COLUMNS if name not in CONSENT]
        columns = self.positions((*known, *own), self._ignored, "field of a contact, attr.NAME or var.NAME")
        self.variables = {
            self.titles[at][len(VARIABLE) :].strip(): at
            for name, at in columns.items()
            if name.startswith(VARIABLE)
        }
        self.attributes = {
            self.titles[at][len("attr.") :].strip(): at
            for name, at in columns.items()
            if name.startswith("attr.")
        }
        self.columns = {name: at for name, at in columns.items() if not name.startswith(VARIABLE)}
        if not {"external_id", *CHANNELS} & columns.keys():
            raise CsvProblem(
                f"has no column that says who it is: external_id, or an address ({', '.join(CHANNELS)})"
            )
        CsvFile.look_through(self)


@dataclass(slots=True)
class Added(Tally):
    """What became of a file: how many are in the campaign by it, and how many had been before."""

    added: int = 0
    repeated: int = 0


async def add_people(
    conn: Connection,
    workspace: str,
    campaign: str,
    file: AudienceFile,
    region: str | None,
    tally: Added,
    report: Report,
) -> None:
    """Adds everybody in the file. Interrupted, the same again goes on: nobody is added twice. Raises `CsvProblem`."""
    read_contact = reader(file, region, datetime.now(UTC))

    def read(cells: list[str]) -> dict[str, Any]:
        variables = {name: cell for name, at in file.variables.items() if (cell := cells[at].strip())}
        return read_contact(cells).contact | {"variables": variables}

    async def put(items: Mapping[int, dict[str, Any]]) -> Mapping[int, str]:
        rows = await conn.fetch(
            query("campaign_add"), workspace, campaign, orjson.dumps(list(items.values())).decode()
        )
        wrong = {}
        for line, row in zip(items, rows, strict=True):
            if row["error"] is not None:
                wrong[line] = row["error"].removeprefix("addresses.")
            else:
                tally.added += not row["repeated"]
                tally.repeated += row["repeated"]
        return wrong

    await take(file, read, put, tally, report)


def opener(path: Path, ignored: Collection[str]) -> Callable[[], AudienceFile]:
    """What opens the file."""
    return lambda: AudienceFile(path, ignored)
