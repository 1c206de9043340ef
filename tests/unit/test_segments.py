"""Segment counting, against examples from the providers' pages and properties that must always hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rules.segments import GSM7_BASIC, GSM7_EXTENSION, Encoding, Segments, segments

GSM7, UCS2 = Encoding.GSM7, Encoding.UCS2

gsm_texts = st.text(alphabet=sorted(GSM7_BASIC | GSM7_EXTENSION), max_size=700)
any_texts = st.text(max_size=400) | st.text(alphabet="aé€[👍ж", max_size=400)


@pytest.mark.parametrize(
    ("body", "count", "encoding", "units"),
    [
        ("", 1, GSM7, 0),
        ("a" * 160, 1, GSM7, 160),
        ("a" * 161, 2, GSM7, 161),
        ("a" * 306, 2, GSM7, 306),
        ("a" * 307, 3, GSM7, 307),
        ("€" * 80, 1, GSM7, 160),
        ("€" * 81, 2, GSM7, 162),
        ("a" * 152 + "€" + "a" * 10, 2, GSM7, 164),
        ("a" * 152 + "€" + "a" * 151, 2, GSM7, 305),
        ("a" * 152 + "€" + "a" * 152, 3, GSM7, 306),
        ("ж" * 70, 1, UCS2, 70),
        ("ж" * 71, 2, UCS2, 71),
        ("ж" * 134, 2, UCS2, 134),
        ("ж" * 135, 3, UCS2, 135),
        ("👍" * 35, 1, UCS2, 70),
        ("👍" * 36, 2, UCS2, 72),
        ("👍" * 67, 3, UCS2, 134),
        ("ж" * 66 + "👍" + "ж" * 65, 2, UCS2, 133),
        ("ж" * 66 + "👍" + "ж" * 66, 3, UCS2, 134),
        ("Hello! 👍", 1, UCS2, 9),
        ("it`s", 1, UCS2, 4),
        ("ç", 1, UCS2, 1),
        ("Ç\n\r\f", 1, GSM7, 5),
        ("\x1b", 1, UCS2, 1),
        ("a" * 1600, 11, GSM7, 1600),
    ],
)
def test_a_text_is_counted_as_the_carrier_counts_it(
    body: str, count: int, encoding: Encoding, units: int
) -> None:
    assert segments(body) == Segments(count, encoding, units)


def test_the_gsm_alphabet_has_the_size_the_standard_gives_it() -> None:
    assert (len(GSM7_BASIC), len(GSM7_EXTENSION)) == (127, 10)
    assert not GSM7_BASIC & GSM7_EXTENSION


@given(gsm_texts)
def test_a_text_of_the_gsm_alphabet_is_never_widened(body: str) -> None:
    assert segments(body).encoding is GSM7


@given(any_texts)
def test_units_are_what_the_encoding_would_write(body: str) -> None:
    found = segments(body)
    if found.encoding is GSM7:
        assert found.units == sum(2 if character in GSM7_EXTENSION else 1 for character in body)
    else:
        assert found.units == len(body.encode("utf-16-le", "surrogatepass")) // 2


@given(any_texts)
def test_the_parts_have_room_for_all_units_and_waste_at_most_one_each(body: str) -> None:
    found = segments(body)
    count, encoding, units = found.count, found.encoding, found.units
    if count == 1:
        assert units <= encoding.alone
    else:
        assert units > encoding.alone
        assert (count - 1) * (encoding.joined - 1) < units <= count * encoding.joined


@given(any_texts, st.characters())
def test_one_more_character_never_means_fewer_parts(body: str, more: str) -> None:
    assert segments(body + more).count >= segments(body).count


@given(any_texts)
def test_cutting_the_text_greedily_without_splitting_a_pair_gives_the_same_count(body: str) -> None:
    found = segments(body)
    count, encoding, units = found.count, found.encoding, found.units
    parts: list[int] = [0]
    for character in body:
        wide = character in GSM7_EXTENSION if encoding is GSM7 else ord(character) > 0xFFFF
        width = 2 if wide else 1
        if parts[-1] + width > encoding.joined:
            parts.append(0)
        parts[-1] += width
    assert count == (1 if units <= encoding.alone else len(parts))
