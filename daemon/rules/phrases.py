"""Opting out in one's own words: whole sentences that a reasonable person would take for a wish to opt out.

Source: 47 CFR 64.1200(a)(10): consent is revoked "by using any reasonable method to clearly express a desire not
to receive further calls or text messages"; where a reply uses other words than the listed ones, it counts what a
reasonable person would understand by them. Nothing is searched for inside a sentence: it is read whole, after what
is only polite or insistent at its ends, so that "please don't stop texting me" or "stop by at 5" is no opt-out.
The patterns are finite (no repetition), and a sentence longer than `LONGEST` is not compared at all.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from daemon.rules import lexicon
from daemon.rules.lexicon import one_of
from daemon.rules.reading import Sentence

LONGEST = 160
"""The characters of the longest sentence that is compared."""


class Sense(Enum):
    """What one sentence says."""

    OPT_OUT = auto()
    WORD = auto()  # a STOP word alone, which counts beside nothing but companions
    COMPANION = auto()  # what people put beside an opt-out: a wrong number, a thank you
    HOW_TO = auto()  # it asks how to opt out
    OTHER = auto()


_COURTESY = sorted(lexicon.keywords("courtesy"), key=len, reverse=True)
_OPENINGS, _COMPANIONS = lexicon.phrases("openings"), lexicon.phrases("companions")
_OPENING = re.compile(f"{one_of([*_OPENINGS, *_COURTESY, *_COMPANIONS])} ")
_ENDING = re.compile(f" {one_of([*lexicon.phrases('endings'), *_COURTESY])}$")
_OPT_OUT = re.compile(one_of(lexicon.phrases("opt_out")))
_HOW_TO = re.compile(one_of(lexicon.phrases("how_to")))
_COMPANION = re.compile(one_of([*_COMPANIONS, *_COURTESY, *_OPENINGS, *lexicon.phrases("greetings")]))
_REQUEST = re.compile(rf"{one_of(lexicon.phrases('requests'))}\b")
_TAKEN_BACK = re.compile(rf"\b{one_of(lexicon.phrases('taken_back'))}\b")
_JOINT = re.compile(" (?:and|but|y|et|und|och|og|и) ")


def sense(sentence: Sentence) -> tuple[Sense, str]:
    """What `sentence` says, and the words that say it."""
    text = sentence.text
    found = _clause_sense(text)
    if found[0] is Sense.OTHER and len(text) <= LONGEST:
        found = _joined([_clause_sense(part) for clause in sentence.clauses for part in _JOINT.split(clause)])
    asked_for = found[0] is Sense.OPT_OUT and _REQUEST.match(text)
    if sentence.asks and found[0] in (Sense.OPT_OUT, Sense.WORD) and not asked_for:
        return Sense.OTHER, ""
    return found


def takes_back(sentence: Sentence) -> bool:
    """Whether it says that what was said is not meant: just kidding, please don't stop."""
    return _TAKEN_BACK.search(sentence.text) is not None


def _joined(parts: list[tuple[Sense, str]]) -> tuple[Sense, str]:
    """What clauses say together: nothing, unless each of them is understood."""
    senses = {part for part, _ in parts}
    for wanted in (Sense.OTHER, Sense.HOW_TO, Sense.OPT_OUT, Sense.WORD):
        if wanted in senses:
            return next(part for part in parts if part[0] is wanted)
    return parts[0]


def _clause_sense(text: str) -> tuple[Sense, str]:
    if len(text) > LONGEST:
        return Sense.OTHER, ""
    if _COMPANION.fullmatch(text):
        return Sense.COMPANION, text
    core = _bare(text)
    if core in lexicon.UNMISTAKABLE:
        return Sense.WORD, core
    if _HOW_TO.fullmatch(core):
        return Sense.HOW_TO, core
    if _OPT_OUT.fullmatch(core):
        return Sense.OPT_OUT, core
    return Sense.OTHER, ""


def _bare(text: str) -> str:
    """`text` without what is only polite or insistent at its ends."""
    while opening := _OPENING.match(text):
        text = text[opening.end() :]
    while ending := _ENDING.search(text):
        text = text[: ending.start()]
    return text
