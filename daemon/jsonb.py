"""JSON that applications have stored. Postgres takes what a reader of JSON does not: numbers of 100,000 digits, and lists
within lists, thousands deep. None of it may stop who reads it for everybody.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import orjson

_DEEPEST = 200  # levels; what lies deeper is left out
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def read_jsonb(text: str) -> Any:
    """The value of a jsonb column as Postgres writes it.

    A number beyond what a float holds is a Decimal; what lies more than 200 levels deep is None.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(_shallow(text), parse_int=_number, parse_float=_number)


def _number(text: str) -> int | float | Decimal:
    number = float(text)
    if not math.isfinite(number):
        return Decimal(text)
    return int(text) if text.lstrip("-").isdecimal() and abs(number) < 2**63 else number


def _shallow(text: str) -> str:
    kept: list[str] = []
    depth = since = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth == _DEEPEST:
                    kept += (text[since : token.start()], "null")
            case "]" | "}":
                if depth == _DEEPEST:
                    since = token.end()
                depth -= 1
    return "".join((*kept, text[since:]))
