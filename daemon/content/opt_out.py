"""What a program says of opting out: the footer under a message, and the one answer to a STOP, START or HELP.

Sources: 47 CFR 64.1200(a)(12) (the confirmation of an opt-out names the sender, confirms and does not
advertise), CTIA's Short Code Monitoring Handbook (HELP names the program and a contact; message and data rates
may apply; how to stop), RFC 4647 section 3.4 (which text serves a language).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.rules.keywords import Intent

FALLBACK = "en"


@dataclass(frozen=True, slots=True)
class Wording:
    """One language's texts; opt_out_texts.toml says what each is for."""

    word: str
    footer: str
    stopped: str
    started: str
    rates: str


def _wordings() -> dict[str, Wording]:
    written = Path(__file__).with_name("opt_out_texts.toml").read_text(encoding="utf-8")
    return {tag: Wording(**texts) for tag, texts in tomllib.loads(written).items()}


WORDINGS: Mapping[str, Wording] = _wordings()
"""By language tag in lower case."""

_LONGEST_TAG = 35  # RFC 5646 section 4.4.1
_ALIASES = {
    "zh-tw": "zh-hant",
    "zh-hk": "zh-hant",
    "zh-mo": "zh-hant",
    "no": "nb",
    "nn": "nb",
    "tl": "fil",
    "iw": "he",
    "in": "id",
}


def wording(language: str) -> Wording:
    """The texts for a BCP 47 tag such as `es-MX`: its own, else of the tag cut short, else English."""
    tag = language[:_LONGEST_TAG].replace("_", "-").lower()
    while tag:
        tag = _ALIASES.get(tag, tag)
        if tag in WORDINGS:
            return WORDINGS[tag]
        tag = tag.rpartition("-")[0]
    return WORDINGS[FALLBACK]


def footer(language: str) -> str:
    """How to opt out, in `language` (a BCP 47 tag): one line that names a word which `recognise` takes for STOP."""
    return wording(language).footer


def confirmation(intent: Intent, language: str, business: str, contact_info: str | None = None) -> str:
    """The answer to a recognised keyword, in `language` (a BCP 47 tag), which begins with the sender's name.

    `contact_info` is a number, address or page for the answer to HELP. With names of up to 30 characters that
    the language's own encoding holds, and a contact of 12, each answer is one part.
    """
    texts = wording(language)
    contact = f"{contact_info.strip().rstrip('.')}." if contact_info and contact_info.strip() else ""
    said = {
        Intent.STOP: (texts.stopped,),
        Intent.START: (texts.started, texts.rates, texts.footer),
        Intent.HELP: (contact, texts.rates, texts.footer),
    }[intent]
    return f"{business}: {' '.join(filter(None, said))}"
