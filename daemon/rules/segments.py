"""How many parts a carrier makes of a text: what limits are counted in and what is billed.

Source: 3GPP TS 23.038 (the GSM 7-bit alphabet) and Twilio's pages on GSM-7 and UCS-2. A text whose
characters are all in the alphabet is sent as septets, 160 alone or 153 in each of several parts; one
character outside it turns the whole text into 16-bit units, 70 alone or 67 in each part. A character
that takes two units (an escape pair, a surrogate pair) is never cut in half: it moves to the next part,
so a part may end one unit short.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = "\f^{}\\[~]|€"

GSM7_BASIC = frozenset(_BASIC)
"""The characters of one septet."""
GSM7_EXTENSION = frozenset(_EXTENSION)
"""The characters that take an escape and a septet."""
_GSM7 = GSM7_BASIC | GSM7_EXTENSION


class Encoding(StrEnum):
    """How the carrier writes the text."""

    GSM7 = "gsm7"
    UCS2 = "ucs2"

    @property
    def alone(self) -> int:
        """The units that fit in one part that stands alone."""
        return 160 if self is Encoding.GSM7 else 70

    @property
    def joined(self) -> int:
        """The units that fit in each of several parts; the rest holds the number of the part."""
        return 153 if self is Encoding.GSM7 else 67


@dataclass(frozen=True, slots=True)
class Segments:
    """The parts of one text: how many, in which encoding, and how many units they carry."""

    count: int
    encoding: Encoding
    units: int


def segments(body: str) -> Segments:
    """Count the parts of `body`. An empty text is one part of no units: nothing is sent for free."""
    encoding = Encoding.GSM7 if _GSM7.issuperset(body) else Encoding.UCS2
    if encoding is Encoding.GSM7:
        doubles = sum(map(body.count, GSM7_EXTENSION))
    else:
        doubles = sum(character > "\uffff" for character in body)
    units = len(body) + doubles
    if units <= encoding.alone:
        return Segments(1, encoding, units)
    if not doubles:
        return Segments(-(-units // encoding.joined), encoding, units)
    return Segments(_packed(_widths(body, encoding), encoding.joined), encoding, units)


def _widths(body: str, encoding: Encoding) -> Iterable[int]:
    if encoding is Encoding.GSM7:
        return (2 if character in GSM7_EXTENSION else 1 for character in body)
    return (2 if character > "\uffff" else 1 for character in body)


def _packed(widths: Iterable[int], room: int) -> int:
    """The number of parts of `room` units that the characters fill, none of them cut."""
    count, used = 1, 0
    for width in widths:
        used += width
        if used > room:
            count, used = count + 1, width
    return count
