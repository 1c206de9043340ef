"""The tables of the TOML as frozen models. config.example.toml says the same for operators."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer, field_validator
from pydantic_core.core_schema import ValidationInfo

from daemon.config.platforms import AnyPlatform, Section
from daemon.config.privacy import Days, PrivacyConfig
from daemon.config.problems import invalid
from daemon.config.rules import RulesConfig
from daemon.config.secrets import Secret
from daemon.config.values import (
    E164,
    EMBEDDED,
    AccountName,
    Burst,
    Rate,
    Seconds,
    Url,
    WorkspaceName,
    check_dsn,
    check_listen,
    is_loopback,
    masked_dsn,
    matching,
    split_listen,
)
from daemon.model import Channel, Reason, ReasonCategory


def _checked_dsn(url: Secret) -> Secret:
    check_dsn(url.reveal())
    return url


def _directory(value: object) -> object:
    """A text as an absolute path, its `~` expanded."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise invalid("must be a directory's path in quotes", 'for example: data_dir = "/var/lib/duly"')
    try:
        return _absolute(Path(value).expanduser())
    except RuntimeError:
        raise invalid("begins with a ~ whose home is not known", "write the whole path") from None


def _absolute(path: Path) -> Path:
    try:
        return Path(os.path.abspath(path))
    except OSError:  # the current directory is gone; whoever opens the path will say so
        return path


class DatabaseConfig(Section):
    """`[database]`: which Postgres, and how it is spoken to. A change needs a restart."""

    url: Annotated[Secret, AfterValidator(_checked_dsn)] = Secret(EMBEDDED)
    """"embedded", or a DSN (several hosts allowed); a secret, as it holds a password. See `masked_url`."""

    data_dir: Annotated[Path, BeforeValidator(_directory)] = Field(
        default_factory=lambda: _absolute(Path(".duly/postgres"))
    )
    """Where the embedded server keeps its data: an absolute path. Of no use with a DSN."""

    migrate: bool = Field(default_factory=lambda data: "url" in data and data["url"].reveal() == EMBEDDED)
    """Apply migrations at start; by default only to the embedded server."""

    pool_size: int = Field(default=8, ge=2, le=100)
    """Connections, at most."""

    statement_timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """A statement that takes longer is canceled by the server. Seconds."""

    connect_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long a new connection may take. Seconds."""

    @property
    def embedded(self) -> bool:
        """Whether we start a server of our own, in `data_dir`."""
        return self.url.reveal() == EMBEDDED

    @property
    def masked_url(self) -> str:
        """The URL with its passwords as `***`: fit for logs."""
        return masked_dsn(self.url.reveal())

    @field_validator("data_dir")
    @classmethod
    def _only_embedded(cls, data_dir: Path, info: ValidationInfo) -> Path:
        url = info.data.get("url")
        if url is not None and url.reveal() != EMBEDDED:
            raise invalid("is for the embedded server only", 'remove it, or set url = "embedded"')
        return data_dir

    @field_serializer("url")
    def _masked(self, url: Secret) -> str:
        return masked_dsn(url.reveal())


class DaemonConfig(Section):
    """`[daemon]`: the process. `node` needs a restart, the rest does not."""

    node: Annotated[
        str,
        AfterValidator(matching("[!-~]{1,63}", "must be 1 to 63 characters without spaces", "shorten it")),
    ] = Field(default_factory=lambda: socket.gethostname()[:63] or "duly", examples=["mail-1"])
    """This daemon's name among those on the database; by default the host's."""

    lease_seconds: float = Field(default=30.0, ge=5, le=3600)
    """How long a lease holds before another daemon may take the row over. Seconds."""

    shutdown_seconds: float = Field(default=25.0, ge=1, le=600)
    """How long calls in flight may take to finish after SIGTERM. Seconds."""

    batch: int = Field(default=500, ge=1, le=10_000)
    """Rows that one lease takes, at most."""

    buffer: int = Field(default=1000, ge=1, le=100_000)
    """Rows that one account holds in memory, at most."""

    poll_seconds: float = Field(default=5.0, ge=0.1, le=10)
    """An idle daemon asks the database this often. Seconds."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for people."""

    max_restarts: int = Field(default=5, ge=0, le=1000)
    """More deaths of one actor than this within `restart_window_seconds` end the process."""

    restart_window_seconds: Seconds = 60.0
    """The window for `max_restarts`. Seconds."""


class WebConfig(Section):
    """`[web]`: the page, the API and the platforms' callbacks. `listen` needs a restart."""

    listen: Annotated[str, AfterValidator(check_listen)] = "127.0.0.1:8080"
    """Host and port; an IPv6 address in brackets; port 0 lets the system choose."""

    public_url: Url | None = Field(default=None, examples=["https://duly.example.com"])
    """Under which URL the platforms reach us, without a trailing slash. None: there are no callbacks."""

    link_url: Url | None = Field(default=None, examples=["https://duly.example"])
    """Under which URL the links in texts reach us, without a trailing slash: a short one saves characters. None:
    `public_url`."""

    username: Annotated[
        str,
        AfterValidator(
            matching("[^:\x00-\x1f\x7f]{1,100}", "must be 1 to 100 characters without a colon", "change it")
        ),
    ] = "duly"
    """Who logs in to the page."""

    password: Secret | None = Field(default=None)
    """With what. None: the page answers to this machine only."""

    max_body_bytes: int = Field(default=65_536, ge=1024, le=16_777_216)
    """A request's body may be this large. Bytes."""

    @property
    def link_base(self) -> str | None:
        """What the links in texts begin with; None: there can be none."""
        return self.link_url or self.public_url

    @property
    def host(self) -> str:
        """The host of `listen`, without brackets."""
        return self._listen[0]

    @property
    def port(self) -> int:
        """The port of `listen`; 0 lets the system choose."""
        return self._listen[1]

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach `listen`."""
        return is_loopback(self.host)

    @property
    def _listen(self) -> tuple[str, int]:
        found = split_listen(self.listen)
        assert found is not None  # check_listen saw to it
        return found


class LimitsConfig(Section):
    """`[limits]`: what each workspace and each sender may send, in segments."""

    workspace_per_second: Rate = 10.0
    """Segments a second for each workspace."""

    workspace_burst: Burst = 50
    """Segments that a workspace may send at once after a pause."""

    workspace_per_minute: Rate | None = Field(default=None, examples=[300])
    """Segments a minute for each workspace; None: no such limit."""

    sender_per_second: Rate | None = Field(default=None, examples=[1])
    """Segments a second for each sender; None: no such limit."""

    sender_burst: Burst | None = Field(default=None, examples=[5])
    """Segments that a sender may send at once. None: evenly spread, at most a twentieth of a second's."""

    sender_per_minute: Rate | None = Field(default=None, examples=[60])
    """Segments a minute for each sender; None: no such limit."""


class RoutesConfig(Section):
    """`[routes]` and a workspace's `routes`: which account a channel goes by."""

    sms: str | None = Field(default=None, examples=["main"])
    """The account for SMS."""

    def get(self, channel: Channel) -> str | None:
        """The account named for `channel`, or None."""
        name: str | None = getattr(self, channel.value, None)
        return name


class RetryRule(Section):
    """One line of `[retry]`: what follows a failure for one reason or category of reasons."""

    policy: Literal[
        "exponential", "exponential-3", "steps-60-120-300-600", "minutes-2-4-8", "daily", "never"
    ] = "exponential"
    """The named policy it starts from."""

    attempts: int | None = Field(default=None, ge=1, le=100, examples=[3])
    """Calls made for one delivery, at most; None: the policy's."""

    base_seconds: float | None = Field(default=None, gt=0, le=86_400, examples=[10])
    """Exponential: the first pause is random up to this. Seconds."""

    longest_seconds: float | None = Field(default=None, gt=0, le=604_800, examples=[900])
    """Exponential: no pause is longer. Seconds."""

    notify: Url | None = Field(default=None, examples=["https://ops.example.com/duly"])
    """Told by a POST when a delivery is given up for this reason."""


def _retry_key(key: str) -> str:
    if key == ReasonCategory.OPT_OUT or (
        key in list(Reason) and Reason(key).category is ReasonCategory.OPT_OUT
    ):
        raise invalid("is final: who opted out is not written to again", "remove it", kind="duly_name")
    if key in (*(c for c in ReasonCategory if c is not ReasonCategory.UNCERTAIN), *Reason):
        return key
    raise invalid(
        "is neither a reason nor a category",
        "use temporary, permanent, configuration, limit, or a reason that `duly explain` shows",
        kind="duly_name",
    )


RetryRules = dict[Annotated[str, AfterValidator(_retry_key)], RetryRule]


def _day_hours(value: str) -> str:
    """Two times of one day."""
    found = re.fullmatch(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)", value)
    if found is None or found[1] >= found[2]:
        raise invalid("must be two times of one day", 'for example: "08:00-21:00"')
    return value


class WorkspaceConfig(Section):
    """`[workspaces.NAME]`: what one workspace has that others have not."""

    per_second: Rate | None = Field(default=None, examples=[20])
    """Segments a second; None: `limits.workspace_per_second`."""

    burst: Burst | None = Field(default=None, examples=[100])
    """Segments at once; None: `limits.workspace_burst`."""

    per_minute: Rate | None = Field(default=None, examples=[600])
    """Segments a minute; None: `limits.workspace_per_minute`."""

    sender: E164 | None = Field(default=None, alias="from", examples=["+15005550006"])
    """`from` in the TOML: the number that its messages come from; None: the account's."""

    routes: RoutesConfig = RoutesConfig()
    """Its own accounts; what is not named goes by `[routes]`."""

    retry: RetryRules = Field(default_factory=dict)
    """As `[retry]`, for this workspace; what it names goes before that."""

    duplicate_window_seconds: float = Field(default=0.0, ge=0, le=2_592_000)
    """Equal content to one address within this window is refused. Seconds; 0: off."""

    rules: RulesConfig = RulesConfig()
    """As `[rules]`, for this workspace; what it names goes before that."""

    seal: bool = False
    """Encrypt texts and addresses in the database; needs `privacy.current`."""

    learn_send_time: bool = False
    """Check-ins go at the hour at which each person answers most, as it is learned, instead of the hour they chose."""

    learn_hours: Annotated[str, AfterValidator(_day_hours)] = "08:00-21:00"
    """Within which hours of the person's own day a learned time may be."""

    learn_style: bool = False
    """A style is chosen by what the person called helpful, their own choice first, instead of by their choice alone."""

    keep_bodies_days: Days | None = Field(default=None, examples=[30])
    """Instead of `privacy.keep_bodies_days`."""

    keep_facts_days: Days | None = Field(default=None, examples=[365])
    """Instead of `privacy.keep_facts_days`."""

    @property
    def learnable_hours(self) -> frozenset[int]:
        """The hours of the day that lie whole within `learn_hours`."""
        begins, ends = (int(word[:2]) * 60 + int(word[3:]) for word in self.learn_hours.split("-"))
        return frozenset(h for h in range(24) if begins <= h * 60 and h * 60 + 60 <= ends)


class SandboxConfig(Section):
    """`[sandbox]`: for trying out only."""

    url: Url | None = Field(default=None, examples=["http://127.0.0.1:8090"])
    """Where a running stand-in listens; the page's /sandbox shows its phones."""


class PlanningConfig(Section):
    """`[planning]`: how check-ins and reminders are planned."""

    enabled: bool = True
    """Whether this daemon takes part. Others of the same database may."""

    lead_hours: int = Field(default=18, ge=0, le=336)
    """How long before a day begins, where it begins first, it is planned. Hours."""

    portion: int = Field(default=1000, ge=1, le=5000)
    """People planned in one transaction."""


class Config(Section):
    """A whole configuration, valid in itself. Made by `load_config` and `parse_config`."""

    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    daemon: DaemonConfig = Field(default_factory=DaemonConfig)
    web: WebConfig = WebConfig()
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    rules: RulesConfig = RulesConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    platforms: dict[AccountName, AnyPlatform] = Field(default_factory=dict)
    routes: RoutesConfig = RoutesConfig()
    retry: RetryRules = Field(default_factory=dict)
    workspaces: dict[WorkspaceName, WorkspaceConfig] = Field(default_factory=dict)
    planning: PlanningConfig = PlanningConfig()
    sandbox: SandboxConfig = SandboxConfig()

    def redacted(self) -> dict[str, Any]:
        """Everything in effect, by its TOML key, as plain JSON values: secrets are `<secret>`, the DSN's
        passwords `***`, what is not set None.
        """
        return self.model_dump(mode="json", by_alias=True)

    def rules_for(self, workspace: str) -> RulesConfig:
        """The rules of a workspace: its own, and for what they do not name `[rules]`."""
        own = self.workspaces.get(workspace)
        return self.rules if own is None else own.rules.over(self.rules)

    def keep_bodies_days(self, workspace: str | None) -> int:
        """For how many days a workspace's texts are kept, or those that came to nobody (None); 0: for good."""
        own = self.workspaces[workspace].keep_bodies_days if workspace in self.workspaces else None
        return self.privacy.keep_bodies_days if own is None else own

    def keep_facts_days(self, workspace: str | None) -> int:
        """The same for everything about a delivery."""
        own = self.workspaces[workspace].keep_facts_days if workspace in self.workspaces else None
        return self.privacy.keep_facts_days if own is None else own

    def account_for(self, workspace: str, channel: Channel) -> str | None:
        """The account that carries `channel` for `workspace`.

        That is the workspace's own route, else `[routes]`, else the only enabled account that carries it,
        else None. A route holds even while its account is not enabled: its deliveries wait.
        """
        own = self.workspaces.get(workspace)
        named = (own.routes.get(channel) if own else None) or self.routes.get(channel)
        if named is not None:
            return named
        able = [
            name
            for name, account in self.platforms.items()
            if account.enabled and channel in account.channels
        ]
        return able[0] if len(able) == 1 else None
