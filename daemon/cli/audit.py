"""`duly audit`: who changed what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import asyncpg
import orjson
import typer

from daemon.cli.common import ConfigOption, JsonOption, configuration, connected, fail, parse_time, run_async
from daemon.store.audit import Act, lines
from daemon.store.sql import query


def audit(
    since: Annotated[
        str | None, typer.Option(help="Only lines of this time, as ISO 8601 with a zone, or later.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only lines before this time.")] = None,
    what: Annotated[Act | None, typer.Option(help="Only this act.")] = None,
    workspace: Annotated[str | None, typer.Option(help="Only of this workspace.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List who changed what, the oldest first; lines without a number wait to be chained, which a daemon does."""
    settings = configuration(config)
    earliest, latest = parse_time("--since", since), parse_time("--until", until)

    async def work() -> None:
        async with connected(settings) as conn:
            workspace_id = None
            if workspace is not None:
                workspace_id = await conn.fetchval(query("workspace_id"), workspace)
                if workspace_id is None:
                    fail(f"there is no workspace {workspace}")
            found = lines(conn, since=earliest, until=latest, what=what, workspace_id=workspace_id)
            before = "["
            async for line in found:
                if json:
                    print(f"{before}{_as_json(line)}")
                    before = ","
                else:
                    print(_as_text(line))
            if json:
                print("]" if before == "," else "[]")

    run_async(work)


def _as_json(line: asyncpg.Record) -> str:
    fields: dict[str, Any] = {**line, "detail": orjson.loads(line["detail"])}
    fields["hash"] = line["hash"].hex() if line["hash"] is not None else None
    return orjson.dumps(fields).decode()


def _as_text(line: asyncpg.Record) -> str:
    number = "-" if line["id"] is None else str(line["id"])
    about = " ".join(
        filter(None, (line["workspace"], line["subject"], *_pairs(orjson.loads(line["detail"]))))
    )
    text = f"{number:>8}  {line['at']:%Y-%m-%d %H:%M:%S %Z}  {line['what']}  by {line['who']}  {about}"
    # What others wrote must not steer the terminal.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text).rstrip()


def _pairs(detail: dict[str, Any]) -> Iterator[str]:
    for key, value in detail.items():
        if value not in ({}, []):
            yield f"{key}={value if isinstance(value, str) else orjson.dumps(value).decode()}"
