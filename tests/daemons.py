"""Helpers for the tests of whole daemons: many deliveries at once, and the ledger beside the database."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.sandbox.ledger import Ledger
from daemon.sandbox.messages import Message
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection
from tests.support import ACCOUNT_SID, AUTH_TOKEN, DaemonProcess, running, toml

FINAL_OR_SENT = frozenset({"sent", "delivered", "failed", "expired", "skipped", "canceled"})
_MANY = """
select duly.enqueue($1, 'sms', '+1' || (4150000000 + n), coalesce($5, 'Message ' || n), now() + $4::interval,
                    $3, expires_at => now() + $6::interval) as id
from generate_series($2::bigint, $2 + $7 - 1) n order by n
"""


@contextlib.asynccontextmanager
async def plain_sandbox(**settings: Any) -> AsyncIterator[Sandbox]:
    """A stand-in that takes every number for an ordinary one; without callbacks unless asked for."""
    wanted = {"callbacks": False, "behaviours": False, "seed": 1, "speed": 100, **settings}
    async with Sandbox(SandboxSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, **wanted)) as found:
        yield found


def slow(sandbox: Sandbox, seconds: float) -> None:
    """Makes every call to the stand-in take so long."""
    sandbox.dice.set(Faults(latency_ms=seconds * 1000))


async def enqueue(
    conn: Connection,
    count: int,
    *,
    workspace: str = "clinic",
    first: int = 0,
    priority: int = 2,
    due_in: float = 0,
    expires_in: float | None = None,
    body: str | None = None,
) -> list[UUID]:
    """Queues `count` text messages in one transaction, to numbers counted from `first`; returns their ids."""
    rows = await conn.fetch(_MANY, workspace, first, priority, _span(due_in), body, _span(expires_in), count)
    return [row["id"] for row in rows]


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


async def states(conn: Connection) -> Counter[str]:
    """How many deliveries there are in each state."""
    rows = await conn.fetch("select state::text as state, count(*) as n from duly.delivery_row group by 1")
    return Counter({row["state"]: row["n"] for row in rows})


async def all_settled(conn: Connection) -> bool:
    """Whether nothing is queued or under way any more."""
    return set(await states(conn)) <= FINAL_OR_SENT


def accepted(ledger: Ledger) -> list[Message]:
    """What the stand-in took, in its order."""
    return [message for message in ledger.messages if not message.inbound]


def deliveries(ledger: Ledger) -> list[UUID]:
    """The ids of what the stand-in took, in its order."""
    return [UUID(message.delivery) for message in accepted(ledger) if message.delivery is not None]


async def assert_agreement(conn: Connection, ledger: Ledger) -> None:
    """What the database calls sent is just what the stand-in took, and nothing was taken twice."""
    took = deliveries(ledger)
    assert len(took) == ledger.accepted, "the stand-in took a message that carries no delivery id"
    assert [d for d, times in Counter(took).items() if times > 1] == []
    rows = await conn.fetch(
        "select id, provider_id from duly.delivery_row where state in ('sent', 'delivered')"
    )
    assert {row["id"] for row in rows} == set(took)
    sids = {message.sid for message in accepted(ledger)}
    assert {row["provider_id"] for row in rows} == sids


@contextlib.asynccontextmanager
async def daemon_on(
    directory: Path,
    dsn: str,
    sandbox: Sandbox,
    port: int,
    *,
    wait_ready: bool = True,
    edits: Mapping[str, str] = {},
    **parts: str,
) -> AsyncIterator[DaemonProcess]:
    """A daemon process with a TOML of `tests.support.toml`: `parts` are added to it, `edits` change its text."""
    path = directory / f"duly-{port}.toml"
    text = toml(dsn, sandbox.url, port, **parts)
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    async with running(path, port, wait_ready=wait_ready) as daemon:
        yield daemon


def numbers(metrics: str, name: str) -> float:
    """The sum of a metric's samples in Prometheus' text."""
    lines = [line for line in metrics.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def deaths(daemon: DaemonProcess) -> list[str]:
    """Which actors died, and of what."""
    lines = [orjson.loads(line) for line in daemon.log.splitlines() if '"an actor died"' in line]
    return [f"{line['actor']}: {line.get('exception', '')}" for line in lines]
