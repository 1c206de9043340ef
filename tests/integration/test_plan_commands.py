"""`duly plan` and `duly goal`, the same over HTTP, and what is exported, removed and forgotten of goals and plans."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from daemon.cli import app
from daemon.config import parse_config
from daemon.queue.retention import Retention
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from tests.integration.coach import add, ahead, open_up, person, plan
from tests.integration.people import traces
from tests.integration.test_export import exported
from tests.support import DaemonProcess, free_port, running, toml


@pytest.fixture
def config(dsn: str, work_dir: Path) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, "http://127.0.0.1:1", free_port()))
    return path


def duly(config: Path, *words: str) -> tuple[int, Any, str]:
    """Exit status, what it printed, as JSON where it is, and its complaints. It runs a loop of its own."""
    done = CliRunner().invoke(app, [*words, "--config", str(config)], catch_exceptions=False)
    try:
        return done.exit_code, json.loads(done.stdout), done.stderr
    except ValueError:
        return done.exit_code, done.stdout, done.stderr


async def run(config: Path, *words: str) -> tuple[int, Any, str]:
    return await asyncio.to_thread(duly, config, *words)


async def test_goals_are_set_worked_at_shown_and_removed(conn: Connection, config: Path) -> None:
    await open_up(conn)
    await conn.execute("select duly.put_contact('clinic', 'ann', time_zone => 'UTC')")
    at = ("--workspace", "clinic")
    status, found, _ = await run(
        config, "goal", "set", "ann", "Runs", "--target", "3", "--unit", "km", *at, "--json"
    )
    assert (status, found["preferences"]) == (0, None)
    for counted in (True, False):
        _, found, _ = await run(config, "goal", "progress", "ann", "Runs", "1.5", "--key", "k", *at, "--json")
        assert found == {"counted": counted}
    _, found, _ = await run(
        config, "goal", "preferences", "ann", "--day", "monday", "--time", "09:30", "--style", "snarky",
        "--on-goal-met", "--channel", "email", "--channel", "sms", *at, "--json",
    )  # fmt: skip
    assert found["preferences"]["send_day"] == "Monday"
    assert found["preferences"]["channels"] == ["email", "sms"]
    assert found["goals"][0]["done"] == 1.5
    status, text, _ = await run(config, "goal", "list", "ann", *at)
    assert status == 0
    assert "Monday 09:30 UTC, snarky, also when met or partial, channels email, sms" in text
    assert (await run(config, "goal", "remove", "ann", "Runs", *at))[0] == 0
    assert (await run(config, "goal", "remove", "ann", "Runs", *at))[0] == 1
    for words, complaint in (
        (("set", "eve", "Runs", "--target", "3"), "contact: 'eve' is no contact"),
        (("set", "ann", "Runs", "--target", "much"), "--target: 'much' is not a number"),
        (("set", "ann", "Runs", "--target", "3", "--ends", "soon"), "--ends: 'soon' is not a day"),
        (("progress", "ann", "Swim", "1"), "goal: 'Swim' is no goal"),
        (("preferences", "ann", "--day", "noday"), "send_day: 'noday' is no weekday"),
        (("check-ins", "Upper", "--met", "x"), "name: must be"),
    ):
        status, _, complaints = await run(config, "goal", *words, *at)
        assert (status, complaints[: len(complaint) + 6]) == (2, f"duly: {complaint}"), complaints


async def test_a_day_is_planned_by_hand(conn: Connection, config: Path) -> None:
    status, found, _ = await run(config, "goal", "check-ins", "check-in", "--workspace", "clinic", "--json")
    assert status == 0
    await conn.execute("delete from duly.series where id = $1", found["id"])
    await open_up(conn)
    day = ahead()
    for n in range(5):
        await person(conn, f"p{n}", day, done=n)
    on = ("--date", str(day), "--json")
    _, dry, _ = await run(config, "plan", *on, "--dry-run")
    assert (dry["dry_run"], dry["users"], dry["planned"], dry["reasons"]) == (True, 5, 4, {"goal_met": 1})
    assert await conn.fetchval("select count(*) from duly.plan_run") == 0
    status, done, _ = await run(config, "plan", *on)
    assert status == 0
    assert done["decided_now"] == {"planned": 4, "skipped": 1}
    same = ("users", "planned", "skipped", "kinds", "reasons", "hours")
    assert [done[key] for key in same] == [dry[key] for key in same]
    _, again, _ = await run(config, "plan", *on)
    assert again["decided_now"] == {"planned": 0, "skipped": 0}
    _, text, _ = await run(config, "plan", "--status")
    assert f"{day} clinic check-in check_in done 4 1" in " ".join(text.split())
    for words, complaint in (
        (("--dry-run",), "--dry-run: say for which day"),
        (("--date", "soon"), "--date: 'soon' is not a day"),
        (("--workspace", "none"), "workspace: 'none' is not known"),
    ):
        status, _, complaints = await run(config, "plan", *words)
        assert status == 2
        assert complaints.startswith(f"duly: {complaint}")


@pytest_asyncio.fixture
async def daemon(work_dir: Path, dsn: str, sandbox: Sandbox) -> AsyncIterator[DaemonProcess]:
    port = free_port()
    path = work_dir / "daemon.toml"
    path.write_text(toml(dsn, sandbox.url, port, extra="[planning]\nenabled = false\n"))
    async with running(path, port) as process:
        yield process


async def test_everything_is_set_and_asked_over_http(daemon: DaemonProcess, conn: Connection) -> None:
    await conn.execute("select duly.put_contact('clinic', 'ann')")
    base = f"{daemon.url}/api/v1/workspaces/clinic"
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
            url = path if path.startswith("http") else base + path
            async with session.request(method, url, json=body) as response:
                return response.status, await response.json(content_type=None)

        assert (await ask("PUT", "/contacts/ann/goals/Runs", {"target": 2.5, "unit": "km"}))[0] == 200
        status, found = await ask("PUT", "/contacts/ann/preferences", {"send_day": 1, "style": "chaotic"})
        assert (status, found["preferences"]["send_day"]) == (200, "Monday")
        item = {"contact": "ann", "goal": "Runs", "amount": 1, "key": "k"}
        assert [(await ask("POST", "/progress", item))[0] for _ in range(2)] == [201, 200]
        status, found = await ask("POST", "/progress", [item, {**item, "goal": "x"}])
        assert [each["repeated"] for each in found["results"]] == [True, None]
        status, found = await ask("GET", "/contacts/ann/goals")
        assert (status, found["goals"][0]["target"], found["goals"][0]["done"]) == (200, 2.5, 1)
        status, found = await ask("PUT", "/check-ins/check-in", {"later_minutes": 30})
        assert status == 200
        assert await conn.fetchval("select later from duly.series") == timedelta(minutes=30)
        assert (await ask("DELETE", "/contacts/ann/goals/Runs"))[1] == {"removed": True}
        async with session.post(
            f"{daemon.url}/api/v1/plan"
        ) as response:  # as cron and curl do, without a body
            assert response.status == 202
            assert (await response.json())["runs"] == []
        assert (await ask("GET", f"{daemon.url}/api/v1/plan?date=soon"))[0] == 422
        for method, path, body, status, field in (
            ("PUT", "/contacts/eve/preferences", {}, 404, "contact"),
            ("PUT", "/contacts/ann/preferences", {"enabled": "yes"}, 422, "enabled"),
            ("PUT", "/contacts/ann/preferences", {"send_time": "25:00"}, 422, "send_time"),
            ("PUT", "/contacts/ann/preferences", {"color": "red"}, 422, "color"),
            ("PUT", "/contacts/ann/goals/Runs", {"target": True}, 422, "target"),
            ("PUT", "/contacts/ann/goals/Runs", {"target": 1, "ends_on": "soon"}, 422, "ends_on"),
            ("PUT", "/contacts/ann/goals/Runs", [], 422, "body"),
            ("PUT", "/check-ins/check-in", {"channels": [1]}, 422, "channels"),
            ("PUT", "/check-ins/check-in", {"later_minutes": 10**12}, 422, "later_minutes"),
            ("POST", "/progress", {"contact": "ann", "goal": "Runs"}, 422, "amount"),
        ):
            got, problem = await ask(method, path, body)
            assert (got, problem["field"]) == (status, field), problem


async def test_what_is_known_of_goals_is_exported_removed_and_forgotten(
    conn: Connection, database: Database
) -> None:
    await open_up(conn)
    number = "+14155557731"
    await person(conn, "ann", ahead(), to=number, goal="My knee", done=1)
    await plan(database, ahead())
    found, _, _ = await exported(conn, number)
    assert found["preferences"][0]["style"] == "supportive"
    assert (found["goals"][0]["name"], len(found["goals"][0]["progress"])) == ("My knee", 1)
    assert found["plans"][0]["because"]["goals"][0]["name"] == "My knee"

    keep = Retention(database, lambda: parse_config("[privacy]\nkeep_facts_days = 30"), None)  # type: ignore[arg-type]
    old = "now() - interval '31 days'"
    await conn.execute(f"update duly.progress set at = {old}, recorded_at = {old}")
    await conn.execute(f"update duly.plan_run set done_at = {old}")
    await conn.execute(f"update duly.planned set at = {old}")
    assert (await keep.once())["plans"] == 2  # its plan stays as long as its delivery
    await conn.execute("delete from duly.delivery_row; delete from duly.message")
    assert (await keep.once())["plans"] == 1
    assert await conn.fetchval("select count(*) from duly.goal") == 1

    await add(conn, "ann", 2, "My knee")
    await plan(database, ahead(9))
    await conn.execute("select duly.erase('clinic', 'ops', 'asked', 'sms', $1)", number)
    assert await traces(conn, ("My knee",)) == []
    for name in ("preference", "goal", "progress", "planned", "plan_again"):
        assert await conn.fetchval(f"select count(*) from duly.{name}") == 0, name
