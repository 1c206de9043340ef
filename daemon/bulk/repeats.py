"""Which rows of a file say the same as an earlier one: exactly, in bounded memory, at any number of rows.

What was seen lies in a temporary SQLite table, which spills to the disk where a set would fill the memory
(100 bytes a row). What it holds are digests, no addresses.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence

_CACHE_KIB = 16_384


class Repeats:
    """The rows so far. It may be asked from several threads, one after the other."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(f"pragma cache_size = -{_CACHE_KIB}")
        self._db.execute("pragma journal_mode = off")
        self._db.execute("create table seen (digest blob primary key, line integer not null) without rowid")

    def earlier(self, rows: Sequence[tuple[int, str]]) -> dict[int, int]:
        """Takes lines with what they say; returns the lines that repeat, each with the first that said it."""
        marked = [(_digest(said), line) for line, said in rows]
        before = self._db.total_changes
        self._db.execute("begin")
        self._db.executemany("insert or ignore into seen (digest, line) values (?, ?)", marked)
        self._db.execute("commit")
        if self._db.total_changes - before == len(marked):
            return {}
        first = {digest: self._first(digest) for digest, _ in marked}
        return {line: first[digest] for digest, line in marked if first[digest] != line}

    def _first(self, digest: bytes) -> int:
        found: int = self._db.execute("select line from seen where digest = ?", (digest,)).fetchone()[0]
        return found

    def close(self) -> None:
        """Forgets all."""
        self._db.close()


@contextlib.contextmanager
def repeats() -> Iterator[Repeats]:
    """As a context."""
    found = Repeats()
    try:
        yield found
    finally:
        found.close()


def _digest(said: str) -> bytes:
    return hashlib.blake2b(said.encode(), digest_size=16).digest()
