"""What `duly doctor` asks the database: each question ends in findings, each with its cure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from daemon.model import Reason, ReasonCategory
from daemon.sealing.envelope import KeyRing
from daemon.store import doctor_sealing
from daemon.store.audit import Head
from daemon.store.audit_chain import examine_audit
from daemon.store.database import Connection, describe
from daemon.store.findings import Finding, Level
from daemon.store.migrations import MigrationError, pending
from daemon.store.sql import query

_OLDEST, _NEWEST = 14, 18
_CLOCK_SECONDS = 1.0
_SLOW_MS = 50.0
_SHOWN_RIGHTS = 5


@dataclass(frozen=True, slots=True)
class Expectations:
    """What the configuration says, as far as the database is concerned by it."""

    pool_size: int
    lease_seconds: float
    patience_seconds: float  # the longest of all accounts: until then uncertain ones are asked about
    migrates: bool  # the daemon applies migrations itself
    route_problem: Callable[[str, str], str | None]  # what keeps a workspace's channel from being sent
    ring: KeyRing  # what data keys are wrapped with
    audit_head: Head | None = None  # a line that the audit must have


async def examine(conn: Connection, expected: Expectations) -> list[Finding]:
    """Everything, as far as this login may look. Raises nothing that a missing right or schema causes."""
    findings = await _server(conn, expected)
    schema, fits = await _migrations(conn, expected)
    findings += schema
    findings += await _rights(conn)
    if fits:
        for look in (_nodes, _routes, _stuck, _failed, _audit, _keys, _series):
            try:
                findings += await look(conn, expected)
            except (asyncpg.InsufficientPrivilegeError, asyncpg.QueryCanceledError) as error:
                what = f"{look.__name__[1:]}: cannot be looked at: {describe(error)}"
                findings.append(
                    Finding("rights", Level.PROBLEM, what, "Grant role duly_daemon to this login.")
                )
    return findings


async def _server(conn: Connection, expected: Expectations) -> list[Finding]:
    pauses = []
    for _ in range(5):
        began = time.perf_counter()
        await conn.fetchval("select 1")
        pauses.append((time.perf_counter() - began) * 1000)
    pause_ms = statistics.median(pauses)
    before = datetime.now(UTC)
    row = await conn.fetchrow(query("doctor_server"))
    assert row is not None
    ours = before + (datetime.now(UTC) - before) / 2
    return [
        _version(row["version"] // 10_000, row["version_text"], pause_ms),
        *_primary(row),
        *_room(row, expected.pool_size),
        _clock((row["clock"] - ours).total_seconds()),
    ]


def _version(major: int, text: str, pause_ms: float) -> Finding:
    what = f"Postgres {text} answers in {pause_ms:.1f} ms"
    if major < _OLDEST:
        return Finding(
            "database", Level.PROBLEM, what, f"Upgrade it: Duly needs Postgres {_OLDEST} or newer."
        )
    if major > _NEWEST:
        return Finding("database", Level.WARNING, what, f"Duly was tested up to {_NEWEST}: try it out first.")
    if pause_ms > _SLOW_MS:
        return Finding("database", Level.WARNING, what, "Run the daemon nearer to its database.")
    return Finding("database", Level.OK, what)


def _primary(row: asyncpg.Record) -> list[Finding]:
    if row["standby"]:
        cure = "Name the primary, or all hosts, in [database] url."
        return [Finding("database", Level.PROBLEM, "it is a standby and takes no writes", cure)]
    if row["read_only"]:
        cure = "Set default_transaction_read_only to off for this login or database."
        return [Finding("database", Level.PROBLEM, "its transactions are read-only by default", cure)]
    return []


def _room(row: asyncpg.Record, pool_size: int) -> list[Finding]:
    """A daemon wants its pool, and one connection more to listen on."""
    wanted, free = pool_size + 1, row["max_connections"] - row["connections"]
    limit = row["login_connections"]
    if 0 <= limit < wanted:
        what = f"login {row['login']} may have {limit} connections, a daemon wants {wanted}"
        return [
            Finding(
                "database", Level.WARNING, what, "Raise its CONNECTION LIMIT, or lower database.pool_size."
            )
        ]
    if row["max_connections"] < wanted:
        what = f"max_connections leaves {row['max_connections']}, a daemon wants {wanted}"
        return [
            Finding("database", Level.PROBLEM, what, "Raise max_connections, or lower database.pool_size.")
        ]
    if free < wanted:
        what = f"{free} connections are free, a daemon that starts wants {wanted}"
        return [
            Finding("database", Level.WARNING, what, "Raise max_connections, or lower database.pool_size.")
        ]
    return []


def _clock(ahead_seconds: float) -> Finding:
    what = f"the database's clock differs from this machine's by {abs(ahead_seconds):.1f} s"
    if abs(ahead_seconds) > _CLOCK_SECONDS:
        return Finding(
            "clock", Level.WARNING, what, "Run NTP on both: the database's clock decides what is due."
        )
    return Finding("clock", Level.OK, what)


async def _migrations(conn: Connection, expected: Expectations) -> tuple[list[Finding], bool]:
    """The findings, and whether the schema is this code's."""
    try:
        missing = await pending(conn)
    except MigrationError as error:
        what, _, cure = str(error).partition(": ")
        return [Finding("migrations", Level.PROBLEM, what, f"{cure[:1].upper()}{cure[1:]}.")], False
    except asyncpg.InsufficientPrivilegeError as error:
        return [
            Finding("migrations", Level.PROBLEM, describe(error), "Grant role duly_daemon to this login.")
        ], False
    if not missing:
        return [Finding("migrations", Level.OK, "the schema is this version's")], True
    what = f"{len(missing)} migrations are pending, from {missing[0].name}"
    if expected.migrates:
        return [Finding("migrations", Level.WARNING, what, "Start the daemon: it applies them.")], False
    return [Finding("migrations", Level.PROBLEM, what, "Run `duly migrate`.")], False


async def _rights(conn: Connection) -> list[Finding]:
    missing = [row["what"] for row in await conn.fetch(query("doctor_rights"))]
    if not missing:
        return [Finding("rights", Level.OK, "the login may do what the daemon does")]
    more = f" and {len(missing) - _SHOWN_RIGHTS} more" if len(missing) > _SHOWN_RIGHTS else ""
    what = f"the login lacks {', '.join(missing[:_SHOWN_RIGHTS])}{more}"
    login = await conn.fetchval("select quote_ident(current_user)")
    return [Finding("rights", Level.PROBLEM, what, f"As a superuser: grant duly_daemon to {login};")]


async def _nodes(conn: Connection, _: Expectations) -> list[Finding]:
    nodes = await conn.fetch(query("status_nodes"))
    alive = [node for node in nodes if node["alive"]]
    names, versions = [node["name"] for node in alive], {node["version"] for node in alive}
    if not alive:
        due = sum(row["due"] for row in await conn.fetch(query("status_queued")))
        level = Level.PROBLEM if due else Level.WARNING
        what = f"no daemon is alive, and {due} deliveries are due" if due else "no daemon is alive"
        return [Finding("nodes", level, what, "Start one: `duly run`.")]
    found = [Finding("nodes", Level.OK, f"alive: {', '.join(sorted(names))}")]
    for name in sorted({name for name in names if names.count(name) > 1}):
        what = f"{names.count(name)} daemons call themselves {name}"
        cure = (
            "Give each its own [daemon] node; a restarted one stands twice until its old lease has run out."
        )
        found.append(Finding("nodes", Level.WARNING, what, cure))
    if len(versions) > 1:
        what = f"versions {', '.join(sorted(versions))} run side by side"
        found.append(Finding("nodes", Level.WARNING, what, "Bring all to the newest."))
    return found


async def _routes(conn: Connection, expected: Expectations) -> list[Finding]:
    """Lanes that nobody carries."""
    found = []
    for row in await conn.fetch(query("doctor_lanes")):
        workspace, channel = row["workspace"], row["channel"]
        problem = expected.route_problem(workspace, channel)
        if problem is not None:
            what = f"{row['total']} of {workspace} by {channel} are queued: {problem}"
            cure = f"Route {channel} to an enabled account in [routes] or [workspaces.{workspace}]."
            found.append(Finding("route", Level.PROBLEM, what, cure, row["ids"]))
    return found or [Finding("route", Level.OK, "everything queued has an account that carries it")]


async def _keys(conn: Connection, expected: Expectations) -> list[Finding]:
    return await doctor_sealing.keys(conn, expected.ring)


async def _series(conn: Connection, _: Expectations) -> list[Finding]:
    """Series of reminders whose rule the planner cannot read."""
    cure = "Give it a right rule: `duly series put`."
    return [
        Finding("series", Level.PROBLEM, f"{row['name']} of {row['workspace']}: {row['problem']}", cure)
        for row in await conn.fetch(query("doctor_series"))
    ]


async def _stuck(conn: Connection, expected: Expectations) -> list[Finding]:
    """Rows that do not move, and those that are uncertain."""
    settled_by = 4 * expected.patience_seconds  # past the reconciler's wait for equal ones
    rows = await conn.fetch(query("doctor_stuck"), expected.lease_seconds, settled_by)
    found = [
        _standing(row)
        for row in rows
        if row["kind"] != "waiting" or expected.route_problem(row["workspace"], row["channel"]) is None
    ]
    if not any(finding.check == "stuck" for finding in found):
        found.append(Finding("stuck", Level.OK, "nothing is stuck"))
    return found


def _standing(row: asyncpg.Record) -> Finding:
    total, since, ids = row["total"], f"{row['since']:%Y-%m-%d %H:%M:%S %Z}", row["ids"]
    match row["kind"]:
        case "orphaned":
            what = f"{total} are held by a dead daemon since {since}"
            return Finding("stuck", Level.PROBLEM, what, "Start a daemon: it takes them over.", ids)
        case "held":
            what = f"{total} are leased or sending for longer than two leases, since {since}"
            cure = "Restart the daemon that holds them: it hands back what it has not begun."
            return Finding("stuck", Level.PROBLEM, what, cure, ids)
        case "undecided":
            what = f"{total} are uncertain and left to a person, since {since}"
            return Finding("uncertain", Level.WARNING, what, "Decide on them with `duly replay`.", ids)
        case "uncertain":
            what = f"{total} are uncertain for longer than asking takes, since {since}"
            cure = "See in the daemon's log why the platform cannot be asked."
            return Finding("uncertain", Level.PROBLEM, what, cure, ids)
        case "silent":
            what = f"{total} were handed over to be sent at {since} or later, and nothing was heard of them"
            cure = "Is their account still configured and enabled? See in the daemon's log what the platform answers."
            return Finding("stuck", Level.PROBLEM, what, cure, ids)
        case "asked":
            what = f"{total} are uncertain; the platform is being asked"
            return Finding("uncertain", Level.OK, what, ids=ids)
    what = f"{total} of {row['workspace']} by {row['channel']} are queued and overdue since {since}"
    cure = "Compare its limits with what it queues: `duly status`; the daemon's /readyz tells of paused accounts."
    return Finding("stuck", Level.WARNING, what, cure, ids)


async def _failed(conn: Connection, _: Expectations) -> list[Finding]:
    rows = await conn.fetch(query("doctor_failed"))
    if not rows:
        return [Finding("failed", Level.OK, "nothing failed in the last 24 hours")]
    return [_failure(row["reason"], row["account"], row["total"], row["ids"]) for row in rows]


async def _audit(conn: Connection, expected: Expectations) -> list[Finding]:
    return await examine_audit(conn, expected.audit_head)


def _failure(reason: str, account: str | None, total: int, ids: Sequence[str]) -> Finding:
    """Only what the operator can mend is worth a warning; the rest is what people and carriers do."""
    what = f"{total} failed in the last 24 hours by {account or 'no account'}: {reason}"
    category = Reason(reason).category if reason in set(Reason) else None
    if category is ReasonCategory.CONFIGURATION:
        cure = f"Mend [platforms.{account}] or the sender, then `duly replay --reason {reason}`."
        return Finding("failed", Level.WARNING, what, cure, ids)
    if category in (ReasonCategory.TEMPORARY, ReasonCategory.LIMIT):
        cure = f"When the platform is well again: `duly replay --reason {reason}`."
        return Finding("failed", Level.WARNING, what, cure, ids)
    return Finding("failed", Level.OK, what, ids=ids)
