"""What a demo is started with, and the TOML that it writes for the daemon."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

from daemon.demo.texts import COACH, FLORIST, HOSPITAL

ACCOUNT = "stand-in"
SUNDAY, RUNDOWN = "sunday", "rundown"
"""The coach's account, and the workspace."""
SUNDAY_PER_HOUR = 100
FIRST_PORT = 8080
_HOST = "127.0.0.1"
_UNLIMITED = 100_000

_LIMITS = f"""\
# The default of 10 segments a second suits a real sender; 2,000 messages would take minutes under it. These let
# the demo end in half a minute and still hold everybody back: watch each workspace move at its own speed.
[workspaces.{HOSPITAL}]
per_second = 120
burst = 240
[workspaces.{COACH}]
per_second = 30
burst = 40
[workspaces.{FLORIST}]
per_second = 5
burst = 10
"""

_NO_LIMITS = f"""\
# --no-limits: the most that a limit can be, to measure how fast everything together is.
[limits]
workspace_per_second = {_UNLIMITED}
workspace_burst = {_UNLIMITED}
[workspaces.{HOSPITAL}]
[workspaces.{COACH}]
[workspaces.{FLORIST}]
"""

_SUNDAY = f"""\
# A coach's application with an account of its own: what is planned for a Sunday is spread by a hundred an hour. It may
# be sent faster than that: the demo's hour takes seconds.
[routes]
sms = "{ACCOUNT}"
[workspaces.{RUNDOWN}]
from = "+15005550007"
routes = {{ sms = "{SUNDAY}" }}
per_second = 200
burst = 200
"""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """One demo."""

    directory: Path  # absolute: the database, the TOML and the logs
    port: int  # of the page
    limits: bool = True
    sunday: bool = False  # whether there is a coach's Sunday
    account_sid: str = field(default_factory=lambda: f"AC{secrets.token_hex(16)}")
    auth_token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def page(self) -> str:
        """The page's URL, which the stand-in's callbacks go to as well."""
        return f"http://{_HOST}:{self.port}"

    @property
    def inbound_url(self) -> str:
        """Where a phone's reply is posted."""
        return f"{self.page}/hooks/twilio/{ACCOUNT}/inbound"

    @property
    def toml_path(self) -> Path:
        """The daemon's configuration."""
        return self.directory / "duly.toml"

    @property
    def database_directory(self) -> Path:
        """The embedded Postgres."""
        return self.directory / "postgres"

    def write(self, sandbox_url: str) -> None:
        """Writes the TOML, for our eyes only."""
        draft = self.toml_path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(self._toml(sandbox_url), encoding="utf-8")
        draft.replace(self.toml_path)

    def _toml(self, sandbox_url: str) -> str:
        sunday = f"{self._account(SUNDAY, sandbox_url)}planned_per_hour = {SUNDAY_PER_HOUR}\n\n{_SUNDAY}"
        return f"""\
# Written by `duly demo`; other commands can look at it meanwhile: duly status --config THIS-FILE

[database]
url = "embedded"
data_dir = {_quoted(self.database_directory)}

[daemon]
node = "demo"
lease_seconds = 10
shutdown_seconds = 5

[web]
listen = "{_HOST}:{self.port}"
public_url = "{self.page}"  # the stand-in posts its callbacks here

[sandbox]
url = "{sandbox_url}"

{self._account(ACCOUNT, sandbox_url)}
# So that one need not wait half an hour to see a second try.
[retry.temporary]
policy = "exponential-3"
base_seconds = 1
longest_seconds = 2

# It may be tried at night, and writes to the same few numbers often; a real one keeps both defaults.
[rules]
quiet_hours = {{}}
caps = {{}}

{_LIMITS if self.limits else _NO_LIMITS}
{sunday if self.sunday else ""}"""

    def _account(self, name: str, sandbox_url: str) -> str:
        return f"""\
[platforms.{name}]
kind = "twilio"
base_url = "{sandbox_url}"
account_sid = "{self.account_sid}"
auth_token = "{self.auth_token}"
from = "+15005550006"
timeout_seconds = 4
"""


def free_port(wanted: int | None, *, any_other: bool) -> int:
    """`wanted`, else the next port that nobody listens on; any free one where `any_other` and none is wanted.

    Raises `OSError` where there is none.
    """
    first = wanted if wanted is not None else 0 if any_other else FIRST_PORT
    for port in range(first, min(first + 200, 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
                probe.listen()
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no port from {first} on is free")


def _quoted(path: Path) -> str:
    """A path as a TOML string: JSON's escapes are TOML's too."""
    return json.dumps(os.fspath(path), ensure_ascii=False)
