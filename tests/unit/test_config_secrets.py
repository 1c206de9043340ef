"""A secret is read from three places and shown in none."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from pathlib import Path

import orjson
import pytest

from daemon.config import ConfigError, Secret, parse_config

TOKEN = "s3cr3t-t0k3n"


def password(toml: str, **environ: str) -> str:
    found = parse_config(f"[web]\npassword = {toml}", environ=environ).web.password
    assert found is not None
    return found.reveal()


def refusal(toml: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"[web]\npassword = {toml}", environ=environ)
    [problem] = caught.value.problems
    assert (problem.path, problem.line) == ("web.password", 2)
    assert problem.remedy
    return str(caught.value)


def test_a_secret_is_a_value_a_variable_or_a_credential(tmp_path: Path) -> None:
    (tmp_path / "web").write_text(f"{TOKEN}\n")
    assert password(f'"{TOKEN}"') == TOKEN
    assert password('{ env = "PASSWORD" }', PASSWORD=TOKEN) == TOKEN
    assert password('{ credential = "web" }', CREDENTIALS_DIRECTORY=str(tmp_path)) == TOKEN


def test_a_secret_never_shows() -> None:
    secret = Secret(TOKEN)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", "%s" % secret, f"{[secret]!r}"]  # noqa: UP031
    shown.append(json.dumps(secret, default=str))
    shown.append(orjson.dumps({"a": secret}, default=str).decode())
    assert all("<secret>" in text and TOKEN not in text for text in shown)
    with pytest.raises(TypeError):
        orjson.dumps(secret)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)


def test_secrets_compare_by_their_text_and_copy_to_themselves() -> None:
    secret = Secret(TOKEN)
    assert secret == Secret(TOKEN) != Secret("other")
    assert secret != TOKEN
    assert hash(secret) == hash(Secret(TOKEN))
    assert copy.copy(secret) is copy.deepcopy(secret) is secret


def test_a_configuration_shows_no_secret_however_it_is_printed() -> None:
    config = parse_config(
        f'database.url = "postgresql://duly:{TOKEN}@db/app?sslpassword={TOKEN}&ssl%70assword={TOKEN}"\n'
        f'web.password = "{TOKEN}"',
        environ={},
    )
    redacted = config.redacted()
    assert redacted["web"]["password"] == "<secret>"
    assert redacted["database"]["url"] == "postgresql://duly:***@db/app?sslpassword=***&ssl%70assword=***"
    for shown in (
        repr(config),
        str(config),
        str(redacted),
        config.model_dump_json(),
        str(config.model_dump()),
    ):
        assert TOKEN not in shown
    with pytest.raises(TypeError):
        pickle.dumps(config)


def test_a_variable_that_is_unset_or_empty_is_named() -> None:
    assert "environment variable WEB_PASSWORD is not set" in refusal('{ env = "WEB_PASSWORD" }')
    assert "environment variable WEB_PASSWORD is empty" in refusal(
        '{ env = "WEB_PASSWORD" }', WEB_PASSWORD=" "
    )


def test_a_token_in_the_place_of_a_name_is_not_shown() -> None:
    assert TOKEN not in refusal(f'{{ env = "{TOKEN}" }}')
    assert TOKEN not in refusal(f'{{ credential = "{TOKEN}" }}', CREDENTIALS_DIRECTORY="/nowhere")


def test_a_credential_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    place = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_bytes(b"x" * 70_000)
    (tmp_path / "folder").mkdir()
    assert "CREDENTIALS_DIRECTORY is not set" in refusal('{ credential = "web" }')
    assert "no credential of that name" in refusal('{ credential = "web" }', **place)
    assert "is empty" in refusal('{ credential = "empty" }', **place)
    assert "not UTF-8" in refusal('{ credential = "binary" }', **place)
    assert "larger than" in refusal('{ credential = "huge" }', **place)
    assert "cannot be read" in refusal('{ credential = "folder" }', **place)


@pytest.mark.parametrize("name", ["../web", "/etc/passwd", "a\\\\b", "..", ".", "", "a\\u0000b"])
def test_a_credential_is_a_plain_file_name(name: str, tmp_path: Path) -> None:
    assert "not a file name" in refusal(f'{{ credential = "{name}" }}', CREDENTIALS_DIRECTORY=str(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        "31337",
        "31337.5",
        "true",
        '["31337"]',
        '{ value = "31337" }',
        '{ env = "31337", x = "31337" }',
        "{}",
        "1979-05-27",
    ],
)
def test_a_wrong_typed_token_is_refused_without_being_shown(wrong: str) -> None:
    shown = refusal(wrong)
    assert "is not a secret" in shown
    assert "31337" not in shown


@pytest.mark.parametrize("empty", ['""', '"  "'])
def test_an_empty_secret_is_refused(empty: str) -> None:
    assert "is empty" in refusal(empty)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://duly:{TOKEN}/x@db/app",
        f"postgresql://duly:12/{TOKEN}@db/app",
        f"postgresql://duly:12?{TOKEN}@db/app",
        f"postgresql://duly:12#{TOKEN}",
        f"postgresql://duly:{TOKEN}",
        f"postgresql://duly:{TOKEN} x@db/app",
        f"postgresql://duly:{TOKEN}@db:99999/app",
        f"postgresql://duly:{TOKEN}@db:port/app",
        f"postgresql://duly:{TOKEN}@[::1/app",
        f"postgres//duly:{TOKEN}@db/app",
        f"host=db password={TOKEN}",
        f"mysql://duly:{TOKEN}@db/app",
    ],
)
def test_a_dsn_that_cannot_be_read_does_not_show_its_password(dsn: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f'[database]\nurl = "{dsn}"', environ={})
    printed = "".join(traceback.format_exception(caught.value))
    assert "database.url" in printed
    assert TOKEN not in printed
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_secret_in_the_place_of_any_key_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(
            f"""
            web = {{ listen = "{TOKEN}", public_url = "https://u:{TOKEN}@host", username = "a:{TOKEN}" }}
            daemon = {{ node = "{TOKEN} {TOKEN}", batch = "{TOKEN}", log_level = "{TOKEN}" }}
            routes = {{ sms = "{TOKEN}" }}
            [platforms.main]
            kind = "twilio"
            account_sid = "{TOKEN}"
            auth_tokn = "{TOKEN}"
            from = "{TOKEN}"
            [platforms.other]
            kind = "{TOKEN}"
            """,
            environ={},
        )
    assert len(caught.value.problems) >= 11
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert TOKEN not in repr(caught.value)


@pytest.mark.parametrize(
    "line", [f"password = {TOKEN}", f'password "{TOKEN}"', f'password = "{TOKEN}', f"'{TOKEN}"]
)
def test_a_secret_in_broken_toml_is_not_shown(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"[web]\n{line}\n", environ={})
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
