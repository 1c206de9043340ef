"""Which rows of a file say the same as an earlier one: exactly, in bounded memory, at any number of rows.

The file is read twice anyway. The first time, a bit for each row's hash tells who cannot be a repeat: nearly all.
The second time only the others are remembered, in a temporary SQLite table, which spills to the disk where a set
would fill the memory. What it holds are digests, no addresses.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Hashable, Iterable, Iterator, Sequence

_CACHE_KIB = 16_384
_BITS = 1 << 28
_MOST_SUSPECTS = 500_000


class Suspects:
    """What may have been said twice: surely all that was, and of a million others two thousand."""

    def __init__(self) -> None:
        self._found: set[int] = set()
        self.everything = False  # so many that all have to be looked at

    def look_through(self, sayings: Iterable[Hashable]) -> None:
        """The first reading: what each row says."""
        bits = bytearray(_BITS // 8)
        for found in map(hash, sayings):
            place, bit = (found % _BITS) >> 3, 1 << (found & 7)
            if not bits[place] & bit:
                bits[place] |= bit
                continue
            self._found.add(found)
            if len(self._found) > _MOST_SUSPECTS:
                self.everything = True
                self._found.clear()

    def __contains__(self, said: Hashable) -> bool:
        return self.everything or hash(said) in self._found

    def __bool__(self) -> bool:
        return self.everything or bool(self._found)


class Repeats:
    """The rows so far. It may be asked from several threads, one after the other."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(f"pragma cache_size = -{_CACHE_KIB}")
        self._db.execute("pragma journal_mode = off")
        self._db.execute("create table seen (digest blob primary key, line integer not null) without rowid")

    def earlier(self, rows: Sequence[tuple[int, str]]) -> dict[int, int]:
        """Takes lines with what they say; returns the lines that repeat, each with the first that said it."""
        if not rows:
            return {}
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
