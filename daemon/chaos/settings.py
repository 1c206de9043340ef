"""The TOML that chaos writes for its daemons, with an operator's tuning in it and nothing else of theirs.

What is taken from the operator's file is named here key by key. The database, the platforms' addresses and
the credentials are never among it, so that no run can touch what is real.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.chaos.messages import SECOND_ACCOUNT, WORKSPACES
from daemon.chaos.schedule import LEASE_SECONDS, PATIENCE_SECONDS
from daemon.config import Config, parse_config

ACCOUNT_SID = "AC" + "c4a05" * 6 + "c4"
AUTH_TOKEN = "the-stand-in-believes-this"  # noqa: S105 it opens nothing but a stand-in
NUMBER = "+15005550001"
_SERVICE = "MG" + "c4a05" * 6 + "c4"

_TUNING = (
    "rate_per_second",
    "rate_per_minute",
    "burst",
    "concurrency",
    "timeout_seconds",
    "on_uncertain",
    "patience_seconds",
    "max_attempts",
    "enabled",
)
_DAEMON = ("batch", "buffer", "poll_seconds", "max_restarts", "restart_window_seconds")
_NO_LIMITS = {"workspace_per_second": 100_000, "workspace_burst": 100_000}
_ACCOUNT = {
    "timeout_seconds": 2.0,
    "concurrency": 50,
    "patience_seconds": PATIENCE_SECONDS,
    "on_uncertain": "hold",
    "max_attempts": 100,
}
_SHUTDOWN_SECONDS = 5.0
# A run must end: whatever may be tried again is, soon and often.
_RETRY = {"policy": "exponential", "attempts": 100, "base_seconds": 0.3, "longest_seconds": 2.0}

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an operator's file says about how their daemon works, without where and as whom."""

    platforms: Mapping[str, Table]
    limits: Table
    daemon: Table
    sms: str | None = None  # which account carries it
    rules: Table = field(default_factory=dict)  # the scenario's, never the operator's
    planning: Table = field(default_factory=dict)  # likewise
    senders: Mapping[str, str] = field(default_factory=dict)  # likewise: workspace → its own number

    def account_of(self, workspace: str) -> str:
        """The account that a workspace's messages go by."""
        first = self.sms or next(iter(self.platforms))
        second = next((name for name in self.platforms if name != first), first)
        return second if workspace in SECOND_ACCOUNT else first


def read_tuning(path: Path) -> Tuning:
    """The tuning in a TOML file. Secrets need not be there, and are not looked at.

    Raises `OSError`, `tomllib.TOMLDecodeError`, or `ValueError` where nothing in it can be tried.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    platforms = {
        name: {key: table[key] for key in _TUNING if key in table}
        | {"service": "messaging_service_sid" in table}
        for name, table in _tables(document, "platforms").items()
        if isinstance(table, dict) and table.get("kind") == "twilio" and table.get("enabled", True)
    }
    if not platforms:
        raise ValueError(
            "it has no enabled account of kind twilio, which is all that there is a stand-in for"
        )
    daemon = {key: value for key, value in _tables(document, "daemon").items() if key in _DAEMON}
    sms = _tables(document, "routes").get("sms")
    return Tuning(platforms, _tables(document, "limits"), daemon, sms if sms in platforms else None)


# With few calls at once, marked deliveries wait for their turn: a daemon is then often suspended in between.
DEFAULT = Tuning(
    {"main": {"service": False}, "second": {"service": True, "concurrency": 2}}, _NO_LIMITS, {}, "main"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one daemon of a run is, and what it talks to."""

    node: str
    port: int
    dsn: str
    sandbox_url: str


def toml(place: Place, tuning: Tuning) -> str:
    """One daemon's configuration. Raises `ConfigError` where the tuning makes no sense."""
    url = f"http://127.0.0.1:{place.port}"
    document: Table = {
        "database": {"url": place.dsn, "connect_timeout_seconds": 3.0, "statement_timeout_seconds": 10.0},
        "daemon": {
            **tuning.daemon,
            "node": place.node,
            "lease_seconds": LEASE_SECONDS,
            "shutdown_seconds": _SHUTDOWN_SECONDS,
        },
        "web": {"listen": f"127.0.0.1:{place.port}", "public_url": url},
        "limits": tuning.limits,
        "platforms": {name: _account(table, place.sandbox_url) for name, table in tuning.platforms.items()},
        "routes": {"sms": tuning.sms or next(iter(tuning.platforms))},
        "retry": {"temporary": _RETRY, "limit": _RETRY},
        "rules": tuning.rules,
        "planning": tuning.planning,
        "workspaces": {name: _workspace(name, tuning) for name in WORKSPACES},
    }
    text = "# Written by `duly chaos`.\n" + "".join(_written((name,), t) for name, t in document.items())
    _checked(text)
    return text


def _account(table: Table, sandbox_url: str) -> Table:
    tuning = {key: value for key, value in table.items() if key != "service"}
    patience = tuning.get("patience_seconds", 0)
    if isinstance(patience, int | float) and patience < PATIENCE_SECONDS:
        tuning["patience_seconds"] = PATIENCE_SECONDS  # the chaos's own delays are longer than that
    sender = {"messaging_service_sid": _SERVICE} if table.get("service") else {"from": NUMBER}
    where = {"base_url": sandbox_url, "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN}
    return {**_ACCOUNT, **tuning, "kind": "twilio", **where, **sender}


def _workspace(name: str, tuning: Tuning) -> Table:
    sender = {"from": tuning.senders[name]} if name in tuning.senders else {}
    return {**sender, "routes": {"sms": tuning.account_of(name)}}


def _checked(text: str) -> Config:
    return parse_config(text, source="the configuration that chaos makes", environ={})


def _tables(document: Table, name: str) -> Table:
    found = document.get(name, {})
    return found if isinstance(found, dict) else {}


def _written(path: tuple[str, ...], table: Table) -> str:
    """A table and those in it as TOML: JSON's strings, numbers and booleans are TOML's too."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines = [f"[{'.'.join(json.dumps(part) for part in path)}]"]
    lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items() if key not in tables]
    return "\n".join(lines) + "\n" + "".join(_written((*path, key), value) for key, value in tables.items())
