"""A CSV file that people have written: looked through whole before anything is done, then read row by row.

The first look finds what makes the file as a whole unusable (its encoding, its header, a quote that is never
closed), so that nothing is ever half done because of it. It is UTF-8, with or without a byte order mark, with
commas, semicolons or tabs, and any line ends.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

REPORT = ("line", "error")
"""The columns that a file of errors adds; a corrected one may keep them."""

_LONGEST_ROW = 4_000_000  # characters; a mail has at most 500,000
_BLOCK_BYTES = 1 << 20
_SHOWN = 40


class CsvProblem(Exception):
    """The file cannot be used. The text says where and what to do."""


class CsvFile:
    """An open file. As a context: closes it. Raises `CsvProblem` where it cannot be used.

    `titles` are the columns' names as the first line has them, `names` the same in small letters.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CsvProblem(f"{path}: {error.strerror}") from None
        try:
            self._seen = self._stat()
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise CsvProblem(
                    "is not a plain file: it is read twice, and read again after an interruption; save it first"
                )
            self.has_nul = False
            self.digest = self._fingerprint()
            self.delimiter, self.titles = self._read_titles()
            self.names = tuple(title.lower() for title in self.titles)
            self.rows = 0
            self.look_through()
        except CsvProblem as problem:
            self._file.close()
            raise CsvProblem(f"{path}: {problem}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def look_through(self) -> None:
        """Checks the columns and reads every row once, counting into `rows`. Raises `CsvProblem`."""
        for _ in self.read():
            self.rows += 1

    @property
    def changed(self) -> bool:
        """Whether somebody has written to it since it was looked through."""
        return self._stat() != self._seen

    def read(self) -> Iterator[tuple[int, list[str]]]:
        """Each row that is not empty, with the line that it begins in. Raises `CsvProblem`."""
        records = _records(self._text(), self.delimiter)
        next(records, None)
        return records

    def positions(self, known: Collection[str], ignored: Collection[str], what: str) -> dict[str, int]:
        """Where each column is that means something. Raises `CsvProblem` for one that is unknown or there twice.

        `what`: such as "a field of a delivery".
        """
        left_out = {name.strip().lower() for name in ignored}.union(REPORT)
        found: dict[str, int] = {}
        for position, name in enumerate(self.names):
            if name in left_out:
                continue
            if name not in known:
                raise CsvProblem(
                    f"column {position + 1} ({_short(name)}) is no {what}: the first line names columns of "
                    f"{', '.join(known)}; what else there is can be left out by --ignore NAME"
                )
            if name in found:
                raise CsvProblem(f"column {name} is there twice")
            found[name] = position
        return found

    def _stat(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def _text(self) -> io.TextIOWrapper:
        """From the beginning. The descriptor stays open when it is closed."""
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        return open(self._file.fileno(), encoding="utf-8-sig", newline="", closefd=False)

    def _fingerprint(self) -> bytes:
        """SHA-256 of the content, which must be UTF-8."""
        found, decoder, line = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 1
        while block := self._file.read(_BLOCK_BYTES):
            found.update(block)
            self.has_nul = self.has_nul or b"\0" in block
            if line == 1 and block[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise CsvProblem("is UTF-16: save it as CSV in UTF-8")
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                raise _not_utf8(error, line) from None
            line += block.count(b"\n")
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise _not_utf8(error, line) from None
        return found.digest()

    def _read_titles(self) -> tuple[str, tuple[str, ...]]:
        """The delimiter and the first line's cells."""
        with self._text() as text:
            line = text.readline(_LONGEST_ROW)
        delimiter = max(",;\t", key=line.count)
        _, cells = next(_records(self._text(), delimiter), (1, []))
        if not cells:
            raise CsvProblem("is empty: its first line must name the columns")
        return delimiter, tuple(cell.strip() for cell in cells)


class _Lines:
    """A text's lines. A row that would fill the memory is refused first; whoever ends a row sets `length` to 0."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.length = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(_LONGEST_ROW + 1):
            self.length += len(line)
            if self.length > _LONGEST_ROW:
                raise csv.Error(f'the row is longer than {_LONGEST_ROW:,} characters: is a " never closed?')
            yield line


def _records(text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_ROW)  # the whole row is bounded already
    lines, first = _Lines(text), 1
    with text:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                lines.length = 0
                if cells:
                    yield first, cells
                first = reader.line_num + 1
        except csv.Error as error:
            raise CsvProblem(f"line {first}: {error}") from None


def _not_utf8(error: UnicodeDecodeError, line: int) -> CsvProblem:
    line += bytes(error.object[: error.start]).count(b"\n")
    byte = error.object[error.start]
    return CsvProblem(f"line {line}: is not UTF-8 (byte 0x{byte:02x}): save it as CSV in UTF-8")


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
