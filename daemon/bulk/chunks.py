"""From rows to chunks: columns as `duly.upload_lines` takes them, and what is wrong with a row already here.

Here is found only what cannot be handed to Postgres: the number of fields, a NUL, words that are no time or
priority. Everything else the database says, by the same function as for `duly.enqueue`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from daemon.bulk.reading import RecipientFile
from daemon.bulk.repeats import Repeats

_ROWS = 5_000
_CHARACTERS = 4_000_000
_PRIORITIES = {"high": 1, "normal": 2, "bulk": 3, "1": 1, "2": 2, "3": 3}


@dataclass(slots=True)
class Chunk:
    """Rows that are queued in one transaction."""

    after_line: int
    last_line: int = 0
    rows: dict[int, list[str]] = field(default_factory=dict)  # all, as they are in the file, by their lines
    wrong: dict[int, str] = field(default_factory=dict)
    repeats: dict[int, int] = field(default_factory=dict)  # line → the earlier one that says the same
    lines: list[int] = field(default_factory=list)  # of those to be queued
    columns: dict[str, list[object]] = field(default_factory=dict)  # theirs
    variables: list[dict[str, str]] = field(default_factory=list)  # theirs, of a template

    def refuse(self, wrong: dict[int, str]) -> None:
        """Takes out lines of which something else has been found wrong."""
        if not wrong:
            return
        kept = [place for place, line in enumerate(self.lines) if line not in wrong]
        self.wrong |= wrong
        self.lines = [self.lines[place] for place in kept]
        self.variables = [self.variables[place] for place in kept]
        self.columns = {name: [cells[place] for place in kept] for name, cells in self.columns.items()}


def chunks(file: RecipientFile, seen: Repeats) -> Iterator[Chunk]:
    """The whole file, in order."""
    chunk, characters = Chunk(0), 0
    for line, cells in file.read():
        chunk.rows[line] = cells
        characters += sum(map(len, cells))
        if len(chunk.rows) == _ROWS or characters > _CHARACTERS:
            _finish(chunk, file, seen)
            yield chunk
            chunk, characters = Chunk(chunk.last_line), 0
    if chunk.rows:
        _finish(chunk, file, seen)
        yield chunk


def _finish(chunk: Chunk, file: RecipientFile, seen: Repeats) -> None:
    chunk.last_line = next(reversed(chunk.rows))
    header = file.header
    readers = [(header.fields[name], name, read) for name, read in _READERS if name in header.fields]
    right: dict[int, list[object]] = {}
    for line, cells in chunk.rows.items():
        if not readers and not file.has_nul and len(cells) == len(header.names):
            right[line] = cells  # type: ignore[assignment]  # nothing in it needs to be read
            continue
        try:
            right[line] = _values(cells, len(header.names), readers)
        except ValueError as error:
            chunk.wrong[line] = str(error)
    chunk.repeats = seen.earlier(_suspect(chunk.rows, right, file))
    chunk.lines = [line for line in right if line not in chunk.repeats]
    if header.variables:
        chunk.variables = [
            {name: str(right[line][place]) for name, place in header.variables.items() if right[line][place]}
            for line in chunk.lines
        ]
    for name, position in header.fields.items():
        empty = "" if name == "body" else None  # a picture goes without a text; all else is as not said
        chunk.columns[name] = [right[line][position] or empty for line in chunk.lines]


Reader = Callable[[str], object]


def _values(cells: list[str], width: int, readers: list[tuple[int, str, Reader]]) -> list[object]:
    """A row's values; an empty cell is an empty text. Raises ValueError with "field: what is wrong"."""
    if len(cells) != width:
        raise ValueError(f"row: has {len(cells):,} fields where the header has {width:,}")
    if any("\0" in cell for cell in cells):
        raise ValueError("row: has a NUL character")
    values: list[object] = list(cells)
    for position, name, read in readers:
        if cells[position]:
            try:
                values[position] = read(cells[position])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return values


def _suspect(
    rows: dict[int, list[str]], right: dict[int, list[object]], file: RecipientFile
) -> list[tuple[int, str]]:
    """The rows that may repeat others, with what they say. One with a key is its own: the key decides."""
    if not file.suspects:
        return []
    said, key = file.header.said, file.header.fields.get("idempotency_key")
    found = ((line, said(rows[line])) for line in right if key is None or not rows[line][key])
    return [(line, repr(what)) for line, what in found if what in file.suspects]


def _time(word: str) -> datetime:
    try:
        moment = datetime.fromisoformat(word)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{word[:40]!r} is not a time such as 2026-01-31T18:00:00+01:00") from None
    raise ValueError(f"{word[:40]!r} has no zone: add one, such as +01:00 or Z")


def _priority(word: str) -> int:
    try:
        return _PRIORITIES[word.lower()]
    except KeyError:
        raise ValueError(f"{word[:40]!r} is none of high, normal, bulk") from None


_READERS: tuple[tuple[str, Reader], ...] = (
    ("due_at", _time),
    ("priority", _priority),
    ("expires_at", _time),
)
