"""`duly verify`: which businesses have been checked, by whom and why, and the addresses that are their own."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Annotated

import typer

from daemon.cli.common import (
    ConfigOption,
    JsonOption,
    configuration,
    connected,
    fail,
    print_json,
    register,
    run_async,
    table,
)
from daemon.config import Config
from daemon.store.sql import query


def verify(
    workspace: Annotated[str | None, typer.Argument(help="The workspace; none: list them all.")] = None,
    why: Annotated[str | None, typer.Option(help="What was checked, or why it no longer holds.")] = None,
    who: Annotated[str | None, typer.Option(help="Who decides; else the login name.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the verification back.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say that a workspace's business has been checked. With rules.verified_only the others reach only their own
    verified addresses and stand-ins.
    """
    settings = configuration(config)
    if workspace is None:
        if why or who or withdraw:
            fail("name the workspace that is meant", 2)
        _list(run_async(lambda: _rows(settings)), json=json)
        return
    if not why:
        fail("--why is missing: say what was checked, it is kept for the record", 2)

    async def work() -> None:
        async with connected(settings) as conn:
            await register(conn, settings, workspace)
            await conn.execute(query("set_verified"), workspace, not withdraw, who or getpass.getuser(), why)

    run_async(work)
    if json:
        print_json({"workspace": workspace, "verified": not withdraw})
    else:
        print(f"{workspace} is no longer verified." if withdraw else f"{workspace} is verified.")


async def _rows(settings: Config) -> list[Mapping[str, object]]:
    async with connected(settings) as conn:
        return [dict(row) for row in await conn.fetch(query("verifications"))]


def _list(rows: list[Mapping[str, object]], *, json: bool) -> None:
    if json:
        print_json(rows)
    else:
        print(table(rows, ["workspace", "verified", "at", "who", "why"]))
