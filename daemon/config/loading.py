"""From a file or text to a `Config`, or to one `ConfigError` that has every problem with its line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config.explain import Loc, explain, place
from daemon.config.models import Config, RoutesConfig
from daemon.config.platforms import PLATFORM_KINDS
from daemon.config.positions import KeyPath, TooDeepError, line_of, locate
from daemon.config.privacy import privacy_errors
from daemon.config.problems import ConfigError, ConfigProblem, written_key, written_path

MAX_FILE_BYTES = 1024 * 1024
"""A configuration may be this large, in bytes."""

MAX_PROBLEMS = 50
"""Of more problems than this, the first are shown and the others counted."""

SEARCHED = (Path("duly.toml"), Path("/etc/duly/duly.toml"))
"""Where a configuration is looked for when neither --config nor $DULY_CONFIG names one."""


def load_config(path: Path | None, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration at `path`.

    None: the file that $DULY_CONFIG names, else the first of `SEARCHED` that exists. A file that was named
    must exist: another one, with other accounts, is never taken in its place. Raises `ConfigError`.
    """
    if path is None and environ.get("DULY_CONFIG"):
        path = Path(environ["DULY_CONFIG"])
    for candidate in [path] if path else SEARCHED:
        text = _read(candidate)
        if text is not None:
            return parse_config(text, source=str(candidate), environ=environ)
    remedy = "name one by --config FILE or $DULY_CONFIG, or start from config.example.toml"
    if path:
        raise _whole_file("there is no such file", remedy, source=str(path))
    raise _whole_file(f"there is no configuration at {' or '.join(map(str, SEARCHED))}", remedy)


def parse_config(text: str, *, source: str = "duly.toml", environ: Mapping[str, str] = os.environ) -> Config:
    """Read a configuration from TOML. `source` is what errors call it; `environ` is where secrets come from.

    Raises `ConfigError` with all problems at once, each with its line, and never anything else.
    """
    lines, document = _parsed(text, source)
    config, problems = _validated(document, lines, environ)
    if config is None or problems:
        # Raised out here, so that no pydantic error with the file's values hangs on it as its context.
        raise ConfigError(problems, source=source)
    return config


def _read(path: Path) -> str | None:
    """The file's text; None where there is none."""
    failure: str
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        return _small(raw, str(path)).decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        failure = f"is not UTF-8 text (byte {error.start})"
    except OSError as error:
        failure = f"cannot be read: {error.strerror}"
    except ValueError:
        failure = "has a name that no file can have"
    raise _whole_file(failure, "check the path and the file's permissions", source=str(path))


def _small(raw: bytes, source: str) -> bytes:
    if len(raw) > MAX_FILE_BYTES:
        raise _whole_file("is larger than 1 MiB", "check that it is the right file", source=source)
    return raw


def _whole_file(message: str, remedy: str, *, source: str = "duly", line: int | None = None) -> ConfigError:
    return ConfigError([ConfigProblem("", line, message, remedy)], source=source)


def _parsed(text: str, source: str) -> tuple[dict[KeyPath, int], dict[str, Any]]:
    """The lines of all keys, and the TOML's content."""
    failure: ConfigError
    try:
        _small(text.encode(), source)
        return locate(text), tomllib.loads(text)
    except UnicodeEncodeError:
        failure = _whole_file("is not Unicode text", "save it as UTF-8", source=source)
    except TooDeepError as error:
        failure = _whole_file(
            "is nested too deeply", "see config.example.toml", source=source, line=error.line
        )
    except RecursionError:
        failure = _whole_file("is nested too deeply", "see config.example.toml", source=source)
    except ValueError as error:
        failure = _not_toml(str(error), text, source)
    raise failure


def _not_toml(words: str, text: str, source: str) -> ConfigError:
    """`tomllib`'s complaint, its position taken out of the words. The words quote keys, but no values."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", words)
    line = int(found[1]) if found and found[1] else (text.count("\n") + 1 if found else None)
    what = (words[: found.start()] if found else "A value is out of range")[:200]
    shown = "".join(char if char.isprintable() else "?" for char in what)
    remedy = "text values need quotes, and every key stands once on a line of its own"
    return _whole_file(f"is not TOML: {shown}", remedy, source=source, line=line)


def _validated(
    document: dict[str, Any], lines: dict[KeyPath, int], environ: Mapping[str, str]
) -> tuple[Config | None, list[ConfigProblem]]:
    config: Config | None = None
    errors: list[dict[str, Any]] = [*_route_errors(document), *privacy_errors(document)]
    try:
        config = Config.model_validate(document, context={"environ": environ})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        # A default that is made from another key is not made when that key is wrong: no fault of its own.
        errors += [dict(item) for item in details if item["type"] != "default_factory_not_called"]
    located = sorted(((line_of(lines, place(item)) or 0, item) for item in errors), key=lambda pair: pair[0])
    problems = [_problem(item, line or None) for line, item in located[:MAX_PROBLEMS]]
    if len(located) > MAX_PROBLEMS:
        more = f"and {len(located) - MAX_PROBLEMS} more problems"
        problems.append(ConfigProblem("", None, more, "mend these first"))
    return config, problems


def _problem(error: Mapping[str, Any], line: int | None) -> ConfigProblem:
    message, remedy = explain(error)
    return ConfigProblem(written_path(place(error)), line, message, remedy)


def _route_errors(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Routes to accounts that are not there or do not carry the channel.

    Read from the raw document, so that they are found beside other problems, in the shape of pydantic's.
    """
    accounts = _table(document.get("platforms"))
    for loc, routes in _all_routes(document):
        for channel in RoutesConfig.model_fields.keys() & routes.keys():
            name = routes[channel]
            if isinstance(name, str) and (fault := _route_fault(channel, name, accounts)):
                context = {"message": fault[0], "remedy": fault[1]}
                yield {"type": "duly_route", "loc": (*loc, channel), "ctx": context}


def _all_routes(document: Mapping[str, Any]) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    yield ("routes",), _table(document.get("routes"))
    for name, workspace in _table(document.get("workspaces")).items():
        yield ("workspaces", name, "routes"), _table(_table(workspace).get("routes"))


def _route_fault(channel: str, name: str, accounts: Mapping[str, Any]) -> tuple[str, str] | None:
    if name not in accounts:
        known = ", ".join(map(written_key, accounts)) if 0 < len(accounts) <= 10 else ""
        return "names no account", f"use one of {known}" if known else "add [platforms.NAME], or remove it"
    model = PLATFORM_KINDS.get(str(_table(accounts[name]).get("kind")))
    if model and channel not in model.channels:
        return f"names an account that does not carry {channel}", f"it carries {', '.join(model.channels)}"
    return None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
