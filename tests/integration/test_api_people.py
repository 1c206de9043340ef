"""Contacts, consent and the do-not-contact list over HTTP: the same checks as in SQL, and the request as proof."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.support import DaemonProcess, free_port, running, toml

TO = "+14155550123"


class Api:
    """Asks a running daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon

    async def __call__(
        self, method: str, path: str, body: object = None, *, workspace: str = "clinic", **query: str
    ) -> tuple[int, Any, str]:
        """The status, the JSON and the request's id."""
        url = f"{self._daemon.url}/api/v1/workspaces/{workspace}/{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, params=query, json=body) as response,
        ):
            return response.status, await response.json(content_type=None), response.headers["X-Request-Id"]

    async def post(self, path: str, body: object, **more: str) -> tuple[int, Any]:
        return (await self("POST", path, body, **more))[:2]


@pytest_asyncio.fixture
async def daemon(work_dir: Path, dsn: str, sandbox: Sandbox) -> AsyncIterator[DaemonProcess]:
    port = free_port()
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port, extra="[workspaces.shop.rules]\ndouble_opt_in = true"))
    async with running(path, port) as process:
        yield process


@pytest.fixture
def api(daemon: DaemonProcess) -> Api:
    return Api(daemon)


async def test_a_contact_is_created_changed_and_left_alone(api: Api, conn: Connection) -> None:
    ann = {
        "external_id": "p-1",
        "name": "Ann",
        "addresses": [{"channel": "sms", "address": "+1 (415) 555-0123"}],
    }
    status, first = await api.post("contacts", ann)
    assert (status, first["change"]) == (201, "created")
    assert await api.post("contacts", ann) == (200, {"id": first["id"], "change": None})
    assert await api.post("contacts", {**ann, "name": "Bo"}) == (
        200,
        {"id": first["id"], "change": "changed"},
    )
    assert await conn.fetchval("select address from duly.address") == TO


async def test_many_contacts_get_a_result_each(api: Api, conn: Connection) -> None:
    items = [
        {"external_id": "p-1"},
        {"external_id": "p-2", "addresses": [{"channel": "email", "address": "nobody"}]},
        7,
        {"external_id": "p-3", "locale": "en_US"},
        {"external_id": "p-4", "addresses": [{"channel": "email", "address": "A@BÜCHER.de"}]},
    ]
    status, answer = await api.post("contacts", items)
    assert status == 200
    assert [r["position"] for r in answer["results"]] == [1, 2, 3, 4, 5]
    fields = [r["error"] and r["error"].partition(":")[0] for r in answer["results"]]
    assert fields == [None, "addresses.email", "item", "locale", None]
    assert await conn.fetchval("select array_agg(address) from duly.address") == ["A@xn--bcher-kva.de"]


WRONG: list[tuple[str, object, str]] = [
    ("contacts", {}, "external_id"),
    ("contacts", {"external_id": "p", "time_zone": "Mars"}, "time_zone"),
    ("contacts", {"external_id": "p", "addresses": [{"channel": "sms", "address": "555"}]}, "addresses.sms"),
    ("contacts", {"external_id": "p", "addresses": [7]}, "addresses"),
    ("contacts", {"external_id": "p", "addresses": "x"}, "addresses"),
    ("contacts", {"external_id": "p", "nick": "x"}, "nick"),
    ("consent", {"channel": "sms", "to": "555", "state": "given"}, "to"),
    ("consent", {"channel": "sms", "to": TO, "state": "yes"}, "state"),
    ("consent", {"channel": "pigeon", "to": TO, "state": "given"}, "channel"),
    ("consent", {"channel": "sms", "to": TO, "state": "given", "source": "inbound"}, "source"),
    ("consent", {"channel": "sms", "to": TO, "state": "given", "proof": []}, "proof"),
    ("do-not-contact", {"channel": "sms"}, "to"),
    ("do-not-contact", {"channel": "sms", "to": TO, "source": "x"}, "source"),
]  # fmt: skip


async def test_what_is_wrong_is_a_problem_with_its_field(api: Api, conn: Connection) -> None:
    for path, body, field in WRONG:
        status, answer = await api.post(path, body)
        assert (status, answer["field"]) == (422, field), body
        assert answer["detail"].startswith(f"{field}: ")
    for table in ("contact", "consent", "suppression"):
        assert await conn.fetchval(f"select count(*) from duly.{table}") == 0


async def test_consent_keeps_its_request_as_proof_and_is_shown(api: Api, conn: Connection) -> None:
    said = {"channel": "sms", "to": "+1 415 555 0123", "state": "given", "category": "marketing",
            "words": "I agree", "proof": {"form": 7}, "at": "2026-01-31T18:00:00+01:00"}  # fmt: skip
    status, first, request = await api("POST", "consent", said)
    assert (status, first["state"], first["repeated"]) == (201, "given", False)
    status, again, _ = await api("POST", "consent", said)
    assert (status, again["id"], again["repeated"]) == (200, first["id"], True)
    status, shown, _ = await api("GET", "consent", channel="sms", to=TO)
    assert (status, len(shown["log"])) == (200, 1)
    entry = shown["log"][0]
    assert (entry["source"], entry["words"], entry["proof"]) == (
        "http",
        "I agree",
        {"form": 7, "request_id": request},
    )
    assert {s["category"]: s["state"] for s in shown["standings"]} == {"": None, "marketing": "given"}


async def test_a_plus_that_was_not_escaped_is_understood(api: Api, daemon: DaemonProcess) -> None:
    await api.post("consent", {"channel": "sms", "to": TO, "state": "given"})
    url = f"{daemon.url}/api/v1/workspaces/clinic/consent?channel=sms&to=+14155550123"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert (await response.json())["to"] == TO


async def test_a_form_waits_where_the_toml_asks_for_a_double_opt_in(api: Api) -> None:
    said = {"channel": "sms", "to": TO, "state": "given"}
    assert (await api.post("consent", said, workspace="shop"))[1]["state"] == "requested"
    assert (await api.post("consent", said))[1]["state"] == "given"


async def test_a_withdrawal_ends_what_waits(api: Api, conn: Connection) -> None:
    await conn.execute("select duly.enqueue('clinic', 'sms', $1, 'Hi', now() + interval '1 hour')", TO)
    status, answer = await api.post("consent", {"channel": "sms", "to": TO, "state": "withdrawn"})
    assert (status, answer["skipped"]) == (201, 1)
    assert await conn.fetchval("select state from duly.delivery") == "skipped"


async def test_an_address_is_put_on_the_list_and_taken_off(api: Api, conn: Connection) -> None:
    listed = {"channel": "sms", "to": TO, "category": "marketing"}
    assert await api.post("do-not-contact", listed) == (201, {"added": True, "skipped": 0})
    assert await api.post("do-not-contact", listed) == (200, {"added": False, "skipped": 0})
    assert (await api("GET", "consent", channel="sms", to=TO))[1]["suppressions"][0]["source"] == "http"
    assert (await api("DELETE", "do-not-contact", channel="sms", to=TO))[:2] == (200, {"removed": False})
    assert (await api("DELETE", "do-not-contact", channel="sms", to=TO, category="marketing"))[1] == {
        "removed": True
    }
    assert await conn.fetchval("select count(*) from duly.suppression") == 0
    status, answer, _ = await api("DELETE", "do-not-contact", channel="sms", to="555")
    assert (status, answer["field"]) == (422, "to")


async def test_an_unknown_workspace_is_not_found(api: Api) -> None:
    for method, path, body, query in (
        ("POST", "contacts", {"external_id": "p"}, {}),
        ("POST", "consent", {"channel": "sms", "to": TO, "state": "given"}, {}),
        ("POST", "do-not-contact", {"channel": "sms", "to": TO}, {}),
        ("DELETE", "do-not-contact", None, {"channel": "sms", "to": TO}),
        ("GET", "consent", None, {"channel": "sms", "to": TO}),
    ):  # fmt: skip
        status, answer, _ = await api(method, path, body, workspace="nowhere", **query)
        assert (status, answer["field"]) == (404, "workspace"), (method, path)


async def test_what_no_text_can_hold_is_refused(api: Api, daemon: DaemonProcess) -> None:
    for path, body in (
        ("contacts", {"external_id": "a\0b"}),
        ("contacts", {"external_id": "p", "attributes": {"a": "\0"}}),
        ("consent", {"channel": "sms", "to": TO, "state": "given", "words": "\0"}),
    ):
        status, answer = await api.post(path, body)
        assert (status, "NUL" in answer["detail"]) == (422, True)
    async with aiohttp.ClientSession() as session:
        for name in ("%00", "%ff", "%ed%a0%80", "a%2Fb"):
            url = f"{daemon.url}/api/v1/workspaces/{name}/consent?channel=sms&to=%2B14155550123"
            async with session.get(url) as response:
                assert response.status in (404, 422)
                assert response.content_type == "application/problem+json"


async def test_strangers_and_other_sites_are_refused(api: Api, daemon: DaemonProcess) -> None:
    base = f"{daemon.url}/api/v1/workspaces/clinic"
    for headers in ({"X-Forwarded-For": "203.0.113.7"}, {"Sec-Fetch-Site": "cross-site"}):
        async with aiohttp.ClientSession(headers=headers) as session:
            for method, path in (("POST", "contacts"), ("POST", "consent"), ("GET", "consent"),
                                 ("POST", "do-not-contact"), ("DELETE", "do-not-contact")):  # fmt: skip
                async with session.request(method, f"{base}/{path}", json={"external_id": "p"}) as response:
                    assert response.status == 403, (method, path)
