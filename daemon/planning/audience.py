"""Which contacts a campaign is for, as JSON: a small language of conditions on their attributes. Pure.

    {"city": "Boston", "age": {">=": 18, "<": 65}, "tags": {"has": "vip"}, "contact.locale": {"starts": "pt"}}

All that an object says must hold; `any` and `all` take lists of such objects, `not` one. It becomes a jsonpath whose
values are parameters: names are quoted, and nothing of it is ever SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

MOST_CONDITIONS = 100
_DEEPEST = 10
_LONGEST = 500  # characters of a name or text
_MOST_VALUES = 1000
_COMPARED = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
OPERATORS = ("=", "!=", *_COMPARED, "in", "has", "starts", "exists")
_WORDS = ("any", "all", "not")


class SegmentProblem(ValueError):
    """No segment. The text is "segment: what is wrong and what would be right"."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a contact must be like, as a jsonpath predicate and its variables."""

    path: str
    variables: Mapping[str, Any]


def segment(given: Any) -> Segment:
    """Reads a segment. Raises `SegmentProblem`."""
    found = _Reading()
    path = found.all_of(given, 0)
    return Segment(path, found.variables)


@dataclass(slots=True)
class _Reading:
    variables: dict[str, Any] = field(default_factory=dict)
    conditions: int = 0

    def all_of(self, given: Any, depth: int) -> str:
        if not isinstance(given, dict):
            raise SegmentProblem('segment: must be a JSON object such as {"city": "Boston"}')
        if depth > _DEEPEST:
            raise SegmentProblem(f"segment: is nested more than {_DEEPEST} deep")
        parts = [self._one(name, value, depth) for name, value in given.items()]
        return " && ".join(f"({part})" for part in parts) or "exists($)"

    def _one(self, name: str, value: Any, depth: int) -> str:
        self.conditions += 1
        if self.conditions > MOST_CONDITIONS:
            raise SegmentProblem(f"segment: has more than {MOST_CONDITIONS} conditions")
        if name == "not":
            return f"!({self.all_of(value, depth + 1)})"
        if name in _WORDS:
            if not isinstance(value, list) or not value:
                raise SegmentProblem(f"segment: {name} takes a list of objects")
            joint = " || " if name == "any" else " && "
            return joint.join(f"({self.all_of(each, depth + 1)})" for each in value)
        path = _path(name)
        if not isinstance(value, dict):
            return self._condition(path, name, "=", value)
        if not value:
            raise SegmentProblem(f"segment: {name[:40]!r} says nothing; operators are {', '.join(OPERATORS)}")
        return " && ".join(f"({self._condition(path, name, op, of)})" for op, of in value.items())

    def _condition(self, path: str, name: str, operator: str, value: Any) -> str:
        match operator:
            case "=":
                return self._equals(path, name, value)
            case "!=":
                return f"!({self._equals(path, name, value)})"
            case "in":
                if not isinstance(value, list) or not 0 < len(value) <= _MOST_VALUES:
                    raise SegmentProblem(
                        f"segment: {name[:40]!r}: in takes a list of up to {_MOST_VALUES} values"
                    )
                return " || ".join(f"({self._equals(path, name, each)})" for each in value)
            case "has":
                return f"exists({path}[*] ? (@ == {self._variable(name, value)}))"
            case "starts":
                if not isinstance(value, str):
                    raise SegmentProblem(f"segment: {name[:40]!r}: starts takes a text")
                return f"exists({path} ? (@ starts with {self._variable(name, value)}))"
            case "exists":
                if not isinstance(value, bool):
                    raise SegmentProblem(f"segment: {name[:40]!r}: exists takes true or false")
                return f"exists({path} ? (@ != null))" if value else f"!exists({path} ? (@ != null))"
            case _ if operator in _COMPARED:
                if isinstance(value, bool) or not isinstance(value, str | int | float):
                    raise SegmentProblem(f"segment: {name[:40]!r}: {operator} takes a number or a text")
                return f"exists({path} ? (@ {operator} {self._variable(name, value)}))"
        raise SegmentProblem(
            f"segment: {name[:40]!r}: {operator[:20]!r} is none of the operators {', '.join(OPERATORS)}"
        )

    def _equals(self, path: str, name: str, value: Any) -> str:
        if value is None:
            return f"!exists({path} ? (@ != null))"
        return f"exists({path} ? (@ == {self._variable(name, value)}))"

    def _variable(self, name: str, value: Any) -> str:
        if not isinstance(value, str | int | float | bool):
            raise SegmentProblem(f"segment: {name[:40]!r}: compares with a text, a number, true or false")
        if isinstance(value, str) and (len(value) > _LONGEST or "\0" in value):
            raise SegmentProblem(
                f"segment: {name[:40]!r}: a text has at most {_LONGEST} characters and no NUL"
            )
        called = f"v{len(self.variables)}"
        self.variables[called] = value
        return f"${called}"


def _path(name: str) -> str:
    """`a.b` as $."a"."b"."""
    parts = name.split(".")
    if not all(parts) or len(name) > _LONGEST or "\0" in name:
        raise SegmentProblem(f"segment: {name[:40]!r} is no attribute's name; a dot leads into an object")
    return "$" + "".join(f".{orjson.dumps(part).decode()}" for part in parts)
