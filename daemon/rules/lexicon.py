"""The words of keywords.toml and phrases.toml: how people in many languages stop, start and ask for help."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from daemon.rules.reading import fold


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _filled(entry: str, slots: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], entry)


def _slots(written: Mapping[str, str]) -> dict[str, str]:
    """Each slot, those in it filled with what stands above it."""
    slots: dict[str, str] = {}
    for name, entry in written.items():
        slots[name] = _filled(entry, slots)
    return slots


_WORDS = _load("keywords.toml")
_PHRASES = _load("phrases.toml")
_SLOTS = _slots(_PHRASES["slots"])
_SPELLED_OUT = frozenset(_WORDS["spelled_out"])
_BRACKETS = str.maketrans({"(": "(?:", "[": "(?:", "]": ")?"})


def keywords(table: str) -> frozenset[str]:
    """All words of a table of keywords.toml, folded, without those that count only with their accents."""
    return frozenset(map(fold, _every(table) - _SPELLED_OUT))


def spelled_out(table: str) -> frozenset[str]:
    """The words of a table that count only with their accents."""
    return frozenset(fold(word, accents=True) for word in _every(table) & _SPELLED_OUT)


UNMISTAKABLE = frozenset(map(fold, _WORDS["unmistakable"]))
"""STOP words that mean nothing else to a business, also beside other words."""


def phrases(section: str) -> list[str]:
    """All entries of a section of phrases.toml as regular expressions, without any repetition in them.

    The longest come first, so that where two begin alike the one that says more is tried first.
    """
    entries: list[str] = []
    for listed in _PHRASES[section].values():
        entries += listed if isinstance(listed, list) else listed.strip().splitlines()
    return sorted((_expression(entry) for entry in entries), key=len, reverse=True)


def one_of(expressions: Iterable[str]) -> str:
    """The expression that any of `expressions` matches."""
    return f"(?:{'|'.join(expressions)})"


def _every(table: str) -> frozenset[str]:
    return frozenset(word for words in _WORDS[table].values() for word in words)


def _expression(entry: str) -> str:
    return fold(_filled(entry, _SLOTS)).translate(_BRACKETS)
