"""The scanner finds the line of every key and table that tomllib reads."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.positions import MAX_DEPTH, TooDeepError, line_of, locate


def test_keys_and_tables_are_on_their_lines() -> None:
    assert locate("a = 1\n\n# b = 2\n[t]  # a table\nb = 'x'\r\nc = 3\n") == {
        ("a",): 1,
        ("t",): 4,
        ("t", "b"): 5,
        ("t", "c"): 6,
    }


def test_a_dotted_key_gives_its_line_to_the_tables_it_implies() -> None:
    assert locate("\na . b.c = 1\na.d = 2") == {
        ("a",): 2,
        ("a", "b"): 2,
        ("a", "b", "c"): 2,
        ("a", "d"): 3,
    }


def test_a_tables_own_header_wins_over_one_that_implies_it() -> None:
    assert locate("[a.b]\n[a]\n")[("a",)] == 2


def test_quoted_keys_are_unquoted_and_their_escapes_read() -> None:
    assert locate('["a.b"]\n"c\\u0064" = 1\n\'e"f\' = 2\n"" = 3') == {
        ("a.b",): 1,
        ("a.b", "cd"): 2,
        ("a.b", 'e"f'): 3,
        ("a.b", ""): 4,
    }


def test_keys_of_an_inline_table_are_on_its_line() -> None:
    lines = locate('x = 1\nr = { sms = "}", y = { z.w = [1, {q = 2}] }, }\nn = {}\nlast = 1')
    assert lines["r", "sms"] == lines["r", "y", "z", "w"] == 2
    assert lines["n",] == 3
    assert lines["last",] == 4


def test_an_array_over_several_lines_hides_nothing_after_it() -> None:
    assert locate("a = [\n  1, # ] b = 2\n  ']',\n  [\"x = [\"],\n  {c = 1},\n]\nd = 1") == {
        ("a",): 1,
        ("d",): 7,
    }


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_what_looks_like_a_key_in_a_multi_line_string_is_none(quotes: str) -> None:
    text = f"a = {quotes}\n[t]\nb = 1\n# \" ' \n{quotes}\nc = 1"
    assert locate(text) == {("a",): 1, ("c",): 6}


def test_quotes_at_the_end_of_a_multi_line_string_belong_to_it() -> None:
    text = 'a = """\n\\"""b=1""\n"""""\nc = \'\'\'x\'\'\'\'\'\nd = ""\ne = \'\''
    assert tomllib.loads(text).keys() == {"a", "c", "d", "e"}
    assert locate(text) == {("a",): 1, ("c",): 4, ("d",): 5, ("e",): 6}


def test_arrays_of_tables_are_stepped_through() -> None:
    assert locate("[[a]]\nx = 1\n[[ a ]]\ny = 1\n[b]") == {("a",): 3, ("a", "x"): 2, ("a", "y"): 4, ("b",): 5}


def test_a_missing_key_is_on_the_line_of_the_nearest_table() -> None:
    lines = locate("[platforms.main]\nkind = 1")
    assert line_of(lines, ("platforms", "main", "auth_token")) == 1
    assert line_of(lines, ("web", "listen")) is None
    assert line_of(lines, ()) is None


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * (MAX_DEPTH + 2),
        "a = [" + "{b=" * (MAX_DEPTH + 2),
        "a = " + "{b=" * (MAX_DEPTH + 2),
        "\n" + ".".join("a" * (MAX_DEPTH + 2)) + " = 1",
    ],
)
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(TooDeepError):
        locate(text)


KEY = st.sampled_from(["a", "b-c", '"a.b"', "'c # d'", '"e\\n=\\"f"', "1", "x . y"])
SCALAR = st.sampled_from(
    [
        "1",
        "-0.5e3",
        "inf",
        "true",
        "1979-05-27 07:32:00Z",
        '"x=1 # ["',
        "'\"'",
        '"""\nk = 1\n\\""" """',
        "'''\n[t]\n'''",
    ]
)


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: "[ # ]\n" + " ,\n".join(items) + "\n]")


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.dictionaries(KEY, values, max_size=3)
    return pairs.map(lambda table: "{ " + ", ".join(f"{k}={v}" for k, v in table.items()) + " }")


VALUE = st.recursive(SCALAR, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=6)
PAIR = st.tuples(KEY, VALUE).map(lambda pair: f"{pair[0]} = {pair[1]}")
LINE = PAIR | KEY.map("[{}] # x".format) | KEY.map("[[{}]]".format) | st.sampled_from(["", "# c = 1", "\t"])


def paths(table: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*prefix, key)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, dict) and not (isinstance(value, list) and _inline(value)):
                yield from paths(child, (*prefix, key))


def _inline(value: list[Any]) -> bool:
    return any(not isinstance(item, dict) for item in value)


@given(st.lists(LINE, max_size=8))
def test_every_key_that_tomllib_reads_has_a_line_that_holds_it(written: list[str]) -> None:
    text = "\n".join(written)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = locate(text)
    top_and_tables = {path for path in paths(document) if len(path) == 1 or path in found}
    assert {path[:1] for path in paths(document)} <= found.keys()
    for path in top_and_tables:
        line = text.split("\n")[found[path] - 1]
        assert path[-1] in line or '"e\\n=\\"f"' in line


@given(st.lists(PAIR, max_size=4))
def test_every_key_of_inline_tables_has_a_line(written: list[str]) -> None:
    text = "\n".join(written)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(_keys_outside_arrays(document)) == locate(text).keys()


def _keys_outside_arrays(table: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from _keys_outside_arrays(value, (*prefix, key))


@given(st.text(alphabet="a.=[]{}\"'\\\n#, 1"))
def test_any_text_is_scanned_without_another_error(text: str) -> None:
    with contextlib.suppress(TooDeepError):
        locate(text)
