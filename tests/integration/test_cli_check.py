"""`duly check-config` and `duly doctor`: what is wrong, and its cure."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.support import AUTH_TOKEN, ROOT, free_port, running, toml


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(work_dir: Path, dsn: str, sandbox: Sandbox, port: int) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port))
    return path


async def duly(command: str, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "daemon", command, "--config", str(config), *words]
    return await asyncio.to_thread(
        subprocess.run, arguments, capture_output=True, text=True, cwd=ROOT, check=False
    )


async def findings(config: Path, *words: str, status: int) -> list[dict[str, Any]]:
    done = await duly("doctor", config, "--json", *words)
    assert done.returncode == status, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["healthy"] is (status == 0)
    listed: list[dict[str, Any]] = found["findings"]
    assert all(one["cure"] for one in listed if one["level"] != "ok")
    return listed


def bad(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["check"], one["level"]) for one in found if one["level"] != "ok"]


def the(found: list[dict[str, Any]], check: str) -> dict[str, Any]:
    return next(one for one in found if one["check"] == check)


async def queue(conn: Connection, due: str = "0 s", channel: str = "sms") -> str:
    await conn.execute("select duly.register_workspace('clinic')")
    to = "someone@example.com" if channel == "email" else "+14155550123"
    return str(
        await conn.fetchval(
            "select duly.enqueue('clinic', $1, $2, 'Hello', due_at => now() + $3::text::interval)",
            channel,
            to,
            due,
        )
    )


# check-config


async def test_a_good_configuration_is_said_to_be_good(config: Path) -> None:
    done = await duly("check-config", config)
    assert (done.returncode, done.stdout) == (0, "The configuration is valid. Nothing stands out.\n")


async def test_all_errors_are_said_at_once_with_line_and_remedy(work_dir: Path) -> None:
    path = work_dir / "duly.toml"
    path.write_text("[daemon]\nlease_secs = 5\n[web]\nlisten = 8080\n")
    done = await duly("check-config", path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        f"{path}:2: daemon.lease_secs: is not a key that duly knows; did you mean lease_seconds?"
        in done.stderr
    )
    assert f"{path}:4: web.listen: must be a string in quotes" in done.stderr
    problems = json.loads((await duly("check-config", path, "--json")).stdout)["problems"]
    assert [(p["path"], p["line"]) for p in problems] == [("daemon.lease_secs", 2), ("web.listen", 4)]


async def test_the_effective_configuration_is_printed_without_secrets(config: Path) -> None:
    done = await duly("check-config", config, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["platforms"]["main"]["auth_token"] == "<secret>"
    assert found["daemon"]["batch"] == 500
    assert AUTH_TOKEN not in done.stdout + done.stderr


async def test_what_is_valid_but_hardly_meant_is_warned_of(work_dir: Path, dsn: str) -> None:
    path = work_dir / "duly.toml"
    text = toml(dsn, "http://127.0.0.1:9", 8080).replace('public_url = "http://127.0.0.1:8080"', "")
    text = text.replace('listen = "127.0.0.1:8080"', 'listen = "0.0.0.0:8080"')
    text = text.replace("timeout_seconds = 3", "timeout_seconds = 9")
    account = text.partition("[platforms.main]")[2].partition("[workspaces")[0]
    path.write_text(f"{text}\n[platforms.spare]{account}")
    done = await duly("check-config", path)
    assert done.returncode == 0
    for warning in (
        "there are no callbacks",
        "is below the timeout_seconds of [platforms.main] (9)",
        "web.password is not set",
        "[platforms.main] and [platforms.spare] are the same account",
        "sms of clinic, shop waits: several accounts carry it",
    ):
        assert warning in done.stdout


async def test_a_configuration_without_an_account_is_warned_of(work_dir: Path) -> None:
    path = work_dir / "duly.toml"
    path.write_text("")
    assert "no account is enabled" in (await duly("check-config", path)).stdout


# doctor


async def test_a_healthy_system_has_no_problem(config: Path, port: int) -> None:
    async with running(config, port):
        found = await findings(config, status=0)
    assert bad(found) == []
    assert {one["check"] for one in found} == {
        "database", "clock", "migrations", "rights", "nodes", "stuck", "failed", "route", "audit", "account", "callbacks"
    }  # fmt: skip


async def test_a_daemon_that_does_not_run_is_a_warning_until_something_is_due(
    config: Path, conn: Connection
) -> None:
    assert ("nodes", "warning") in bad(await findings(config, status=0))
    await queue(conn)
    assert ("nodes", "problem") in bad(await findings(config, status=1))


async def test_a_database_that_is_down_is_the_finding(config: Path) -> None:
    config.write_text(config.read_text().replace("/t_", "/nothing_like_t_"))
    found = await findings(config, status=1)
    assert ("database", "problem") in bad(found)
    assert "does not exist" in the(found, "database")["what"]
    assert the(found, "account")["level"] == "ok"


async def test_a_database_that_is_not_migrated_is_a_problem(config: Path, conn: Connection) -> None:
    await conn.execute("drop schema duly cascade")
    found = await findings(config, "--offline", status=1)
    assert the(found, "migrations")["cure"] == "Run `duly migrate`."


async def test_an_edited_migration_is_a_problem(config: Path, conn: Connection) -> None:
    await conn.execute("update duly.migration set checksum = 'another' where number = 2")
    found = the(await findings(config, "--offline", status=1), "migrations")
    assert found["level"] == "problem"
    assert "0002_tables.sql" in found["what"]


async def test_a_login_without_the_daemons_role_lacks_rights(
    config: Path, dsn: str, conn: Connection
) -> None:
    await conn.execute("drop role if exists doctors_patient")
    await conn.execute("create role doctors_patient login password 'secret'")
    try:
        text = config.read_text()
        user = dsn.partition("://")[2].partition("@")[0]
        config.write_text(text.replace(f"//{user}@", "//doctors_patient:secret@"))
        found = await findings(config, "--offline", status=1)
        assert "the login lacks" in the(found, "rights")["what"]
        assert "grant duly_daemon to doctors_patient" in the(found, "rights")["cure"].lower()
        await conn.execute("grant duly_daemon to doctors_patient")
        assert the(await findings(config, "--offline", status=0), "rights")["level"] == "ok"
    finally:
        await conn.execute("drop role doctors_patient")


async def test_a_wrong_token_is_a_problem_and_offline_does_not_ask(config: Path) -> None:
    config.write_text(config.read_text().replace(AUTH_TOKEN, "another-token"))
    found = the(await findings(config, status=1), "account")
    assert "20003" in found["what"]
    assert not any(one["check"] == "account" for one in await findings(config, "--offline", status=0))


async def test_a_callback_url_that_does_not_answer_is_a_warning(config: Path) -> None:
    found = the(await findings(config, status=0), "callbacks")
    assert found["level"] == "warning"
    assert "/healthz" in found["what"]


async def test_a_channel_without_an_account_is_a_problem(config: Path, conn: Connection) -> None:
    delivery = await queue(conn, "1 h", channel="email")
    found = the(await findings(config, "--offline", status=1), "route")
    assert found["what"] == "1 of clinic by email are queued: no enabled account carries it"
    assert found["ids"] == [delivery]


async def test_what_does_not_move_is_found_by_kind_with_ids(config: Path, conn: Connection) -> None:
    node = await conn.fetchval(query("node_join"), "alive", "0.1.0", 600.0)
    dead = await conn.fetchval(query("node_join"), "dead", "0.1.0", 600.0)
    await conn.execute(query("node_leave"), dead)
    held, orphaned, overdue, asked, undecided = [await queue(conn, "-10 min") for _ in range(5)]
    move = (
        "update duly.delivery_row set state = $2::text::duly.state, node_id = $3, account = 'main',"
        " state_at = now() - interval '1 minute' where id = $1"
    )
    await conn.execute(move, held, "leased", node)
    await conn.execute(move, orphaned, "sending", dead)
    await conn.execute(move, asked, "uncertain", None)
    await conn.execute(move, undecided, "uncertain", None)
    await conn.execute("update duly.delivery_row set ask_at = now() where id = $1", asked)
    found = await findings(config, "--offline", status=1)
    seen = [(one["check"], one["level"], one["ids"]) for one in found if one["ids"]]
    assert sorted(seen) == sorted(
        [
            ("stuck", "problem", [held]),
            ("stuck", "problem", [orphaned]),
            ("stuck", "warning", [overdue]),
            ("uncertain", "ok", [asked]),
            ("uncertain", "warning", [undecided]),
        ]
    )


async def test_failures_of_a_day_are_told_by_reason(config: Path, conn: Connection) -> None:
    for reason in ("invalid_address", "bad_sender", "bad_sender"):
        await conn.execute(
            "update duly.delivery_row set state = 'failed', reason = $2, account = 'main' where id = $1",
            await queue(conn), reason,
        )  # fmt: skip
    found = await findings(config, "--offline", status=0)
    failed = {one["what"]: one for one in found if one["check"] == "failed"}
    assert failed["2 failed in the last 24 hours by main: bad_sender"]["level"] == "warning"
    assert (
        "duly replay --reason bad_sender"
        in failed["2 failed in the last 24 hours by main: bad_sender"]["cure"]
    )
    assert failed["1 failed in the last 24 hours by main: invalid_address"]["level"] == "ok"


async def test_two_daemons_of_one_name_are_a_warning(config: Path, conn: Connection) -> None:
    for _ in range(2):
        await conn.fetchval(query("node_join"), "twin", "0.1.0", 600.0)
    found = await findings(config, "--offline", status=0)
    assert "2 daemons call themselves twin" in [one["what"] for one in found]


async def test_an_embedded_database_that_is_not_there_is_not_made(work_dir: Path) -> None:
    path = work_dir / "duly.toml"
    path.write_text(f'[database]\ndata_dir = "{work_dir / "data"}"\n')
    found = await findings(path, "--offline", status=0)
    assert the(found, "database")["level"] == "warning"
    assert not (work_dir / "data").exists()


async def test_the_text_for_people_names_each_problem_and_its_cure(config: Path, conn: Connection) -> None:
    await queue(conn, "1 h", channel="email")
    done = await duly("doctor", config, "--offline")
    assert done.returncode == 1
    assert "PROBLEM  route      1 of clinic by email are queued: no enabled account carries it" in done.stdout
    assert "→ Route email to an enabled account" in done.stdout


async def test_a_wrong_configuration_ends_the_doctor_with_two(work_dir: Path) -> None:
    assert (await duly("doctor", work_dir / "missing.toml")).returncode == 2
