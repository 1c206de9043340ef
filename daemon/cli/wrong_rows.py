"""How the wrong rows of a file are told, the same for every file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def complain(first: Sequence[tuple[int, str]], count: int, errors: Path | None) -> None:
    """Names the `first` of `count` wrong rows by their lines on stderr, and where the others are."""
    for line, error in first:
        print(f"line {line}: {_printable(error)}", file=sys.stderr)
    if count > len(first):
        where = f"{errors} has them all" if errors else "--errors FILE writes them all"
        print(f"… and {count - len(first):,} more; {where}", file=sys.stderr)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
