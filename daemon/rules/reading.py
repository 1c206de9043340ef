"""A person's text, made comparable: folded, and cut into sentences, clauses and words.

Folding undoes what does not change the meaning of a short answer: case, width and style (Unicode's NFKD),
accents, vowel points, apostrophes and characters that nobody sees. What is no letter, digit or mark ends a
word: an emoji, a quote, a bracket. All of it is linear in a text that was first cut to `LIMIT`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

LIMIT = 1_600
"""The characters that are read: the longest body that Twilio takes. What comes after them is not looked at."""


def _spans(*spans: tuple[int, int]) -> Iterable[int]:
    return (code for first, last in spans for code in range(first, last + 1))


_APOSTROPHES = "'`´ʹʻʼʽˈ‘’‛′"
_UNSEEN = _spans(
    (0xAD, 0xAD),  # the soft hyphen
    (0x61C, 0x61C),  # directions of writing, also below
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0xFE00, 0xFE0F),  # which of two pictures an emoji shows
    (0xFEFF, 0xFEFF),
    (0xE0000, 0xE007F),
)
_DROPPED = dict.fromkeys([*map(ord, _APOSTROPHES), *_UNSEEN])
# Marks that people leave out when they type. Those of other scripts (Devanagari's vowels, kana's voicing)
# make another word, and stay.
_MARKS = dict.fromkeys(
    _spans((0x300, 0x36F), (0x591, 0x5BD), (0x5BF, 0x5C7), (0x640, 0x640), (0x64B, 0x65F), (0x670, 0x670))
)
_LETTERS = str.maketrans(
    {"ı": "i", "đ": "d", "ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "ى": "ي", "ی": "ي", "ة": "ه", "ک": "ك"}
)
_FOLDED = {**_MARKS, **_LETTERS}

_QUOTED_LINE = re.compile(r"(?m)^[ \t]*>.*$")
_SENTENCE = re.compile(r"([^.!;\n\r。।۔?؟]+)([.!;\n\r。।۔?؟]*)")
_CLAUSE_END = re.compile(r"[,،、—]|\s[-–]+\s")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Its clauses, each the words in it with one space between them, and whether it ends as a question."""

    clauses: tuple[str, ...]
    asks: bool

    @property
    def text(self) -> str:
        """All of its words."""
        return " ".join(self.clauses)


def fold(text: str, accents: bool = False) -> str:
    """`text` in the form in which two spellings of one thing are equal. Punctuation and spaces stay.

    With `accents` the marks stay too, for the few words that are another word without them.
    """
    spread = unicodedata.normalize("NFKD", text.translate(_DROPPED)).casefold()
    return unicodedata.normalize("NFC", spread if accents else spread.translate(_FOLDED))


def words(text: str, accents: bool = False) -> list[str]:
    """The folded words of `text`, in order."""
    return _words(fold(text, accents))


def sentences(text: str) -> list[Sentence]:
    """The sentences of the first `LIMIT` characters that hold a word, without the lines that quote a mail.

    A sentence that the limit cuts is left out: its end could have turned its meaning round.
    """
    text = text.strip()
    cut = len(text) > LIMIT
    folded = fold(_QUOTED_LINE.sub("", text[:LIMIT]))
    found = [
        Sentence(tuple(clauses), "?" in ends or "؟" in ends)
        for body, ends in _SENTENCE.findall(folded)
        if (clauses := [" ".join(inside) for clause in _CLAUSE_END.split(body) if (inside := _words(clause))])
    ]
    return found[:-1] if cut else found


def _words(folded: str) -> list[str]:
    return "".join(
        character if character.isalnum() or unicodedata.category(character)[0] == "M" else " "
        for character in folded
    ).split()
