"""What a configuration means: its values, which account carries what, and what a reload may change."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from daemon.config import (
    PLATFORM_KINDS,
    RESTART_ONLY,
    Config,
    RoutesConfig,
    changed_keys,
    parse_config,
    restart_needed,
)
from daemon.model import Channel

SID = "AC" + "0123456789abcdef" * 2
ACCOUNT = f'kind = "twilio"\naccount_sid = "{SID}"\nauth_token = "t"\nfrom = "+15005550006"\n'


def read(text: str) -> Config:
    return parse_config(text, environ={})


def account(more: str = "", name: str = "main") -> str:
    return f"[platforms.{name}]\n{ACCOUNT}{more}\n"


# ── What is read ──


def test_an_empty_file_is_a_configuration_of_defaults() -> None:
    config = read("")
    assert config.database.embedded
    assert config.database.migrate
    assert config.database.data_dir == Path.cwd() / ".duly/postgres"
    assert (config.web.host, config.web.port, config.web.loopback) == ("127.0.0.1", 8080, True)
    assert 1 <= len(config.daemon.node) <= 63
    assert config.platforms == {}


def test_a_dsn_with_several_hosts_is_kept_and_masked() -> None:
    database = read('database.url = "postgresql://duly:p%40ss@db1:5432,[::1]:5433,db3/app?a=b"').database
    assert database.url.reveal() == "postgresql://duly:p%40ss@db1:5432,[::1]:5433,db3/app?a=b"
    assert database.masked_url == "postgresql://duly:***@db1:5432,[::1]:5433,db3/app?a=b"
    assert (database.embedded, database.migrate) == (False, False)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres://db/app",
        "postgresql:///app?host=/run/postgresql",
        "postgresql://duly@%2Frun%2Fpostgresql/app",
        "postgresql://db",
        "postgresql://a:b@c:d@db",
    ],
)
def test_every_form_of_dsn_that_postgres_knows_is_accepted(dsn: str) -> None:
    assert read(f'database.url = "{dsn}"').database.url.reveal() == dsn


def test_a_home_directory_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/duly")
    assert read('database.data_dir = "~/pg"').database.data_dir == Path("/home/duly/pg")


def test_an_account_has_no_burst_unless_it_is_set() -> None:
    assert read(account("rate_per_second = 1.5")).platforms["main"].burst is None
    assert read(account("rate_per_second = 1.5\nburst = 9")).platforms["main"].burst == 9
    assert read(account()).platforms["main"].burst is None


def test_an_accounts_sender_is_written_from() -> None:
    main = read(account('base_url = "https://stand-in.example/x/"')).platforms["main"]
    assert main.sender == "+15005550006"
    assert main.base_url == "https://stand-in.example/x"
    assert main.channels == {Channel.SMS}
    assert main.auth_token.reveal() == "t"


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::1]:0", "::1", 0, True),
        ("[::]:65535", "::", 65535, False),
        ("localhost:1", "localhost", 1, True),
        ("duly.example.com:8080", "duly.example.com", 8080, False),
    ],
)
def test_a_listen_address_is_parsed(listen: str, host: str, port: int, loopback: bool) -> None:
    web = read(f'web.listen = "{listen}"').web
    assert (web.host, web.port, web.loopback) == (host, port, loopback)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        read("").web.listen = "x:1"  # type: ignore[misc]


def test_the_redacted_form_has_the_tomls_keys_and_defaults() -> None:
    redacted = read(account()).redacted()
    assert redacted["platforms"]["main"]["from"] == "+15005550006"
    assert redacted["platforms"]["main"]["auth_token"] == "<secret>"
    assert redacted["platforms"]["main"]["concurrency"] == 50
    assert redacted["database"]["url"] == "embedded"


# ── Which account ──

TWO = account(name="a") + account(name="b")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        (account(), "main"),
        (TWO, None),
        (account(name="a") + account("enabled = false", name="b"), "a"),
        (account("enabled = false"), None),
        (TWO + '[routes]\nsms = "b"', "b"),
        (TWO + '[routes]\nsms = "b"\n[workspaces.w]\nroutes = { sms = "a" }', "a"),
        (TWO + '[routes]\nsms = "b"\n[workspaces.w]\n[workspaces.x]\nroutes = { sms = "a" }', "b"),
        (TWO + '[workspaces.w.routes]\nsms = "b"', "b"),
    ],
)
def test_a_workspaces_own_route_goes_before_the_routes_and_the_only_account(
    text: str, found: str | None
) -> None:
    assert read(text).account_for("w", Channel.SMS) == found


def test_no_account_carries_a_channel_that_its_kind_does_not() -> None:
    assert read(account()).account_for("w", Channel.EMAIL) is None


def test_every_channel_that_a_kind_carries_can_be_routed() -> None:
    carried = {channel.value for kind in PLATFORM_KINDS.values() for channel in kind.channels}
    assert carried == RoutesConfig.model_fields.keys()


# ── Reload ──


def test_only_what_is_read_at_start_needs_a_restart() -> None:
    old = read('database.url = "postgresql://u:a@db/x"\nweb.listen = "a:1"\ndaemon.node = "n"')
    new = read(
        'database.url = "postgresql://u:b@db/x"\ndatabase.pool_size = 9\nweb.listen = "a:2"\n'
        f'web.username = "x"\ndaemon.node = "m"\ndaemon.batch = 7\n{account()}'
    )
    assert restart_needed(old, old) == []
    assert restart_needed(old, new) == ["database.url", "database.pool_size", "web.listen", "daemon.node"]
    assert RESTART_ONLY == ("database", "web.listen", "web.max_body_bytes", "daemon.node")


def test_what_is_not_read_at_start_needs_none() -> None:
    text = (
        account('auth_token = "u"').replace('auth_token = "t"\n', "")
        + "[web]\npublic_url = 'https://x.example'"
    )
    assert tomllib.loads(text)
    assert restart_needed(read(""), read(text)) == []


def test_a_reload_is_told_by_the_names_of_its_keys() -> None:
    old = read(
        account("burst = 9") + account(name="gone") + "[workspaces.w]\nper_second = 1\n[workspaces.same]\n"
        "[retry.temporary]\nattempts = 2\n[web]\npassword = 'old'"
    )
    new = read(
        account("burst = 8").replace('"t"', '"another"').replace("+15005550006", "+15005550007")
        + account(name="added")
        + "[workspaces.w]\nper_second = 2\nroutes = { sms = 'main' }\n[workspaces.same]\n[workspaces.more]\n"
        "[retry.temporary]\nattempts = 3\n[web]\npassword = 'new'\n[routes]\nsms = 'main'"
    )
    assert changed_keys(old, old) == []
    assert sorted(changed_keys(old, new)) == [
        "platforms.added",
        "platforms.gone",
        "platforms.main.auth_token",
        "platforms.main.burst",
        "platforms.main.from",
        "retry.temporary.attempts",
        "routes.sms",
        "web.password",
        "workspaces.more",
        "workspaces.w.per_second",
        "workspaces.w.routes.sms",
    ]


# ── What follows a failure ──


def test_retry_rules_go_by_reason_or_category_for_all_and_for_one_workspace() -> None:
    config = read(
        "[retry]\ntemporary = { policy = 'minutes-2-4-8' }\n[retry.carrier_error]\nattempts = 2\n"
        "[workspaces.w]\nretry = { limit = { policy = 'never', notify = 'https://ops.example' } }"
    )
    assert config.retry["temporary"].policy == "minutes-2-4-8"
    assert (config.retry["carrier_error"].attempts, config.retry["carrier_error"].notify) == (2, None)
    assert config.workspaces["w"].retry["limit"].notify == "https://ops.example"
