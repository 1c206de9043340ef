"""Addresses in one form: what people write, what is refused, and that it goes in again unchanged."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.contacts.addresses import REGIONS, AddressProblem, normalise
from daemon.model import Channel

PHONES = (Channel.SMS, Channel.WHATSAPP, Channel.RCS)


@pytest.mark.parametrize("channel", PHONES)
@pytest.mark.parametrize(
    ("written", "region", "found"),
    [
        ("+14155550123", None, "+14155550123"),
        (" +1 (415) 555-0123 ", None, "+14155550123"),
        ("\u202a+1 415\u00a0555\u20110123\u202c", None, "+14155550123"),
        ("（415） 555．0123", "US", "+14155550123"),
        ("0171 / 123 45 67", "DE", "+491711234567"),
        ("+49 (0) 171 1234567", None, "+491711234567"),
        ("011 44 20 7946 0000", "US", "+442079460000"),
        ("＋44 20 7946 0000", "US", "+442079460000"),
        ("٤١٥٥٥٥٠١٢٣", "US", "+14155550123"),
        ("06 1234 5678", "IT", "+390612345678"),
    ],
)
def test_a_number_is_found_however_it_is_written(
    channel: Channel, written: str, region: str | None, found: str
) -> None:
    assert normalise(channel, written, region) == found


@pytest.mark.parametrize(
    ("written", "region", "words"),
    [
        ("4155550123", None, "no country code"),
        ("", None, "empty"),
        ("\u200b \u202c", None, "empty"),
        ("555-0123", "US", "digits"),
        ("+1415555012", None, "digits"),
        ("+141555501234", None, "digits"),
        ("+999 12345678", None, "phone number"),
        ("+1 800 FLOWERS", None, "one phone number"),
        ("+14155550123 ext 5", None, "one phone number"),
        ("+14155550123 / +14155550124", None, "one phone number"),
        ("+14155550123;+14155550124", None, "one phone number"),
        ("1.41556E+10", "US", "one phone number"),
        ("+1 415\x00555 0123", None, "control"),
        ("+1" + " " * 50 + "4155550123", None, "one phone number"),
        ("9" * 1_000_000, "US", "characters"),
        ("((((((((((((((((((((", "US", "phone number"),
    ],
)
def test_what_is_no_one_number_is_refused(written: str, region: str | None, words: str) -> None:
    with pytest.raises(AddressProblem, match=words) as refused:
        normalise(Channel.SMS, written, region)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (" Ann.Lee@EXAMPLE.Com\t", "Ann.Lee@example.com"),
        ("a+b@example.co.uk", "a+b@example.co.uk"),
        ("a@Bücher.de", "a@xn--bcher-kva.de"),
        ("a@xn--bcher-kva.de", "a@xn--bcher-kva.de"),
        ("jo\u0308rg@bücher.de", "j\u00f6rg@xn--bcher-kva.de"),
        ("用户@例え.jp", "用户@xn--r8jz45g.jp"),
    ],
)
def test_a_mailbox_has_its_domain_as_the_dns_has_it(written: str, found: str) -> None:
    assert normalise(Channel.EMAIL, written) == found


@pytest.mark.parametrize(
    "written",
    [
        "ann", "@example.com", "a@", "a@b", "a@localhost", "a@[192.0.2.1]", "Ann <a@example.com>", '"a b"@example.com',
        "a@example..com", "a,b@example.com", "a@example.com,b@example.com", "a" * 65 + "@example.com",
        "a@" + "b" * 250 + ".com", "a@exa mple.com", "a\n@example.com", "a" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_mailbox_is_refused(written: str) -> None:
    with pytest.raises(AddressProblem):
        normalise(Channel.EMAIL, written)


def test_other_addresses_are_trimmed_and_bounded() -> None:
    assert normalise(Channel.TELEGRAM, " -100123 ") == "-100123"
    assert normalise(Channel.PUSH, "x" * 1000) == "x" * 1000
    for wrong in ("x" * 1001, "a\x1bb", "a\ud800", " "):
        with pytest.raises(AddressProblem):
            normalise(Channel.PUSH, wrong)


@st.composite
def written_numbers(draw: st.DrawFn) -> str:
    """Digits as people write them, and numbers that exist."""
    if draw(st.booleans()):
        region = draw(st.sampled_from(sorted(REGIONS)))
        number = phonenumbers.example_number(region)
        if number is not None:
            return phonenumbers.format_number(number, draw(st.sampled_from([0, 1, 2])))
    return draw(st.text("+0123456789 ()-./", max_size=24))


@settings(deadline=None, max_examples=1000)
@given(
    channel=st.sampled_from(list(Channel)),
    text=written_numbers() | st.text(max_size=80) | st.emails(),
    region=st.none() | st.sampled_from(sorted(REGIONS)),
)
@example(channel=Channel.SMS, text="+1 1 415 555 0123", region=None)
@example(channel=Channel.SMS, text="+5215512345678", region="MX")
def test_what_comes_out_goes_in_again_unchanged_and_fits_the_database(
    channel: Channel, text: str, region: str | None
) -> None:
    try:
        found = normalise(channel, text, region)
    except AddressProblem:
        return
    assert normalise(channel, found, region) == found
    assert normalise(channel, found) == found
    assert 1 <= len(found) <= 1000
    found.encode()
    if channel in PHONES:
        assert re.fullmatch(r"\+[1-9][0-9]{6,14}", found)
    elif channel == Channel.EMAIL:
        local, _, domain = found.rpartition("@")
        assert 1 <= len(local) <= 64
        assert domain == domain.lower()
        assert domain.isascii()
