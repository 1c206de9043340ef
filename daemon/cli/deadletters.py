"""`duly replay`: the dead letters, listed, sent again or put aside."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from daemon.cli.common import (
    ConfigOption,
    JsonOption,
    configuration,
    connected,
    fail,
    parse_time,
    print_json,
    run_async,
    table,
)
from daemon.store.database import Connection
from daemon.store.sql import query


def replay(
    ids: Annotated[
        list[UUID] | None, typer.Argument(help="Deliveries; else all that the options mean.")
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="Only of this workspace.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those that ended for this reason.")] = None,
    since: Annotated[str | None, typer.Option(help="Only those that ended at or after this time.")] = None,
    until: Annotated[str | None, typer.Option(help="Only those that ended before this time.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    dismiss: Annotated[bool, typer.Option("--dismiss", help="Put aside instead of sending again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which it means, change nothing.")] = False,
    why: Annotated[str | None, typer.Option(help="The reason, for the record.")] = None,
    who: Annotated[str | None, typer.Option(help="Who decides; else the login name.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Send failed or held deliveries again, or dismiss them. Without a choice: list them by reason."""
    settings = configuration(config)
    chosen = bool(ids or workspace or reason or since or until or everything)
    only_list = dry_run or not chosen
    if not only_list and not why:
        fail("--why is missing: say why, it is kept with each delivery", 2)
    meant = (workspace, reason, parse_time("--since", since), parse_time("--until", until), ids or None)

    async def work() -> dict[str, Any]:
        async with connected(settings) as conn:
            if only_list:
                return await _groups(conn, meant)
            function = "dismiss" if dismiss else "replay"
            changed = await conn.fetchval(query(function), who or getpass.getuser(), why, *meant)
            return {function: changed}

    found = run_async(work)
    if json:
        print_json(found)
    elif only_list:
        print(table(found["groups"], ["workspace", "state", "reason", "count", "oldest", "newest"]))
        print(f"{found['count']} dead letters" + ("; nothing was changed" if dry_run else ""))
    else:
        print(", ".join(f"{name}: {count}" for name, count in found.items()))


Meant = tuple[str | None, str | None, datetime | None, datetime | None, list[UUID] | None]


async def _groups(conn: Connection, meant: Meant) -> dict[str, Any]:
    rows = [dict(row) for row in await conn.fetch(query("dead_letters"), *meant)]
    return {"count": sum(row["count"] for row in rows), "groups": rows}
