"""Smart replacement: typographic characters that look like ones of the GSM 7-bit alphabet, where that is all it takes.

One curly quote makes an SMS of 16-bit units, 70 to a segment instead of 160. What is replaced is a choice of what
Twilio's Smart Encoding replaces (twilio.com/docs/messaging/services/smart-encoding-char-list); duly.smart_replaced does
the same, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

from daemon.rules.segments import GSM7_BASIC, GSM7_EXTENSION

_GSM7 = GSM7_BASIC | GSM7_EXTENSION

REPLACED: dict[str, str] = {
    **dict.fromkeys("«»“”„‟″‶❝❞〝〞＂ʺˮ", '"'),
    **dict.fromkeys("‘’‚‛′‵❛❜＇ʹʻʼʽˈˊˋ`´‹›", "'"),
    **dict.fromkeys("‐‑‒–—―−⁃﹘﹣－", "-"),
    **dict.fromkeys("•‣·∙", "*"),
    **dict.fromkeys([*map(chr, range(0x2000, 0x200B)), *"\u00a0\u1680\u202f\u205f\u3000\t"], " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
    **dict.fromkeys("\u2028\u2029\u0085", "\n"),
    "…": "...",
    "⁄": "/",
    "‼": "!!",
    "˜": "~",
    "ˆ": "^",
}  # fmt: skip
"""Character → what stands for it."""

_TABLE = str.maketrans(REPLACED)


def smart_replaced(body: str) -> str:
    """The text with such characters replaced if then all of it is in the GSM 7-bit alphabet; else as it is."""
    found = body.translate(_TABLE)
    return found if _GSM7.issuperset(found) else body


def beyond_gsm7(body: str) -> Sequence[str]:
    """The characters that make 16-bit units of a text, each once, as they come."""
    return list(dict.fromkeys(character for character in body if character not in _GSM7))
