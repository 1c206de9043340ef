"""The migrations runner: numbered files, each applied once, in order, in its own transaction.

An advisory lock makes any number of daemons that start together take turns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg

from daemon.store.sql import sql_dir

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_LOCK = 0x6475_6C79  # "duly"
_PATIENCE_SECONDS = 24 * 3600

_HISTORY = """
create schema if not exists duly;
create table if not exists duly.migration (
  number integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
)
"""


class MigrationError(Exception):
    """The database's schema does not fit this version of Duly. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Of the text as it was when it was applied; an applied file must not be edited."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(directory: Path | None = None) -> list[Migration]:
    """The migrations in order. Raises `MigrationError` where the numbers have a gap or repeat."""
    files = sorted((directory or sql_dir() / "migrations").glob("*.sql"))
    for file in files:
        if not file.name.partition("_")[0].isdecimal():
            raise MigrationError(f"{file.name}: a migration's name begins with its number, such as 0001_")
    found = [Migration(int(f.name.split("_", 1)[0]), f.stem, f.read_text(encoding="utf-8")) for f in files]
    for position, migration in enumerate(found, start=1):
        if migration.number != position:
            raise MigrationError(f"{migration.name}.sql: expected number {position:04}")
    return found


async def pending(conn: Connection, migrations: list[Migration] | None = None) -> list[Migration]:
    """What has yet to be applied. Changes nothing.

    Raises `MigrationError` where the database is newer than this code, or an applied file was edited.
    """
    known = load() if migrations is None else migrations
    if await conn.fetchval("select to_regclass('duly.migration')") is None:
        return known
    applied = {r["number"]: r for r in await conn.fetch("select number, name, checksum from duly.migration")}
    newest = max(applied, default=0)
    if newest > len(known):
        raise MigrationError(
            f"the database is at migration {newest}, this version of Duly knows {len(known)}: "
            "install the newer Duly, or restore the database from before it was migrated"
        )
    for migration in known:
        row = applied.get(migration.number)
        if row is not None and row["checksum"] != migration.checksum:
            raise MigrationError(
                f"{migration.name}.sql differs from what was applied as {row['name']}: "
                "an applied migration must not be edited; put the change into a new file"
            )
    return [m for m in known if m.number not in applied]


async def migrate(conn: Connection, migrations: list[Migration] | None = None) -> list[Migration]:
    """Applies what is pending and returns it. Others that migrate at the same time wait for us.

    Raises `MigrationError` with the file's name where one fails; those before it stay applied.
    """
    await conn.execute("set statement_timeout = 0")  # others' migrations, or a large table, may take long
    await conn.execute("select pg_advisory_lock($1)", _LOCK, timeout=_PATIENCE_SECONDS)
    try:
        todo = await pending(conn, migrations)
        if todo:
            await conn.execute("set client_min_messages = warning")
            await conn.execute(_HISTORY)
        for migration in todo:
            await _apply(conn, migration)
        return todo
    finally:
        await conn.execute("select pg_advisory_unlock($1)", _LOCK)
        await conn.execute("reset statement_timeout; reset client_min_messages")


async def _apply(conn: Connection, migration: Migration) -> None:
    try:
        async with conn.transaction():
            await conn.execute(migration.text, timeout=_PATIENCE_SECONDS)
            await conn.execute(
                "insert into duly.migration (number, name, checksum) values ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.checksum,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.name}.sql: {error}") from error  # its text has the hint already
