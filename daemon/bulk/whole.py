"""A file that is taken whole: every row is checked, and its items are handed on in batches, in the file's order.

The next batch is read while the database works on the one before. Whoever takes a file whole does it in one
transaction, so that a file is done or not done, whatever interrupts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from daemon.bulk.csvfile import CsvFile, CsvProblem

T = TypeVar("T")

SHOWN = 20
"""How many wrong rows a tally keeps."""
_ROWS = 2_000
_CHARACTERS = 4_000_000


class RowProblem(ValueError):
    """A row that cannot be taken. The text is "column: what is wrong and what would be right", for each with "; "."""


@dataclass(slots=True)
class Batch(Generic[T]):
    """Some rows by the lines that they begin in: as they are in the file, what they say, and what is wrong."""

    rows: dict[int, list[str]] = field(default_factory=dict)
    items: dict[int, T] = field(default_factory=dict)
    wrong: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """How far a file is."""

    rows: int = 0
    wrong: int = 0
    first_wrong: list[tuple[int, str]] = field(default_factory=list)

    def add(self, batch: Batch[T]) -> None:
        """A batch that is done."""
        self.rows += len(batch.rows)
        self.wrong += len(batch.wrong)
        self.first_wrong += islice(batch.wrong.items(), SHOWN - len(self.first_wrong))


Report = Callable[[Tally, Mapping[int, list[str]], Mapping[int, str]], None]
"""Told after each batch: how far it is, the batch's rows, and which of them are wrong."""


async def take(
    file: CsvFile,
    read: Callable[[list[str]], T],
    put: Callable[[Mapping[int, T]], Awaitable[Mapping[int, str]]],
    tally: Tally,
    report: Report,
) -> None:
    """Hands the items of all rows to `put`, which answers what is wrong with some, by their lines.

    `read` makes an item of a row or raises `RowProblem`. Raises `CsvProblem` where the file was changed meanwhile.
    """
    source = _batches(file, read)
    following = asyncio.create_task(asyncio.to_thread(next, source, None))
    try:
        while (batch := await following) is not None:
            following = asyncio.create_task(asyncio.to_thread(next, source, None))
            if file.changed:
                raise CsvProblem("was changed while it was read: begin again")
            refused = await put(batch.items) if batch.items else {}
            batch.wrong = dict(sorted((batch.wrong | dict(refused)).items()))
            tally.add(batch)
            report(tally, batch.rows, batch.wrong)
    finally:
        await asyncio.gather(following, return_exceptions=True)  # the thread must have let go of the file


def _batches(file: CsvFile, read: Callable[[list[str]], T]) -> Iterator[Batch[T]]:
    batch, characters = Batch[T](), 0
    for line, cells in file.read():
        batch.rows[line] = cells
        characters += sum(map(len, cells))
        try:
            if len(cells) != len(file.names):
                raise RowProblem(
                    f"row: has {len(cells):,} fields where the first line has {len(file.names):,}"
                )
            if file.has_nul and any("\0" in cell for cell in cells):
                raise RowProblem("row: has a NUL character; leave it out")
            batch.items[line] = read(cells)
        except RowProblem as problem:
            batch.wrong[line] = str(problem)
        if len(batch.rows) == _ROWS or characters > _CHARACTERS:
            yield batch
            batch, characters = Batch[T](), 0
    if batch.rows:
        yield batch
