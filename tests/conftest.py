"""What all tests share: a real Postgres, a stand-in for Twilio on a real socket, the daemon as a process.

One server serves a whole run; each test that wants a database gets a fresh copy of a migrated one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest.mock import patch

import asyncpg
import pytest
import pytest_asyncio
import structlog

from daemon.queue.publisher import publish_almanac
from daemon.sandbox.app import Sandbox
from daemon.sandbox.settings import SandboxSettings
from daemon.store import embedded_cluster
from daemon.store.database import Connection, Database
from daemon.store.embedded import EmbeddedHandle, start
from daemon.store.migrations import migrate
from tests.support import ACCOUNT_SID, AUTH_TOKEN, dsn_of

_TEMPLATE = "duly_template"


def pytest_configure(config: pytest.Config) -> None:
    """Keeps this run's files in a directory of its own.

    Pytest's own place takes away, whenever another run begins, the right to pass that the embedded server's
    user needs; and a short path leaves room for the names of sockets.
    """
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = tempfile.mkdtemp(prefix="duly-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes it, but for what a failed run has left to look at."""
    if not hasattr(config, "workerinput") and not getattr(config, "duly_failed", False):
        shutil.rmtree(config.option.basetemp, ignore_errors=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Notes whether anything failed."""
    session.config.duly_failed = exitstatus != 0  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """What a test has made of structlog ends with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHandle]:
    """The embedded server of this run, with a migrated database to copy from."""
    directory = tmp_path_factory.mktemp("pg")
    # In CI nobody waits for the disk: what is killed here are processes, and never the machine.
    hasty = {"fsync": "off", "full_page_writes": "off"} if os.environ.get("CI") else {}
    with patch.dict(embedded_cluster._FIXED, hasty):
        server = start(directory, settings={"max_connections": "200"} if os.environ.get("CI") else {})
    with server as handle:
        asyncio.run(_make_template(handle))
        yield handle


async def _make_template(handle: EmbeddedHandle) -> None:
    conn = await asyncpg.connect(handle.server.dsn)
    await conn.execute(f"create database {_TEMPLATE}")
    await conn.close()
    conn = await asyncpg.connect(dsn_of(handle.server.dsn, _TEMPLATE))
    await migrate(conn)
    await conn.close()
    database = Database(lambda: dsn_of(handle.server.dsn, _TEMPLATE))
    await publish_almanac(database)  # what the first daemon of a database does, and takes a second for
    await database.close()


@pytest_asyncio.fixture
async def dsn(postgres: EmbeddedHandle) -> AsyncIterator[str]:
    """The DSN, as superuser, of a migrated database of this test's own."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres.server.dsn)
    try:
        await admin.execute(f"create database {name} template {_TEMPLATE}")
        yield dsn_of(postgres.server.dsn, name)
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """The daemon's pool on it."""
    found = Database(lambda: dsn)
    yield found
    await found.close()


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A stand-in for Twilio in this process, ten times as fast as life."""
    async with Sandbox(
        SandboxSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, seed=1, speed=10)
    ) as found:
        yield found


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """An empty directory."""
    return tmp_path
