"""Who may see the page, and who may post to it."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import pytest

from daemon.runtime import Runtime
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from tests.page import PERSON, Page, enqueue, reached, watching


@pytest.fixture
async def page(dsn: str, sandbox: Sandbox) -> AsyncIterator[Page]:
    async with Page(dsn, sandbox.url) as found:
        sandbox.lifecycle.inbound_url = f"{found.url}/hooks/twilio/main/inbound"
        yield found


async def test_without_a_password_this_machine_sees_the_page_and_browsers_are_told_to_be_strict(
    page: Page,
) -> None:
    answer = await page.get("/")
    assert answer.status == 200
    assert "clinic" in answer.text
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "same-origin"


async def test_without_a_password_nobody_sees_it_through_a_proxy_or_under_another_name(page: Page) -> None:
    elsewhere: list[dict[str, str]] = [
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
        {"X-Real-IP": "203.0.113.7"},
        {"Via": "1.1 proxy"},
        {"Host": "duly.example.com"},
        {"Host": "localhost.example.com"},
        {"Host": "127.0.0.1.example.com"},
        {"Host": "[::1"},
        {"Host": ""},
    ]
    for path in ("/", "/live", "/sandbox", f"/deliveries/{uuid4()}", "/static/duly.css", "/nothing"):
        for headers in elsewhere:
            answer = await page.get(path, headers=headers)
            assert answer.status == 403, (path, headers)
            assert "web.password" in answer.text
            assert "clinic" not in answer.text


async def test_without_a_password_an_http_1_0_proxy_sees_nothing(page: Page) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", page.runtime.web.port)
    writer.write(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 403 " in await reader.readline()
    writer.close()


async def test_without_a_password_another_machine_sees_nothing(dsn: str, sandbox: Sandbox) -> None:
    own = _own_address()
    page = Page(dsn, sandbox.url)
    page.runtime = Runtime(page.config(listen='listen = "0.0.0.0:0"'), Database(lambda: dsn))
    async with page:
        url = f"http://{own}:{page.runtime.web.port}/"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers={"Host": "localhost"}) as response,
        ):
            assert response.status == 403


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but the loopback's")
        return str(probe.getsockname()[0])


async def test_the_probes_are_open_to_all_and_name_no_person(page: Page, conn: Connection) -> None:
    await reached(conn, await enqueue(conn), "delivered")
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = await page.get(path, headers={"X-Forwarded-For": "203.0.113.7", "Host": "duly.example.com"})
        assert answer.status == 200
        assert PERSON not in answer.text


async def test_the_hooks_are_open_to_all_and_ask_for_a_signature(page: Page) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7", "Host": "duly.example.com"}
    answer = await page.ask("POST", "/hooks/twilio/main/status", headers=headers)
    assert answer.status == 403
    assert "X-Twilio-Signature" in answer.text


async def test_no_spelling_of_an_open_path_opens_a_page(page: Page) -> None:
    for path in (
        "/hooks/../sandbox",
        "/healthz/../",
        "/healthz/..%2f",
        "/%2e%2e/live",
        "/api/../",
        "//healthz",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", page.runtime.web.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        assert int(answer.split()[1]) in (400, 403, 404), answer
        assert b"clinic" not in answer
        writer.close()


async def test_with_a_password_only_who_knows_it_gets_in_from_anywhere(page: Page) -> None:
    await page.runtime.reload(page.config(web='password = "open sésame"'))
    proxied = {"X-Forwarded-For": "203.0.113.7", "Host": "duly.example.com"}
    for auth in (None, _login("duly", "wrong"), _login("admin", "open sésame"), "Basic !", "Bearer x"):
        headers = {**proxied, **({"Authorization": auth} if auth else {})}
        answer = await page.get("/", headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert "clinic" not in answer.text
    answer = await page.get("/", headers={**proxied, "Authorization": _login("duly", "open sésame")})
    assert answer.status == 200


async def test_a_changed_password_takes_effect_at_once_also_for_who_is_watching(page: Page) -> None:
    await page.runtime.reload(page.config(web='password = "old"'))
    old = {"Authorization": _login("duly", "old")}
    async with watching(page, headers=old) as events:
        await events.next()
        await page.runtime.reload(page.config(web='username = "nurse"\npassword = "new"'))
        assert await events.ended()
    assert (await page.get("/", headers=old)).status == 401
    assert (await page.get("/", headers={"Authorization": _login("nurse", "new")})).status == 200


def _login(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_only_our_own_page_may_post(page: Page, conn: Connection, sandbox: Sandbox) -> None:
    await reached(conn, await enqueue(conn), "delivered")
    refused: list[dict[str, str]] = [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": page.url, "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ]
    for headers in refused:
        answer = await page.ask("POST", f"/sandbox/{PERSON}", data={"body": "hi"}, headers=headers)
        assert answer.status == 403, headers
    assert sandbox.ledger.stats()["inbound"] == 0
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": page.url}):
        answer = await page.ask("POST", f"/sandbox/{PERSON}", data={"body": "hi"}, headers=headers)
        assert answer.status == 303, headers
    assert sandbox.ledger.stats()["inbound"] == 2
