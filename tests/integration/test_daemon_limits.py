"""No limit is exceeded, in any window, as the stand-in sees it, however many daemons run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from daemon.sandbox.app import Sandbox
from daemon.sandbox.messages import Message
from daemon.store.database import Connection
from tests.daemons import accepted, daemon_on, enqueue, plain_sandbox
from tests.support import ACCOUNT_SID, AUTH_TOKEN, free_port, until

# A call is charged when it is let through and measured when it arrives: so much later, on a busy machine.
JITTER_SECONDS = 0.8


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with plain_sandbox() as found:
        yield found


@pytest.fixture
def port() -> int:
    return free_port()


def assert_within(messages: Sequence[Message], *, per_second: float, burst: float) -> None:
    """In every window at most the burst and what its length allows, in segments."""
    times = [message.accepted_monotonic for message in messages]
    used = [0]
    for message in messages:
        used.append(used[-1] + message.segments)
    for first, began in enumerate(times):
        for last in range(first, len(times)):
            seconds = times[last] - began + JITTER_SECONDS
            count = used[last + 1] - used[first]
            assert count <= burst + per_second * seconds, f"{count} segments within {seconds:.2f} s"


def segments(messages: Sequence[Message]) -> int:
    return sum(message.segments for message in messages)


def account(name: str, sender: str, sandbox: Sandbox, **limits: float) -> str:
    """A second account on the same stand-in, told apart by its number."""
    lines = "\n".join(f"{key} = {value}" for key, value in limits.items())
    return f"""
[platforms.{name}]
kind = "twilio"
base_url = "{sandbox.url}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
from = "{sender}"
{lines}
"""


def workspace(name: str, route: str, **limits: float) -> str:
    """A workspace on that account, without limits unless given."""
    wanted = {"per_second": 100000, "burst": 100000, **limits}
    lines = "\n".join(f"{key} = {value}" for key, value in wanted.items())
    return f'[workspaces.{name}]\n{lines}\nroutes = {{ sms = "{route}" }}\n'


DEFAULTS = {"workspace_per_second = 100000": "", "workspace_burst = 100000": ""}


async def test_every_kind_of_limit_holds_in_every_window_and_is_used(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    numbers = [f"+1500555{1000 + nth}" for nth in range(5)]
    rated, long, minute, evenly, unlimited = numbers
    extra = "".join(
        (
            account("rated", rated, sandbox, rate_per_second=20, burst=5),
            account("long", long, sandbox, rate_per_second=20, burst=6),
            account("minute", minute, sandbox, rate_per_minute=30),
            account("evenly", evenly, sandbox, rate_per_second=15),
            account("unlimited", unlimited, sandbox),
            '[routes]\nsms = "main"\n',
            workspace("rated-a", "rated"),
            workspace("rated-b", "rated"),
            workspace("long", "long"),
            workspace("minute", "minute"),
            workspace("evenly", "evenly"),
            workspace("few", "unlimited", per_minute=12),
        )
    )
    async with daemon_on(work_dir, dsn, sandbox, port, extra=extra, edits=DEFAULTS):
        names = ("clinic", "rated-a", "rated-b", "minute", "evenly", "few")
        for nth, name in enumerate(names):
            await enqueue(conn, 250, workspace=name, first=1000 * nth)
        await enqueue(conn, 150, workspace="long", first=9000, body="x" * 400)
        await asyncio.sleep(8)
    by_sender: dict[str | None, list[Message]] = {}
    for message in accepted(sandbox.ledger):
        by_sender.setdefault(message.sender, []).append(message)
    clinic = by_sender.pop("+15005550006")
    assert_within(clinic, per_second=10, burst=50)  # the defaults
    assert segments(clinic) >= 90
    assert_within(by_sender[rated], per_second=20, burst=5)
    assert len(by_sender[rated]) >= 100
    assert_within(by_sender[evenly], per_second=15, burst=1)
    assert len(by_sender[evenly]) >= 75
    assert {message.segments for message in by_sender[long]} == {3}
    assert_within(by_sender[long], per_second=20, burst=6)
    assert segments(by_sender[long]) >= 100
    assert 25 <= len(by_sender[minute]) <= 30
    assert 10 <= len(by_sender[unlimited]) <= 12
    # The two workspaces on one account share it.
    to_a = sum(4150001000 <= int(message.to[2:]) < 4150002000 for message in by_sender[rated])
    assert 0.3 <= to_a / len(by_sender[rated]) <= 0.7
    assert sandbox.ledger.duplicates == 0


async def test_a_senders_limit_counts_across_workspaces_and_is_each_numbers_own(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    own = "+15005552222"
    extra = f'[workspaces.own]\nfrom = "{own}"\n'
    limits = {"[limits]": "[limits]\nsender_per_second = 12\nsender_burst = 4"}
    async with daemon_on(work_dir, dsn, sandbox, port, extra=extra, edits=limits):
        for nth, name in enumerate(("clinic", "shop", "own")):
            await enqueue(conn, 150, workspace=name, first=1000 * nth)
        await asyncio.sleep(5)
    shared = [m for m in accepted(sandbox.ledger) if m.sender != own]
    alone = [m for m in accepted(sandbox.ledger) if m.sender == own]
    for messages in (shared, alone):
        assert_within(messages, per_second=12, burst=4)
        assert len(messages) >= 40
    to_clinic = sum(int(message.to[2:]) < 4150001000 for message in shared)
    assert 0.3 <= to_clinic / len(shared) <= 0.7


async def test_two_daemons_share_a_limit_and_one_takes_the_whole_when_the_other_is_killed(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    rate = 40
    rated = f"rate_per_second = {rate}\nburst = 4\npatience_seconds = 2"

    def lately(seconds: float) -> float:
        since = sandbox.ledger.monotonic() - seconds
        return sum(m.accepted_monotonic > since for m in accepted(sandbox.ledger)) / seconds

    async def alive(expected: int) -> None:
        async def counted() -> bool:
            asked = "select count(*) from duly.node where alive_until > now()"
            return bool(await conn.fetchval(asked) == expected)

        await until(counted)

    async def both_send() -> bool:
        asked = """select count(distinct lease_token >> 32) = 2 from duly.attempt
                   where began_at > now() - interval '1 second'"""
        return bool(await conn.fetchval(asked))

    async with daemon_on(work_dir, dsn, sandbox, port, account=rated) as first:
        await enqueue(conn, 2500)
        await until(flowing(lambda: lately(1.5) >= 0.7 * rate))
        async with daemon_on(work_dir, dsn, sandbox, free_port(), account=rated) as second:
            await alive(2)
            await until(both_send)
            await asyncio.sleep(2)
            assert lately(2) >= 0.6 * rate
            first.signal(signal.SIGKILL)
            await first.wait()
            await alive(1)
            await until(flowing(lambda: lately(2) >= 0.75 * rate), seconds=25)
            assert await second.stop() == 0
    assert_within(accepted(sandbox.ledger), per_second=rate, burst=4)
    assert sandbox.ledger.duplicates == 0


async def test_a_daemon_killed_and_started_anew_has_no_burst_and_no_minute_anew(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    extra = account("minute", "+15005551234", sandbox, rate_per_minute=20)
    extra += '[routes]\nsms = "main"\n' + workspace("few", "minute") + workspace("roomy", "main")
    for _ in range(3):
        async with daemon_on(
            work_dir,
            dsn,
            sandbox,
            port,
            account="rate_per_second = 5\nburst = 20",
            extra=extra,
            edits=DEFAULTS,
        ) as daemon:
            for name in ("roomy", "few"):
                await enqueue(conn, 100, workspace=name)
            await asyncio.sleep(1)
            daemon.signal(signal.SIGKILL)
            await daemon.wait()
    minute = [m for m in accepted(sandbox.ledger) if m.sender == "+15005551234"]
    assert 18 <= len(minute) <= 20
    rated = [m for m in accepted(sandbox.ledger) if m not in minute]
    assert len(rated) >= 20
    assert_within(rated, per_second=5, burst=20)


def flowing(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return condition()

    return holds
