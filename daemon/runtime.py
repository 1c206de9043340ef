"""Puts the process together: which actors there are and what each is given. Reloading is here too."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from daemon import clock
from daemon.config import Config, PlatformConfig, changed_keys, keep_restart_only, restart_needed
from daemon.content.rendering import Renderer, hook_url
from daemon.model import Channel, Delivery, InboundMessage, StatusUpdate
from daemon.planning.campaigner import Campaigner
from daemon.planning.planner import Planner
from daemon.planning.registry import sources
from daemon.planning.spreader import Spreader
from daemon.platforms.base import Platform, Scheduling
from daemon.platforms.registry import make_platform
from daemon.queue.adaptive import Adaptive
from daemon.queue.allowances import Allowances
from daemon.queue.auditor import Auditor
from daemon.queue.directory import Directory, Registration, registration
from daemon.queue.dispatcher import Dispatcher
from daemon.queue.fetcher import Fetcher
from daemon.queue.forwarder import Ahead, Forwarder, Window
from daemon.queue.goals_again import GoalsAgain
from daemon.queue.judge import Judge
from daemon.queue.learner import Learner
from daemon.queue.limits import LimitBook
from daemon.queue.line import Line
from daemon.queue.membership import Membership
from daemon.queue.notifier import Notifier
from daemon.queue.policies import Policies, Rules
from daemon.queue.publisher import Publisher
from daemon.queue.rates import account_rate, sender_rate, workspace_rate
from daemon.queue.recaller import Recaller
from daemon.queue.reconciler import Asking, Reconciler
from daemon.queue.recorder import Recorder
from daemon.queue.rescuer import Rescuer
from daemon.queue.retention import Retention
from daemon.queue.rule_sets import is_stand_in
from daemon.queue.rulebook import Rulebook
from daemon.queue.sealer import Sealer
from daemon.queue.unsealing import Unsealer
from daemon.queue.worker import Worker
from daemon.sealing.keys import DataKeys, ring_of
from daemon.store.audit import Act, Note
from daemon.store.database import Database, DatabaseDown
from daemon.store.schema import Schema
from daemon.supervisor import Supervisor
from daemon.web.app import Web
from daemon.web.hooks import HookAccount
from daemon.web.logins import Logins

log = structlog.get_logger(__name__)

_MAX_ATTEMPTS = 5  # for an account that the TOML no longer has
_KEYS = 30  # of a reload that are named in the audit


class Runtime:
    """One daemon: its configuration and its actors."""

    def __init__(
        self,
        config: Config,
        database: Database,
        make: Callable[[PlatformConfig], Platform] = make_platform,
        *,
        window: Window = Window(),  # noqa: B008 - immutable
    ) -> None:
        self.config = config
        self.database = database
        self._make = make
        self.rulebook = Rulebook(config)
        self._ring = ring_of(config.privacy)
        self.keys = DataKeys(database, lambda: self._ring)
        self.schema = Schema(database, may_migrate=config.database.migrate)
        self.membership = Membership(
            database, config.daemon.node, config.daemon.lease_seconds, after=self.schema.fits
        )
        self.allowances = Allowances(database, self._granted, lambda: self.membership.share)
        self._account_limits: LimitBook[str] = LimitBook(
            self.allowances,
            lambda account: f"account {account}",
            lambda account: account_rate(self.config, account),
        )
        self._sender_limits: LimitBook[tuple[str, str]] = LimitBook(
            self.allowances, lambda key: f"sender {key[0]} {key[1]}", lambda _: sender_rate(self.config)
        )
        self._workspace_limits: LimitBook[str] = LimitBook(
            self.allowances,
            lambda workspace: f"workspace {workspace}",
            lambda workspace: workspace_rate(self.config, workspace),
        )
        self.unsealer = Unsealer(database, self.keys)
        self.sealer = Sealer(database, self.keys, self._seals, self.schema.fits)
        self.recorder = Recorder(
            database,
            lambda account: self._policies(account, self.config),
            lambda workspace: self.config.rules_for(workspace),
            lambda: self.keys if self.sealer.active else None,
        )
        self.directory = Directory(
            database,
            self._registrations,
            self._kinds,
            lambda: self.fetcher.look_soon(),
            after=self.schema.fits,
            link_base=lambda: self.config.web.link_base,
        )
        self.dispatcher = Dispatcher(database, self.membership, lambda: self.config.daemon.shutdown_seconds)
        judge = Judge(database, lambda: self.rulebook, self._is_stand_in)
        self.fetcher = Fetcher(
            database,
            self.membership,
            self.dispatcher,
            self.unsealer,
            GoalsAgain(database, self.keys, lambda: self.config.web.link_base),
            judge,
            self.directory.name_of,
            lambda workspace, channel: self.config.account_for(workspace, channel),
            self._workspace_limits,
            batch=config.daemon.batch,
            poll_seconds=config.daemon.poll_seconds,
        )
        self.rescuer = Rescuer(
            database,
            self.membership,
            self._holds,
            lease_seconds=config.daemon.lease_seconds,
            longest_call_seconds=lambda: max(
                (p.timeout_seconds for p in self.config.platforms.values()), default=0.0
            ),
        )
        self.reconciler = Reconciler(database, self.membership, self.unsealer, self._askings)
        self.forwarder = Forwarder(
            database,
            self.membership,
            self.unsealer,
            judge,
            self._ahead,
            lambda: self.recaller.wake(),
            window=window,
        )
        self.recaller = Recaller(
            database, self.membership, self.recorder, self.unsealer, judge, self._scheduling
        )
        self.notifier = Notifier(database, self.schema.fits)
        self.publisher = Publisher(database, lambda: self.config, self.schema.fits)
        self.retention = Retention(database, lambda: self.config, self.schema.fits)
        self.planner = Planner(
            database,
            lambda: self.config.planning,
            sources(
                self.keys,
                lambda workspace, channel: self.config.account_for(workspace, channel),
                lambda: self.config,
            ),
            self.schema.fits,
        )
        self.learner = Learner(database, lambda: self.config, self.schema.fits)
        self.campaigner = Campaigner(database, lambda: self.config, self.keys, self.schema.fits)
        self.spreader = Spreader(database, lambda: self.config, self.schema.fits)
        self.auditor = Auditor(
            database, self.schema.fits, gather=lambda: self.logins.flush(everything=self.supervisor.stopping)
        )
        self.logins = Logins(self.auditor.note)
        self.web = Web(
            lambda: self.config,
            database,
            self,
            self.parts,
            self.dispatcher,
            self.logins,
            self.keys,
            self._unsealed,
            self.planner.plan_soon,
        )
        self.supervisor = Supervisor(
            [
                self.auditor,
                self.web,
                self.schema,
                self.membership,
                self.directory,
                self.allowances,
                self.recorder,
                self.dispatcher,
                self.rescuer,
                self.reconciler,
                self.recaller,
                self.notifier,
                self.publisher,
                self.retention,
                self.learner,
                self.sealer,
                self.planner,
                self.forwarder,
                self.campaigner,
                self.spreader,
                self.fetcher,
            ],
            max_restarts=config.daemon.max_restarts,
            restart_window_seconds=config.daemon.restart_window_seconds,
            shutdown_seconds=config.daemon.shutdown_seconds,
        )

    async def start(self) -> None:
        """Opens the platforms; the actors are started by the supervisor."""
        await self._apply(self.config, None)

    async def close(self) -> None:
        """Closes what the actors have left."""
        for line in self.dispatcher.lines.values():
            await line.abandon()
            await line.worker.platform.close()
        await self.database.close()

    async def reload(self, config: Config) -> None:
        """Makes a valid new configuration live. What needs a restart is said and kept as it was."""
        wanting = restart_needed(self.config, config)
        if wanting:
            log.warning("these changes need a restart and are not live", keys=wanting)
            config = keep_restart_only(self.config, config)
        changed = changed_keys(self.config, config)
        await self._apply(config, self.config)
        self.auditor.note(_reloaded(config, changed, wanting))
        self.membership.lease_seconds = self.rescuer.lease_seconds = config.daemon.lease_seconds
        self.fetcher.batch = config.daemon.batch
        self.fetcher.poll_seconds = config.daemon.poll_seconds
        self.supervisor.max_restarts = config.daemon.max_restarts
        self.supervisor.restart_window_seconds = config.daemon.restart_window_seconds
        self.supervisor.shutdown_seconds = config.daemon.shutdown_seconds
        for book in (self._account_limits, self._sender_limits, self._workspace_limits):
            book.revise()
        self.directory.reload()
        self.publisher.reload()
        self.retention.reload()
        self.sealer.reload()
        self.planner.plan_soon()
        self.fetcher.look_soon()

    def parts(self) -> Mapping[str, str | None]:
        """What keeps each part from its work, for /readyz."""
        parts: dict[str, str | None] = {"database": self.database.problem}
        for actor in self.supervisor.actors:
            parts[actor.name] = actor.health()
        if self.supervisor.stopping:
            parts["supervisor"] = "shutting down"
        return parts

    # Inbox: what the hooks hand in.

    async def status(self, account: str, update: StatusUpdate) -> None:
        """Writes a status callback."""
        self._must_fit()
        await self.recorder.status(account, update)

    async def inbound(self, account: str, message: InboundMessage) -> None:
        """Writes a message from a person."""
        self._must_fit()
        owner = next((n for n, w in self.config.workspaces.items() if w.sender == message.to_address), None)
        workspace_id = self.directory.id_of(owner) if owner else None
        await self.recorder.inbound(account, message, workspace_id, uuid.uuid4())
        self.recaller.wake()

    def _must_fit(self) -> None:
        if not self.schema.fits.is_set():
            raise DatabaseDown(f"the schema does not fit: {self.schema.health()}")

    # What the configuration says, asked anew each time.

    def _wake(self) -> None:
        self.fetcher.wake()
        self.forwarder.wake()

    def _granted(self) -> None:
        for line in self.dispatcher.lines.values():
            line.granted()

    def _policies(self, account: str, config: Config) -> Policies:
        platform = config.platforms.get(account)
        return Policies(self._retry_rules, platform.max_attempts if platform else _MAX_ATTEMPTS)

    def _retry_rules(self, workspace: str) -> list[Rules]:
        own = self.config.workspaces.get(workspace)
        return [own.retry, self.config.retry] if own is not None else [self.config.retry]

    def _askings(self) -> dict[str, Asking]:
        found = {}
        for account, line in self.dispatcher.lines.items():
            platform = self.config.platforms.get(account)
            if platform is None:
                continue  # a reload is taking it away
            found[account] = Asking(
                line.worker.platform,
                line.render,
                platform.patience_seconds,
                platform.on_uncertain == "resend",
                platform.max_attempts,
            )
        return found

    def _ahead(self) -> Mapping[str, Ahead]:
        """The accounts that ask for their messages to be handed over ahead."""
        found = {}
        for account, line in self.dispatcher.lines.items():
            platform = self.config.platforms.get(account)
            if platform is not None and platform.enabled and platform.native_scheduling:
                found[account] = Ahead(line, partial(self._carries, account))
        return found

    def _carries(self, account: str, workspace: str, channel: Channel) -> bool:
        """A number of the workspace's own may be none of the messaging service's: such a message is not handed over."""
        own = self.config.workspaces.get(workspace)
        plain = own is None or own.sender is None
        return plain and self.config.account_for(workspace, channel) == account

    def _scheduling(self) -> Mapping[str, Scheduling]:
        lines = self.dispatcher.lines.items()
        return {a: line.worker.platform for a, line in lines if isinstance(line.worker.platform, Scheduling)}

    def _is_stand_in(self, delivery: Delivery) -> bool:
        return is_stand_in(self.config, delivery.workspace, delivery.channel)

    def _registrations(self) -> list[Registration]:
        return [registration(self.config, name) for name in self.config.workspaces]

    def _seals(self) -> Mapping[str, bool]:
        return {name: w.seal for name, w in self.config.workspaces.items()}

    def _unsealed(self) -> Mapping[str, str]:
        """What cannot be sealed or opened, and why, for /readyz."""
        found = {f"deliveries of {name}": why for name, why in self.unsealer.troubles.items()}
        return found if self.sealer.trouble is None else {"sealer": self.sealer.trouble, **found}

    def _kinds(self) -> Mapping[str, str]:
        return {name: p.kind for name, p in self.config.platforms.items()}

    def _holds(self) -> set[uuid.UUID]:
        held = self.recorder.holds()
        return held.union(*(line.holds() for line in self.dispatcher.lines.values()))

    async def _apply(self, config: Config, previous: Config | None) -> None:
        """Builds the lines anew where their account or what they render by has changed; keeps the others.

        All that may fail comes first; then the configuration and the lines change in one step.
        """
        lines: dict[str, Line] = {}
        made: list[Line] = []
        try:
            for account, platform_config in config.platforms.items():
                if not platform_config.enabled:
                    continue
                line = self.dispatcher.lines.get(account)
                if line is None or previous is None or _line_changed(account, previous, config):
                    line = await self._make_line(account, platform_config, config)
                    made.append(line)
                lines[account] = line
        except BaseException:
            for line in made:
                await line.worker.platform.close()
            raise
        self.config = config
        self.rulebook = Rulebook(config)
        self._ring = ring_of(config.privacy)
        self.dispatcher.set_lines(lines)
        self.web.hooks.public_url = config.web.public_url
        self.web.hooks.accounts = {
            account: HookAccount(account, config.platforms[account].kind, line.worker.platform)
            for account, line in lines.items()
        }

    async def _make_line(self, account: str, platform_config: PlatformConfig, config: Config) -> Line:
        platform = self._make(platform_config)
        await platform.open()
        senders = {name: w.sender for name, w in config.workspaces.items() if w.sender is not None}
        return Line(
            Worker(account, platform, self._policies(account, config)),
            database=self.database,
            membership=self.membership,
            recorder=self.recorder,
            render=Renderer(
                hook_url(config.web.public_url, platform_config.kind, account, "status"),
                senders,
                self.membership.owns,
            ),
            limit=lambda: self._account_limits.of(account),
            sender_limits=self._sender_limits,
            workspace_limits=self._workspace_limits,
            concurrency=platform_config.concurrency,
            buffer=config.daemon.buffer,
            on_room=self._wake,
            hand_back=self.dispatcher.hand_back,
            adaptive=Adaptive(
                platform_config.rate_per_second,
                platform_config.concurrency,
                clock.monotonic(),
                enabled=platform_config.adaptive,
            ),
        )


def _reloaded(config: Config, changed: list[str], wanting: list[str]) -> Note:
    """Names keys, never values; a long list is cut, and its length told."""
    detail = {"changed": len(changed), "keys": changed[:_KEYS], "needs_restart": wanting}
    return Note(f"daemon {config.daemon.node}", Act.CONFIG_RELOADED, detail)


def _line_changed(account: str, old: Config, new: Config) -> bool:
    return (
        old.platforms.get(account) != new.platforms.get(account)
        or old.web.public_url != new.web.public_url
        or old.daemon.buffer != new.daemon.buffer
        or {n: w.sender for n, w in old.workspaces.items()}
        != {n: w.sender for n, w in new.workspaces.items()}
    )
