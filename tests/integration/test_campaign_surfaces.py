"""A campaign by its commands, over HTTP and on the page, with a daemon that sends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from daemon.cli import app
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.support import DaemonProcess, free_port, running, toml, until


@pytest_asyncio.fixture
async def daemon(work_dir: Path, dsn: str, sandbox: Sandbox) -> AsyncIterator[DaemonProcess]:
    port = free_port()
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port))
    async with running(path, port) as process:
        yield process


class Tool:
    """`duly campaign` and the API of a running daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon

    async def run(self, *words: str, expect: int = 0, json_: bool = True) -> Any:
        """What a command printed: JSON, or with another status than 0 its error."""
        command = ["campaign", *words, "--config", str(self._daemon.config), *(["--json"] if json_ else [])]
        done = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert done.exit_code == expect, done.output
        if expect == 2:
            return done.stderr
        return json.loads(done.stdout) if json_ else done.stdout

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A call's status and JSON."""
        url = f"{self._daemon.url}/api/v1/workspaces/clinic/campaigns{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
            return response.status, await response.json(content_type=None)

    async def page(self) -> str:
        """The first page."""
        async with aiohttp.ClientSession() as session, session.get(self._daemon.url) as response:
            return await response.text()


@pytest.fixture
def tool(daemon: DaemonProcess) -> Tool:
    return Tool(daemon)


async def test_a_campaign_from_a_file_by_commands(
    tool: Tool, conn: Connection, work_dir: Path, sandbox: Sandbox
) -> None:
    people = work_dir / "people.csv"
    people.write_text(
        "sms,first_name,var.pet\n+14155551001,Ann,cat\n+1 415 555 1002,Bo,ox\n555,Cy,dog\n+14155551001,Ann,cat\n"
    )
    clinic = ("--workspace", "clinic")
    text = ("--body", "Dear {{FirstName}}, your {{pet}} is due", "--category", "transactional")
    made = await tool.run("create", "checkup", *clinic, *text, "--per-minute", "6000")
    assert made["state"] == "draft"
    added = await tool.run("add", "checkup", str(people), *clinic, expect=1)
    assert (added["added"], added["repeated"], added["wrong"]) == (2, 1, 1)
    assert await tool.run("start", "checkup", *clinic) == {"campaign": "checkup", "changed": True}

    async def done() -> bool:
        return bool((await tool.run("status", "checkup", *clinic))["state"] == "done")

    await until(done, seconds=20)
    assert sorted(m.body for m in sandbox.ledger.messages) == [
        "Dear Ann, your cat is due",
        "Dear Bo, your ox is due",
    ]
    said = await tool.run("status", "checkup", *clinic, "--watch", json_=False)
    assert "audience  2 = 2 sent + 0 waiting + 0 skipped" in said
    assert [row["name"] for row in await tool.run("list", *clinic)] == ["checkup"]
    assert "state: campaign checkup is done and cannot be paused" in await tool.run(
        "pause", "checkup", *clinic, expect=2
    )
    assert "campaign: there is no campaign 'x'" in await tool.run("results", "x", *clinic, expect=2)
    assert "name: there is a campaign checkup already" in await tool.run(
        "create", "checkup", *clinic, *text, expect=2
    )
    assert "--segment: is not JSON" in await tool.run("create", "y", *clinic, "--segment", "{", expect=2)


async def test_a_campaign_over_http_and_on_the_page(tool: Tool, conn: Connection) -> None:
    items = [
        {"external_id": f"p-{n}", "addresses": [{"channel": "sms", "address": f"+1415555{1000 + n}"}]}
        for n in range(30)
    ]
    await conn.execute("select count(*) from duly.put_contacts('clinic', $1::jsonb)", json.dumps(items))
    wanted = {
        "name": "news", "segment": {}, "category": "transactional", "per_minute": 30, "metric": "callback",
        "variants": [{"name": "a", "body": "A"}, {"name": "b", "body": "B"}],
    }  # fmt: skip
    assert (await tool.ask("POST", "", wanted | {"name": "News"}))[0] == 422
    status, answer = await tool.ask("POST", "", wanted | {"per_hour": 0})
    assert (status, answer["field"]) == (422, "per_hour")
    assert (await tool.ask("POST", "", wanted))[0] == 201
    assert (await tool.ask("POST", "/news/members", [{"external_id": "p-1"}]))[1]["results"][0][
        "error"
    ] is None
    assert (await tool.ask("POST", "/news/start", {}))[0] == 200

    async def under_way() -> bool:
        found = (await tool.ask("GET", "/news"))[1]
        assert found["audience"] == found["sent"] + found["waiting"] + sum(found["skipped"].values())
        return bool(found["sent"] and found["eta"])

    await until(under_way, seconds=20)
    assert 'data-campaign="news"' in await until(
        lambda: _has(tool, 'data-campaign="news"'), seconds=10, every=0.2
    )
    assert (await tool.ask("POST", "/news/pause", {}))[0] == 200
    assert (await tool.ask("GET", "/news"))[1]["state"] == "paused"
    event = {"contact": "p-1", "kind": "callback", "key": "order 7"}
    assert await tool.ask("POST", "/news/events", event) == (201, {"noted": True})
    assert await tool.ask("POST", "/news/events", event) == (200, {"noted": False})
    assert (await tool.ask("POST", "/news/events", {"kind": 5}))[0] == 422
    assert (await tool.ask("POST", "/news/winner", {"variant": "c"}))[1]["field"] == "variant"
    assert {v["name"] for v in (await tool.ask("GET", "/news/results"))[1]["variants"]} == {"a", "b"}
    assert (await tool.ask("POST", "/news/cancel", {}))[0] == 200
    assert (await tool.ask("POST", "/news/resume", {}))[0] == 422
    assert (await tool.ask("GET", "/none"))[0] == 404
    assert [each["name"] for each in (await tool.ask("GET", ""))[1]["campaigns"]] == ["news"]


async def _has(tool: Tool, words: str) -> str | None:
    page = await tool.page()
    return page if words in page else None
