"""A CSV of recipients: looked through whole before anything is queued, then read row by row, at any size.

The first look finds what makes the file as a whole unusable (its encoding, its header, a quote that is never
closed), so that half a campaign is never sent from a broken file. It is UTF-8, with or without a byte order mark,
with commas, semicolons or tabs, and any line ends.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
import stat
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import TracebackType

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
REPORT = ("line", "error")
"""The columns that `--errors` adds; a corrected file of errors may keep them."""

_SAID = ("to", "body", "due_at", "metadata", "media")
_LONGEST_ROW = 4_000_000  # characters; a mail has at most 500,000
_BLOCK_BYTES = 1 << 20
_SHOWN = 40


class CsvProblem(Exception):
    """The file cannot be queued. The text says where and what to do."""


@dataclass(frozen=True, slots=True)
class Header:
    """The file's columns."""

    names: tuple[str, ...]  # in small letters
    fields: dict[str, int]  # those that mean something, and where they are
    delimiter: str

    @property
    def said(self) -> Callable[[list[str]], Hashable]:
        """Takes of a row what it says to whom and when."""
        return itemgetter(*(self.fields[name] for name in _SAID if name in self.fields))


class RecipientFile:
    """An open file. As a context: closes it. Raises `CsvProblem` where it cannot be queued."""

    def __init__(self, path: Path, ignored: Collection[str] = ()) -> None:
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
            self.header = self._read_header({name.strip().lower() for name in ignored})
            self.rows, self.suspects = 0, Suspects()
            self.suspects.look_through(self._sayings())
        except CsvProblem as problem:
            self._file.close()
            raise CsvProblem(f"{path}: {problem}") from None

    def __enter__(self) -> RecipientFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def changed(self) -> bool:
        """Whether somebody has written to it since it was looked through."""
        return self._stat() != self._seen

    def read(self) -> Iterator[tuple[int, list[str]]]:
        """Each row that is not empty, with the line that it begins in. Raises `CsvProblem`."""
        records = _records(self._text(), self.header.delimiter)
        next(records, None)
        return records

    def _sayings(self) -> Iterator[Hashable]:
        """What each row says, and how many there are. Raises `CsvProblem` where one cannot be read."""
        said, width = self.header.said, len(self.header.names)
        for _, cells in self.read():
            self.rows += 1
            if len(cells) == width:
                yield said(cells)

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

    def _read_header(self, ignored: set[str]) -> Header:
        with self._text() as text:
            line = text.readline(_LONGEST_ROW)
        delimiter = max(",;\t", key=line.count)
        _, cells = next(_records(self._text(), delimiter), (1, []))
        names = tuple(cell.strip().lower() for cell in cells)
        if not names:
            raise CsvProblem("is empty: its first line must name the columns, such as to,body")
        fields: dict[str, int] = {}
        for position, name in enumerate(names):
            if name in ignored or name in REPORT:
                continue
            if name not in FIELDS:
                raise CsvProblem(
                    f"column {position + 1} ({_short(name)}) is no field of a delivery: the first line names columns of "
                    f"{', '.join(FIELDS)}; what else there is can be left out by --ignore NAME"
                )
            if name in fields:
                raise CsvProblem(f"column {name} is there twice")
            fields[name] = position
        if "to" not in fields:
            raise CsvProblem("column to is missing: it holds the addresses, such as +14155550123")
        return Header(names, fields, delimiter)


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
