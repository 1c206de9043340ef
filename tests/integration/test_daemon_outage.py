"""What a daemon does while its database is cut off, away, locked or not yet what it should be.

The server is this module's own: other tests must not feel it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from daemon.store.embedded import EmbeddedHandle, start
from daemon.store.migrations import migrate
from tests.daemons import assert_agreement, daemon_on, deaths, enqueue, plain_sandbox, states
from tests.support import DaemonProcess, dsn_of, free_port, until

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHandle]:
    """A server that these tests may mistreat."""
    with start(tmp_path_factory.mktemp("own-pg")) as handle:
        yield handle


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """A connection for as long as it is needed: none outlives a restart."""
    conn = await asyncpg.connect(dsn)
    try:
        yield conn
    finally:
        await conn.close()


@pytest.fixture
async def bare_dsn(postgres: EmbeddedHandle) -> AsyncIterator[str]:
    """An empty database."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    async with connected(postgres.server.dsn) as admin:
        await admin.execute(f"create database {name}")
    yield dsn_of(postgres.server.dsn, name)
    async with connected(postgres.server.dsn) as admin:
        await admin.execute(f"drop database {name} with (force)")


@pytest.fixture
async def dsn(bare_dsn: str) -> str:
    """A migrated one."""
    async with connected(bare_dsn) as conn:
        await migrate(conn)
    return bare_dsn


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    retries = (0.2, 0.5, 1, 1, 2, 2, 2, 2, 2, 2, 2)
    async with plain_sandbox(callbacks=True, callback_retry_seconds=retries) as found:
        yield found


@pytest.fixture
def port() -> int:
    return free_port()


class Load:
    """An application that keeps queueing, and repeats what it is not sure of under the same key."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._task = asyncio.create_task(self._run())
        self._stopping = False
        self.queued = 0

    async def _run(self) -> None:
        while not self._stopping:
            try:
                async with connected(self._dsn) as conn:
                    while not self._stopping:
                        await self._one(conn)
            except _LOST:
                await asyncio.sleep(0.05)

    async def _one(self, conn: Connection) -> None:
        await conn.execute(
            "select duly.enqueue('clinic', 'sms', $1, 'Hello', idempotency_key => $2)",
            f"+1{4150000000 + self.queued}",
            f"load-{self.queued}",
        )
        self.queued += 1
        await asyncio.sleep(0.005)

    async def stop(self) -> int:
        """Ends; returns how many messages were queued for certain."""
        self._stopping = True
        await self._task
        return self.queued


class Watch:
    """Asks /readyz all the time."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon
        self.troubles: list[str] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            answer = await self._daemon.get("/readyz")
            if answer is not None and not answer["ready"]:
                self.troubles.append(answer["parts"]["database"])
            await asyncio.sleep(0.02)

    async def stop(self) -> list[str]:
        """Ends; returns what `database` said whenever the daemon was not ready."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return [trouble for trouble in self.troubles if trouble != "ok"]


async def assert_all_delivered(dsn: str, sandbox: Sandbox, count: int) -> None:
    """Everything that was queued has arrived, once."""

    async def delivered() -> bool:
        async with connected(dsn) as conn:
            return await states(conn) == Counter(delivered=count)

    await until(delivered, seconds=40, every=0.2)
    async with connected(dsn) as conn:
        await assert_agreement(conn, sandbox.ledger)


async def assert_hears_of_news(dsn: str, sandbox: Sandbox) -> None:
    """A fresh message goes out long before the daemon would look by itself."""

    async def listens() -> bool:
        async with connected(dsn) as conn:
            asked = "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"
            return bool(await conn.fetchval(asked))

    await until(listens)
    before = sandbox.ledger.accepted
    async with connected(dsn) as conn:
        await enqueue(conn, 1, first=900_000)

    async def gone() -> bool:
        return sandbox.ledger.accepted > before

    await until(gone, seconds=4)


RARELY = "poll_seconds = 10"


async def test_cut_connections_lose_and_double_nothing(
    work_dir: Path, dsn: str, port: int, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port, daemon=RARELY) as daemon:
        load = Load(dsn)
        async with connected(dsn) as axe:
            for _ in range(30):
                await axe.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0.1)
        count = await load.stop()
        assert count > 5
        await assert_all_delivered(dsn, sandbox, count)
        await daemon.ready()
        await assert_hears_of_news(dsn, sandbox)
        assert deaths(daemon) == []
        assert await daemon.stop() == 0


async def test_a_crash_of_the_server_under_load_loses_and_doubles_nothing(
    work_dir: Path, postgres: EmbeddedHandle, dsn: str, port: int, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, dsn, sandbox, port, daemon=RARELY) as daemon:
        load, watch = Load(dsn), Watch(daemon)
        for _ in range(2):
            await asyncio.sleep(1)
            await asyncio.to_thread(postgres.restart, "immediate")
        await asyncio.sleep(1)
        count = await load.stop()
        assert await watch.stop(), "/readyz did not show that the database was away"
        await assert_all_delivered(dsn, sandbox, count)
        await daemon.ready()
        await assert_hears_of_news(dsn, sandbox)
        assert deaths(daemon) == []
        assert await daemon.stop() == 0


async def test_an_outage_longer_than_the_lease_loses_and_doubles_nothing(
    work_dir: Path, postgres: EmbeddedHandle, dsn: str, port: int, sandbox: Sandbox
) -> None:
    account = "rate_per_second = 100\npatience_seconds = 2"  # so that many are leased and wait
    async with daemon_on(work_dir, dsn, sandbox, port, daemon=RARELY, account=account) as daemon:
        async with connected(dsn) as conn:
            await enqueue(conn, 500)

        async def some_taken() -> bool:
            return sandbox.ledger.accepted > 20

        await until(some_taken)
        data_dir = postgres.server.data_dir
        await asyncio.to_thread(postgres.stop)

        async def not_ready() -> Any:
            return await daemon.get("/readyz", expect=503)

        answer = await until(not_ready)
        assert answer["parts"]["database"] != "ok"
        before = sandbox.ledger.accepted
        await asyncio.sleep(6)
        assert sandbox.ledger.accepted <= before + 100, "went on without a mark"
        again = await asyncio.to_thread(start, data_dir)
        try:
            await daemon.ready()
            await assert_all_delivered(dsn, sandbox, 500)
            await assert_hears_of_news(dsn, sandbox)
            assert deaths(daemon) == []
            assert daemon.log.count('"joined"') == 2
        finally:
            await asyncio.to_thread(postgres._join)  # the module's handle takes its share again
            await asyncio.to_thread(again.stop)


async def test_a_stop_during_an_outage_ends_in_time_and_the_next_daemon_goes_on(
    work_dir: Path, postgres: EmbeddedHandle, dsn: str, port: int, sandbox: Sandbox
) -> None:
    account = "rate_per_second = 50\npatience_seconds = 2"
    short = {"shutdown_seconds = 5": "shutdown_seconds = 2"}
    async with daemon_on(work_dir, dsn, sandbox, port, account=account, edits=short) as daemon:
        async with connected(dsn) as conn:
            await enqueue(conn, 200)

        async def some_taken() -> bool:
            return sandbox.ledger.accepted > 20

        await until(some_taken)
        data_dir = postgres.server.data_dir
        await asyncio.to_thread(postgres.stop)
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait(2 + 5 + 9) == 0  # shutdown_seconds, the grace, and some
    again = await asyncio.to_thread(start, data_dir)
    await asyncio.to_thread(postgres._join)
    await asyncio.to_thread(again.stop)
    async with daemon_on(work_dir, dsn, sandbox, free_port(), account=account.replace("50", "500")):
        await assert_all_settled_once(dsn, sandbox, 200)


async def assert_all_settled_once(dsn: str, sandbox: Sandbox, count: int) -> None:
    """Everything was sent once; callbacks that came while nobody listened may be lost."""

    async def sent() -> bool:
        async with connected(dsn) as conn:
            found = await states(conn)
            return found["sent"] + found["delivered"] == count

    await until(sent, seconds=40, every=0.2)
    async with connected(dsn) as conn:
        await assert_agreement(conn, sandbox.ledger)


async def test_a_password_that_is_corrected_or_rotated_takes_effect_by_itself(
    work_dir: Path, dsn: str, port: int, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"daemon_{uuid.uuid4().hex[:8]}"
    async with connected(dsn) as conn:
        await conn.execute(f"create role {role} login password 'right' in role duly_daemon")
    credential = work_dir / "database-url"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(work_dir))
    credential.write_text(as_role(dsn, role, "wrong"))
    secret = {'"DSN"': '{ credential = "database-url" }'}
    async with daemon_on(work_dir, "DSN", sandbox, port, wait_ready=False, edits=secret) as daemon:
        await daemon.unfit("database", "InvalidPassword")
        credential.write_text(as_role(dsn, role, "right"))
        await daemon.ready()
        async with connected(dsn) as conn:
            await conn.execute(f"alter role {role} password 'rotated'")
            credential.write_text(as_role(dsn, role, "rotated"))
            cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = $1"
            assert await conn.fetchval(cut, role) > 0
            await enqueue(conn, 10)
        await assert_all_delivered(dsn, sandbox, 10)
        assert ":wrong@" not in daemon.log
        assert "rotated" not in daemon.log
        assert await daemon.stop() == 0


def as_role(dsn: str, role: str, password: str) -> str:
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role)}:{quote(password)}@{host}"))


async def command(*arguments: str) -> tuple[int, str]:
    """Runs `duly …`: its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_a_daemon_waits_for_the_schema_and_begins_once_it_is_there(
    work_dir: Path, bare_dsn: str, port: int, sandbox: Sandbox
) -> None:
    async with daemon_on(work_dir, bare_dsn, sandbox, port, wait_ready=False) as daemon:
        await daemon.unfit("schema", "run `duly migrate`")
        status, out = await command("migrate", "--config", str(daemon.config))
        assert (status, "0001_words" in out) == (0, True)
        await daemon.ready()
        async with connected(bare_dsn) as conn:
            await enqueue(conn, 5)
        await assert_all_delivered(bare_dsn, sandbox, 5)
        assert deaths(daemon) == []


async def test_migrate_true_migrates_at_the_start(
    work_dir: Path, bare_dsn: str, port: int, sandbox: Sandbox
) -> None:
    migrating = {"[daemon]": "migrate = true\n[daemon]"}
    async with daemon_on(work_dir, bare_dsn, sandbox, port, edits=migrating) as daemon:
        async with connected(bare_dsn) as conn:
            await enqueue(conn, 5)
        await assert_all_delivered(bare_dsn, sandbox, 5)
        assert daemon.log.count('"migrated"') == await applied(bare_dsn)


async def applied(dsn: str) -> int:
    async with connected(dsn) as conn:
        return int(await conn.fetchval("select count(*) from duly.migration"))


def test_the_daemon_does_not_inherit_a_way_around_these_tests() -> None:
    """A PGPASSWORD or PGHOST of the machine would let the wrong password pass."""
    assert [name for name in os.environ if name.startswith("PG")] == []
