"""The values of a template's variables: which are right for their type, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import orjson

from daemon.content.language import TemplateProblem


class Type(StrEnum):
    """What a variable takes."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    TIME = "time"
    URL = "url"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable. Without a default it must be given."""

    name: str
    type: Type = Type.TEXT
    default: Any = None
    example: Any = None


# As duly.is_blank and duly.value_problem have them: no shorthand that Postgres and Python take for different characters.
_SPACE = r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
_BLANK = re.compile(f"[{_SPACE}]*")
_URL = re.compile(rf'https?://[^{_SPACE}\u0001-\u001f\u007f<>"]+')
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def is_blank(value: Any) -> bool:
    """Whether a value says nothing: none, or a text without a letter. A default takes its place."""
    return value is None or (isinstance(value, str) and _BLANK.fullmatch(value) is not None)


def look_up(given: Mapping[str, Any], name: str) -> Any:
    """A variable's value: by its whole name, else inside the objects that the name's parts lead through."""
    if given.get(name) is not None:
        return given[name]
    found: Any = given
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def typed(variables: Mapping[str, Variable], given: Mapping[str, Any]) -> dict[str, Any]:
    """Words as their variables' types have them: a file's cell 3 is a number where one is declared."""
    found = dict(given)
    for name, variable in variables.items():
        value = found.get(name)
        if isinstance(value, str) and variable.type in (Type.NUMBER, Type.FLAG):
            try:
                read = orjson.loads(value.strip())
            except orjson.JSONDecodeError:
                continue
            found[name] = read if isinstance(read, int | float) else value
    return found


def checked_value(variable: Variable, value: Any) -> Any:
    """A value as a template renders it: numbers without trailing zeros. Raises `TemplateProblem`."""
    problem = None
    match variable.type:
        case Type.NUMBER:
            if (number := _number(value)) is not None:
                return number
            problem = "must be a number"
        case Type.FLAG:
            if not isinstance(value, bool):
                problem = "must be true or false"
        case _ if not isinstance(value, str):
            problem = "must be a text"
        case _ if not _is_text(value):
            problem = "has a character that no text may have"
        case _ if is_blank(value):
            problem = "is empty"
        case Type.URL if not _URL.fullmatch(value):
            problem = "must be an http or https URL"
        case Type.DATE if not _DATE.fullmatch(value):
            problem = "must be a date such as 2026-01-31"
        case Type.TIME if not _TIME.fullmatch(value):
            problem = "must be a time such as 18:00"
    if problem is not None:
        raise TemplateProblem(f"variables.{variable.name}: {problem}")
    return value


class Number(Decimal):
    """A number that reads 3.5 for 3.50 and 1000 for 1e3, as duly.template_values has it."""

    def __str__(self) -> str:
        text = format(Decimal(self) if self else Decimal(0), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text


def _number(value: Any) -> int | Number | None:
    """None: it is none, or one that takes more than 40 characters."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, int):
        return value if -(10**39) < value < 10**40 else None
    number = Number(str(value))
    return number if number.is_finite() and abs(number.adjusted()) <= 40 and len(str(number)) <= 40 else None


def _is_text(value: str) -> bool:
    return "\0" not in value and (
        value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    )
