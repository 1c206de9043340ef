"""A campaign's file: a CSV of recipients, at any size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from daemon.bulk.csvfile import CsvFile, CsvProblem
from daemon.bulk.repeats import Suspects

FIELDS = (
    "to",
    "body",
    "due_at",
    "priority",
    "expires_at",
    "idempotency_key",
    "category",
    "metadata",
    "media",
)
"""The columns that mean something."""
VARIABLE = "var."
"""How the columns begin that are a template's variables."""

_SAID = ("to", "body", "due_at", "metadata", "media")


@dataclass(frozen=True, slots=True)
class Header:
    """The file's columns."""

    names: tuple[str, ...]  # in small letters
    fields: dict[str, int]  # those that mean something, and where they are
    variables: dict[str, int]  # of a template, by their names, and where they are

    @property
    def said(self) -> Callable[[list[str]], Hashable]:
        """Takes of a row what it says to whom and when."""
        said = (self.fields[name] for name in _SAID if name in self.fields)
        return itemgetter(*said, *self.variables.values())


class RecipientFile(CsvFile):
    """An open file of recipients. Raises `CsvProblem` where it cannot be queued."""

    def __init__(self, path: Path, ignored: Collection[str] = ()) -> None:
        self._ignored = ignored
        self.suspects = Suspects()
        super().__init__(path)

    def look_through(self) -> None:
        """Reads the header, counts the rows, and finds those that may repeat others."""
        variables = self._variables()
        ignored = [*self._ignored, *(self.names[place] for place in variables.values())]
        self.header = Header(self.names, self.positions(FIELDS, ignored, "field of a delivery"), variables)
        if "to" not in self.header.fields:
            raise CsvProblem("column to is missing: it holds the addresses, such as +14155550123")
        self.suspects.look_through(self._sayings())

    def _variables(self) -> dict[str, int]:
        """The columns var.NAME; names of variables have small and large letters."""
        left_out = {name.strip().lower() for name in self._ignored}
        found: dict[str, int] = {}
        for position, title in enumerate(self.titles):
            if not title.lower().startswith(VARIABLE) or title.lower() in left_out:
                continue
            if title[len(VARIABLE) :] in found:
                raise CsvProblem(f"column {title[:40]} is there twice")
            found[title[len(VARIABLE) :]] = position
        return found

    def _sayings(self) -> Iterator[Hashable]:
        """What each row says, and how many there are. Raises `CsvProblem` where one cannot be read."""
        said, width = self.header.said, len(self.header.names)
        for _, cells in self.read():
            self.rows += 1
            if len(cells) == width:
                yield said(cells)
