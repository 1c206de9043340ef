"""Hostile texts and files: where a configuration is looked for, and what is not one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.config import (
    Config,
    ConfigError,
    ConfigProblem,
    load_config,
    loading,
    parse_config,
)

SID = "AC" + "0123456789abcdef" * 2
ACCOUNT = f'kind = "twilio"\naccount_sid = "{SID}"\nauth_token = "t"\nfrom = "+15005550006"\n'


def read(text: str) -> Config:
    return parse_config(text, environ={})


def problems(text: str) -> list[ConfigProblem]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.problems


def problem(text: str) -> ConfigProblem:
    [only] = problems(text)
    return only


def outcome(reading: Callable[[], Config]) -> Config | ConfigError:
    try:
        return reading()
    except ConfigError as error:
        return error


def account(more: str = "", name: str = "main") -> str:
    return f"[platforms.{name}]\n{ACCOUNT}{more}\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[web]\nlisten = ", 2, "Invalid value"),
        ("[web]\n[web]", 2, "twice"),
        ('a = """\n\n', 3, "Unterminated"),
        ("a = 1\n" + "b = " + "[" * 100_000, 2, "nested too deeply"),
        ("b = " + "{a=" * 100_000, 1, "nested too deeply"),
        (".".join(["a"] * 200_000) + " = 1", 1, "nested too deeply"),
        ("[" + ".".join(["a"] * 200_000) + "]", 1, "nested too deeply"),
        ("a = " + "9" * 5000, None, "out of range"),
        ("a = '\ud800'", None, "not Unicode"),
        ("a = 1 \x00", 1, "is not TOML"),
        ("a" * 2**20 + "=1", None, "larger than 1 MiB"),
    ],
)
def test_what_is_not_toml_is_refused_with_the_line(text: str, line: int | None, says: str) -> None:
    found = problem(text)
    assert (found.path, found.line) == ("", line)
    assert says in found.message


TOML_LIKE = st.text(alphabet="a.b=[]{}\"'\\\n#, 1-:TZe+_\x00é\ud800")
VALUES = st.sampled_from(
    ["1", "-1", "nan", "1e999", "9" * 400, "''", "'x'", "true", "[]", "{}", "{a=1}", "[[1]]"]
)
KEYS = st.sampled_from(
    [
        f"{table}.{key}"
        for table, keys in read(account() + "[workspaces.w]").redacted().items()
        for key in (*keys, *next((v for v in keys.values() if isinstance(v, dict)), {}))
    ]
    + [f"platforms.p.{key}" for key in read(account()).redacted()["platforms"]["main"]]
    + ["platforms.p.kind = 'twilio'\nx", "workspaces.w.routes", "workspaces.w.from", "a", '"é\\n"', "web"]
)
LINES = st.lists(st.tuples(KEYS, VALUES).map(" = ".join), max_size=6).map("\n".join)
EXAMPLE = (Path(__file__).parents[2] / "config.example.toml").read_text().replace("\n#", "\n")


@given(st.text() | TOML_LIKE | LINES | st.integers(0, len(EXAMPLE)).map(lambda at: EXAMPLE[:at]))
@example("\ufeff")
@example("[database]\nurl='postgresql://[/x'")
@example("platforms.'[key]' = 1\nplatforms.A.kind='twilio'")
@example("web = [{a=1}]\nplatforms = 1\nroutes = 1\nworkspaces = {w = 1, x = {routes = 1}}")
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    found = outcome(lambda: read(text))
    if isinstance(found, ConfigError):
        assert found.problems
        assert len(str(found).splitlines()) == len(found.problems)


@settings(deadline=None)  # each writes a file, and the machine may be busy
@given(st.binary(max_size=200))
def test_any_file_is_a_configuration_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("config") / "duly.toml"
    path.write_bytes(raw)
    found = outcome(lambda: load_config(path, environ={}))
    assert isinstance(found, Config) or found.problems


# ── Files ──


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and an etc beside it in /etc/duly's place."""
    current = tmp_path / "here"
    current.mkdir()
    monkeypatch.chdir(current)
    monkeypatch.setattr(loading, "SEARCHED", (Path("duly.toml"), tmp_path / "etc.toml"))
    return current


def write(path: Path, node: str) -> Path:
    path.write_text(f'daemon.node = "{node}"')
    return path


def test_the_file_is_looked_for_in_order(here: Path, tmp_path: Path) -> None:
    write(tmp_path / "etc.toml", "etc")
    assert load_config(None, environ={}).daemon.node == "etc"
    write(here / "duly.toml", "here")
    assert load_config(None, environ={}).daemon.node == "here"
    named = write(tmp_path / "named.toml", "named")
    assert load_config(None, environ={"DULY_CONFIG": str(named)}).daemon.node == "named"
    given_path = write(tmp_path / "given.toml", "given")
    assert load_config(given_path, environ={"DULY_CONFIG": str(named)}).daemon.node == "given"


def test_no_file_anywhere_says_what_to_do(here: Path) -> None:
    with pytest.raises(ConfigError, match="--config FILE or \\$DULY_CONFIG"):
        load_config(None, environ={})


def test_a_named_file_that_is_missing_is_not_replaced_by_another(here: Path) -> None:
    write(here / "duly.toml", "here")
    for path, environ in ((Path("gone.toml"), {}), (None, {"DULY_CONFIG": "gone.toml"})):
        with pytest.raises(ConfigError, match=r"gone\.toml: there is no such file"):
            load_config(path, environ=environ)


def test_a_file_that_cannot_be_read_is_a_config_error(here: Path) -> None:
    (here / "binary").write_bytes(b"\x7fELF\xff")
    (here / "huge").write_bytes(b"#" * (2**20 + 1))
    for name, says in (("binary", "not UTF-8"), ("huge", "1 MiB"), (".", "cannot be read"), ("a\0b", "name")):
        with pytest.raises(ConfigError, match=says):
            load_config(Path(name), environ={})


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(here: Path) -> None:
    (here / "duly.toml").write_bytes(b'\xef\xbb\xbf[daemon]\r\nnode = "n"\r\n')
    assert load_config(None, environ={}).daemon.node == "n"
