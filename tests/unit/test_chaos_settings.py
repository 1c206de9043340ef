"""What chaos takes from an operator's TOML, and what it never does."""

from pathlib import Path

import pytest

from daemon.chaos.settings import ACCOUNT_SID, DEFAULT, Place, read_tuning, toml
from daemon.config import ConfigError, parse_config

PLACE = Place("chaos-1", 8123, "postgresql://postgres:made-up@127.0.0.1:5999/duly", "http://127.0.0.1:8124")

OPERATORS = """
[database]
url = "postgresql://duly:hunter2@db.clinic.example:5432/production"
[web]
listen = "0.0.0.0:443"
public_url = "https://duly.clinic.example"
password = { env = "WEB_PASSWORD" }
[daemon]
node = "clinic-1"
lease_seconds = 60
batch = 77
[limits]
workspace_per_second = 33
[platforms.clinic]
kind = "twilio"
base_url = "https://api.twilio.com"
account_sid = "AC99999999999999999999999999999999"
auth_token = { credential = "twilio_token" }
messaging_service_sid = "MG99999999999999999999999999999999"
concurrency = 7
rate_per_second = 40
patience_seconds = 1
[platforms.old]
kind = "twilio"
enabled = false
account_sid = "AC88888888888888888888888888888888"
auth_token = "an-old-token"
from = "+4915112345678"
[retry.temporary]
policy = "minutes-2-4-8"
notify = "https://pager.clinic.example/"
[workspaces.ward]
"""


@pytest.fixture
def operators(tmp_path: Path) -> Path:
    path = tmp_path / "duly.toml"
    path.write_text(OPERATORS)
    return path


def test_the_operators_database_platform_and_secrets_are_never_used(operators: Path) -> None:
    text = toml(PLACE, read_tuning(operators))
    for theirs in (
        "clinic.example",
        "hunter2",
        "api.twilio.com",
        "AC9",
        "AC8",
        "MG9",
        "an-old-token",
        "twilio_token",
        "+49",
        "443",
    ):
        assert theirs not in text, theirs
    config = parse_config(text, environ={})
    assert config.database.url.reveal() == PLACE.dsn
    assert [p.base_url for p in config.platforms.values()] == [PLACE.sandbox_url]
    assert [p.account_sid for p in config.platforms.values()] == [ACCOUNT_SID]
    assert config.web.listen == "127.0.0.1:8123"
    assert config.daemon.node == "chaos-1"


def test_the_operators_tuning_and_limits_are_used(operators: Path) -> None:
    config = parse_config(toml(PLACE, read_tuning(operators)), environ={})
    assert list(config.platforms) == ["clinic"]
    assert config.platforms["clinic"].concurrency == 7
    assert config.platforms["clinic"].rate_per_second == 40
    assert config.limits.workspace_per_second == 33
    assert config.daemon.batch == 77


def test_a_patience_shorter_than_the_delays_of_the_chaos_is_raised(operators: Path) -> None:
    config = parse_config(toml(PLACE, read_tuning(operators)), environ={})
    assert config.platforms["clinic"].patience_seconds >= 5


def test_the_runs_own_lease_and_retries_stand_whatever_the_operator_has(operators: Path) -> None:
    config = parse_config(toml(PLACE, read_tuning(operators)), environ={})
    assert config.daemon.lease_seconds == 5
    assert config.retry["temporary"].longest_seconds == 2
    assert config.retry["temporary"].notify is None


def test_without_a_file_limits_are_lifted_and_there_are_two_accounts() -> None:
    config = parse_config(toml(PLACE, DEFAULT), environ={})
    assert config.limits.workspace_per_second == 100_000
    assert sorted(config.platforms) == ["main", "second"]


def test_a_file_without_an_account_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "duly.toml"
    path.write_text("[database]\n")
    with pytest.raises(ValueError, match="no enabled account"):
        read_tuning(path)


def test_tuning_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "duly.toml"
    path.write_text('[platforms.main]\nkind = "twilio"\nconcurrency = "many"\n')
    with pytest.raises(ConfigError):
        toml(PLACE, read_tuning(path))
