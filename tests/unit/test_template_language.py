"""What a template's text may be: substitution and conditions, and nothing that takes long or looks into objects."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.content.language import LONGEST_RESULT, MOST_VARIABLES, TemplateProblem, compiled
from daemon.content.values import Number, Type, Variable, checked_value, is_blank, typed


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("Hi {{FirstName}}!", ["Hi ", {"name": "FirstName"}, "!"]),
        ("{{ user.first_name }}{{b}}", [{"name": "user.first_name"}, {"name": "b"}]),
        ("a\r\nb\rc\n", ["a\nb\nc\n"]),
        ("{ {} }} %}", ["{ {} }} %}"]),
        ("{% if a %}x{% endif %}", None),
    ],
)
def test_a_text_is_split_into_what_stands_and_what_is_put_in(source: str, parts: object) -> None:
    assert compiled(source).parts == parts


def test_conditions_ask_for_values() -> None:
    text = compiled("{% if done >= target %}yes{% elif done and not late %}{{done}}{% else %}no{% endif %}")
    assert text.names == {"done", "target", "late"}
    assert text.printed == {"done": 1}
    assert text.render({"done": Number(5), "target": Number(5), "late": False}) == "yes"
    assert text.render({"done": Number("2.50"), "target": Number(5), "late": False}) == "2.5"
    assert text.render({"done": Number(0), "target": Number(5), "late": False}) == "no"


def test_values_are_escaped_in_html_and_only_there() -> None:
    values = {"x": "<a href='\"&\"'>{{y}}{% if %}"}
    assert compiled("{{x}}<b>").render(values) == values["x"] + "<b>"
    assert compiled("{{x}}<b>").render(values, as_html=True) == (
        "&lt;a href=&#39;&#34;&amp;&#34;&#39;&gt;{{y}}{% if %}<b>"
    )


HOSTILE = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ x['__class__'] }}",
    "{{ x[0] }}",
    "{{ x.0 }}",
    "{{ x() }}",
    "{{ x.format('a') }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ '%s' % x }}",
    "{{ x | length }}",
    "{{ x | attr('__class__') }}",
    "{{ x is defined }}",
    "{{ x + 1 }}",
    "{{ 'a' * 1000000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ x ~ x }}",
    "{{ [x] }}",
    "{{ {'a': x} }}",
    "{{ (x, x) }}",
    "{{ x if x else y }}",
    "{{ range(1000000000) }}",
    "{{ lipsum() }}",
    "{{ cycler }}{% for a in b %}{% endfor %}",
    "{% for a in x %}{{ a }}{% endfor %}",
    "{% set x = 1 %}",
    "{% macro a() %}{{ a() }}{% endmacro %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% block a %}{% endblock %}",
    "{% filter upper %}{% endfilter %}",
    "{% call a() %}{% endcall %}",
    "{% with a = 1 %}{% endwith %}",
    "{% autoescape false %}{{ x }}{% endautoescape %}",
    "{% if x %}",
    "{{ x",
    "{{ }}",
    "{{ self }}",
    "{{ self.x }}",
    "{{ super() }}",
    "{{ loop }}",
    "{{ naïve }}",
    "{{ " + "x" * 101 + " }}",
    "{{ " + ".".join("abcdefghi") + " }}",
    "a\0b",
    "a" * 100_001,
    "{{x}}" * (MOST_VARIABLES + 1),
    "{% if x %}" * 101 + "{% endif %}" * 101,
    "{% if " + "(" * 5_000 + "x" + ")" * 5_000 + " %}{% endif %}",
    "{% if " + "not " * 5_000 + "x %}{% endif %}",
    "{% if " + "x and " * 4_900 + "x %}{% endif %}",
    "{% if x" + " == x" * 6_000 + " %}{% endif %}",
    "{% if x == " + "9" * 90_000 + " %}{% endif %}",
    "{{" * 50_000,
    "{#" * 50_000,
    "{% raw %}" * 10_000,
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_not_of_the_language_is_refused_at_once(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(TemplateProblem) as problem:
        compiled(source)
    assert time.monotonic() - began < 3
    assert len(str(problem.value)) < 300


@pytest.mark.parametrize(
    "name", ["__class__", "x.__class__", "x.__init__.__globals__", "environment", "context"]
)
def test_a_name_is_a_name_whatever_it_looks_like(name: str) -> None:
    """Nothing of Python's is behind it: it is looked up among the values, and is an error where it is not there."""
    text = compiled("{{ " + name + " }}")
    assert text.names == {name}
    with pytest.raises(TemplateProblem, match=r"undefined|has no"):
        text.render({"x": "value"})


def test_the_largest_text_renders_within_a_second_and_no_result_is_too_large() -> None:
    filler = "a" * ((100_000 - 100 * 30) // 100 - 10 * 5)
    source = ("{{x}}" * 10 + "{% if x == y %}" + filler + "{% endif %}") * 100
    text = compiled(source[:100_000] if len(source) > 100_000 else source)
    began = time.monotonic()
    rendered = text.render({"x": "v" * 400, "y": "v" * 400})
    assert time.monotonic() - began < 1
    assert len(rendered) > 400_000
    with pytest.raises(TemplateProblem, match=f"at most {LONGEST_RESULT:,}"):
        text.render({"x": "v" * 1_000_000, "y": ""})
    with pytest.raises(TemplateProblem, match="different types"):
        compiled("{% if a > b %}{% endif %}").render({"a": "x", "b": Number(1)})


@given(st.text(), st.text())
def test_a_value_is_never_read_as_a_template(before: str, value: str) -> None:
    literal = before.replace("{", "(").replace("\0", "").replace("\r", "")
    assert compiled(literal + "{{x}}").render({"x": value}) == literal + value


@pytest.mark.parametrize(
    ("given", "written"),
    [(3, "3"), (3.50, "3.5"), (1e3, "1000"), (1e22, "1" + "0" * 22), (-0.0, "0"), (0, "0"), (1e-7, "0.0000001"),
     (Decimal("10.00"), "10"), (100, "100"), (-2.5, "-2.5")],
)  # fmt: skip
def test_a_number_is_written_plainly(given: Any, written: str) -> None:
    assert str(checked_value(Variable("n", Type.NUMBER), given)) == written


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("number", "3", "must be a number"),
        ("number", True, "must be a number"),
        ("number", float("nan"), "must be a number"),
        ("number", float("inf"), "must be a number"),
        ("number", 10**41, "must be a number"),
        ("number", Decimal("1e999999999"), "must be a number"),
        ("number", Decimal("1e-999999999"), "must be a number"),
        ("flag", 1, "must be true or false"),
        ("text", 1, "must be a text"),
        ("text", None, "must be a text"),
        ("text", {"__html__": "x"}, "must be a text"),
        ("text", " \u00a0\u200b", "is empty"),
        ("text", "a\0b", "has a character"),
        ("text", "a\ud800", "has a character"),
        ("url", "javascript:alert(1)", "must be an http or https URL"),
        ("url", "https://a b", "must be an http or https URL"),
        ("url", 'https://a"b', "must be an http or https URL"),
        ("date", "2026-13-01", "must be a date"),
        ("date", "2026-01-01\n", "must be a date"),
        ("time", "24:00", "must be a time"),
    ],
)
def test_a_wrong_value_is_named(kind: str, value: Any, said: str) -> None:
    with pytest.raises(TemplateProblem, match=rf"^variables\.v: {said}"):
        checked_value(Variable("v", Type(kind)), value)


def test_words_become_what_is_declared_and_nothing_else() -> None:
    declared = {"n": Variable("n", Type.NUMBER), "f": Variable("f", Type.FLAG), "t": Variable("t")}
    assert typed(declared, {"n": "3.5", "f": "true", "t": "3", "other": "4"}) == {
        "n": 3.5, "f": True, "t": "3", "other": "4",
    }  # fmt: skip
    assert typed(declared, {"n": "three", "f": '"x"'}) == {"n": "three", "f": '"x"'}
    assert is_blank("\t\u2003") and not is_blank("x") and not is_blank(0)  # noqa: PT018
