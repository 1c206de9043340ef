"""What befalls a database: full, crowded, read-only, locked, older or newer than the code. Nothing is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection
from daemon.store.embedded import EmbeddedHandle, start
from daemon.store.migrations import load, migrate
from tests.integration.stage import NUMBER, Stage, unready
from tests.support import ACCOUNT_SID, AUTH_TOKEN, DaemonProcess, dsn_of, until

MOST_CONNECTIONS = 20
SMALL = {
    "shared_buffers": "16MB",
    "max_connections": str(MOST_CONNECTIONS),
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}
LOGIN, PASSWORD, ROTATED = "duly_app", "before-the-rotation", "after-the-rotation"
# Slow enough that the trouble comes amidst of it.
STEADY = "rate_per_second = 20\nburst = 1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHandle]:
    """A server of this module's own, with few connections and a login for the daemon."""
    with start(tmp_path_factory.mktemp("pg"), settings=SMALL) as handle:
        asyncio.run(_make_login(handle))
        yield handle


async def _make_login(handle: EmbeddedHandle) -> None:
    conn = await asyncpg.connect(dsn_of(handle.server.dsn, "postgres"))
    await conn.execute("create role duly_daemon nologin")
    await conn.execute(f"create role {LOGIN} login password '{PASSWORD}' in role duly_daemon")
    await conn.close()


def as_login(dsn: str, password: str = PASSWORD) -> str:
    """The same database, as the daemon's own login."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{LOGIN}:{password}@{host}", parts.path, parts.query, ""))


@dataclass
class Troubled(Stage):
    """A stage whose database is an own one, for this test to spoil."""

    @property
    def daemons(self) -> str:
        """The DSN of the daemon's login."""
        return as_login(self.dsn)

    async def steady(self, daemon: DaemonProcess, count: int = 40) -> list[UUID]:
        """Queues messages and returns when some have gone and most have not."""
        deliveries = await self.many(count)

        async def amidst() -> bool:
            return self.sandbox.ledger.accepted >= 3

        await until(amidst)
        return deliveries

    async def all_once(self, deliveries: list[UUID]) -> None:
        """All are sent in the end, each once; a callback that came amidst of the trouble may be lost."""
        await self.all_reach("sent", "delivered")
        self.assert_once(deliveries)


@contextlib.asynccontextmanager
async def troubled(dsn: str, directory: Path, *, migrated: int | None = None) -> AsyncIterator[Troubled]:
    """A new database on a server, with so many migrations; and a stand-in."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(dsn_of(dsn, "postgres"))
    await admin.execute(f"create database {name}")
    conn = await asyncpg.connect(dsn_of(dsn, name))
    await migrate(conn, load()[:migrated])
    settings = SandboxSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, seed=1, speed=10)
    try:
        async with Sandbox(settings) as sandbox:
            yield Troubled(dsn_of(dsn, name), conn, sandbox, directory)
    finally:
        conn.terminate()
        admin.terminate()


@pytest_asyncio.fixture
async def stage(server: EmbeddedHandle, work_dir: Path) -> AsyncIterator[Troubled]:
    async with troubled(server.server.dsn, work_dir) as found:
        yield found


async def cut_off(stage: Troubled) -> None:
    """Ends every connection of the daemon."""
    await stage.conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 and datname = current_database()",
        LOGIN,
    )


# ── Out of connections ──


async def test_out_of_connections_it_waits_says_so_and_goes_on(stage: Troubled) -> None:
    async with stage.daemon(dsn=stage.daemons, account=STEADY) as daemon:
        deliveries = await stage.steady(daemon)
        others: list[Connection] = []
        try:

            async def crowded() -> bool:
                with contextlib.suppress(asyncpg.TooManyConnectionsError):
                    while True:
                        others.append(await asyncpg.connect(stage.dsn))
                await cut_off(stage)
                held = await stage.conn.fetchval(
                    "select count(*) from pg_stat_activity where usename = $1", LOGIN
                )
                return not held and len(others) >= MOST_CONNECTIONS - 4

            await until(crowded, every=0.1)
            says = await unready(daemon, "database", "TooManyConnectionsError")
            assert PASSWORD not in says
        finally:
            for conn in others:
                conn.terminate()
        await stage.all_once(deliveries)
        await daemon.ready()
        assert "an actor died" not in daemon.log


# ── A failover to a standby that takes no writes ──


async def test_read_only_it_waits_says_so_and_goes_on(stage: Troubled) -> None:
    async with stage.daemon(dsn=stage.daemons, account=STEADY) as daemon:
        deliveries = await stage.steady(daemon)
        name = await stage.conn.fetchval("select current_database()")
        await stage.conn.execute(f"alter database {name} set default_transaction_read_only = on")
        await cut_off(stage)
        await unready(daemon, "database", "read-only transaction")
        await unready(daemon, "membership", "no valid lease")
        await stage.conn.execute("set default_transaction_read_only = off")
        sent = stage.sandbox.ledger.received
        deliveries.append(await stage.enqueue(NUMBER.format(5000)))
        assert stage.sandbox.ledger.received == sent
        await stage.conn.execute(f"alter database {name} reset default_transaction_read_only")
        await stage.all_once(deliveries)
        await daemon.ready()
        assert "an actor died" not in daemon.log


# ── A password that is rotated while the daemon runs ──


@pytest.mark.parametrize("where", ["credential", "file"])
async def test_a_rotated_password_is_read_anew_without_a_restart(stage: Troubled, where: str) -> None:
    credentials = stage.directory / "credentials"
    credentials.mkdir()
    secret = credentials / "database_url"
    secret.write_text(as_login(stage.dsn) + "\n")
    daemon = stage.config(dsn=stage.daemons, account=STEADY)
    text = daemon.config.read_text()
    if where == "credential":
        text = text.replace(f'url = "{stage.daemons}"', 'url = { credential = "database_url" }')
        daemon.config.write_text(text)
    daemon._environ["CREDENTIALS_DIRECTORY"] = str(credentials)
    async with stage.running(daemon):
        deliveries = await stage.steady(daemon)
        await stage.conn.execute(f"alter role {LOGIN} password '{ROTATED}'")
        try:
            await cut_off(stage)
            says = await unready(daemon, "database", "password authentication failed")
            assert PASSWORD not in says + daemon.log
            if where == "credential":
                secret.write_text(as_login(stage.dsn, ROTATED) + "\n")
            else:
                daemon.config.write_text(text.replace(PASSWORD, ROTATED))
            await stage.all_once(deliveries)
            await daemon.ready()
        finally:
            await stage.conn.execute(f"alter role {LOGIN} password '{PASSWORD}'")
        assert PASSWORD not in daemon.log
        assert ROTATED not in daemon.log
        assert "an actor died" not in daemon.log


# ── A schema of another age ──


async def test_a_database_that_is_older_than_the_code_is_left_alone_until_it_is_migrated(
    server: EmbeddedHandle, work_dir: Path
) -> None:
    known = len(load())
    async with troubled(server.server.dsn, work_dir, migrated=known - 1) as stage:
        await stage.conn.execute("select duly.register_workspace('clinic')")
        deliveries = await stage.many(5)
        async with stage.daemon(dsn=stage.daemons, wait_ready=False) as daemon:
            newest = load()[-1].name
            await unready(daemon, "schema", "1 migrations are pending", newest, "run `duly migrate`")
            assert (await daemon.get("/healthz")) == {"status": "alive"}
            assert await stage.counts() == {"queued": 5}
            owner = stage.config("owner")
            done = await stage.duly(owner, "migrate")
            assert done.returncode == 0, done.stderr
            await stage.all_once(deliveries)
            await daemon.ready()


async def test_a_database_that_is_newer_than_the_code_is_left_alone(stage: Troubled) -> None:
    await stage.conn.execute("select duly.register_workspace('clinic')")
    deliveries = await stage.many(5)
    await stage.conn.execute(
        "insert into duly.migration (number, name, checksum) values (9999, '9999_later', '')"
    )
    async with stage.daemon(dsn=stage.daemons, wait_ready=False) as daemon:
        says = await unready(daemon, "schema", "the database is at migration 9999")
        assert "install the newer Duly" in says
        assert await stage.counts() == {"queued": 5}
        assert await stage.conn.fetchval("select count(*) from duly.node") == 0
        assert await daemon.stop() == 0
    owner = stage.config("owner")
    refused = await stage.duly(owner, "migrate")
    assert (refused.returncode, "install the newer Duly" in refused.stderr) == (1, True)
    await stage.conn.execute("delete from duly.migration where number = 9999")
    async with stage.daemon(dsn=stage.daemons):
        await stage.all_once(deliveries)


async def test_an_empty_database_says_how_to_begin(server: EmbeddedHandle, work_dir: Path) -> None:
    async with (
        troubled(server.server.dsn, work_dir, migrated=0) as stage,
        stage.daemon(dsn=stage.daemons, wait_ready=False) as daemon,
    ):
        await unready(daemon, "schema", "migrations are pending, from 0001_words: run `duly migrate`")


# ── A full disk ──


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", str(path)]
    if os.geteuid() != 0 or mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system to fill can only be mounted by root")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Takes what is free."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


async def test_on_a_full_disk_nothing_is_lost_or_doubled(small_disk: Path, work_dir: Path) -> None:
    handle = await asyncio.to_thread(start, small_disk / "pg", settings=SMALL)
    try:
        async with troubled(handle.server.dsn, work_dir) as stage, stage.daemon(account=STEADY) as daemon:
            deliveries = await stage.steady(daemon, 60)
            filler = small_disk / "filler"
            await asyncio.to_thread(fill, filler)
            refused = await use_up(stage, deliveries)
            assert refused or stage.conn.is_closed()

            async def noticed() -> bool:
                return "No space left" in daemon.log or "database unavailable" in daemon.log

            await until(noticed, seconds=20)
            filler.unlink()
            await restarted_if_need_be(handle, stage)
            await stage.all_once(deliveries)
            await daemon.ready()
            assert "an actor died" not in daemon.log
    finally:
        await asyncio.to_thread(handle.stop)


async def use_up(stage: Troubled, deliveries: list[UUID]) -> int:
    """Queues until the server has no page left; returns how many it refused."""
    refused = 0
    while refused < 20:
        try:
            deliveries.append(await stage.enqueue(NUMBER.format(2000 + len(deliveries)), "x" * 1500))
        except asyncpg.DiskFullError:
            refused += 1
            await asyncio.sleep(0.05)
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
            break  # no room for the log either: the server has ended itself
    return refused


async def restarted_if_need_be(handle: EmbeddedHandle, stage: Troubled) -> None:
    """A server that could not write its log has ended itself: somebody starts it again."""
    for _ in range(50):
        try:
            stage.conn = await asyncpg.connect(stage.dsn)
        except asyncpg.CannotConnectNowError:
            await asyncio.sleep(0.2)
        except (ConnectionRefusedError, FileNotFoundError):
            await asyncio.to_thread(handle.restart)
        else:
            return
    raise AssertionError("the server does not come back")
