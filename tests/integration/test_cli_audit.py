"""`duly audit`, and `duly doctor` on the audit."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.support import ROOT, free_port, toml

TAMPER = "alter table duly.audit disable trigger all; "


@pytest.fixture
def config(work_dir: Path, dsn: str, sandbox: Sandbox) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, free_port()))
    return path


async def duly(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "daemon", *words, "--config", str(config)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip


async def listed(config: Path, *words: str) -> list[dict[str, Any]]:
    done = await duly(config, "audit", "--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


async def examined(config: Path, *words: str, status: int) -> dict[str, Any]:
    """The doctor's finding about the audit."""
    done = await duly(config, "doctor", "--offline", "--json", *words)
    assert done.returncode == status, done.stdout + done.stderr
    (found,) = [one for one in json.loads(done.stdout)["findings"] if one["check"] == "audit"]
    assert found["cure"] or found["level"] == "ok"
    return dict(found)


async def append(conn: Connection, who: str, what: str = "exported", workspace: str | None = None) -> None:
    """A line, chained at once."""
    workspace_id = workspace and await conn.fetchval("select duly.register_workspace($1)", workspace)
    await conn.execute("select duly.audit_append($1, $2, $3, 'p1', '{\"rows\": 3}')", who, what, workspace_id)
    await conn.execute("select duly.audit_chain(100)")


# duly audit


async def test_lines_are_listed_in_order_and_what_waits_comes_last(config: Path, conn: Connection) -> None:
    await append(conn, "ada", workspace="clinic")
    await append(conn, "bob", "erased")
    await conn.execute("select duly.audit_append('eve', 'canceled')")
    first, second, third = await listed(config)
    row = await conn.fetchrow("select at, hash from duly.audit where id = 1")
    assert row is not None
    assert first == {
        "id": 1, "at": row["at"].isoformat(), "who": "ada", "what": "exported", "workspace": "clinic", "subject": "p1",
        "detail": {"rows": 3}, "hash": row["hash"].hex(),
    }  # fmt: skip
    assert (second["id"], second["who"], second["workspace"]) == (2, "bob", None)
    assert (third["id"], third["who"], third["hash"]) == (None, "eve", None)
    text = (await duly(config, "audit")).stdout.splitlines()
    assert [line.split()[0] for line in text] == ["1", "2", "-"]
    assert text[0].endswith("exported  by ada  clinic p1 rows=3")


async def test_lines_are_found_by_time_act_and_workspace(config: Path, conn: Connection) -> None:
    for who, what, workspace in (
        ("a", "exported", "clinic"),
        ("b", "erased", "clinic"),
        ("c", "erased", "shop"),
    ):
        await append(conn, who, what, workspace)
    await conn.execute("select duly.audit_append('d', 'erased', 1)")
    middle = await conn.fetchval("select at from duly.audit where id = 2")

    async def found(*words: str) -> list[str]:
        return [line["who"] for line in await listed(config, *words)]

    assert await found("--what", "erased") == ["b", "c", "d"]
    assert await found("--workspace", "clinic") == ["a", "b", "d"]
    assert await found("--since", middle.isoformat()) == ["b", "c", "d"]
    assert await found("--until", middle.isoformat()) == ["a"]
    assert await found("--workspace", "shop", "--what", "exported") == []


async def test_a_wrong_call_is_refused_with_a_word(config: Path, conn: Connection) -> None:
    for words, status, said in (
        (("--what", "borrowed"), 2, "borrowed"),
        (("--since", "yesterday"), 2, "--since: 'yesterday' is not a time"),
        (("--until", "2026-01-01T00:00"), 2, "--until: '2026-01-01T00:00' has no zone"),
        (("--workspace", "nowhere"), 1, "there is no workspace nowhere"),
    ):
        done = await duly(config, "audit", *words)
        assert (done.returncode, done.stdout) == (status, "")
        assert said in done.stderr


async def test_what_others_wrote_does_not_steer_the_terminal(config: Path, conn: Connection) -> None:
    await append(conn, "\x1b[2Jeve\nfaked  line")
    done = await duly(config, "audit")
    assert "by \ufffd[2Jeve\ufffdfaked  line" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert (await listed(config))[0]["who"] == "\x1b[2Jeve\nfaked  line"


# duly doctor


async def test_a_whole_chain_is_said_with_its_head(config: Path, conn: Connection) -> None:
    for who in ("ada", "bob"):
        await append(conn, who)
    head = await conn.fetchval("select id || ':' || encode(hash, 'hex') from duly.audit where id = 2")
    assert (await examined(config, status=0))["what"] == f"the chain of 2 lines is whole; its head is {head}"
    await append(conn, "eve")
    kept = await examined(config, "--audit-head", head, status=0)
    assert kept["what"].endswith(", and line 2 is the one kept")


async def test_what_waits_is_counted_and_a_warning_when_it_waits_long(config: Path, conn: Connection) -> None:
    await conn.execute("select duly.audit_append('ada', 'exported') from generate_series(1, 3)")
    found = await examined(config, status=0)
    assert found["level"] == "ok"
    assert found["what"].endswith("; 3 wait to be chained")
    await conn.execute(
        "alter table duly.audit_intake disable trigger all;"
        "update duly.audit_intake set at = at - interval '1 hour' where id = 2"
    )
    found = await examined(config, status=0)
    assert found["level"] == "warning"
    assert "the oldest for 36" in found["what"]


async def test_a_broken_chain_is_a_problem_with_its_first_broken_line(config: Path, conn: Connection) -> None:
    for who in ("ada", "bob", "eve"):
        await append(conn, who)
    await conn.execute(TAMPER + "update duly.audit set who = 'bob' where id = 3")
    found = await examined(config, status=1)
    assert (found["level"], found["what"]) == (
        "problem", "line 3 was changed: its hash is not that of its fields",
    )  # fmt: skip


async def test_lines_removed_from_the_end_are_found_with_a_head_that_was_kept(
    config: Path, conn: Connection
) -> None:
    for who in ("ada", "bob", "eve"):
        await append(conn, who)
    head = await conn.fetchval("select id || ':' || encode(hash, 'hex') from duly.audit where id = 3")
    await conn.execute(
        TAMPER + "delete from duly.audit where id = 3;"
        "update duly.audit_head set (id, hash) = (select id, hash from duly.audit where id = 2)"
    )
    await examined(config, status=0)
    found = await examined(config, "--audit-head", head, status=1)
    assert found["what"] == "the chain ends with line 2, before line 3 that --audit-head names"


async def test_a_head_that_cannot_be_looked_for_is_a_problem(config: Path, conn: Connection) -> None:
    await conn.execute("drop schema duly cascade")
    found = await examined(config, "--audit-head", f"1:{'0' * 64}", status=1)
    assert "could not be searched for line 1" in found["what"]


async def test_what_is_no_head_is_a_wrong_call(config: Path) -> None:
    done = await duly(config, "doctor", "--offline", "--audit-head", "12")
    assert done.returncode == 2
    assert "--audit-head: '12' is not ID:HASH" in done.stderr
