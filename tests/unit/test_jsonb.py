"""What applications store may be stranger than a reader of JSON takes; it is read all the same."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.jsonb import read_jsonb


def test_common_values_are_read_as_they_are() -> None:
    assert read_jsonb('{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}


def test_a_number_beyond_what_a_float_holds_is_read_with_all_beside_it() -> None:
    digits = "1" + "0" * 6000
    assert read_jsonb(f'{{"n": {digits}, "m": -{digits}.5, "k": 7, "l": 12345678901234567890123}}') == {
        "n": Decimal(digits),
        "m": Decimal(f"-{digits}.5"),
        "k": 7,
        "l": 1.2345678901234568e22,
    }


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a": ', "}")])
def test_what_is_nested_too_deeply_is_left_out_and_the_rest_is_read(open_: str, close: str) -> None:
    deep = open_ * 5000 + "1" + close * 5000
    found = read_jsonb(f'{{"deep": {deep}, "after": "]}}\\"[{{", "beside": [{deep}, 2]}}')
    assert found["after"] == ']}"[{'
    assert found["beside"][1] == 2
    inner, levels = found["deep"], 0
    while inner is not None:
        inner = inner[0] if isinstance(inner, list) else inner["a"]
        levels += 1
    assert levels == 198
