"""Retries: when, how often, until when; and who is told when there will be none."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest_asyncio
from aiohttp import web

from daemon.config import RetryRule
from daemon.model import Reason, State, StatusUpdate
from daemon.queue.policies import Policies
from daemon.queue.recorder import Recorder
from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.store.database import Connection, Database
from tests.integration.stage import NUMBER, Stage
from tests.support import until

INVALID, UNREACHABLE, TOO_MANY, UNAVAILABLE = (NUMBER.format(n) for n in (1, 3, 9, 14))


@pytest_asyncio.fixture
async def stage(dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Path) -> Stage:
    return Stage(dsn, conn, sandbox, work_dir)


@dataclass
class Ears:
    """An operator's server: what it was told, and how it answers."""

    url: str = ""
    status: int = 200
    heard: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self.raw.append(await request.read())
        self.heard.append(orjson.loads(self.raw[-1]))
        return web.Response(status=self.status)


@asynccontextmanager
async def listening() -> AsyncIterator[Ears]:
    ears = Ears()
    app = web.Application()
    app.add_routes([web.post("/duly", ears.hear)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ears.url = f"http://127.0.0.1:{runner.addresses[0][1]}/duly"
    try:
        yield ears
    finally:
        await runner.cleanup()


async def again_in(stage: Stage, delivery: UUID, reason: str) -> float:
    """Waits until it is queued again for this reason; seconds between its refusal and its next due time."""

    async def queued() -> float | None:
        row = await stage.row(delivery)
        if row["reason"] != reason or row["state"] != "queued":
            return None
        pause: timedelta = row["due_at"] - row["state_at"]
        return pause.total_seconds()

    return float(await until(queued))


async def test_the_platforms_retry_after_is_obeyed_and_a_limit_is_no_attempt(stage: Stage) -> None:
    async with stage.daemon():
        limited, unavailable = await stage.enqueue(TOO_MANY), await stage.enqueue(UNAVAILABLE)
        assert await again_in(stage, unavailable, "provider_unavailable") >= 1
        await stage.conn.execute("update duly.delivery_row set due_at = now() where id = $1", unavailable)
        for delivery in (limited, unavailable):
            await stage.reaches(delivery, "delivered")
        refused = next(r for r in stage.sandbox.ledger.rejections if r.delivery == str(limited))
        assert stage.taken(limited)[0].created - refused.at >= 1.0  # Retry-After: 1
        stage.assert_once([limited, unavailable])
        assert [(await stage.row(d))["attempts"] for d in (limited, unavailable)] == [1, 2]
        assert [stage.taken(d)[0].attempt for d in (limited, unavailable)] == [1, 2]


async def test_nothing_is_tried_past_its_expiry(stage: Stage) -> None:
    stage.sandbox.dice.set(Faults(too_many_requests=1))
    async with stage.daemon():
        expires = await stage.conn.fetchval("select now() + interval '3 seconds'")
        delivery = await stage.enqueue(NUMBER.format(5000), expires_at=expires)
        await stage.reaches(delivery, "expired")
        stage.sandbox.dice.set(Faults())
        row = await stage.row(delivery)
        assert (row["reason"], row["attempts"]) == ("expired", 0)
        assert row["state_at"] >= expires
        assert stage.calls(delivery) >= 1
        assert all(r.at < expires.timestamp() for r in stage.sandbox.ledger.rejections)
        assert not stage.taken(delivery)


async def test_a_workspaces_own_ladder_goes_for_it_alone_and_a_reload_makes_it_live(stage: Stage) -> None:
    stage.sandbox.dice.set(Faults())
    common = '[retry]\nunreachable_now = { policy = "steps-60-120-300-600" }\n'
    own = 'retry = { temporary = { policy = "minutes-2-4-8" }, unreachable_now = { policy = "never" } }\n'
    async with stage.daemon(extra=common) as daemon:
        first = await stage.enqueue(UNREACHABLE, workspace="shop")
        assert await again_in(stage, first, "unreachable_now") == 60
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace("[workspaces.shop]\n", "[workspaces.shop]\n" + own))
        daemon.signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return '"reloaded"' in daemon.log

        await until(reloaded)
        second = await stage.enqueue(UNREACHABLE, "again", workspace="shop")
        other = await stage.enqueue(UNREACHABLE, "theirs", workspace="clinic")
        await stage.reaches(second, "failed")
        assert (await stage.row(second))["reason"] == "unreachable_now"
        for pause in (60, 120, 300, 600):
            assert await again_in(stage, other, "unreachable_now") == pause
            await stage.conn.execute(
                "update duly.delivery_row set due_at = now(), reason = null where id = $1", other
            )
        await stage.reaches(other, "failed")
        assert [m.attempt for m in stage.taken(other)] == [1, 2, 3, 4, 5]
        assert stage.sandbox.ledger.duplicates == 0  # each one before it had failed


async def test_a_connection_that_is_refused_counts_no_attempt(stage: Stage) -> None:
    async with stage.daemon(
        extra='[retry]\nconnection_failed = { policy = "steps-60-120-300-600", attempts = 1 }'
    ) as daemon:
        text = daemon.config.read_text()
        away = text.replace(f'base_url = "{stage.sandbox.url}"', 'base_url = "http://127.0.0.1:1"')
        daemon.config.write_text(away)
        daemon.signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return '"reloaded"' in daemon.log

        await until(reloaded)
        delivery = await stage.enqueue(NUMBER.format(5000))
        assert await again_in(stage, delivery, "connection_failed") == 60
        assert (await stage.row(delivery))["attempts"] == 0
        daemon.config.write_text(text)
        daemon.signal(signal.SIGHUP)
        await stage.conn.execute("update duly.delivery_row set due_at = now()")
        await stage.reaches(delivery, "delivered")
        assert stage.taken(delivery)[0].attempt == 1


# ── Notices ──


async def test_who_is_to_be_told_is_told_once_of_what_was_given_up_and_of_nothing_more(stage: Stage) -> None:
    async with listening() as ears:
        ears.status = 500
        rules = f'[retry]\npermanent = {{ notify = "{ears.url}" }}\nlimit = {{ notify = "{ears.url}" }}\n'
        async with stage.daemon(extra=rules):
            given_up = await stage.enqueue(INVALID, "Your secret: 4711")
            fine = [await stage.enqueue(TOO_MANY), await stage.enqueue(NUMBER.format(5000))]
            await stage.reaches(given_up, "failed")

            async def told() -> int:
                return len(ears.heard)

            await until(told)

            async def waits() -> bool:
                return bool(
                    await stage.conn.fetchval(
                        "select count(*) from duly.notice where tries = 1 and tell_at > now()"
                    )
                )

            await until(waits)  # answered 500: kept, for later
            ears.status = 204
            await stage.conn.execute("update duly.notice set tell_at = now()")

            async def gone() -> bool:
                return not await stage.conn.fetchval("select count(*) from duly.notice")

            await until(gone)
            for delivery in fine:
                await stage.reaches(delivery, "delivered")
        assert [h["delivery"] for h in ears.heard] == [str(given_up)] * 2
        assert ears.heard[0] == ears.heard[1]
        assert set(ears.heard[0]) == {"delivery", "workspace", "reason", "at"}
        assert (ears.heard[0]["workspace"], ears.heard[0]["reason"]) == ("clinic", "invalid_address")
        assert INVALID.encode() not in ears.raw[0]
        assert b"4711" not in ears.raw[0]


@asynccontextmanager
async def recorder(database: Database, rules: dict[str, RetryRule]) -> AsyncIterator[Recorder]:
    found = Recorder(database, lambda _: Policies(lambda _: [rules], 5))
    writing = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_a_callback_that_is_repeated_makes_no_second_notice(stage: Stage, database: Database) -> None:
    await stage.conn.execute("select duly.register_workspace('clinic')")
    delivery = await stage.enqueue(NUMBER.format(5000))
    await stage.conn.execute("update duly.delivery_row set state = 'sent', lease_token = 1, attempts = 1")
    rules = {"not_mobile": RetryRule(notify="https://ops.example")}

    def failed(attempt: int = 1) -> StatusUpdate:
        return StatusUpdate(delivery, attempt, "SM1", "failed", State.FAILED, Reason.NOT_MOBILE, "30006")

    async with recorder(database, rules) as found:
        await found.status("main", failed(attempt=9))  # of no attempt that there was
        assert await stage.conn.fetchval("select count(*) from duly.notice") == 0
        for _ in range(3):
            await found.status("main", failed())
    assert await stage.state(delivery) == "failed"
    assert await stage.conn.fetchval("select count(*) from duly.notice") == 1
    assert await stage.conn.fetchval("select count(*) from duly.callback where moved") == 1
