"""`[privacy]`: keys are 32 bytes in base64, never shown; who seals needs one; days have a default and exceptions."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from daemon.config import ConfigError, ConfigProblem, parse_config

KEY = base64.b64encode(bytes(range(32))).decode()
KEYS = f'[privacy]\nkeys = {{ "2026-11" = "{KEY}" }}\ncurrent = "2026-11"\n'


def problem(text: str, **environ: str) -> ConfigProblem:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, environ=environ)
    [found] = caught.value.problems
    return found


def test_a_key_comes_from_a_value_a_variable_or_a_credential(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    for form in (f'"{KEY}"', '{ env = "K" }', '{ credential = "key" }'):
        text = f'[privacy]\nkeys = {{ a = {form} }}\ncurrent = "a"'
        config = parse_config(text, environ={"K": KEY, "CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert config.privacy.keys["a"].reveal() == KEY


def test_a_key_is_never_shown() -> None:
    config = parse_config(KEYS, environ={})
    assert config.redacted()["privacy"]["keys"] == {"2026-11": "<secret>"}
    assert KEY not in repr(config) + str(config.redacted())


@pytest.mark.parametrize("value", [KEY[:-4], KEY + KEY, "x" * 32, "0123456789abcdef" * 4, KEY[:-1] + "!"])
def test_what_is_no_key_is_refused_and_not_shown(value: str) -> None:
    found = problem(f'[privacy]\nkeys = {{ a = "{value}" }}')
    assert (found.path, found.line, found.message) == ("privacy.keys.a", 2, "is not 32 bytes in base64")
    assert "openssl rand" in found.remedy
    assert value not in str(found)


def test_a_key_that_is_not_there_is_named() -> None:
    found = problem('[privacy]\nkeys = { "2026-11" = { env = "DULY_KEY" } }')
    assert (found.path, found.message) == (
        "privacy.keys.2026-11",
        "the environment variable DULY_KEY is not set",
    )


def test_the_current_key_is_one_of_the_keys() -> None:
    found = problem(KEYS.replace('current = "2026-11"', 'current = "2027-05"'))
    assert (found.path, found.line, found.message) == ("privacy.current", 3, "names none of privacy.keys")


def test_who_seals_needs_a_key() -> None:
    found = problem("[workspaces.clinic]\nseal = true")
    assert (found.path, found.line, found.message) == ("workspaces.clinic.seal", 2, "has no key to seal with")
    assert parse_config(KEYS + "[workspaces.clinic]\nseal = true", environ={}).workspaces["clinic"].seal


def test_a_name_of_a_key_is_checked() -> None:
    assert problem(f'[privacy]\nkeys = {{ "a b" = "{KEY}" }}').message == "is not a name for a key"


def test_days_are_a_workspaces_own_or_the_common_ones() -> None:
    config = parse_config(
        "[privacy]\nkeep_bodies_days = 30\n[workspaces.a]\nkeep_bodies_days = 0\nkeep_facts_days = 9\n[workspaces.b]",
        environ={},
    )
    assert [config.keep_bodies_days(name) for name in ("a", "b", "c", None)] == [0, 30, 30, 30]
    assert [config.keep_facts_days(name) for name in ("a", "b", None)] == [9, 0, 0]
    assert problem("[privacy]\nkeep_facts_days = -1").message == "must be at least 0"
