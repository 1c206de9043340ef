"""What a person's answer says to the sender's program: stop, start again, or help.

A keyword counts where it is the whole message; beside it may stand what is polite and the sender's own name.
A sentence in one's own words counts as an opt-out where `phrases` knows it whole. Everything else says nothing:
a person reads it. Source: 47 CFR 64.1200(a)(10), CTIA's Messaging Principles and Best Practices (section 5.1.3),
and Twilio's pages on opt-out keywords and on `OptOutType`, which its Advanced Opt-Out sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from daemon.rules import lexicon
from daemon.rules.lexicon import one_of
from daemon.rules.phrases import Sense, sense, takes_back
from daemon.rules.reading import LIMIT, Sentence, fold, sentences, words

LONGEST_MATCH = 80
"""The characters of the matched words that are kept for the consent log."""


class Intent(StrEnum):
    """What the person wants of the program."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"


class Means(StrEnum):
    """By what it was recognised."""

    PLATFORM = "platform"  # the platform said so
    KEYWORD = "keyword"
    PHRASE = "phrase"


@dataclass(frozen=True, slots=True)
class Recognised:
    """An intent and the words that showed it: folded, at most `LONGEST_MATCH` characters of them."""

    intent: Intent
    means: Means
    words: str

    @property
    def only_agrees(self) -> bool:
        """Whether it is a bare yes: a START from somebody who opted out or was asked, and from nobody else."""
        return self.means is Means.KEYWORD and _YES.issuperset(self.words.split())


def _meanings(words_of: Callable[[str], frozenset[str]]) -> dict[str, Intent]:
    """The intent of each word that `words_of` finds in the tables; STOP goes before the others."""
    tables = {"help": Intent.HELP, "yes": Intent.START, "start": Intent.START, "stop": Intent.STOP}
    return {word: intent for table, intent in tables.items() for word in words_of(table)}


_KEYWORDS = _meanings(lexicon.keywords)
_SPELLED_OUT = _meanings(lexicon.spelled_out)
_YES = lexicon.keywords("yes") | lexicon.spelled_out("yes")
_COURTESY = re.compile(f" {one_of(sorted(lexicon.keywords('courtesy'), key=len, reverse=True))}(?= )")
_EMPHASIS = re.compile(r"([^\W\d_])\1{2,}")


def recognise(body: str, opt_out_type: str | None = None, *, names: Iterable[str] = ()) -> Recognised | None:
    """What `body` asks for, or None where it is an ordinary message.

    `opt_out_type` is the platform's own finding (STOP, START or HELP) and goes before ours; another value is
    ignored. `names` are the sender's: "STOP Acme" is a STOP to Acme. The time is bounded whatever the body is:
    beyond `LIMIT` characters it is not read.
    """
    if opt_out_type in list(Intent):
        matched = " ".join(words(body[:LIMIT])) or fold(opt_out_type)
        return Recognised(Intent(opt_out_type), Means.PLATFORM, matched[:LONGEST_MATCH])
    said = sentences(body)
    if len(body.strip()) <= LIMIT and (found := _keyword(said, body.strip(), names)):
        return found
    return _phrase(said)


def _keyword(said: list[Sentence], body: str, names: Iterable[str]) -> Recognised | None:
    """The keyword that the whole message is. A question is never a START: consent is not asked for but given."""
    text = " ".join(sentence.text for sentence in said)
    found = _whole(text)
    if found is None:
        rest = _COURTESY.sub("", f" {text} ")
        for name in names:
            rest = rest.replace(f" {' '.join(words(name))} ", " ")
        found = _whole(rest.strip()) or _spelled_out(body)
    if found and found.intent is Intent.START and any(sentence.asks for sentence in said):
        return None
    return found


def _whole(text: str) -> Recognised | None:
    """The keyword that `text` is, or that each of its words is, or that its drawn-out or spaced letters make."""
    for form in (text, _EMPHASIS.sub(r"\1", text), _unspaced(text)):
        if intent := _KEYWORDS.get(form):
            return Recognised(intent, Means.KEYWORD, form)
    distinct = dict.fromkeys(text.split())
    intents = {_KEYWORDS.get(word) for word in distinct}
    if intents == {Intent.STOP, Intent.START} and _YES.issuperset(
        word for word in distinct if _KEYWORDS[word] is Intent.START
    ):
        intents = {Intent.STOP}  # "yes, stop" agrees to nothing but to stop
    if len(intents) != 1 or not (intent := intents.pop()):
        return None
    return Recognised(intent, Means.KEYWORD, " ".join(distinct)[:LONGEST_MATCH])


def _spelled_out(body: str) -> Recognised | None:
    """The keyword that counts only with its accents."""
    text = " ".join(words(body, accents=True))
    return Recognised(_SPELLED_OUT[text], Means.KEYWORD, text) if text in _SPELLED_OUT else None


def _unspaced(text: str) -> str:
    """The word that single letters make: s t o p."""
    letters = text.split()
    return "".join(letters) if len(letters) > 2 and all(len(letter) == 1 for letter in letters) else text


def _phrase(said: list[Sentence]) -> Recognised | None:
    """An opt-out in the person's own words, or the question how to opt out, which HELP answers.

    A STOP word alone in its sentence counts where no other sentence speaks of anything else.
    """
    if any(takes_back(sentence) for sentence in said):
        return None
    found = [sense(sentence) for sentence in said]
    by_sense = dict(reversed(found))
    if matched := by_sense.get(Sense.OPT_OUT):
        return Recognised(Intent.STOP, Means.PHRASE, matched[:LONGEST_MATCH])
    if (matched := by_sense.get(Sense.WORD)) and Sense.OTHER not in by_sense:
        return Recognised(Intent.STOP, Means.PHRASE, matched[:LONGEST_MATCH])
    if matched := by_sense.get(Sense.HOW_TO):
        return Recognised(Intent.HELP, Means.PHRASE, matched[:LONGEST_MATCH])
    return None
