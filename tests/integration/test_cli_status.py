"""`duly status` over a real database, with and without a daemon."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.status import duration
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.support import ROOT, free_port, running, toml, until


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(work_dir: Path, dsn: str, sandbox: Sandbox, port: int) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port, account="rate_per_second = 10"))
    return path


async def duly(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon", "status", "--config", str(config), *words]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=ROOT, check=False
    )


async def facts(config: Path) -> dict[str, Any]:
    done = await duly(config, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def queue(
    conn: Connection, workspace: str, due: str = "0 s", channel: str = "sms", body: str = "Hello"
) -> str:
    await conn.execute("select duly.register_workspace($1)", workspace)
    to = "someone@example.com" if channel == "email" else "+14155550123"
    return str(
        await conn.fetchval(
            "select duly.enqueue($1, $2, $3, $4, due_at => now() + $5::text::interval)",
            workspace,
            channel,
            to,
            body,
            due,
        )
    )


async def alive(conn: Connection) -> int:
    return int(await conn.fetchval(query("node_join"), "some-node", "0.1.0", 600.0))


def part(found: list[dict[str, Any]], key: str, name: str) -> dict[str, Any]:
    return next(one for one in found if one[key] == name)


async def test_an_empty_database_is_all_noughts(config: Path) -> None:
    found = await facts(config)
    assert found["queued"]["total"] == 0
    assert found["last_24_hours"]["delivered"] == 0
    assert [w["workspace"] for w in found["workspaces"]] == ["clinic", "shop"]
    assert [a["account"] for a in found["accounts"]] == ["main"]
    assert found["daemon"] is None


async def test_what_is_queued_is_counted_with_its_segments_and_what_is_due(
    config: Path, conn: Connection
) -> None:
    for due in ("-20 s", "-10 s", "1 h"):
        await queue(conn, "clinic", due, body="x" * 161)
    await queue(conn, "shop", "1 h")
    found = await facts(config)
    assert {k: found["queued"][k] for k in ("total", "due", "segments", "due_segments")} == {
        "total": 4, "due": 2, "segments": 7, "due_segments": 4,
    }  # fmt: skip
    assert 19 < found["queued"]["oldest_due_seconds"] < 30
    assert part(found["workspaces"], "workspace", "clinic")["queued"]["due"] == 2
    assert part(found["workspaces"], "workspace", "shop")["queued"]["oldest_due_at"] is None
    assert part(found["accounts"], "account", "main")["queued"]["total"] == 4


async def test_the_eta_comes_from_the_tightest_limit(config: Path, conn: Connection) -> None:
    await alive(conn)
    for _ in range(50):
        await queue(conn, "clinic")
    found = await facts(config)
    assert found["eta_seconds"] == pytest.approx(5, abs=0.2)  # 50 segments at the account's 10 a second
    assert part(found["accounts"], "account", "main")["eta_seconds"] == found["eta_seconds"]
    assert part(found["workspaces"], "workspace", "shop")["eta_seconds"] == 0
    assert ", in 5 s" in (await duly(config)).stdout


async def test_without_a_daemon_nothing_becomes_empty(config: Path, conn: Connection) -> None:
    await queue(conn, "clinic")
    found = await facts(config)
    assert (found["eta_seconds"], found["empty_at"], found["why"]) == (None, None, "no daemon is alive")
    assert "nobody can say when it is empty: no daemon is alive" in (await duly(config)).stdout


async def many(
    conn: Connection, count: int, due: datetime, *, category: str = "x", expires_after: str | None = None
) -> None:
    await conn.execute("select duly.register_workspace('clinic')")
    await conn.execute(
        """select duly.enqueue('clinic', 'sms', '+1' || (4150000000 + n), 'Hello', $2::timestamptz,
                               category => $3, expires_at => $2::timestamptz + $4::text::interval)
           from generate_series(1, $1::int) n""",
        count, due, category, expires_after,
    )  # fmt: skip


async def test_a_cohort_is_told_with_its_size_and_its_end(config: Path, conn: Connection) -> None:
    await alive(conn)
    await queue(conn, "clinic")
    sunday = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=3)
    await many(conn, 1800, sunday)
    await many(conn, 60, sunday + timedelta(hours=1), category="marketing")
    due = sunday.astimezone(timezone(timedelta(hours=1)))
    found = json.loads((await duly(config, "--json", "--due", due.isoformat())).stdout)
    (cohort,) = found["cohorts"]
    assert (cohort["messages"], cohort["segments"]) == (1800, 1800)
    ends = datetime.fromisoformat(cohort["ends_at"])
    assert ends - sunday == pytest.approx(timedelta(minutes=3), abs=timedelta(seconds=2))
    assert [datetime.fromisoformat(busy["due_since"]) for busy in found["busy"]] == [
        sunday, sunday + timedelta(hours=1),
    ]  # fmt: skip
    assert found["eta_seconds"] == pytest.approx(0, abs=0.2)
    assert datetime.fromisoformat(found["all_gone_at"]) - sunday > timedelta(hours=1)
    written = (await duly(config, "--due", due.isoformat())).stdout
    end = (due + timedelta(minutes=3)).strftime("%H:%M")
    assert f"{due:%A %d %b %H:%M} UTC+01:00: 1,800 messages, 1,800 segments, ends about {end}" in written


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--due", "..{after}"], 632),
        (["--due", "{at}..{after}"], 630),
        (["--due", "..{after}", "--category", "marketing"], 30),
        (["--due", "..{after}", "--workspace", "shop"], 1),
        (["--due", "..{after}", "--priority", "1"], 0),
        (["--due", "{after}"], 30),
    ],
)
async def test_a_cohort_may_be_a_span_of_time_and_narrowed_down(
    options: list[str], messages: int, config: Path, conn: Connection
) -> None:
    at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=3)
    after = at + timedelta(hours=1)
    await queue(conn, "clinic")
    await queue(conn, "shop")
    await many(conn, 600, at)
    await many(conn, 30, after, category="marketing")
    times = {"at": at.isoformat(), "after": after.isoformat()}
    found = json.loads((await duly(config, "--json", *(o.format(**times) for o in options))).stdout)
    assert [cohort["messages"] for cohort in found["cohorts"]] == [messages]


async def test_what_expires_before_its_turn_is_warned_of(config: Path, conn: Connection) -> None:
    await alive(conn)
    await many(conn, 600, datetime.now(UTC), expires_after="30 seconds")
    found = await facts(config)
    assert found["will_expire"] == pytest.approx(300, rel=0.1)
    assert part(found["workspaces"], "workspace", "clinic")["will_expire"] == found["will_expire"]
    assert "will expire unsent" in (await duly(config)).stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--due", "soon"], "--due: 'soon' is not a time"),
        (["--due", "2026-11-29T18:00"], "has no zone"),
        (["--due", "2026-11-29T18:00Z..2026-11-28T18:00Z"], "ends before it begins"),
        (["--workspace", "clinic"], "name a time"),
    ],
)
async def test_a_cohort_that_makes_no_sense_is_refused(options: list[str], says: str, config: Path) -> None:
    done = await duly(config, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


async def test_a_channel_without_an_account_is_named(config: Path, conn: Connection) -> None:
    await queue(conn, "clinic", "-10 min", channel="email")
    found = await facts(config)
    assert found["without_route"] == [{"workspace": "clinic", "channel": "email", "queued": 1}]
    assert found["stuck"]["queued"] == 1
    assert part(found["workspaces"], "workspace", "clinic")["eta_seconds"] is None
    assert "NO ROUTE   1 queued for email of clinic" in (await duly(config)).stdout


async def test_an_overdue_backlog_that_moves_is_not_stuck(config: Path, conn: Connection) -> None:
    await queue(conn, "clinic", "-10 min")
    assert (await facts(config))["stuck"]["queued"] == 0


async def test_an_overdue_backlog_of_a_disabled_account_is_stuck(config: Path, conn: Connection) -> None:
    config.write_text(config.read_text().replace("timeout_seconds", "enabled = false\ntimeout_seconds"))
    await queue(conn, "clinic", "-10 min")
    found = await facts(config)
    assert found["stuck"]["queued"] == 1
    assert part(found["accounts"], "account", "main")["state"] == "disabled"


async def test_what_is_held_for_more_than_two_leases_is_stuck(config: Path, conn: Connection) -> None:
    node = await alive(conn)
    for state, seconds in (
        ("leased", 11),
        ("sending", 11),
        ("sending", -60),
    ):  # the last stays fresh, however slow we are
        await conn.execute(
            "update duly.delivery_row set state = $2::text::duly.state, node_id = $3, account = 'main',"
            " state_at = now() - make_interval(secs => $4) where id = $1",
            await queue(conn, "clinic"), state, node, seconds,
        )  # fmt: skip
    found = await facts(config)
    assert (found["leased"], found["sending"]) == (1, 2)
    assert found["stuck"] == {"leased": 1, "sending": 1, "queued": 0}
    assert "STUCK      1 leased, 1 sending" in (await duly(config)).stdout


async def test_uncertain_ones_left_to_a_person_are_told_apart(config: Path, conn: Connection) -> None:
    for ask_at in ("now()", "null"):
        await conn.execute(
            f"update duly.delivery_row set state = 'uncertain', account = 'main', ask_at = {ask_at} where id = $1",
            await queue(conn, "clinic"),
        )
    found = await facts(config)
    assert (found["uncertain"], found["undecided"]) == (2, 1)
    assert part(found["accounts"], "account", "main")["uncertain"] == 2


async def test_what_ended_counts_for_a_day(config: Path, conn: Connection) -> None:
    for state in ("sent", "delivered", "read", "failed", "skipped", "canceled", "expired"):
        await conn.execute(
            "update duly.delivery_row set state = $2::text::duly.state, account = 'main', sent_at = now() where id = $1",
            await queue(conn, "clinic"), state,
        )  # fmt: skip
    await conn.execute(
        "update duly.delivery_row set state = 'delivered', id = duly.first_id_at(now() - interval '25 hours')"
        " where id = $1",
        await queue(conn, "clinic"),
    )
    ended = {"sent": 1, "delivered": 2, "failed": 1, "expired": 1, "skipped": 1, "canceled": 1}
    found = await facts(config)
    assert found["last_24_hours"] == ended
    assert part(found["accounts"], "account", "main")["last_24_hours"] == ended
    assert found["segments_per_second"] == round(7 / 60, 2)


async def test_a_daemon_that_runs_is_seen_with_its_readiness(
    config: Path, port: int, conn: Connection
) -> None:
    async with running(config, port):
        delivery = await queue(conn, "clinic")

        async def delivered() -> bool:
            return bool(
                await conn.fetchval("select state = 'delivered' from duly.delivery where id = $1", delivery)
            )

        await until(delivered)
        found = await facts(config)
        written = (await duly(config)).stdout
    assert found["last_24_hours"]["delivered"] == 1
    assert found["daemon"]["ready"] is True
    assert part(found["accounts"], "account", "main")["state"] == "ok"
    assert [node["alive"] for node in found["nodes"]] == [True]
    assert "/readyz: ready" in written


async def test_a_database_that_is_down_ends_it_with_one(config: Path) -> None:
    config.write_text(config.read_text().replace("/t_", "/nothing_like_t_"))
    done = await duly(config)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("duly: the database cannot be asked")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "a moment"), (89, "89 s"), (150, "3 min"), (7500, "2 h 5 min"), (356_400, "4 d 3 h")],
)
def test_a_duration_is_said_in_the_units_that_matter(seconds: float, text: str) -> None:
    assert duration(seconds) == text
