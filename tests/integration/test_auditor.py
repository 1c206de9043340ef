"""What a daemon does for the audit: it records its own acts, chains everybody's, and says where the chain ends."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.config import parse_config
from daemon.queue.auditor import Auditor
from daemon.sandbox.app import Sandbox
from daemon.store.audit import Act, Note
from daemon.store.audit_chain import verify
from daemon.store.database import Connection, Database, DatabaseDown
from daemon.store.schema import Schema
from tests.integration.stage import Stage
from tests.page import Page
from tests.support import free_port, until

FAR = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def page(dsn: str, sandbox: Sandbox) -> AsyncIterator[Page]:
    async with Page(dsn, sandbox.url) as found:
        yield found


@pytest.fixture
def fits() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


class Hour:
    """A clock to turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def nothing() -> None:
    """Nothing was held back."""


async def lines(conn: Connection, what: str) -> list[dict[str, Any]]:
    """Who and detail of the chained lines of that act, in order."""
    rows = await conn.fetch("select who, detail::text from duly.audit where what = $1 order by id", what)
    return [{"who": row["who"], **json.loads(row["detail"])} for row in rows]


async def chained(conn: Connection, what: str, count: int) -> list[dict[str, Any]]:
    """Waits until so many lines of that act are chained."""

    async def there() -> bool:
        return len(await lines(conn, what)) >= count

    await until(there)
    return await lines(conn, what)


def login(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# Its own acts.


async def test_a_reload_is_recorded_with_the_keys_that_changed_and_no_value(
    page: Page, conn: Connection
) -> None:
    await page.runtime.reload(page.config(web='password = "open sesame"\nusername = "nurse"'))
    await page.runtime.reload(
        page.config(web='password = "open window"\nusername = "nurse"\nmax_body_bytes = 2048')
    )
    await page.runtime.reload(page.config(web='password = "open window"\nusername = "nurse"'))
    first, second, third = await chained(conn, "config_reloaded", 3)
    assert first.pop("who") == f"daemon {page.runtime.config.daemon.node}"
    assert first == {"changed": 2, "keys": ["web.username", "web.password"], "needs_restart": []}
    assert (second["keys"], second["needs_restart"]) == (["web.password"], ["web.max_body_bytes"])
    assert (third["changed"], third["keys"], third["needs_restart"]) == (0, [], [])
    assert "open" not in str(await conn.fetch("select * from duly.audit"))


async def test_a_reload_of_a_thousand_keys_fits_a_line(page: Page, conn: Connection) -> None:
    many = "\n".join(f"[workspaces.{n:0>100}]\nper_second = 5" for n in range(1000))
    more = parse_config(many).workspaces
    config = page.config()
    await page.runtime.reload(config.model_copy(update={"workspaces": {**config.workspaces, **more}}))
    (line,) = await chained(conn, "config_reloaded", 1)
    assert (line["changed"], len(line["keys"])) == (1000, 30)


async def test_logins_are_recorded_and_guesses_counted(dsn: str, sandbox: Sandbox, conn: Connection) -> None:
    async with Page(dsn, sandbox.url) as page:
        await page.runtime.reload(page.config(web='password = "open sesame"'))
        assert (await page.get("/")).status == 401  # a browser's first request: nobody has tried anything
        for guess in range(50):
            assert (await page.get("/", headers=login("duly", f"guess {guess}"))).status == 401
        right = login("duly", "open sesame")
        for _ in range(20):
            assert (await page.get("/", headers=right)).status == 200
            assert (await page.ask("POST", "/api/v1/deliveries", json=[], headers=right)).status == 200
        wrong = login("duly", "guess")
        assert (await page.ask("POST", "/api/v1/deliveries", json=[], headers=wrong)).status == 401
        peer = {"peer": "127.0.0.1"}
        assert await chained(conn, "login_succeeded", 1) == [{"who": "duly", **peer}]
        assert await chained(conn, "login_failed", 1) == [{"who": "unknown", **peer, "attempts": 1}]
    assert [line["attempts"] for line in await lines(conn, "login_failed")] == [1, 50]
    assert "guess" not in str(await conn.fetch("select * from duly.audit"))


async def test_without_a_password_nobody_logs_in(page: Page, conn: Connection) -> None:
    assert (await page.get("/", headers=login("duly", "anything"))).status == 200
    await page.runtime.reload(page.config())
    await chained(conn, "config_reloaded", 1)
    assert await conn.fetchval("select count(*) from duly.audit where what like 'login%'") == 0


# The chain.


async def test_two_daemons_make_one_chain(
    dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Any
) -> None:
    stage = Stage(dsn, conn, sandbox, work_dir)
    async with stage.daemon("a"), stage.daemon("b"):
        for delivery in [await stage.enqueue(f"+1415556{n:04}", due_at=FAR) for n in range(300)]:
            await conn.execute("select duly.cancel($1)", delivery)
        await chained(conn, "canceled", 300)
    verdict = await verify(conn)
    assert (verdict.problem, verdict.newest.id, verdict.waiting) == ("", 300, 0)


async def test_the_head_is_logged_once_an_hour_when_it_moves(
    database: Database, conn: Connection, fits: asyncio.Event
) -> None:
    clock = Hour()
    auditor = Auditor(database, fits, nothing, monotonic=clock)
    with capture_logs() as logs:
        for _ in range(5):
            auditor.note(Note("ada", Act.EXPORTED))
            await auditor.once()
        clock.now += 3600
        await auditor.once()
        auditor.note(Note("ada", Act.EXPORTED))
        await auditor.once()
    heads = await conn.fetch(
        "select id, encode(hash, 'hex') as hash from duly.audit where id in (1, 6) order by id"
    )
    assert [line["head"] for line in logs if line["event"] == "audit head"] == [
        f"{row['id']}:{row['hash']}" for row in heads
    ]


async def test_a_backlog_is_chained_in_one_pass(
    database: Database, conn: Connection, fits: asyncio.Event
) -> None:
    await conn.execute("select duly.audit_append('ada', 'exported') from generate_series(1, 2500)")
    with capture_logs() as logs:
        await Auditor(database, fits, nothing).once()
    assert (await verify(conn)).newest.id == 2500
    assert [line["head"].partition(":")[0] for line in logs] == ["2500"]


async def test_notes_outlive_an_outage_and_say_that_they_are_late(
    conn: Connection, dsn: str, fits: asyncio.Event
) -> None:
    there = [f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"]
    database, clock = Database(lambda: there[0]), Hour()
    auditor = Auditor(database, fits, nothing, monotonic=clock)
    auditor.note(Note("ada", Act.CONFIG_RELOADED, {"changed": 1}))
    with pytest.raises(DatabaseDown):
        await auditor.once()
    clock.now += 90
    there[0] = dsn
    auditor.note(Note("ada", Act.CONFIG_RELOADED, {"changed": 2}))
    await auditor.once()
    await database.close()
    assert await lines(conn, "config_reloaded") == [
        {"who": "ada", "changed": 1, "seconds_late": 90},
        {"who": "ada", "changed": 2},
    ]


async def test_what_is_noted_last_is_written_at_the_end(
    database: Database, conn: Connection, fits: asyncio.Event
) -> None:
    held = [Note("unknown", Act.LOGIN_FAILED, {"attempts": 7})]

    def gather() -> None:
        if auditor_stopping.is_set() and held:
            auditor.note(held.pop())

    auditor_stopping = asyncio.Event()
    auditor = Auditor(database, fits, gather)
    running = asyncio.create_task(auditor.run())
    await asyncio.sleep(0.2)
    auditor_stopping.set()
    await auditor.stop()
    async with asyncio.timeout(5):
        await running
    assert await lines(conn, "login_failed") == [{"who": "unknown", "attempts": 7}]


async def test_notes_that_did_not_fit_during_an_outage_are_told_of_when_it_ends(
    conn: Connection, dsn: str, fits: asyncio.Event
) -> None:
    database = Database(lambda: dsn)
    auditor = Auditor(database, fits, nothing)
    for _ in range(1003):
        auditor.note(Note("ada", Act.EXPORTED))
    with capture_logs() as logs:
        for _ in range(2):
            await auditor.once()
    await database.close()
    assert [line["count"] for line in logs if "were lost" in line["event"]] == [3]
    assert await conn.fetchval("select count(*) from duly.audit") == 1000


async def test_an_inbox_is_bounded_and_what_is_lost_is_said(fits: asyncio.Event) -> None:
    nowhere = Database(lambda: f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    auditor = Auditor(nowhere, fits, nothing)
    for _ in range(1100):
        auditor.note(Note("ada", Act.EXPORTED))
    await auditor.stop()
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await auditor.run()
    (lost,) = [line for line in logs if "were lost" in line["event"]]
    assert (lost["log_level"], lost["count"]) == ("error", 1100)


async def test_a_chain_that_cannot_grow_is_said_once_and_ends_nothing(
    database: Database, conn: Connection, fits: asyncio.Event
) -> None:
    auditor = Auditor(database, fits, nothing)
    await conn.execute(
        "insert into duly.audit select 1, now(), 'eve', 'exported', null, null, '{}', '', '' from generate_series(1, 1)"
    )
    with capture_logs() as logs:
        for _ in range(3):
            auditor.note(Note("ada", Act.EXPORTED))
            await auditor.once()
    assert [line["event"] for line in logs] == ["the audit's chain cannot grow: see `duly doctor`"]
    assert await conn.fetchval("select count(*) from duly.audit_intake") == 3


async def test_nothing_is_asked_of_a_database_whose_schema_does_not_fit(database: Database) -> None:
    schema = Schema(database, may_migrate=False)
    auditor = Auditor(database, schema.fits, nothing)
    running = asyncio.create_task(auditor.run())
    await asyncio.sleep(0.1)
    await auditor.stop()
    async with asyncio.timeout(5):
        await running
    assert database.problem == "not connected yet"
