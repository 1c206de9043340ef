"""What is wrong with a configuration: the error, its parts, and how a key's path is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong: where, what, and what to do about it. Never holds a value from the file."""

    path: str  # the dotted key, e.g. "platforms.main.rate_per_second"; "" where it is the whole file
    line: int | None  # in the TOML, from 1; None where no line is to blame
    message: str
    remedy: str

    def __str__(self) -> str:
        """All of it on one line, without the file's name."""
        text = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return f"{self.path}: {text}" if self.path else text


class ConfigError(Exception):
    """A configuration that cannot be used. `problems` has all that is wrong, in the file's order."""

    def __init__(self, problems: Iterable[ConfigProblem], *, source: str = "duly.toml") -> None:
        """`source` is the file's name, put before each problem's line."""
        self.problems = list(problems)
        self.source = source
        super().__init__(self.problems)

    def __str__(self) -> str:
        """One problem a line, as `file:line: key: message; remedy`."""
        return "\n".join(self._written(problem) for problem in self.problems)

    def _written(self, problem: ConfigProblem) -> str:
        place = self.source if problem.line is None else f"{self.source}:{problem.line}"
        return f"{place}: {problem}"


def invalid(message: str, remedy: str, *, kind: str = "duly") -> PydanticCustomError:
    """What a validator raises: `message` and `remedy` reach the operator as they are.

    Neither may hold the value that was refused: it may be a secret in the wrong place.
    """
    return PydanticCustomError(kind, "{message}", {"message": message, "remedy": remedy})


def written_key(key: str) -> str:
    """A key as it would stand in the TOML, shortened, with nothing in it that moves a terminal's cursor."""
    short = key if len(key) <= _LONGEST_SHOWN else key[:_LONGEST_SHOWN] + "…"
    return short if _BARE_KEY.fullmatch(short) else json.dumps(short)


def written_path(path: Sequence[str | int]) -> str:
    """The dotted path of a key: `workspaces."a.b".from`."""
    return ".".join(written_key(str(part)) for part in path)
