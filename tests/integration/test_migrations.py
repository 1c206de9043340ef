"""The migrations runner: each file once, in order, whole or not at all, by one daemon at a time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from daemon.store.database import Connection, Database
from daemon.store.embedded import EmbeddedHandle
from daemon.store.migrations import Migration, MigrationError, load, migrate, pending
from daemon.store.schema import Schema
from tests.support import dsn_of, until

FIRST = Migration(1, "0001_first", "create table duly.first (a int)")
SECOND = Migration(2, "0002_second", "create table duly.second (b int)")
BROKEN = Migration(2, "0002_broken", "create table duly.second (b int); select 1 / 0")


@pytest_asyncio.fixture
async def empty_dsn(postgres: EmbeddedHandle) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = f"e_{uuid.uuid4().hex[:12]}"
    admin: Connection = await asyncpg.connect(postgres.server.dsn)
    await admin.execute(f"create database {name}")
    yield dsn_of(postgres.server.dsn, name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest_asyncio.fixture
async def empty(empty_dsn: str) -> AsyncIterator[Connection]:
    connection: Connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


async def applied(conn: Connection) -> list[str]:
    return [row["name"] for row in await conn.fetch("select name from duly.migration order by number")]


async def exists(conn: Connection, table: str) -> bool:
    return await conn.fetchval("select to_regclass($1)", f"duly.{table}") is not None


async def test_from_nothing_every_file_is_applied_in_order(empty: Connection) -> None:
    known = load()
    assert [m.name for m in await pending(empty)] == [m.name for m in known]
    assert [m.name for m in await migrate(empty)] == [m.name for m in known]
    assert await applied(empty) == [m.name for m in known]
    assert await empty.fetchval("select count(*) from duly.delivery") == 0


async def test_a_second_run_has_nothing_to_do(empty: Connection) -> None:
    await migrate(empty)
    before = await empty.fetch("select * from duly.migration")
    assert await migrate(empty) == []
    assert await pending(empty) == []
    assert await empty.fetch("select * from duly.migration") == before


async def test_looking_changes_nothing(empty: Connection) -> None:
    await pending(empty)
    assert await empty.fetchval("select count(*) from pg_namespace where nspname = 'duly'") == 0


async def test_several_at_once_take_turns(empty_dsn: str) -> None:
    connections: list[Connection] = [await asyncpg.connect(empty_dsn) for _ in range(6)]
    try:
        done = await asyncio.gather(*(migrate(each) for each in connections))
        assert sorted(len(each) for each in done) == [0] * 5 + [len(load())]
        assert await applied(connections[0]) == [m.name for m in load()]
        locks = await connections[0].fetchval("select count(*) from pg_locks where locktype = 'advisory'")
        assert locks == 0
    finally:
        for each in connections:
            await each.close()


async def test_a_new_file_is_applied_on_top(empty: Connection) -> None:
    await migrate(empty, [FIRST])
    assert await migrate(empty, [FIRST, SECOND]) == [SECOND]
    assert await applied(empty) == ["0001_first", "0002_second"]


async def test_a_file_that_fails_names_itself_and_leaves_nothing_of_itself(empty: Connection) -> None:
    with pytest.raises(MigrationError, match=r"^0002_broken\.sql: division by zero"):
        await migrate(empty, [FIRST, BROKEN])
    assert await applied(empty) == ["0001_first"]
    assert await exists(empty, "first")
    assert not await exists(empty, "second")
    assert await migrate(empty, [FIRST, SECOND]) == [SECOND]  # and the lock is free again


async def test_a_file_that_fails_passes_on_the_hint(empty: Connection) -> None:
    hinting = Migration(1, "0001_x", "do $$ begin raise exception 'no' using hint = 'Do this.'; end $$")
    with pytest.raises(MigrationError, match=r"(?s)^0001_x\.sql: no\b.*Do this\."):
        await migrate(empty, [hinting])


async def test_a_file_edited_after_it_was_applied_is_refused(empty: Connection) -> None:
    await migrate(empty, [FIRST])
    edited = Migration(1, "0001_first", FIRST.text + "; -- better")
    with pytest.raises(MigrationError, match=r"^0001_first\.sql differs .* put the change into a new file"):
        await migrate(empty, [edited, SECOND])
    assert await applied(empty) == ["0001_first"]


async def test_a_database_newer_than_the_code_is_refused(empty: Connection) -> None:
    await migrate(empty, [FIRST, SECOND])
    with pytest.raises(MigrationError, match=r"at migration 2, this version of Duly knows 1"):
        await migrate(empty, [FIRST])
    with pytest.raises(MigrationError, match="install the newer Duly"):
        await pending(empty, [FIRST])


@pytest.mark.parametrize(
    "names", [["0001_a", "0003_c"], ["0002_b"], ["0001_a", "0001_b"], ["0000_z", "0001_a"]]
)
def test_a_gap_or_a_repeat_in_the_numbers_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / f"{name}.sql").write_text("select 1")
    with pytest.raises(MigrationError, match="expected number"):
        load(tmp_path)


def test_a_file_without_a_number_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes.sql").write_text("select 1")
    with pytest.raises(MigrationError, match=r"notes\.sql"):
        load(tmp_path)


def test_the_files_of_this_code_are_in_order() -> None:
    assert [m.number for m in load()] == list(range(1, len(load()) + 1))


async def test_an_interrupted_migration_is_begun_anew(empty: Connection, empty_dsn: str) -> None:
    slow = Migration(1, "0001_slow", "create table duly.first (a int); select pg_sleep(60)")
    victim: Connection = await asyncpg.connect(empty_dsn)
    pid = victim.get_server_pid()
    running = asyncio.create_task(migrate(victim, [slow]))

    async def sleeps() -> bool:
        event = await empty.fetchval("select wait_event from pg_stat_activity where pid = $1", pid)
        return bool(event == "PgSleep")

    await until(sleeps)
    await empty.execute("select pg_terminate_backend($1)", pid)
    with pytest.raises((MigrationError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await running
    victim.terminate()
    assert await migrate(empty, [FIRST]) == [FIRST]


# The actor that waits for a schema that fits.


async def test_a_daemon_that_may_not_migrate_waits_until_somebody_has(
    empty: Connection, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.store.schema._PAUSE_SECONDS", 0.02)
    database = Database(lambda: empty_dsn)
    schema = Schema(database, may_migrate=False)
    running = asyncio.create_task(schema.run())

    async def looked() -> bool:
        return "run `duly migrate`" in (schema.health() or "")

    await until(looked)
    assert not schema.fits.is_set()
    await migrate(empty)
    await asyncio.wait_for(schema.fits.wait(), 5)
    assert schema.health() is None
    await schema.stop()
    await running
    await database.close()


async def test_a_daemon_that_may_migrate_does(empty: Connection, empty_dsn: str) -> None:
    database = Database(lambda: empty_dsn)
    schema = Schema(database, may_migrate=True)
    running = asyncio.create_task(schema.run())
    await asyncio.wait_for(schema.fits.wait(), 10)
    assert await applied(empty) == [m.name for m in load()]
    await schema.stop()
    await running
    await database.close()
