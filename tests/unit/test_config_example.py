"""config.example.toml is whole and true: it parses, and has every key with its default."""

from __future__ import annotations

import base64
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.config import PLATFORM_KINDS, Config, RetryRule, WorkspaceConfig, parse_config

TEXT = (Path(__file__).parents[2] / "config.example.toml").read_text()
ENVIRON = {
    "TWILIO_AUTH_TOKEN": "t0ken",
    "DULY_WEB_PASSWORD": "passw0rd",
    "DULY_KEY_2026_11": base64.b64encode(bytes(32)).decode(),
}
SETTING = re.compile(r"^#(?=\[|[a-z_]+ = )", re.MULTILINE)
FROM_OTHERS = {"node"}  # a default that is the host's name


def uncommented() -> str:
    """The example with every setting live, but of the two ways to name an account's sender only one."""
    live = SETTING.sub("", TEXT)
    return live.replace('from = "+15005550006"  # no default\n', "", 1)


def written_lines() -> dict[tuple[str, str], str]:
    """Each setting's line by its table's header and key."""
    found: dict[tuple[str, str], str] = {}
    header = ""
    for line in SETTING.sub("", TEXT).splitlines():
        if match := re.match(r"\[(\w+)", line):
            header = match[1]
        elif match := re.match(r"([a-z_]+) = ", line):
            assert (header, match[1]) not in found, f"{header}.{match[1]} stands there twice"
            found[header, match[1]] = line
    return found


def tables() -> list[tuple[str, type[BaseModel]]]:
    sections = [
        (name, field.annotation)
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    ]
    named: list[tuple[str, type[BaseModel]]] = [("retry", RetryRule), ("workspaces", WorkspaceConfig)]
    return [*sections, *(("platforms", m) for m in PLATFORM_KINDS.values()), *named]


def settings() -> list[tuple[str, str, FieldInfo]]:
    return [
        (table, field.alias or name, field)
        for table, model in tables()
        for name, field in model.model_fields.items()
    ]


def names(setting: Any) -> str:
    return setting if isinstance(setting, str) else ""


def test_the_example_as_it_stands_is_the_configuration_of_defaults() -> None:
    assert parse_config(TEXT, environ={}) == parse_config("", environ={})


def test_the_example_parses_with_every_setting_live() -> None:
    config = parse_config(uncommented(), environ=ENVIRON)
    assert config.platforms["main"].auth_token.reveal() == "t0ken"
    assert config.workspaces["clinic-east"].routes.sms == "main"
    assert config.retry["carrier_error"].attempts == 3
    assert config.workspaces["clinic-east"].retry["carrier_error"].policy == "minutes-2-4-8"


def test_the_example_with_every_setting_live_differs_from_the_defaults_only_where_it_says_so() -> None:
    live = parse_config(uncommented(), environ=ENVIRON).redacted()
    plain = parse_config("", environ={}).redacted()
    lines = written_lines()
    for table in ("database", "daemon", "web", "limits", "rules", "privacy", "sandbox"):
        for key, value in plain[table].items():
            says_so = "# no default" in lines[table, key] or key in FROM_OTHERS
            assert live[table][key] == value or says_so, f"{table}.{key}"


@pytest.mark.parametrize(("table", "key", "field"), settings(), ids=names)
def test_the_example_has_every_key_with_its_true_default(table: str, key: str, field: FieldInfo) -> None:
    line = written_lines()[table, key]
    if field.is_required():
        assert line.endswith("# required")
    elif field.default_factory is None and (field.default is None or isinstance(field.default, BaseModel)):
        assert "# no default" in line
    elif field.default_factory is None and key != "url":
        assert tomllib.loads(line)[key] == field.default


def test_the_example_has_no_key_that_no_model_has() -> None:
    assert set(written_lines()) == {(table, key) for table, key, _ in settings()}


def test_a_restart_is_noted_at_each_key_that_needs_one() -> None:
    assert "[database]  # restart" in TEXT
    assert written_lines()["web", "listen"].endswith("# restart")
    assert written_lines()["daemon", "node"].endswith("# restart")
    assert written_lines()["web", "max_body_bytes"].endswith("# restart")
