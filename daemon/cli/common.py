"""What all commands share: the options, the connection, how errors and facts are printed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import anyio
import asyncpg
import orjson
import typer

from daemon import logs
from daemon.config import Config, ConfigError, load_config
from daemon.queue.directory import registration
from daemon.store.database import Connection, Database, DatabaseDown, describe
from daemon.store.embedded import EmbeddedError, EmbeddedHandle, start
from daemon.store.sql import query

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The TOML; else $DULY_CONFIG, ./duly.toml or /etc/duly/duly.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def fail(message: str, status: int = 1) -> NoReturn:
    """Ends the command with a message on stderr. 1: it failed, 2: it was called wrongly."""
    print(f"duly: {message}", file=sys.stderr)
    raise typer.Exit(status)


def configuration(path: Path | None) -> Config:
    """The configuration, or the end of the command with every problem in it."""
    logs.configure("error", "console")  # by itself structlog writes to stdout, which is for the facts
    try:
        return load_config(path)
    except ConfigError as error:
        fail(str(error), 2)


def print_json(facts: object) -> None:
    """One JSON document on stdout."""
    print(orjson.dumps(facts, option=orjson.OPT_INDENT_2, default=str).decode())


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a command's coroutine; an outage or Postgres' refusal ends it with status 1, in plain words."""
    try:
        return asyncio.run(main())
    except EmbeddedError as error:
        fail(str(error))
    except DatabaseDown as error:
        fail(f"the database cannot be asked: {error}")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError):
        fail("the database has not been migrated: run `duly migrate`")
    except asyncpg.InvalidParameterValueError as error:
        fail(str(error), 2)
    except asyncpg.PostgresError as error:
        fail(describe(error))


async def start_embedded(config: Config) -> EmbeddedHandle | None:
    """The embedded server, started or joined; None where the TOML names another database."""
    if not config.database.embedded:
        return None
    return await anyio.to_thread.run_sync(start, config.database.data_dir)


def open_database(
    config: Config, embedded: EmbeddedHandle | None, dsn: Callable[[], str] | None = None
) -> Database:
    """The pool for a configuration. It connects when first used."""
    found = embedded.server.dsn if embedded is not None else config.database.url.reveal()
    return Database(
        dsn or (lambda: found),
        pool_size=config.database.pool_size,
        connect_timeout_seconds=config.database.connect_timeout_seconds,
        statement_timeout_seconds=config.database.statement_timeout_seconds,
        application_name=f"duly {config.daemon.node}"[:63],
    )


@contextlib.asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Database]:
    """The database for a command; an embedded server nobody else uses is stopped again after it."""
    embedded = await start_embedded(config)
    try:
        database = open_database(config, embedded)
        try:
            yield database
        finally:
            await database.close()
    finally:
        if embedded is not None:
            await anyio.to_thread.run_sync(embedded.stop)


@contextlib.asynccontextmanager
async def connected(config: Config) -> AsyncIterator[Connection]:
    """One connection for a short command."""
    async with opened(config) as database, database.acquire() as conn:
        yield conn


async def register(conn: Connection, config: Config, workspace: str) -> None:
    """Makes the TOML's workspace known before something is queued for it, as far as this login may."""
    if workspace in config.workspaces:
        with contextlib.suppress(
            asyncpg.InsufficientPrivilegeError
        ):  # a producer's: the daemon has made it known
            await conn.execute(query("register_workspace"), *registration(config, workspace))


def table(rows: list[Mapping[str, object]], columns: list[str]) -> str:
    """Rows as aligned text."""
    lines = [[c.replace("_", " ") for c in columns]] + [[_cell(row.get(c)) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def parse_time(option: str, text: str | None) -> datetime | None:
    """An option's time, or the end of the command where it is none or has no zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text!r} is not a time such as 2026-01-31T18:00:00+01:00", 2)
    if moment.tzinfo is None:
        fail(f"{option}: {text!r} has no zone: add one, such as +01:00 or Z", 2)
    return moment


def parse_day(option: str, text: str | None) -> date | None:
    """An option's day, or the end of the command where it is none."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text!r} is not a day such as 2026-11-29", 2)
