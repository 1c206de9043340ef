"""`duly analytics`: what became of a workspace's messages, and what people made of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

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
from daemon.store.analytics import DEFAULT, DIMENSIONS, known_dimensions, load
from daemon.store.sql import query

_DAYS = 30
_COLUMNS = [
    "value", "queued", "sent", "delivered", "failed", "skipped", "success_rate", "replied", "clicked", "helpful",
    "not_helpful", "opted_out",
]  # fmt: skip


def analytics(
    workspace: Annotated[str, typer.Option(help="Whose messages.")],
    since: Annotated[
        str | None, typer.Option(help=f"Queued from then on, as ISO 8601 with a zone; else {_DAYS} days ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Queued before then; else now.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(DIMENSIONS)}; may be repeated. Else {', '.join(DEFAULT)}."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Count messages by template, style, hour and so on: sent, answered, clicked, called helpful, opted out."""
    settings = configuration(config)
    now = datetime.now(UTC)
    until_at = parse_time("--until", until) or now
    since_at = parse_time("--since", since) or until_at - timedelta(days=_DAYS)
    try:
        wanted = known_dimensions(by or ())
    except ValueError as error:
        fail(f"--{error}", 2)

    async def work() -> dict[str, list[dict[str, Any]]]:
        async with connected(settings) as conn:
            owner = await conn.fetchval(query("workspace_id"), workspace)
            if owner is None:
                fail(f"workspace: {workspace!r} is not known", 2)
            try:
                return await load(conn, owner, since_at, until_at, wanted)
            except ValueError as error:
                fail(f"--{error}", 2)

    found = run_async(work)
    if json:
        print_json(
            {
                "workspace": workspace,
                "since": since_at.isoformat(),
                "until": until_at.isoformat(),
                "by": found,
            }
        )
        return
    for name, lines in found.items():
        rows: list[Mapping[str, object]] = [
            {**line, "value": line["value"] if line["value"] is not None else "(none)"} for line in lines
        ]
        print(f"by {name}\n{table(rows, _COLUMNS)}\n" if rows else f"by {name}: nothing was queued\n")
