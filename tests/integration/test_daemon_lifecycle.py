"""How a daemon begins, reloads, loses parts of itself, is stopped and is killed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.store.database import Connection
from tests.daemons import (
    accepted,
    all_settled,
    assert_agreement,
    daemon_on,
    deliveries,
    enqueue,
    plain_sandbox,
    slow,
    states,
)
from tests.support import DaemonProcess, free_port, running, toml, until

BUSY = "concurrency = 5"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with plain_sandbox() as found:
        yield found


@pytest.fixture
def port() -> int:
    return free_port()


def events(daemon: DaemonProcess, event: str) -> list[dict[str, Any]]:
    """What the daemon logged under that name."""
    lines = [orjson.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


async def received(sandbox: Sandbox, count: int) -> None:
    """Waits until so many calls have begun."""

    async def enough() -> bool:
        return sandbox.ledger.received >= count

    await until(enough)


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_finishes_the_calls_in_flight_and_hands_back_the_rest(
    number: signal.Signals, work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 1)
    async with daemon_on(work_dir, dsn, sandbox, port, account=BUSY) as daemon:
        await enqueue(conn, 300)
        await received(sandbox, 5)
        assert (await states(conn))["leased"] > 200
        daemon.signal(number)

        async def handed_back() -> bool:
            return (await states(conn))["leased"] == 0

        await until(handed_back)  # at once, not when the calls have ended
        assert (await states(conn))["sending"] > 0
        assert await daemon.wait() == 0
    found = await states(conn)
    assert set(found) == {"sent", "queued"}
    assert found["sent"] <= 15, "new calls were begun after the signal"
    await assert_agreement(conn, sandbox.ledger)
    untouched = "select count(*) from duly.delivery_row where state = 'queued' and attempts = 0"
    free = " and lease_token is null and node_id is null and account is null"
    assert await conn.fetchval(untouched + free) == found["queued"]


async def test_a_call_that_outlasts_the_stop_is_settled_by_another_daemon_and_never_sent_again(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    sandbox.dice.set(Faults(hang_taken=1))
    account = "concurrency = 2\npatience_seconds = 2"
    impatient = {
        "shutdown_seconds = 5": "shutdown_seconds = 1",
        "timeout_seconds = 3": "timeout_seconds = 60",
    }
    async with daemon_on(work_dir, dsn, sandbox, port, account=account, edits=impatient) as daemon:
        await enqueue(conn, 20)
        await received(sandbox, 2)
        assert await daemon.stop() == 0
        assert events(daemon, "calls did not end in time: they become uncertain")
    left = await states(conn)
    assert left["sending"] >= 2
    assert left["queued"] >= 10
    sandbox.dice.set(Faults())
    other_port = free_port()
    async with daemon_on(work_dir, dsn, sandbox, other_port, account=account) as other:
        await until(lambda: all_settled(conn), seconds=30)
        assert events(other, "took over from dead daemons")
        assert await other.stop() == 0
    assert (await states(conn)) == {"sent": 20}
    await assert_agreement(conn, sandbox.ledger)


async def test_a_stop_ends_in_time_while_the_database_was_never_there(
    work_dir: Path, port: int, sandbox: Sandbox
) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    async with daemon_on(work_dir, nowhere, sandbox, port, wait_ready=False) as daemon:
        await daemon.unfit("database", "Refused")
        assert await daemon.get("/healthz", expect=200) == {"status": "alive"}
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait(9) == 0


# Reloading.


async def reload(daemon: DaemonProcess, text: str) -> None:
    """Writes another TOML and waits until it is live."""
    before = len(events(daemon, "reloaded"))
    daemon.config.write_text(text)
    daemon.signal(signal.SIGHUP)

    async def live() -> bool:
        return len(events(daemon, "reloaded")) > before

    await until(live)


async def test_reloads_under_load_neither_lose_nor_double_a_message(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 0.02)
    async with daemon_on(work_dir, dsn, sandbox, port, account=BUSY) as daemon:
        for round_ in range(8):
            await enqueue(conn, 150, first=150 * round_, workspace=("clinic", "shop")[round_ % 2])
            account = f"concurrency = {5 + 5 * (round_ % 3)}\nrate_per_second = {200 + round_}"
            await reload(daemon, toml(dsn, sandbox.url, port, account=account))
        await until(lambda: all_settled(conn), seconds=30)
        assert await daemon.get("/readyz", expect=200)
    assert await states(conn) == {"sent": 1200}
    await assert_agreement(conn, sandbox.ledger)


async def test_a_changed_limit_and_a_new_account_and_workspace_are_live_after_a_reload(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    second = toml("", sandbox.url, port).split("[platforms.main]")[1].split("[workspaces")[0]
    second = second.replace("+15005550006", "+15005550009")
    extra = f"""
[platforms.second]{second}
[routes]
sms = "main"
[workspaces.fresh]
routes = {{ sms = "second" }}
"""
    async with daemon_on(work_dir, dsn, sandbox, port, account="rate_per_second = 1") as daemon:
        await enqueue(conn, 50)
        await received(sandbox, 1)
        assert sandbox.ledger.accepted < 20
        await reload(daemon, toml(dsn, sandbox.url, port, account="rate_per_second = 500", extra=extra))

        async def known() -> bool:
            return bool(await conn.fetchval("select count(*) from duly.workspace where name = 'fresh'"))

        await until(known)
        await enqueue(conn, 3, workspace="fresh", first=100)
        await until(lambda: all_settled(conn))
    assert await states(conn) == {"sent": 53}
    senders = [message.sender for message in accepted(sandbox.ledger)]
    assert (senders.count("+15005550006"), senders.count("+15005550009")) == (50, 3)


async def test_an_invalid_toml_is_refused_whole_with_its_line_and_the_old_one_goes_on(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port) as daemon:
        text = daemon.config.read_text()
        wrong = text.replace("timeout_seconds = 3", "timeout_seconds = -3\nrate_per_second = 1")
        daemon.config.write_text(wrong)
        daemon.signal(signal.SIGHUP)

        async def refused() -> list[dict[str, Any]]:
            return events(daemon, "reload refused")

        (refusal,) = await until(refused)
        assert refusal["key"] == "platforms.main.timeout_seconds"
        assert refusal["line"] == 1 + wrong.splitlines().index("timeout_seconds = -3")
        await enqueue(conn, 60)
        await until(lambda: all_settled(conn))  # 60 s if the new rate had slipped through
        assert events(daemon, "reloaded") == []
        await reload(daemon, text)


async def test_what_needs_a_restart_is_said_at_every_reload_and_not_half_live(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port) as daemon:
        text = daemon.config.read_text()
        moved = text.replace(f'listen = "127.0.0.1:{port}"', f'listen = "127.0.0.1:{free_port()}"')
        moved = moved.replace("[daemon]", 'pool_size = 3\n[daemon]\nnode = "another"')
        for _ in range(2):
            await reload(daemon, moved)
        said = events(daemon, "these changes need a restart and are not live")
        assert [sorted(line["keys"]) for line in said] == [
            ["daemon.node", "database.pool_size", "web.listen"]
        ] * 2
        await enqueue(conn, 5)
        await until(lambda: all_settled(conn))


async def test_a_database_url_that_needs_a_restart_is_not_used_by_any_new_connection(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port) as daemon:
        nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
        await reload(daemon, daemon.config.read_text().replace(dsn, nowhere))
        listener = (
            "select pid from pg_stat_activity where datname = current_database() and query ilike 'listen%'"
        )
        old = await conn.fetchval(listener)
        await conn.execute("select pg_terminate_backend($1)", old)

        async def listens_again() -> bool:
            return await conn.fetchval(listener) not in (None, old)

        await until(listens_again)


async def test_a_removed_accounts_rows_are_handed_back(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 0.5)
    async with daemon_on(work_dir, dsn, sandbox, port, account=BUSY) as daemon:
        await enqueue(conn, 100)
        await received(sandbox, 5)
        slow(sandbox, 0)
        text = daemon.config.read_text()
        start, end = text.index("[platforms.main]"), text.index("[workspaces")
        await reload(daemon, text[:start] + text[end:])

        async def settled() -> bool:
            return set(await states(conn)) == {"sent", "queued"}

        await until(settled)
        held = "select count(*) from duly.delivery_row where state = 'queued' and lease_token is not null"
        assert await conn.fetchval(held) == 0
        await reload(daemon, text)
        await until(lambda: all_settled(conn), seconds=30)
    await assert_agreement(conn, sandbox.ledger)


# Parts that die.


async def test_a_part_that_dies_is_restarted_while_the_others_go_on(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 1)
    async with daemon_on(work_dir, dsn, sandbox, port, account=BUSY) as daemon:
        await enqueue(conn, 10)
        await received(sandbox, 5)
        await conn.execute("alter table duly.message rename to message_away")
        await enqueue_raw(conn)

        async def died() -> list[dict[str, Any]]:
            return events(daemon, "an actor died")

        await until(died)
        await conn.execute("alter table duly.message_away rename to message")
        assert await daemon.get("/healthz", expect=200) == {"status": "alive"}
        await until(lambda: all_settled(conn), seconds=30)
        assert {line["actor"] for line in events(daemon, "an actor died")} <= {"fetcher", "reconciler"}
        assert await daemon.stop() == 0
    assert await states(conn) == {"sent": 11}
    await assert_agreement(conn, sandbox.ledger)


async def enqueue_raw(conn: Connection) -> None:
    """Queues one more while `enqueue` cannot: the fetcher must look at it and stumble."""
    await conn.execute(
        """with m as (
             insert into duly.message_away (id, workspace_id, body, category)
             select duly.new_id(), id, 'Hello', 'transactional' from duly.workspace where name = 'shop'
             returning id, workspace_id)
           insert into duly.delivery_row (id, workspace_id, message_id, channel, "to", priority, due_at)
           select id, workspace_id, id, 'sms', '+14155550199', 2, now() from m"""
    )
    await conn.execute("select pg_notify('duly', 'look')")


async def test_calls_in_flight_survive_the_death_of_the_dispatcher(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 1.5)
    async with daemon_on(work_dir, dsn, sandbox, port, account="concurrency = 5") as daemon:
        await enqueue(conn, 5)
        await received(sandbox, 5)
        # The gate cannot mark any more, while leasing goes on.
        await conn.execute("alter table duly.delivery_row rename column sending_at to sending_away")
        await enqueue(conn, 5, first=10)

        async def died() -> list[dict[str, Any]]:
            return events(daemon, "an actor died")

        await until(died)
        await conn.execute("alter table duly.delivery_row rename column sending_away to sending_at")
        await until(lambda: all_settled(conn), seconds=30)
        assert {line["actor"] for line in events(daemon, "an actor died")} == {"dispatcher"}
        outcomes = await conn.fetch("select outcome, count(*) from duly.attempt group by 1")
        assert [tuple(row) for row in outcomes] == [("accepted", 10)], "a call was cut off"
    assert await conn.fetchval("select count(*) from duly.resolution") == 0
    await assert_agreement(conn, sandbox.ledger)


async def test_outcomes_are_kept_while_the_database_refuses_them(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port) as daemon:
        await conn.execute("alter table duly.attempt rename to attempt_away")
        await enqueue(conn, 20)

        async def all_called() -> bool:
            return sandbox.ledger.accepted == 20

        await until(all_called)
        await asyncio.sleep(1)
        assert (await states(conn))["sending"] == 20
        await conn.execute("alter table duly.attempt_away rename to attempt")
        await until(lambda: all_settled(conn), seconds=30)
        assert await daemon.stop() == 0
    assert await conn.fetchval("select count(*) from duly.attempt where outcome = 'accepted'") == 20
    assert await conn.fetchval("select count(*) from duly.resolution") == 0
    await assert_agreement(conn, sandbox.ledger)


async def test_a_part_that_dies_too_often_ends_the_process_with_status_1_and_a_clear_word(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port, daemon="max_restarts = 2") as daemon:
        await conn.execute("alter table duly.message rename to message_away")
        await enqueue_raw(conn)
        assert await daemon.wait() == 1
        last = daemon.log.splitlines()[-1]
        assert re.fullmatch(
            r'duly: (fetcher|reconciler|rescuer) died 3 times within 60 s: relation "duly.message" does not exist',
            last,
        )
    assert await conn.fetchval("select count(*) from duly.node where alive_until > now()") == 0


async def test_a_port_in_use_ends_the_process_with_a_clear_word_and_without_saying_ready(
    work_dir: Path, dsn: str, port: int, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken, systemd_socket(work_dir, monkeypatch) as heard:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        few = "max_restarts = 1"
        async with daemon_on(work_dir, dsn, sandbox, port, wait_ready=False, daemon=few) as daemon:
            assert await daemon.wait() == 1
            last = daemon.log.splitlines()[-1]
            assert last.startswith("duly: web died 2 times")
            assert f"'127.0.0.1', {port}" in last
            assert "address already in use" in last
        assert not any(word.startswith("READY") for word in heard())


# systemd.


@contextlib.contextmanager
def systemd_socket(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where systemd would listen; yields a function that returns all that was heard so far."""
    words: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(directory / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")

        def heard() -> list[str]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    words.append(listening.recv(4096).decode())
            return words

        yield heard


async def test_systemd_hears_the_whole_life_of_a_daemon(
    work_dir: Path, dsn: str, port: int, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with systemd_socket(work_dir, monkeypatch) as heard:
        async with daemon_on(work_dir, dsn, sandbox, port) as daemon:
            text = daemon.config.read_text()
            await reload(daemon, text)
            daemon.config.write_text("nonsense")
            daemon.signal(signal.SIGHUP)

            async def refused() -> list[dict[str, Any]]:
                return events(daemon, "reload refused")

            await until(refused)

            async def fed() -> bool:
                return bool(heard().count("WATCHDOG=1") >= 3)

            await until(fed)
            assert await daemon.stop() == 0
        told = [word.split("\n")[0] for word in heard() if not word.startswith("WATCHDOG")]
    assert told == ["READY=1", *("RELOADING=1", "READY=1") * 2, "STOPPING=1"]


# Killed.


async def test_what_a_killed_daemon_held_is_rescued_by_another_and_nothing_goes_twice(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 0.3)
    account = f"{BUSY}\npatience_seconds = 2"
    async with daemon_on(work_dir, dsn, sandbox, port, account=account) as first:
        await enqueue(conn, 200)

        async def some_recorded() -> bool:
            return (await states(conn))["sent"] >= 5

        await until(some_recorded)
        first.signal(signal.SIGKILL)
        await first.wait()
        slow(sandbox, 0)
        left = await states(conn)
        assert left["leased"] > 100
        assert left["sending"] > 0
        other_port = free_port()
        async with daemon_on(work_dir, dsn, sandbox, other_port, account=account) as second:
            assert (await states(conn))["leased"] > 0, "taken over before the lease ran out"
            await until(lambda: all_settled(conn), seconds=40)
            rescued = {line["state"] for line in events(second, "took over from dead daemons")}
            assert rescued == {"queued", "uncertain"}
            assert await second.stop() == 0
    assert await states(conn) == {"sent": 200}
    await assert_agreement(conn, sandbox.ledger)


async def test_a_daemon_that_slept_through_its_lease_sends_nothing_of_what_others_took_over(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    slow(sandbox, 0.2)
    account = f"{BUSY}\npatience_seconds = 2"
    async with daemon_on(work_dir, dsn, sandbox, port, account=account) as sleeper:
        await enqueue(conn, 150)
        await received(sandbox, 10)
        sleeper.signal(signal.SIGSTOP)
        slow(sandbox, 0)
        other_port = free_port()
        async with daemon_on(work_dir, dsn, sandbox, other_port, account=account):
            await until(lambda: all_settled(conn), seconds=40)
            sleeper.signal(signal.SIGCONT)

            async def rejoined() -> list[dict[str, Any]]:
                return events(sleeper, "joined")[1:]

            await until(rejoined)
            await enqueue(conn, 20, first=1000)
            await until(lambda: all_settled(conn), seconds=40)
    assert await states(conn) == {"sent": 170}
    await assert_agreement(conn, sandbox.ledger)


# Run as a module, it is the command.


async def test_a_wrong_toml_at_start_is_status_2_and_names_the_line(work_dir: Path, port: int) -> None:
    path = work_dir / "duly.toml"
    path.write_text("[daemon]\nlease_seconds = 0\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon", "run", "--config", str(path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"duly.toml:2" in said


__all__ = ["deliveries", "running"]


# Its log.


async def test_a_log_on_a_full_disk_costs_no_message(
    work_dir: Path, dsn: str, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    config = work_dir / "duly.toml"
    config.write_text(toml(dsn, sandbox.url, port))
    # Every write to it: no space left on device.
    async with running(config, port, log_path=Path("/dev/full")) as daemon:
        await enqueue(conn, 20)
        await until(lambda: all_settled(conn))
        assert await daemon.stop() == 0
    assert set(await states(conn)) <= {"sent", "delivered"}
    await assert_agreement(conn, sandbox.ledger)
