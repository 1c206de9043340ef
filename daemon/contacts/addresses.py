"""Addresses as people write them, brought into the one form in which they are stored, compared and sent to."""

from __future__ import annotations

import re
import unicodedata

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

from daemon.model import Channel

REGIONS = phonenumbers.SUPPORTED_REGIONS
"""ISO 3166-1 codes that may be a default region."""

_PHONE = frozenset({Channel.SMS, Channel.WHATSAPP, Channel.RCS})
_LONGEST = 1000  # characters, as duly.problem has it
_LONGEST_PHONE = 60  # with spaces, brackets and dashes
_LONGEST_EMAIL = 254  # octets of a path without its brackets (RFC 5321, 4.5.3.1.3)
_SHOWN = 40
# Spaces, and the marks of writing direction that come along when a number is copied out of a telephone's contacts.
_AROUND = (
    "".join(c for c in map(chr, range(0x3001)) if c.isspace() or unicodedata.category(c) == "Cf") + "\ufeff"
)
# What people put between digits, any dash and space included. No letters: "+1 412 535 abcd" is a number to the
# library; and only one plus, which comes first: it would read two numbers as the first of them.
_PHONE_LETTERS = re.compile(r"[+＋]?[\d\s().\-/‐-―−ー－．／（）]+")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class AddressProblem(ValueError):
    """Not an address of that channel. The text says what is wrong and what would be right."""


def normalise(channel: Channel, text: str, default_region: str | None = None) -> str:
    """The address that `text` means: E.164 for phones, a mailbox with its domain as the DNS has it, else trimmed.

    `default_region`, one of `REGIONS`, is whose numbers are meant where there is no country code. What comes out
    goes in again unchanged. Raises `AddressProblem`.
    """
    if len(text) > 2 * _LONGEST:
        raise AddressProblem(f"has {len(text):,} characters; an address has at most {_LONGEST:,}")
    text = text.strip(_AROUND)
    if not text:
        raise AddressProblem("is empty")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise AddressProblem("has control characters; leave them out")
    if channel in _PHONE:
        return _phone(text, default_region)
    if channel == Channel.EMAIL:
        return _email(text)
    if len(text) > _LONGEST:
        raise AddressProblem(f"has {len(text):,} characters; an address has at most {_LONGEST:,}")
    return text


def _phone(text: str, default_region: str | None) -> str:
    if len(text) > _LONGEST_PHONE or not _PHONE_LETTERS.fullmatch(text):
        raise AddressProblem(f"{_short(text)} is not one phone number such as +14155550123")
    try:
        number = phonenumbers.parse(text, default_region)
    except NumberParseException:
        if default_region is None and text[0] not in "+＋":
            raise AddressProblem(
                f"{_short(text)} has no country code: write it like +14155550123, or say whose numbers are meant (region)"
            ) from None
        raise AddressProblem(f"{_short(text)} is not a phone number such as +14155550123") from None
    # Whether its length is one of its country's, and no more: which ranges are in use changes every month, and the
    # library's table is as old as its release (libphonenumber's FAQ). A new range's people are no mistake.
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        raise AddressProblem(
            f"{_short(text)} has too few or too many digits for a phone number of its country"
        )
    found = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if not _E164.fullmatch(found):
        raise AddressProblem(f"{_short(text)} is not a phone number such as +14155550123")
    return found


def _email(text: str) -> str:
    if len(text.encode()) > _LONGEST_EMAIL:
        raise AddressProblem(f"{_short(text)} is longer than a mail address may be ({_LONGEST_EMAIL} octets)")
    try:
        found = validate_email(text, check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        raise AddressProblem(f"{_short(text)} is not a mail address: {error}") from None
    return f"{found.local_part}@{found.ascii_domain}"


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
