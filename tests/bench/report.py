"""How figures are shown: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tests.bench.harness import Result

_FACTS_CHARACTERS = 160
_MET = {None: "-", True: "yes", False: "[bold red]NO[/]"}


def as_json(results: Mapping[str, Result]) -> str:
    """One object, an entry a line of the table."""
    facts = {name: result.as_json() for name, result in results.items()}
    return orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()


def show(results: Mapping[str, Result]) -> None:
    """The table on stdout."""
    table = Table("", "ratio", "spread", "goal", "met", "unit", "facts")
    for name, result in results.items():
        table.add_row(
            name.replace("_", "-"),
            "-" if result.ratio is None else f"{result.ratio:.3g}",
            "-" if result.spread is None else f"{result.spread[0]:.3g}–{result.spread[1]:.3g}",
            "-" if result.goal is None else f"{result.goal:.3g}",
            _MET[result.met],
            result.unit,
            brief(result.facts),
        )
    Console(width=None if Console().is_terminal else 180).print(table)


def brief(facts: Mapping[str, Any]) -> str:
    """The facts that are one figure or a word each, as far as they fit."""
    told = ""
    for name, value in _flat(facts):
        more = f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
        if len(told) + len(more) > _FACTS_CHARACTERS:
            return told + ", …"
        told += (", " if told else "") + more
    return told


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            for inner, each in _flat(value):
                yield f"{name}.{inner}", each
        elif isinstance(value, (int, float, str)) and name != "samples":
            yield name, value
