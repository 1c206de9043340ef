"""Dead letters: listed, replayed, dismissed, with who and why."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.support import ROOT, free_port, running, toml, until


@pytest.fixture
def config(work_dir: Path, dsn: str, sandbox: Sandbox) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, free_port()))
    return path


def duly(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", *words, "--config", str(config)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip


async def failed(conn: Connection, reason: str, workspace: str = "clinic") -> str:
    await conn.execute("select duly.register_workspace($1)", workspace)
    delivery = await conn.fetchval("select duly.enqueue($1, 'sms', '+14155550123', 'Hello')", workspace)
    await conn.execute(
        "update duly.delivery_row set state = 'failed', reason = $2, attempts = 5 where id = $1",
        delivery,
        reason,
    )
    return str(delivery)


async def test_dead_letters_are_grouped_by_reason(config: Path, conn: Connection) -> None:
    await failed(conn, "carrier_error")
    await failed(conn, "carrier_error")
    await failed(conn, "invalid_address", "shop")
    found = json.loads(duly(config, "replay", "--json").stdout)
    assert found["count"] == 3
    assert [(g["workspace"], g["reason"], g["count"]) for g in found["groups"]] == [
        ("clinic", "carrier_error", 2),
        ("shop", "invalid_address", 1),
    ]


async def test_a_dry_run_changes_nothing(config: Path, conn: Connection) -> None:
    delivery = await failed(conn, "carrier_error")
    assert duly(config, "replay", "--reason", "carrier_error", "--dry-run").returncode == 0
    assert (
        await conn.fetchval("select state::text from duly.delivery_row where id = $1::text::uuid", delivery)
        == "failed"
    )


async def test_a_replay_needs_a_reason_for_the_record(config: Path, conn: Connection) -> None:
    await failed(conn, "carrier_error")
    done = duly(config, "replay", "--all")
    assert (done.returncode, "--why" in done.stderr) == (2, True)


async def test_a_replayed_delivery_is_sent_although_its_attempts_were_used_up(
    config: Path, conn: Connection, sandbox: Sandbox
) -> None:
    chosen, other = await failed(conn, "carrier_error"), await failed(conn, "filtered")
    done = duly(
        config,
        "replay",
        "--reason",
        "carrier_error",
        "--why",
        "the carrier is back",
        "--who",
        "ada",
        "--json",
    )
    assert json.loads(done.stdout) == {"replay": 1}
    port = int(config.read_text().split('listen = "127.0.0.1:')[1].split('"')[0])
    async with running(config, port):

        async def delivered() -> bool:
            state: str = await conn.fetchval(
                "select state from duly.delivery where id = $1::text::uuid", chosen
            )
            return state == "delivered"

        await until(delivered)
    decision = await conn.fetchrow("select who, why, from_reason, decision from duly.decision")
    assert tuple(decision or ()) == ("ada", "the carrier is back", "carrier_error", "replayed")
    assert (
        await conn.fetchval("select state::text from duly.delivery_row where id = $1::text::uuid", other)
        == "failed"
    )
    assert sandbox.ledger.stats()["accepted"] == 1


async def test_a_dismissed_delivery_is_no_longer_listed(config: Path, conn: Connection) -> None:
    delivery = await failed(conn, "filtered")
    duly(config, "replay", delivery, "--dismiss", "--why", "told by phone")
    assert json.loads(duly(config, "replay", "--json").stdout)["count"] == 0
    told = duly(config, "explain", delivery).stdout
    assert "dismissed by" in told
    assert "told by phone" in told


async def test_a_held_delivery_can_be_replayed_and_an_asked_one_cannot(
    config: Path, conn: Connection
) -> None:
    held, asked = await failed(conn, "timed_out"), await failed(conn, "timed_out")
    await conn.execute(
        "update duly.delivery_row set state = 'uncertain', ask_at = null where id = $1::text::uuid", held
    )
    await conn.execute(
        "update duly.delivery_row set state = 'uncertain', ask_at = now() where id = $1::text::uuid", asked
    )
    done = duly(config, "replay", held, asked, "--why", "the patient says it never came", "--json")
    assert json.loads(done.stdout) == {"replay": 1}
    assert (
        await conn.fetchval("select state::text from duly.delivery_row where id = $1::text::uuid", held)
        == "queued"
    )
