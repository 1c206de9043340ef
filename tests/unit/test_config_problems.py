"""What a configuration may not say, and how its problems are told."""

from __future__ import annotations

import pytest

from daemon.config import (
    Config,
    ConfigError,
    ConfigProblem,
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


def account(more: str = "", name: str = "main") -> str:
    return f"[platforms.{name}]\n{ACCOUNT}{more}\n"


@pytest.mark.parametrize(
    ("text", "path", "line", "says"),
    [
        ("[web]\nlisten = '8080'", "web.listen", 2, "host and a port"),
        ("[web]\nlisten = ':8080'", "web.listen", 2, "host and a port"),
        ("[web]\nlisten = '::1:8080'", "web.listen", 2, "host and a port"),
        ("[web]\nlisten = 'a:65536'", "web.listen", 2, "host and a port"),
        ("[web]\npublic_url = 'http://duly.example.com'", "web.public_url", 2, "use https"),
        ("[web]\npublic_url = 'duly.example.com'", "web.public_url", 2, "must be a URL"),
        ("[web]\npublic_url = 'https://a:b@x.example'", "web.public_url", 2, "user or password"),
        ("[web]\npublic_url = 'https://x.example/?a'", "web.public_url", 2, "query"),
        ("[web]\npublic_url = 'https://x.example:99999'", "web.public_url", 2, "must be a URL"),
        ("[web]\npublic_url = 'https://[x'", "web.public_url", 2, "must be a URL"),
        ("[web]\nusername = 'a:b'", "web.username", 2, "colon"),
        (
            "[web]\nmax_body_bytes = 1",
            "web.max_body_bytes",
            2,
            "at least 1024; for example: max_body_bytes = 65536",
        ),
        ("[database]\npool_size = 1", "database.pool_size", 2, "at least 2"),
        ("[database]\npool_size = '8'", "database.pool_size", 2, "must be a whole number"),
        ("[database]\nmigrate = 1", "database.migrate", 2, "true or false"),
        ("[database]\ndata_dir = 1", "database.data_dir", 2, "path in quotes"),
        ("[database]\ndata_dir = '~no-such-user/x'", "database.data_dir", 2, "whole path"),
        ("[database]\ndata_dir = 'x'\nurl = 'postgres://db'", "database.data_dir", 2, "embedded server only"),
        ("[daemon]\nlease_seconds = 4", "daemon.lease_seconds", 2, "at least 5"),
        ("[daemon]\nshutdown_seconds = 0", "daemon.shutdown_seconds", 2, "at least 1"),
        ("[daemon]\nnode = ''", "daemon.node", 2, "1 to 63"),
        ("[daemon]\nlog_level = 'loud'", "daemon.log_level", 2, "'debug', 'info', 'warning' or 'error'"),
        ("[daemon]\npoll_seconds = nan", "daemon.poll_seconds", 2, "finite"),
        ("[daemon]\npoll_seconds = true", "daemon.poll_seconds", 2, "must be a number"),
        ("[limits]\nworkspace_burst = 0", "limits.workspace_burst", 2, "at least 1"),
        ("[limits]\nworkspace_per_second = 0", "limits.workspace_per_second", 2, "more than 0"),
        ("[limits]\nsender_per_second = inf", "limits.sender_per_second", 2, "finite"),
        ("[rules]\nx = 1", "rules.x", 2, "known here are quiet_hours"),
        ("[rules]\nquiet_hours = { marketing = '9-5' }", "rules.quiet_hours.marketing", 2, "21:00-08:00"),
        ("[rules]\nquiet_hours.a = '09:00-09:00:00'", "rules.quiet_hours.a", 2, "two different times"),
        ("[rules]\nquiet_hours.a = '09:00:60-10:00'", "rules.quiet_hours.a", 2, "21:00-08:00"),
        ("[rules]\nquiet_hours = { Marketing = 'none' }", "rules.quiet_hours.Marketing", 2, "not a category"),
        ("[rules]\nquiet_hours_in = { usa = {} }", "rules.quiet_hours_in.usa", 2, "two letters"),
        ("[rules]\nzone_unknown = 'Mars/Base'", "rules.zone_unknown", 2, "America/New_York"),
        ("[rules.caps.week]\nlimit = 3", "rules.caps.week", 1, "either days or calendar"),
        ("[rules.caps.week]\nlimit = 0\ndays = 7", "rules.caps.week.limit", 2, "at least 1"),
        ("[rules.caps.week]\nlimit = 1\ndays = 7\nx = 1", "rules.caps.week.x", 4, "known here are limit"),
        ("[workspaces.w.rules]\nlanguage = 'English'", "workspaces.w.rules.language", 2, "tag such as"),
        ("web = 1", "web", 1, "must be a table; write [web]"),
        ("[[web]]", "web", 1, "must be a table"),
        ("[workspaces.w]\nfrom = '015'", "workspaces.w.from", 2, "E.164"),
        ("[workspaces.w]\nfrom = '+١٢٣٤٥٦٧٨'", "workspaces.w.from", 2, "E.164"),
        (
            "[workspaces.w]\nduplicate_window_seconds = -1",
            "workspaces.w.duplicate_window_seconds",
            2,
            "at least 0",
        ),
        ("\n[workspaces.'a b']", 'workspaces."a b"', 2, "name for a workspace"),
        ("[workspaces.'a.b']\nburst = 0", 'workspaces."a.b".burst', 2, "at least 1"),
        (account(name="Main"), "platforms.Main", 1, "name for an account"),
        ("[platforms.main]", "platforms.main.kind", 1, 'is required; write kind = "twilio"'),
        ("[platforms.main]\nkind = 'twillio'", "platforms.main.kind", 2, 'must be "twilio"'),
        ("[platforms.main]\nkind = 1", "platforms.main.kind", 2, 'must be "twilio"'),
        ("[platforms]\nmain = 'x'", "platforms.main", 2, "must be a table"),
        (account("burst = 0"), "platforms.main.burst", 6, "at least 1"),
        (account("concurrency = 2001"), "platforms.main.concurrency", 6, "at most 2000"),
        (account("on_uncertain = 'drop'"), "platforms.main.on_uncertain", 6, "'hold' or 'resend'"),
        (account("base_url = 'http://twilio.example'"), "platforms.main.base_url", 6, "use https"),
        (
            account("rate_per_second = '5'"),
            "platforms.main.rate_per_second",
            6,
            "for example: rate_per_second = 25",
        ),
        ("[routes]\nsms = 'main'", "routes.sms", 2, "add [platforms.NAME]"),
        (account() + "[routes]\nsms = 'other'", "routes.sms", 8, "names no account; use one of main"),
        (
            account() + "[workspaces.w]\nroutes = { sms = 'x' }",
            "workspaces.w.routes.sms",
            8,
            "names no account",
        ),
        ("[sandbox]\nurl = 'http://twilio.example'", "sandbox.url", 2, "use https"),
        ("[retry]\nlimit = 1", "retry.limit", 2, "write [retry.limit]"),
        ("[retry.limit]\nattempts = 0", "retry.limit.attempts", 2, "at least 1"),
        ("[retry.limit]\npolicy = 'often'", "retry.limit.policy", 2, "'daily' or 'never'"),
        ("[retry.limit]\nnotify = 'http://ops.example'", "retry.limit.notify", 2, "use https"),
        ("[workspaces.w.retry.limit]\nattempts = 0", "workspaces.w.retry.limit.attempts", 2, "at least 1"),
        (account("patience_seconds = 0"), "platforms.main.patience_seconds", 6, "at least 1"),
    ],
)
def test_a_problem_has_its_path_line_and_remedy(text: str, path: str, line: int, says: str) -> None:
    found = problem(text)
    assert (found.path, found.line) == (path, line)
    assert says in f"{found.message}; {found.remedy}"
    assert found.remedy


@pytest.mark.parametrize(
    ("text", "path", "remedy"),
    [
        ("[web]\nlitsen = 1", "web.litsen", "did you mean listen?"),
        ("[platform.main]\nkind = 1", "platform", "did you mean platforms?"),
        (account("rate_per_sec = 1"), "platforms.main.rate_per_sec", "did you mean rate_per_second?"),
        ("[workspaces.w]\nsender = '+15005550006'", "workspaces.w.sender", "did you mean from?"),
        ("[routes]\nsmss = 'x'", "routes.smss", "did you mean sms?"),
        ("[workspaces.w]\nroutes = { sm = 'x' }", "workspaces.w.routes.sm", "did you mean sms?"),
        ("lease_seconds = 5", "lease_seconds", "it belongs in [daemon]"),
        ("[web]\nconcurrency = 5", "web.concurrency", "it belongs in [platforms.NAME]"),
        ("[sandbox]\nzzz = 1", "sandbox.zzz", "remove it; known here are url"),
    ],
)
def test_an_unknown_key_has_the_nearest_known_one_as_its_remedy(text: str, path: str, remedy: str) -> None:
    found = problem(text)
    assert (found.path, found.remedy) == (path, remedy)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[retry]\nflu = {}", "neither a reason nor a category"),
        ("[retry]\nuncertain = {}", "neither a reason nor a category"),
        ("[retry]\nopted_out = {}", "not written to again; remove it"),
        ("[retry]\nopt_out = {}", "not written to again; remove it"),
        ("[workspaces.w]\nretry = { flu = {} }", "neither a reason nor a category"),
    ],
)
def test_a_retry_rule_needs_a_reason_or_a_category_that_may_be_retried(text: str, says: str) -> None:
    found = problem(text)
    assert found.line == 2
    assert says in f"{found.message}; {found.remedy}"


def test_exactly_one_sender_is_asked_for() -> None:
    neither = problem(account().replace('from = "+15005550006"', ""))
    assert (neither.path, neither.line) == ("platforms.main.from", 1)
    assert "messaging_service_sid" in neither.message
    both = problem(account(f'messaging_service_sid = "MG{SID[2:]}"'))
    assert (both.path, both.line) == ("platforms.main.from", 5)


def test_a_missing_key_is_reported_at_its_table() -> None:
    found = problem('\n[platforms.main]\nkind = "twilio"\nauth_token = "x"\nfrom = "+15005550006"')
    assert (found.path, found.line, found.message) == ("platforms.main.account_sid", 2, "is required")
    assert found.remedy.startswith('for example: account_sid = "AC')


def test_all_problems_come_at_once_and_in_the_files_order() -> None:
    text = (
        "[routes]\nsms = 'nowhere'\n[web]\nlisten = 1\nx = 1\n"
        "[platforms.main]\nkind = 'twilio'\nburst = 0\nrate_per_second = 'x'\n[daemon]\nbatch = 0"
    )
    found = problems(text)
    assert [(p.line, p.path) for p in found] == [
        (2, "routes.sms"),
        (4, "web.listen"),
        (5, "web.x"),
        (6, "platforms.main.account_sid"),
        (6, "platforms.main.auth_token"),
        (6, "platforms.main.from"),
        (8, "platforms.main.burst"),
        (9, "platforms.main.rate_per_second"),
        (11, "daemon.batch"),
    ]


def test_an_error_prints_one_problem_a_line_with_file_and_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config('[web]\nlitsen = "x"\n"a\\nb" = 1', source="/etc/duly/duly.toml", environ={})
    assert str(caught.value).splitlines() == [
        "/etc/duly/duly.toml:2: web.litsen: is not a key that duly knows; did you mean listen?",
        '/etc/duly/duly.toml:3: web."a\\nb": is not a key that duly knows; remove it; known here are '
        "listen, public_url, link_url, username, password, max_body_bytes",
    ]


def test_a_flood_of_problems_is_cut_and_counted() -> None:
    found = problems("".join(f"k{i} = 1\n" for i in range(3000)))
    assert len(found) == loading.MAX_PROBLEMS + 1
    assert found[-1].message == "and 2950 more problems"
