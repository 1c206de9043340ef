"""Series of reminders from outside: `duly series …` and HTTP, and what the doctor says of one that cannot be planned."""

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
from tests.support import DaemonProcess, free_port, running, toml

NAME = "clinic"


class Duly:
    """The command line, in this process."""

    def __init__(self, config: Path) -> None:
        self._config = config

    async def __call__(self, *words: str, status: int = 0) -> str:
        """What it prints, of both kinds."""
        done = await asyncio.to_thread(
            CliRunner().invoke, app, ["series", *words, "--config", str(self._config)]
        )
        assert done.exit_code == status, done.output
        return done.output


@pytest.fixture
def duly(work_dir: Path, dsn: str) -> Duly:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, "http://127.0.0.1:1", free_port()))
    return Duly(path)


async def test_a_series_is_put_shown_filled_paused_and_changed_on_the_command_line(
    duly: Duly, conn: Connection
) -> None:
    whose = ("--workspace", NAME)
    knee = ("put", "knee", *whose, "--template", "knee", "--rrule", "FREQ=WEEKLY;BYDAY=MO,TH")
    out = await duly(
        *knee, "--begins", "2026-11-30T09:00", "--except", "2026-12-03", "--channel", "sms", "--json"
    )
    assert json.loads(out) == {"series": "knee", "created": True}
    await conn.execute(
        "select duly.put_contact('clinic', external_id => 'p-1', addresses => $1)",
        json.dumps([{"channel": "sms", "address": "+14155550123"}]),
    )
    assert await duly("add", "knee", "p-1", *whose, "--variables", '{"side": "left"}') == "p-1: added\n"
    out = await duly("add", "knee", "p-1", "p-9", *whose, "--variables", '{"side": "left"}', status=1)
    assert out.startswith("p-1: was in it\np-9: contact: 'p-9' is no contact's")
    shown = json.loads(await duly("show", "knee", *whose, "--json"))
    assert shown["rrule"] == "FREQ=WEEKLY;BYDAY=MO,TH"
    assert (shown["exceptions"], shown["members"], shown["enabled"]) == (["2026-12-03T00:00"], 1, True)
    assert "later minutes    240" in await duly("show", "knee", *whose)
    assert await duly("pause", "knee", *whose) == "knee: paused\n"
    assert "paused" in await duly("list", *whose)
    assert await duly("resume", "knee", *whose) == "knee: goes on\n"
    assert await duly("remove", "knee", "p-1", *whose) == "p-1: taken out\n"
    assert json.loads(await duly(*knee, "--begins", "2030-03-30T02:30", "--json"))["created"] is False
    await duly(
        "put", "night", *whose, "--template", "x", "--rrule", "FREQ=DAILY", "--begins", "2199-03-31T02:30"
    )
    out = await duly("next", "night", *whose, "--zone", "Europe/Paris", "--count", "2")
    assert out == "Sun 2199-03-31 02:30  2199-03-31 01:00 UTC  (the clock jumps to 03:00)\n" \
                  "Mon 2199-04-01 02:30  2199-04-01 00:30 UTC\n"  # fmt: skip
    await duly("put", "night", *whose, "--template", "x", "--begins", "2001-01-01T00:00")
    assert await duly("next", "night", *whose) == "it does not come again\n"
    assert json.loads(await duly("next", "night", *whose, "--json")) == []


async def test_what_the_command_line_is_told_wrongly_it_names(duly: Duly, conn: Connection) -> None:
    whose = ("--workspace", NAME)
    put = ("put", "knee", *whose, "--template", "knee")
    for words, says in (
        ((*put,), "begins_at: is missing"),
        ((*put, "--begins", "soon"), "begins_at: 'soon' is no time such as"),
        ((*put, "--begins", "2026-12-01T09:00Z"), "begins_at: '2026-12-01T09:00Z' has a zone"),
        ((*put, "--begins", "2026-12-01", "--rrule", "FREQ=MONTHLY;BYDAY=6MO"), "rrule: BYDAY=6MO is in no such"),
        ((*put, "--begins", "2026-12-01", "--rrule", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "rrule: gives no time"),
        ((*put, "--begins", "2026-12-01", "--zone", "Mars"), "zone: 'Mars' is no IANA zone"),
        ((*put, "--begins", "2026-12-01", "--priority", "9"), "priority: is none of"),
        ((*put, "--begins", "2026-12-01", "--later-minutes", "-1"), "later_minutes: must be a whole number"),
        ((*put, "--begins", "2026-12-01", "--channel", "fax"), "channels: must be some of"),
        (("show", "knee", *whose), "series: 'knee' is no series of workspace clinic"),
        (("show", "knee", "--workspace", "nowhere"), "workspace: 'nowhere' is not known"),
        (("pause", "knee", *whose), "series: 'knee' is no series of workspace clinic"),
        (("add", "knee", "p-1", *whose, "--variables", "{"), "--variables: is not JSON"),
        (("next", "knee", *whose, "--zone", "Mars"), "--zone: 'Mars' is no IANA zone"),
    ):  # fmt: skip
        await conn.execute("select duly.register_workspace('clinic')")
        assert says in await duly(*words, status=2)


async def test_the_doctor_and_the_list_name_a_series_that_cannot_be_planned(
    duly: Duly, conn: Connection
) -> None:
    await duly("put", "knee", "--workspace", NAME, "--template", "knee", "--begins", "2026-12-01T09:00")
    await conn.execute("update duly.series set problem = 'rrule: cannot be'")
    assert "cannot be planned: rrule: cannot be" in await duly("list", "--workspace", NAME, status=1)
    await duly("show", "knee", "--workspace", NAME, "--json", status=1)
    done = await asyncio.to_thread(
        CliRunner().invoke, app, ["doctor", "--json", "--config", str(duly._config)]
    )
    assert "knee of clinic: rrule: cannot be" in done.output


class Api:
    """Asks a running daemon of one workspace's series."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon

    async def __call__(
        self, method: str, path: str = "", body: object = None, *, workspace: str = NAME, **query: str
    ) -> tuple[int, Any]:
        url = f"{self._daemon.url}/api/v1/workspaces/{workspace}/series{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, params=query, json=body) as response,
        ):
            return response.status, await response.json(content_type=None)


@pytest_asyncio.fixture
async def api(work_dir: Path, dsn: str, sandbox: Sandbox) -> AsyncIterator[Api]:
    port = free_port()
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port))
    async with running(path, port) as process:
        yield Api(process)


async def test_a_series_is_put_shown_filled_and_paused_over_http(api: Api, conn: Connection) -> None:
    knee = {
        "name": "knee", "template": "knee", "rrule": "FREQ=DAILY;COUNT=3", "begins_at": "2199-01-30T09:00",
        "zone": "Asia/Tokyo", "exceptions": ["2199-01-31"], "catch_up": "latest", "later_minutes": 60,
    }  # fmt: skip
    status, made = await api("POST", "", knee)
    assert status == 201
    assert await api("POST", "", knee) == (200, made)
    status, shown = await api("GET", "/knee", next="9")
    assert (status, shown["catch_up"], shown["later_minutes"]) == (200, "latest", 60)
    assert shown["next"] == [
        {"wall": "2199-01-30T09:00:00", "at": "2199-01-30T00:00:00+00:00"},
        {"wall": "2199-02-01T09:00:00", "at": "2199-02-01T00:00:00+00:00"},
    ]
    await conn.execute(
        "select duly.put_contact('clinic', external_id => 'p-1', addresses => $1)",
        json.dumps([{"channel": "sms", "address": "+14155550123"}]),
    )
    ann = {"contact": "p-1", "variables": {"side": "left"}}
    assert await api("POST", "/knee/members", ann) == (201, {"added": True})
    assert await api("POST", "/knee/members", ann) == (200, {"added": False})
    status, many = await api("POST", "/knee/members", [ann, {"contact": "p-9"}])
    assert [result["added"] for result in many["results"]] == [False, None]
    assert await api("POST", "/knee/pause") == (200, {"paused": True})
    assert await api("POST", "/knee/resume") == (200, {"resumed": True})
    assert await api("DELETE", "/knee/members", contact="p-1") == (200, {"removed": True})
    status, listed = await api("GET")
    assert [(each["name"], each["members"]) for each in listed["series"]] == [("knee", 0)]

    for path, body, status, field in (
        ("", {**knee, "rrule": "FREQ=HOURLY"}, 422, "rrule"),
        ("", {**knee, "begins_at": 7}, 422, "begins_at"),
        ("", {**knee, "rule": "x"}, 422, "rule"),
        ("", {**knee, "name": "A b"}, 422, "name"),
        ("", {**knee, "exceptions": "x"}, 422, "exceptions"),
        ("", [knee], 422, "body"),
        ("/knee/members", {"contact": "p-9"}, 422, "contact"),
        ("/none/members", ann, 404, "series"),
        ("/none/pause", None, 404, "series"),
    ):
        answered, problem = await api("POST", path, body)
        assert (answered, problem["field"]) == (status, field), problem
    assert (await api("GET", "/none"))[0] == (await api("GET", workspace="nowhere"))[0] == 404
    for bad in ({"next": "many"}, {"zone": "Mars"}):
        assert (await api("GET", "/knee", **bad))[0] == 422
