"""One account's trouble: its breaker opens, its rows wait in the database, the others go on."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection
from tests.integration.stage import Stage, metric, readyz
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER, DaemonProcess, free_port, until

# An account each, with a workspace of the same name.
WELL, FAILING, SLOW, AWAY = "well", "failing", "slow", "away"


def stand_in(port: int = 0) -> Sandbox:
    return Sandbox(
        SandboxSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, seed=1, speed=10, port=port)
    )


@pytest_asyncio.fixture
async def stage(dsn: str, conn: Connection, work_dir: Path) -> AsyncIterator[Stage]:
    async with stand_in() as found:
        yield Stage(dsn, conn, found, work_dir)


def account(name: str, url: str) -> str:
    return f"""
[platforms.{name}]
kind = "twilio"
base_url = "{url}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
from = "{SENDER}"
timeout_seconds = 1
patience_seconds = 2
concurrency = 5
[workspaces.{name}]
routes = {{ sms = "{name}" }}
"""


async def accounts(daemon: DaemonProcess) -> dict[str, str]:
    """Each account's state; the daemon itself is fit throughout."""
    status, found = await readyz(daemon)
    assert status == 200
    return dict(found["accounts"])


async def states(stage: Stage, deliveries: list[UUID]) -> set[str]:
    return {await stage.state(delivery) for delivery in deliveries}


def least_gap(sandbox: Sandbox, count: int) -> float:
    """The least seconds between the first messages that it accepted."""
    moments = [message.accepted_monotonic for message in sandbox.ledger.messages[:count]]
    return min(later - sooner for sooner, later in pairwise(moments))


async def test_an_account_that_fails_or_hangs_or_is_away_waits_while_the_others_go_on(stage: Stage) -> None:
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        failing, slow = [await stack.enter_async_context(stand_in()) for _ in range(2)]
        failing.dice.set(Faults(error_not_taken=1))
        slow.dice.set(Faults(latency_ms=3000))
        urls = {WELL: stage.sandbox.url, FAILING: failing.url, SLOW: slow.url}
        urls[AWAY] = f"http://127.0.0.1:{port}"
        extra = "".join(account(name, url) for name, url in urls.items())
        daemon = await stack.enter_async_context(stage.daemon(extra=extra))
        first = await stage.many(5, workspace=WELL)
        troubled = {
            name: await stage.many(40, workspace=name, first=1000 * i)
            for i, name in enumerate((FAILING, SLOW, AWAY), start=2)
        }

        async def open_() -> bool:
            found = await accounts(daemon)
            return all("breaker" in found[name] for name in (FAILING, SLOW, AWAY))

        await until(open_)
        found = await accounts(daemon)
        assert "calls failed" in found[FAILING]
        assert (found[WELL], found["main"]) == ("ok", "ok")

        async def idle() -> bool:
            # A line marks some deliveries ahead of its workers: these calls are made, the others wait.
            held = await stage.conn.fetchval(
                "select count(*) from duly.delivery_row where state in ('leased', 'sending')"
            )
            return not held

        await until(idle)
        for deliveries in troubled.values():
            assert await states(stage, deliveries) <= {"queued", "uncertain"}
        assert await metric(daemon, 'duly_waiting{account="failing"}') == 0
        assert (
            await metric(
                daemon, 'duly_outcomes_total{account="failing",reason="provider_error",state="uncertain"}'
            )
            >= 10
        )
        assert (
            await metric(
                daemon, 'duly_outcomes_total{account="away",reason="connection_failed",state="queued"}'
            )
            >= 10
        )
        assert (
            await stage.conn.fetchval(  # a call that never got there is no attempt
                "select max(attempts) from duly.delivery_row r join duly.workspace w on w.id = r.workspace_id"
                " where w.name = $1",
                AWAY,
            )
            == 0
        )
        later = await stage.many(5, workspace=WELL, first=1005)
        for delivery in first + later:
            await stage.reaches(delivery, "delivered")
        assert failing.ledger.received <= 25
        assert failing.ledger.accepted == 0

        failing.ledger.received = slow.ledger.received = 0
        failing.dice.set(Faults(latency_ms=200))
        slow.dice.set(Faults(latency_ms=200))
        back = await stack.enter_async_context(stand_in(port))
        back.dice.set(Faults(latency_ms=200))
        await stage.conn.execute("update duly.delivery_row set due_at = now() where state = 'queued'")

        async def well() -> bool:
            return set((await accounts(daemon)).values()) == {"ok"}

        await until(well, seconds=40)
        await stage.conn.execute("update duly.delivery_row set due_at = now() where state = 'queued'")
        await stage.all_reach("delivered")
        for each, name in ((failing, FAILING), (slow, SLOW), (back, AWAY)):
            assert least_gap(each, 3) >= 0.2, name  # one probe at a time
            assert (each.ledger.accepted, each.ledger.duplicates) == (40, 0)
        assert daemon.log.count('"breaker opened"') >= 3


async def test_bad_credentials_pause_that_account_at_once_and_fail_nothing_until_the_token_is_right(
    stage: Stage,
) -> None:
    daemon = stage.config(
        account="concurrency = 2", extra='[routes]\nsms = "main"' + account(WELL, stage.sandbox.url)
    )
    right = daemon.config.read_text()
    wrong = right.replace(f'auth_token = "{AUTH_TOKEN}"', 'auth_token = "rotated away"', 1)
    daemon.config.write_text(wrong)
    async with stage.running(daemon):
        refused = await stage.many(30, workspace="clinic")
        fine = await stage.many(5, workspace=WELL, first=2000)
        for delivery in fine:
            await stage.reaches(delivery, "delivered")

        async def paused() -> bool:
            return "bad_credentials" in (await accounts(daemon))["main"]

        await until(paused)
        assert await states(stage, refused) == {"queued"}
        calls = len(stage.sandbox.ledger.rejections)
        assert 1 <= calls <= 4  # those under way and those marked ahead
        assert {r.code for r in stage.sandbox.ledger.rejections} == {20003}
        assert (
            await stage.conn.fetchval("select max(attempts) from duly.delivery_row where state = 'queued'")
            == 0
        )
        refusals = [json.loads(line) for line in daemon.log.splitlines() if '"breaker opened"' in line]
        assert {(line["account"], line["why"]) for line in refusals} == {("main", "bad_credentials")}

        daemon.config.write_text(right)
        daemon.signal(signal.SIGHUP)
        untouched = await stage.conn.fetch(
            "select id from duly.delivery_row where due_at <= now() and state = 'queued'"
        )
        for row in untouched:
            await stage.reaches(row["id"], "delivered")
        latest = await stage.conn.fetchval(
            "select max(due_at) - now() from duly.delivery_row where state = 'queued'"
        )
        assert latest is None or 0 < latest.total_seconds() <= 60
        await stage.conn.execute("update duly.delivery_row set due_at = now() where state = 'queued'")
        await stage.all_reach("delivered")
        stage.assert_once(refused + fine)
        assert (await accounts(daemon))["main"] == "ok"
        assert "rotated away" not in daemon.log
