"""What a short answer says of the message before it: helpful, or not. All but the words of feedback.toml says nothing."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.rules.reading import words

_LONGEST = 60
_TABLES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("feedback.toml").read_text(encoding="utf-8")
)
# Variation selectors, joiners and the colours of hands are no part of what a sign says.
_BARE = dict.fromkeys([0xFE0E, 0xFE0F, 0x200D, *range(0x1F3FB, 0x1F400)])


@dataclass(frozen=True, slots=True)
class Helpfulness:
    """Whether it helped. `short`: a bare number, which says so only to who has asked for it."""

    helpful: bool
    short: bool = False


def _listed(section: str) -> frozenset[str]:
    return frozenset(" ".join(words(entry)) for listed in _TABLES[section].values() for entry in listed)


_WORDS = {
    **{entry: Helpfulness(True) for entry in _listed("helpful")},
    **{entry: Helpfulness(False) for entry in _listed("not_helpful")},
    **{
        entry: Helpfulness(name == "helpful", short=True)
        for name, listed in _TABLES["short"].items()
        for entry in listed
    },
}
_SIGNS = {
    sign: Helpfulness(name == "helpful") for name, listed in _TABLES["signs"].items() for sign in listed
}


def helpfulness(body: str) -> Helpfulness | None:
    """What `body` says; None where it says something else. A keyword (`keywords.recognise`) is asked for before."""
    text = body.strip()
    if len(text) > _LONGEST:
        return None
    bare = "".join(text.translate(_BARE).split())
    for sign, found in _SIGNS.items():
        if bare and not bare.replace(sign, ""):
            return found
    said = {sign for sign in _SIGNS if sign in bare}
    found_words = _WORDS.get(" ".join(words(text)))
    if found_words is None or (found_words.short and any(not c.isalnum() for c in bare.rstrip(".!"))):
        return None
    if any(_SIGNS[sign].helpful != found_words.helpful for sign in said):
        return None  # "great 🙄" means neither for certain
    return found_words
