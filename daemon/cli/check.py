"""`duly check-config` and `duly doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import typer

from daemon.cli.common import ConfigOption, JsonOption, configuration, connected, fail, print_json, run_async
from daemon.config import Config, ConfigError, PlatformConfig, load_config
from daemon.config.values import is_loopback
from daemon.model import Channel
from daemon.platforms.registry import make_platform
from daemon.sealing.keys import ring_of
from daemon.store.audit import Head
from daemon.store.database import DatabaseDown, describe
from daemon.store.doctor import Expectations, examine
from daemon.store.embedded import EmbeddedError
from daemon.store.findings import Finding, Level

_CALLBACK_SECONDS = 3.0


def check_config(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check the configuration: all errors at once, else OK and what deserves a second look.

    With --json a good one is printed whole, with every default and without secrets. Exit status 2 if it is wrong.
    """
    try:
        settings = load_config(config)
    except ConfigError as error:
        if json:
            print_json({"source": error.source, "problems": [asdict(problem) for problem in error.problems]})
        else:
            print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    found = list(warnings(settings))
    if json:
        print_json(settings.redacted())
    else:
        print("The configuration is valid." + ("" if found else " Nothing stands out."))
    for warning in found:
        print(f"warning: {warning.what}. {warning.cure}", file=sys.stderr if json else sys.stdout)


def doctor(
    config: ConfigOption = None,
    json: JsonOption = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask only the database: no platform, no callback URL.")
    ] = False,
    audit_head: Annotated[
        str | None,
        typer.Option(
            metavar="ID:HASH", help="A line that the audit must still have: a head that was written down."
        ),
    ] = None,
) -> None:
    """Examine the database, the audit, the accounts, the callback URL and what is queued.

    Exit status 1 if there is a problem.
    """
    settings = configuration(config)
    kept = _head(audit_head)
    findings = run_async(lambda: _findings(settings, offline, kept))
    sick = any(finding.level is Level.PROBLEM for finding in findings)
    if json:
        print_json({"healthy": not sick, "findings": [asdict(finding) for finding in findings]})
    else:
        print("\n".join(_written(finding) for finding in findings))
    if sick:
        raise typer.Exit(1)


def warnings(config: Config) -> Iterator[Finding]:
    """What is valid and yet probably not meant."""
    enabled = {name: account for name, account in config.platforms.items() if account.enabled}
    if not enabled:
        yield _warning("no account is enabled: nothing is sent", "Add a [platforms.NAME].")
    if config.web.public_url is None:
        yield _warning(
            "web.public_url is not set: there are no callbacks", "Set it to where platforms reach you."
        )
    for name, account in enabled.items():
        if config.daemon.shutdown_seconds < account.timeout_seconds:
            yield _warning(
                f"daemon.shutdown_seconds ({config.daemon.shutdown_seconds:g}) is below the timeout_seconds of "
                f"[platforms.{name}] ({account.timeout_seconds:g}): a stop may leave its calls uncertain",
                "Raise the one or lower the other.",
            )
    if config.web.password is None and not config.web.loopback:
        yield _warning(
            "web.listen is open to other machines and web.password is not set: the page answers to none of them",
            "Set web.password, or listen on 127.0.0.1.",
        )
    yield from _doubles(config)
    yield from _ways(config)


def _doubles(config: Config) -> Iterator[Finding]:
    """Accounts that are the same at the platform: their limits add up there."""
    same: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, account in config.platforms.items():
        sender = account.messaging_service_sid or account.sender
        same[account.kind, account.base_url, account.account_sid, sender].append(name)
    for names in same.values():
        if len(names) > 1:
            yield _warning(
                f"{' and '.join(f'[platforms.{name}]' for name in names)} are the same account with the same sender",
                "Keep one: each has limits of its own, the platform counts them together.",
            )


def _ways(config: Config) -> Iterator[Finding]:
    """Workspaces of the TOML that no enabled account carries, channel by channel that there is."""
    channels = {channel for account in config.platforms.values() for channel in account.channels}
    for channel in sorted(channels):
        lost = [name for name in config.workspaces or [""] if route_problem(config, name, channel)]
        if lost:
            whose = f" of {', '.join(lost[:5])}{' and others' if len(lost) > 5 else ''}" if any(lost) else ""
            yield _warning(
                f"{channel}{whose} waits: {route_problem(config, lost[0], channel)}",
                f'Name an enabled account: [routes] {channel} = "…".',
            )


def route_problem(config: Config, workspace: str, channel: str) -> str | None:
    """What keeps a workspace's channel from being sent; None where nothing does."""
    name = config.account_for(workspace, Channel(channel))
    if name is None:
        able = [n for n, a in config.platforms.items() if a.enabled and Channel(channel) in a.channels]
        return (
            "several accounts carry it and no route says which" if able else "no enabled account carries it"
        )
    account = config.platforms.get(name)
    if account is None or not account.enabled:
        return f"its account {name} is {'disabled' if account else 'not in the TOML'}"
    return None


def _head(text: str | None) -> Head | None:
    try:
        return Head.parse(text) if text is not None else None
    except ValueError as error:
        fail(f"--audit-head: {error}", 2)


async def _findings(config: Config, offline: bool, kept: Head | None) -> list[Finding]:
    """All of them, the database's first. `kept`: a line that the audit must have."""
    findings = await _database(config, kept)
    if kept is not None and not any(finding.check == "audit" for finding in findings):
        what = f"the audit could not be searched for line {kept.id} that --audit-head names"
        findings.append(Finding("audit", Level.PROBLEM, what, "See above what kept it from being read."))
    findings += warnings(config)
    if offline:
        return findings
    enabled = [(name, account) for name, account in config.platforms.items() if account.enabled]
    findings += await asyncio.gather(*(_account(name, account) for name, account in enabled))
    return findings + await _callbacks(config)


async def _database(config: Config, kept: Head | None) -> list[Finding]:
    settings = config.database
    if settings.embedded and not settings.data_dir.exists():
        what = f"the embedded database is not there yet: {settings.data_dir}"
        return [Finding("database", Level.WARNING, what, "Start the daemon, which makes it: `duly run`.")]
    expected = Expectations(
        pool_size=settings.pool_size,
        lease_seconds=config.daemon.lease_seconds,
        patience_seconds=max((a.patience_seconds for a in config.platforms.values()), default=60.0),
        migrates=settings.migrate,
        route_problem=lambda workspace, channel: route_problem(config, workspace, channel),
        audit_head=kept,
        ring=ring_of(config.privacy),
    )
    try:
        async with connected(config) as conn:
            return await examine(conn, expected)
    except DatabaseDown as error:
        cure = "See that Postgres runs and takes connections, and that [database] url is right."
        return [Finding("database", Level.PROBLEM, f"{settings.masked_url}: {error}", cure)]
    except EmbeddedError as error:
        what, _, more = str(error).partition("\n")
        return [Finding("database", Level.PROBLEM, what, more or "See its log in the data directory.")]
    except asyncpg.PostgresError as error:
        cure = "Report it if `duly migrate` does not mend it."
        return [Finding("database", Level.PROBLEM, describe(error), cure)]


async def _account(name: str, account: PlatformConfig) -> Finding:
    platform = make_platform(account)
    await platform.open()
    try:
        problem = await platform.check()
    finally:
        await platform.close()
    if problem is None:
        return Finding("account", Level.OK, f"{name}: {account.kind} knows the credentials")
    cure = f"Check account_sid, auth_token and base_url of [platforms.{name}], and that {account.kind} is reachable."
    return Finding("account", Level.PROBLEM, f"{name}: {problem}", cure)


async def _callbacks(config: Config) -> list[Finding]:
    """Whether callbacks can come. What cannot be tested from here is a warning at most."""
    public = config.web.public_url
    if public is None:
        return []  # said among the warnings
    local = is_loopback(urlsplit(public).hostname or "")
    remote = [
        name
        for name, account in config.platforms.items()
        if account.enabled and not is_loopback(urlsplit(account.base_url).hostname or "")
    ]
    if local and remote:
        what = f"{public} is this machine's own address: {', '.join(remote)} cannot call it"
        return [
            Finding("callbacks", Level.WARNING, what, "Set web.public_url to a URL that platforms reach.")
        ]
    problem = await _unreachable(f"{public}/healthz")
    if problem is None:
        return [Finding("callbacks", Level.OK, f"{public} answers")]
    cure = "See that the daemon runs and the proxy passes /hooks/ to it; from outside it may look different."
    return [Finding("callbacks", Level.WARNING, f"{public}/healthz: {problem}", cure)]


async def _unreachable(url: str) -> str | None:
    timeout = aiohttp.ClientTimeout(total=_CALLBACK_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return None if response.status == 200 else f"HTTP {response.status}"
    except TimeoutError:
        return f"no answer within {_CALLBACK_SECONDS:g} s"
    except (aiohttp.ClientError, ValueError) as error:
        return str(error)[:200] or type(error).__name__


def _warning(what: str, cure: str) -> Finding:
    return Finding("config", Level.WARNING, what, cure)


def _written(finding: Finding) -> str:
    mark = finding.level.upper() if finding.level is Level.PROBLEM else finding.level.value
    lines = [f"{mark:<8} {finding.check:<10} {finding.what}"]
    if finding.ids:
        lines.append(f"{'':19} for example {', '.join(finding.ids)}")
    if finding.cure:
        lines.append(f"{'':19} → {finding.cure}")
    return "\n".join(lines)
