"""What a program says of opting out: the footer under a message, and the one answer to a STOP, START or HELP.

Sources: 47 CFR 64.1200(a)(12) (the confirmation of an opt-out names the sender, confirms and does not
advertise), CTIA's Short Code Monitoring Handbook (HELP names the program and a contact; message and data rates
may apply; how to stop), RFC 4647 section 3.4 (which text serves a language).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.rules.keywords import Intent
from daemon.rules.lexicon import UNMISTAKABLE, one_of
from daemon.rules.reading import words

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
_REPLY = (
    "reply|text|txt|send|respond|responda|responde|conteste|envíe|envia|envie|répondez|repondez|envoyez|textez|"
    "antworten|antworte|senden|antwoord|stuur|rispondi|invia|odpisz|wyślij|wyslij|svar|svara|skicka|vastaa|"
    "vastaamalla|odpovezte|odpovězte|valasz|raspundeti|balas|reponn|soan|ответьте|отправьте|відповідайте"
)
_WORDS = one_of(
    sorted(
        {word.upper() for word in UNMISTAKABLE} | {wording.word for wording in WORDINGS.values()} | {"ARRÊT"},
        key=len,
        reverse=True,
    )
)
_INSTRUCTION = re.compile(
    rf"\b(?i:{_REPLY})\b[^\w\n.!?]+(?:\w+[^\w\n.!?]+){{0,2}}{_WORDS}\b"
    rf"|\b{_WORDS}\b[^\w\n.!?]+(?i:to (?:end|opt|unsub|unsubscribe|quit|cancel|stop)\b|au \d)"
)


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


def with_footer(body: str, business: str | None, footer_text: str) -> str:
    """`body` with the business's name and `footer_text` under it, each on a line of its own and only once.

    What `body` already says is left out: the name anywhere in it, or an instruction how to opt out. Where that
    is in doubt it is said again. An empty footer or name adds nothing.
    """
    name, instruction = (business or "").strip(), footer_text.strip()
    missing = []
    if name and not _names(body, name):
        missing.append(name)
    if instruction and not _instructs(body, instruction):
        missing.append(instruction)
    return "\n".join(filter(None, (body.rstrip(), *missing))) if missing else body


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


def _names(body: str, name: str) -> bool:
    folded = " ".join(words(name))
    return _has_line(body, name) or (folded != "" and f" {folded} " in f" {' '.join(words(body))} ")


def _instructs(body: str, instruction: str) -> bool:
    known = (instruction, *(wording.footer for wording in WORDINGS.values()))
    return any(_has_line(body, line) for line in known) or _INSTRUCTION.search(body) is not None


def _has_line(body: str, line: str) -> bool:
    return f"\n{line}\n" in f"\n{body}\n"
