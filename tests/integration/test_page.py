"""The page over real sockets: what it shows, and what it says when something is away."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.page import PERSON, Page, counts, enqueue, plan, reached, watching
from tests.support import until


@pytest.fixture
async def page(dsn: str, sandbox: Sandbox) -> AsyncIterator[Page]:
    async with Page(dsn, sandbox.url) as found:
        sandbox.lifecycle.inbound_url = f"{found.url}/hooks/twilio/main/inbound"
        yield found


async def test_a_deliverys_page_tells_its_whole_story(page: Page, conn: Connection) -> None:
    delivery = await enqueue(conn, "Your appointment: 9:00")
    await reached(conn, delivery, "delivered")
    answer = await page.get(f"/deliveries/{delivery}")
    assert answer.status == 200
    for word in (
        "queued",
        "attempt 1 accepted",
        "callback delivered",
        PERSON,
        "Your appointment: 9:00",
        "main",
    ):
        assert word in answer.text
    assert re.search(r'<time datetime="20[^"]+\+00:00" data-zone="both">20[^<]+ UTC</time>', answer.text)
    assert "data-refresh" not in answer.text


async def test_a_script_in_a_message_is_shown_as_text_everywhere(
    page: Page, conn: Connection, sandbox: Sandbox
) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    delivery = await enqueue(conn, hostile)
    await reached(conn, delivery, "delivered")
    sandbox.lifecycle.reply(PERSON, f"{hostile} back")
    for path in (f"/deliveries/{delivery}", "/sandbox", f"/sandbox/{PERSON}"):
        answer = await page.get(path)
        assert answer.status == 200
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img" in answer.text
        assert "<script>" not in answer.text
        assert "<img" not in answer.text


async def test_what_is_not_there_is_said_kindly(page: Page) -> None:
    for path, status, says in (
        (f"/deliveries/{uuid4()}", 404, "no delivery"),
        ("/deliveries/42", 400, "no delivery&#39;s id"),
        ("/deliveries/%3Cscript%3E", 400, "no delivery&#39;s id"),
        ("/nothing", 404, "Not Found"),
        ("/?state=lost", 400, "no such state"),
        ("/sandbox/+19995550100", 404, "No message"),
        ("/sandbox/abc", 400, "not a number"),
        ("/sandbox/..%2F..%2Fstats", 400, "not a number"),
    ):
        answer = await page.get(path)
        assert answer.status == status, path
        assert answer.headers["Content-Type"].startswith("text/html")
        assert says in answer.text


async def test_deliveries_are_found_by_workspace_state_and_number(page: Page, conn: Connection) -> None:
    arrived = await enqueue(conn)
    refused = await enqueue(conn, to="+14155550001", workspace="shop")
    later = await conn.fetchval(
        "select duly.enqueue('shop', 'sms', '+14155550777', 'later', now() + interval '1 hour')"
    )
    await reached(conn, arrived, "delivered")
    await reached(conn, refused, "failed")

    async def found(query_string: str) -> set[UUID]:
        answer = await page.get(f"/?{query_string}")
        assert answer.status == 200
        return {UUID(hit) for hit in re.findall(r"/deliveries/([0-9a-f-]{36})", answer.text)}

    assert await found("") == {arrived, refused, later}
    assert await found("workspace=shop") == {refused, later}
    assert await found("workspace=nobody") == set()
    assert await found("state=delivered") == {arrived}
    assert await found("state=failed") == {refused}
    assert await found("state=queued") == {later}
    assert await found("state=queued&workspace=clinic") == set()
    assert await found("state=skipped") == set()
    assert await found("to=%2B14155550777") == {later}
    assert await found("to=+1 (415) 555-0001".replace(" ", "%20")) == {refused}
    assert await found("to=%2B1415555") == set()
    assert await found("to=%2B14155550123&state=failed") == set()


async def test_the_counts_are_right(page: Page, conn: Connection) -> None:
    arrived = [await enqueue(conn) for _ in range(3)]
    refused = await enqueue(conn, to="+14155550001")
    for delivery in arrived:
        await reached(conn, delivery, "delivered")
    await reached(conn, refused, "failed")
    await conn.execute(
        "select duly.enqueue('shop', 'sms', $1, 'later', now() + interval '1 hour') from generate_series(1, 4)",
        PERSON,
    )
    canceled = await conn.fetchval(
        "select duly.enqueue('shop', 'sms', $1, 'never', now() + interval '1 hour')", PERSON
    )
    await conn.execute("select duly.cancel($1)", canceled)

    async def counted() -> bool:
        return counts((await page.get("/")).text) == {
            "queued": 4,
            "sending": 0,
            "uncertain": 0,
            "sent": 0,
            "delivered": 3,
            "failed": 1,
            "ended": 1,
        }

    await until(counted)


# What is to come.


async def test_the_page_says_when_the_queue_is_empty_and_when_a_cohort_ends(
    dsn: str, sandbox: Sandbox, conn: Connection
) -> None:
    async with Page(dsn, sandbox.url, account="rate_per_second = 2") as page:
        sunday = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=3)
        async with conn.transaction():
            await conn.execute(
                """select duly.enqueue('clinic', 'sms', '+1415555' || 1000 + n, 'Hello', expires_at => now() + '1 hour')
                   from generate_series(1, 600) n"""
            )
            await conn.execute(
                """select duly.enqueue('shop', 'sms', '+1415556' || 1000 + n, 'Hello', due_at => $1)
                   from generate_series(1, 960) n""",
                sunday,
            )
            await conn.execute(
                """select duly.enqueue('shop', 'sms', '+1415557' || 1000 + n, 'Hello', expires_at => now() + '10 s')
                   from generate_series(1, 300) n"""
            )

        async def foretold() -> str | None:
            text = (await page.get("/")).text
            return text if "empty at" in text and "960 messages" in text else None

        text = await until(foretold)
    times = [
        datetime.fromisoformat(at) for at in re.findall(r'datetime="([^"]+)" data-zone="own" data-to', text)
    ]
    empty = re.search(r'empty at <time datetime="([^"]+)"', text)
    assert empty is not None
    # 600 at 2 a second and what goes of the 300 before they expire: they share for ten seconds.
    left = datetime.fromisoformat(empty[1]) - datetime.now(UTC)
    assert timedelta(minutes=4) < left < timedelta(minutes=6)
    assert sunday in times
    assert any(timedelta(minutes=7) < at - sunday < timedelta(minutes=9) for at in times)
    expiring = re.search(r"(\d+) will expire unsent: their turn", text)
    assert expiring is not None
    assert 280 <= int(expiring[1]) <= 300


async def test_a_busy_moment_that_is_planned_for_is_a_chart(page: Page, conn: Connection) -> None:
    assert "wanted at once" not in (await page.get("/")).text
    sunday = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=3)
    await plan(conn, 90, sunday)
    await plan(conn, 4, sunday, priority=1)

    async def spread() -> str | None:
        text = (await page.get("/")).text
        return text if re.search(r"94 wanted at once", text) and text.count('class="placed p3"') > 2 else None

    text = await until(spread)
    times = re.search(r"94 wanted at once, spread until <time datetime=\"([^\"]+)", text)
    assert times is not None
    assert datetime.fromisoformat(times[1]) == sunday + timedelta(hours=1)
    assert "<b>main</b> carries 100 segments an hour" in text
    assert 'class="placed p1"' in text
    assert "<td>94</td><td>94</td><td>0</td>" in text
    assert "style=" not in text


async def test_the_page_says_why_nobody_can_say_when_the_queue_is_empty(
    dsn: str, sandbox: Sandbox, conn: Connection
) -> None:
    async with Page(dsn, sandbox.url, account="enabled = false", routes='sms = "main"') as page:
        await enqueue(conn)

        async def said() -> bool:
            text = (await page.get("/")).text
            return "nobody can say</span>" in text and "the account main is disabled" in text

        await until(said)


# When something is away.


async def test_a_page_without_a_database_says_so_and_the_live_view_comes_back_by_itself(
    page: Page, dsn: str, postgres: Any
) -> None:
    name = urlsplit(dsn).path[1:]
    admin = await asyncpg.connect(postgres.server.dsn)
    try:
        async with watching(page) as events:
            assert counts((await events.next())["overview"])
            await admin.execute(f"drop database {name} with (force)")

            async def away() -> bool:
                return (await page.get("/")).status == 503

            await until(away)
            answer = await page.get("/")
            assert "The database does not answer" in answer.text
            assert (await page.get(f"/deliveries/{uuid4()}")).status == 503
            assert (await page.get("/?state=failed")).status == 503
            while counts((await events.next())["overview"]):
                pass
            await admin.execute(f"create database {name} template duly_template")
            while not counts((await events.next())["overview"]):
                pass
            assert (await page.get("/")).status == 200
    finally:
        await admin.close()


# The sandbox's phones.


async def test_a_reply_goes_from_the_phone_to_the_database(
    page: Page, conn: Connection, sandbox: Sandbox
) -> None:
    await reached(conn, await enqueue(conn, "Come at nine"), "delivered")
    assert PERSON in (await page.get("/sandbox?q=0123")).text
    assert PERSON not in (await page.get("/sandbox?q=9999")).text
    assert "Come at nine" in (await page.get(f"/sandbox/{PERSON}")).text
    answer = await page.ask("POST", f"/sandbox/{PERSON}", data={"body": "STOP"}, headers={"Origin": page.url})
    assert (answer.status, answer.headers["Location"]) == (303, f"/sandbox/{PERSON}")
    conversation = (await page.get(f"/sandbox/{PERSON}")).text
    assert "STOP</p>" in conversation
    assert "opted out" in conversation

    async def stored() -> bool:
        found = await conn.fetchval("select opt_out_type from duly.inbound where from_address = $1", PERSON)
        return bool(found == "STOP")

    await until(stored)


async def test_a_reply_without_a_fitting_text_is_refused(page: Page) -> None:
    for body in ("", "   ", "x" * 1601):
        answer = await page.ask(
            "POST", f"/sandbox/{PERSON}", data={"body": body}, headers={"Origin": page.url}
        )
        assert answer.status == 400


async def test_a_reply_that_the_stand_in_cannot_post_is_said_to_be_unheard(
    page: Page, conn: Connection, sandbox: Sandbox
) -> None:
    sandbox.lifecycle.inbound_url = None
    await reached(conn, await enqueue(conn), "delivered")
    answer = await page.ask("POST", f"/sandbox/{PERSON}", data={"body": "hi"}, headers={"Origin": page.url})
    assert "knows no URL" in (await page.get(answer.headers["Location"])).text


async def test_a_stand_in_that_is_away_is_said_to_be(page: Page, sandbox: Sandbox) -> None:
    await sandbox.close()
    for path in ("/sandbox", f"/sandbox/{PERSON}"):
        answer = await page.get(path)
        assert answer.status == 502
        assert "does not answer" in answer.text


async def test_without_a_stand_in_the_page_says_what_it_is_and_how_to_get_one(
    dsn: str, sandbox: Sandbox
) -> None:
    async with Page(dsn, sandbox.url, sandbox=False) as page:
        answer = await page.get("/sandbox")
        assert answer.status == 200
        assert "make demo" in answer.text
        assert (await page.get(f"/sandbox/{PERSON}")).status == 404
