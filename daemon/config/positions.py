"""On which line of a TOML text each key and table stands. `tomllib` does not say.

The scanner reads valid TOML; on anything else it stops, and `tomllib` says what is wrong. It also is the
guard in front of `tomllib`, which takes quadratic time or all of the stack for deep nesting.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence

KeyPath = tuple[str, ...]

MAX_DEPTH = 32
"""Levels of tables, arrays or dotted parts that a configuration may have; ours needs four."""

_BASIC = r'"(?:\\.|[^"\\\n])*"'
_LITERAL = r"'[^'\n]*'"
_LONG_BASIC = r'"""(?:\\[\s\S]|[^\\])*?"""(?:"{0,2})'
_LONG_LITERAL = r"'''[\s\S]*?'''(?:'{0,2})"
_STRING = re.compile(f"{_LONG_BASIC}|{_LONG_LITERAL}|{_BASIC}|{_LITERAL}")
_KEY_PART = re.compile(rf"[ \t]*([A-Za-z0-9_-]+|{_BASIC}|{_LITERAL})[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_VALUE = re.compile(r"[^,\[\]{}#\"'\n]+")


class TooDeepError(Exception):
    """The text nests deeper than `MAX_DEPTH`. `line` is where."""

    def __init__(self, line: int) -> None:
        """`line` counts from 1."""
        super().__init__(f"nested too deeply at line {line}")
        self.line = line


class _StopError(Exception):
    """Not TOML from here on."""


def locate(text: str) -> dict[KeyPath, int]:
    """Map the path of every key and table in `text` to its line, from 1.

    A table that is only implied by another's header has that header's line. Arrays are opaque: what stands
    inside has no path. Raises `TooDeepError`. A text that is not TOML gives what was found before the fault.
    """
    scanner = _Scanner(text)
    with contextlib.suppress(_StopError):
        scanner.document()
    return scanner.lines


def line_of(lines: Mapping[KeyPath, int], path: Sequence[str | int]) -> int | None:
    """The line of `path`, or of the nearest table around it that the text has; None where there is none."""
    keys = tuple(str(part) for part in path)
    for length in range(len(keys), 0, -1):
        if (line := lines.get(keys[:length])) is not None:
            return line
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self._take("["):
                double = self._take("[")
                table = self._key(())
                self._expect("]]" if double else "]")
            else:
                self._pair(table, depth=0)
            self._skip(_BLANK)

    def _pair(self, table: KeyPath, depth: int) -> None:
        path = self._key(table)
        self._expect("=")
        self._skip(_BLANK)
        self._value(path, depth)

    def _value(self, path: KeyPath, depth: int) -> None:
        if self._take("{"):
            self._inline_table(path, depth + 1)
        elif self._take("["):
            self._array()
        elif not self._skip(_STRING) and not self._skip(_BARE_VALUE):
            raise _StopError

    def _inline_table(self, path: KeyPath, depth: int) -> None:
        self._guard(depth)
        self._skip(_BLANK)
        while not self._take("}"):
            self._pair(path, depth)
            self._skip(_BLANK)
            self._take(",")
            self._skip(_BLANK)

    def _array(self) -> None:
        """Skip to the array's end. Brackets in strings and comments do not count."""
        depth = 1
        while depth:
            self._skip(_BLANK)
            if self._take("[") or self._take("{"):
                depth += 1
                self._guard(depth)
            elif self._take("]") or self._take("}"):
                depth -= 1
            elif not (self._take(",") or self._skip(_STRING) or self._skip(_BARE_VALUE)):
                raise _StopError

    def _key(self, table: KeyPath) -> KeyPath:
        """Read a dotted key, note its line, and return its path from the root."""
        line = self._line()
        path = [*table, self._key_part()]
        while self._take("."):
            path.append(self._key_part())
            self._guard(len(path))
        for length in range(1, len(path)):
            self.lines.setdefault(tuple(path[:length]), line)
        self.lines[tuple(path)] = line
        return tuple(path)

    def _key_part(self) -> str:
        match = _KEY_PART.match(self.text, self.at)
        if match is None:
            raise _StopError
        self.at = match.end()
        return _unquoted(match[1])

    def _line(self) -> int:
        return bisect_right(self._newlines, self.at - 1) + 1

    def _guard(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise TooDeepError(self._line())

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Step over what `pattern` matches here; False where that is nothing."""
        match = pattern.match(self.text, self.at)
        if match is None or match.end() == self.at:
            return False
        self.at = match.end()
        return True

    def _take(self, token: str) -> bool:
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise _StopError


def _unquoted(raw: str) -> str:
    if raw[0] not in "\"'":
        return raw
    if raw[0] == "'" or "\\" not in raw:
        return raw[1:-1]
    try:
        return str(tomllib.loads(f"key = {raw}")["key"])
    except ValueError:
        raise _StopError from None
