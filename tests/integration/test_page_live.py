"""The live view: what who watches gets, and what it costs the database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, DatabaseDown
from daemon.store.overview import TooSlow
from daemon.store.sql import query
from daemon.web.live import MAX_WATCHERS, Paced
from tests.page import Page, counts, enqueue, watching
from tests.support import until


@pytest.fixture
async def page(dsn: str, sandbox: Sandbox) -> AsyncIterator[Page]:
    async with Page(dsn, sandbox.url) as found:
        sandbox.lifecycle.inbound_url = f"{found.url}/hooks/twilio/main/inbound"
        yield found


async def test_an_enqueued_message_shows_up_for_who_is_watching(page: Page, conn: Connection) -> None:
    async with watching(page) as events:
        assert counts((await events.next())["overview"])["delivered"] == 0
        delivery = await enqueue(conn)
        async with asyncio.timeout(15):
            while True:
                event = await events.next()
                if (
                    counts(event["overview"])["delivered"] == 1
                    and f"/deliveries/{delivery}" in event["newest"]
                ):
                    break


async def test_when_all_places_are_taken_the_next_is_told_so(page: Page) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        streams = [await session.get(f"{page.url}/live") for _ in range(MAX_WATCHERS)]
        answer = await page.get("/live")
        assert answer.status == 503
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        for stream in streams:
            stream.close()

        async def room() -> bool:
            async with session.get(f"{page.url}/live") as response:
                return response.status == 200

        await until(room)


async def test_who_watches_does_not_hold_up_the_end(dsn: str, sandbox: Sandbox) -> None:
    page = Page(dsn, sandbox.url)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(page)
        async with watching(page) as events:
            await events.next()
            began = time.monotonic()
            await stack.aclose()
            assert time.monotonic() - began < 3
            assert await events.ended()


async def test_a_question_is_asked_once_for_all_and_no_oftener_than_it_costs() -> None:
    now = 100.0
    asked = 0
    outcome: Exception | None = None

    async def ask() -> int:
        nonlocal now, asked
        asked += 1
        now += 0.5
        if outcome is not None:
            raise outcome
        return asked

    paced = Paced(ask, pause_factor=20, monotonic=lambda: now)
    assert await asyncio.gather(*(paced.get() for _ in range(10))) == [1] * 10
    now += 9.9
    assert await paced.get() == 1
    now += 0.2
    assert await paced.get() == 2
    now += 11
    outcome = TooSlow("it took too long")
    for _ in range(3):
        with pytest.raises(DatabaseDown):
            await paced.get()
    assert asked == 3
    now += 9  # a question too slow for the database costs as much as one that was answered
    with pytest.raises(DatabaseDown):
        await paced.get()
    assert asked == 3
    now += 2
    outcome = DatabaseDown("away")
    with pytest.raises(DatabaseDown):
        await paced.get()
    now += 2.1  # an outage is no cost: it is looked for the end of it
    outcome = None
    assert await paced.get() == 5


async def test_counting_what_is_under_way_reads_no_whole_table(conn: Connection) -> None:
    await conn.execute("select duly.register_workspace('clinic')")
    await conn.execute("""
        insert into duly.delivery_row (id, workspace_id, message_id, channel, priority, state, due_at, "to", node_id)
        select duly.new_id(), 1, duly.new_id(), 'sms', 1 + n % 3,
               (array['queued', 'sending', 'uncertain', 'failed', 'delivered'])[greatest(1, 5 - n % 40)]::duly.state,
               now(), '+14155550123', case when 5 - n % 40 = 2 then 1 end
        from generate_series(1, 30000) n""")
    await conn.execute("analyze duly.delivery_row")
    live = query("overview_live")
    by_state = {row["state"]: row["total"] for row in await conn.fetch(live)}
    rows = await conn.fetch("select state::text, count(*) from duly.delivery_row group by state")
    assert by_state == {s: n for s, n in rows if s in ("queued", "sending", "uncertain")}
    plan = "\n".join(row[0] for row in await conn.fetch(f"explain {live}"))
    assert "Seq Scan on delivery_row" not in plan
    for state in ("queued", "sending", "uncertain", "failed"):
        plan = await _plan(conn, "recent_under_way", "null, $$" + state + "$$, 50")
        assert "Seq Scan on delivery_row" not in plan


async def _plan(conn: Connection, name: str, arguments: str) -> str:
    await conn.execute(f"prepare asked (int, text, int) as {query(name)}")
    try:
        return "\n".join(row[0] for row in await conn.fetch(f"explain (analyze) execute asked ({arguments})"))
    finally:
        await conn.execute("deallocate asked")
