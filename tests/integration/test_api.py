"""Queueing over HTTP: the same checks as in SQL, an error that names the field, nothing half done."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.support import DaemonProcess, free_port, running, toml

GOOD = {"workspace": "clinic", "channel": "sms", "to": "+14155550123", "body": "Your appointment: 9:00"}


@pytest_asyncio.fixture
async def daemon(work_dir: Path, dsn: str, sandbox: Sandbox) -> AsyncIterator[DaemonProcess]:
    port = free_port()
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port))
    async with running(path, port) as process:
        yield process


async def post(daemon: DaemonProcess, body: object, **headers: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{daemon.url}/api/v1/deliveries", json=body) as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_one_object_is_queued_and_its_id_returned(daemon: DaemonProcess, conn: Connection) -> None:
    status, answer = await post(daemon, GOOD)
    assert status == 201
    row = await conn.fetchrow(
        'select workspace, "to" from duly.delivery where id = $1::text::uuid', answer["id"]
    )
    assert tuple(row or ()) == ("clinic", "+14155550123")


async def test_an_array_gets_a_result_per_item_and_wrong_ones_keep_none_back(
    daemon: DaemonProcess, conn: Connection
) -> None:
    status, answer = await post(daemon, [GOOD, {**GOOD, "to": "nobody"}, 7])
    assert status == 200
    assert [bool(r["id"]) for r in answer["results"]] == [True, False, False]
    assert answer["results"][1]["error"].startswith("to:")
    assert await conn.fetchval("select count(*) from duly.delivery") == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": "12"}, "to"),
        ({"channel": "pigeon"}, "channel"),
        ({"priority": 9}, "priority"),
        ({"workspace": "x"}, "workspace"),
        ({"metadata": {"a": "\0"}}, "a text has a NUL character, which no text here may have"),
    ],
)
async def test_what_is_wrong_is_named_by_its_field(
    daemon: DaemonProcess, conn: Connection, change: dict[str, object], field: str
) -> None:
    status, answer = await post(daemon, {**GOOD, **change})
    assert (status, answer["detail"].split(":")[0]) == (422, field)
    assert await conn.fetchval("select count(*) from duly.delivery") == 0


async def test_the_same_key_is_queued_once(daemon: DaemonProcess) -> None:
    first, second = [await post(daemon, {**GOOD, "idempotency_key": "a"}) for _ in range(2)]
    assert first == second


async def test_a_proxied_request_without_a_password_is_refused(daemon: DaemonProcess) -> None:
    assert (await post(daemon, GOOD, **{"X-Forwarded-For": "203.0.113.7"}))[0] == 403


async def test_another_sites_page_is_refused(daemon: DaemonProcess) -> None:
    assert (await post(daemon, GOOD, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403


@pytest.mark.parametrize(("body", "content_type", "status"), [
    (b"{", "application/json", 400),
    (b"7", "application/json", 400),
    (b"to=1", "application/x-www-form-urlencoded", 415),
    (b"[" + b" " * 70_000 + b"]", "application/json", 413),
    (b"[" * 300 + b"]" * 300, "application/json", 400),
])  # fmt: skip
async def test_nonsense_is_refused_with_a_problem(
    daemon: DaemonProcess, body: bytes, content_type: str, status: int
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{daemon.url}/api/v1/deliveries", data=body, headers={"Content-Type": content_type}
        ) as response,
    ):
        assert (response.status, response.content_type) == (status, "application/problem+json")


async def test_every_answer_names_its_request_and_takes_over_a_proxys_name(daemon: DaemonProcess) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{daemon.url}/healthz") as response:
            assert len(response.headers["X-Request-Id"]) == 16
        async with session.get(
            f"{daemon.url}/healthz", headers={"X-Request-Id": "proxy-12345678"}
        ) as response:
            assert response.headers["X-Request-Id"] == "proxy-12345678"
        async with session.get(f"{daemon.url}/healthz", headers={"X-Request-Id": "a b"}) as response:
            assert response.headers["X-Request-Id"] != "a b"


async def test_a_refused_callback_is_logged_with_its_request(daemon: DaemonProcess) -> None:
    async with (
        aiohttp.ClientSession(headers={"X-Request-Id": "from-twilio-1"}) as session,
        session.post(f"{daemon.url}/hooks/twilio/main/status", data={"MessageStatus": "sent"}) as response,
    ):
        assert response.status == 403
    line = next(line for line in daemon.log.splitlines() if "callback refused" in line)
    assert '"request":"from-twilio-1"' in line
