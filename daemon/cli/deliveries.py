"""`duly send`, `explain` and `cancel`: single deliveries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import orjson
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
)
from daemon.model import Channel
from daemon.store import timeline
from daemon.store.sql import query

_PRIORITIES = {"high": 1, "normal": 2, "bulk": 3}


def send(
    workspace: Annotated[str, typer.Option(help="Whose message it is.")],
    to: Annotated[str, typer.Option(help="The address, such as +14155550123.")],
    body: Annotated[str, typer.Option(help="The text.")] = "",
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    at: Annotated[str | None, typer.Option(help="When, as ISO 8601 with a zone; else now.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it is no longer worth sending.")] = None,
    priority: Annotated[str, typer.Option(help="high, normal or bulk.")] = "normal",
    category: Annotated[str, typer.Option()] = "transactional",
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key is queued once.")] = None,
    media: Annotated[list[str] | None, typer.Option(help="URL of a picture; may be repeated.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Queue one message."""
    settings = configuration(config)
    if priority not in _PRIORITIES:
        fail(f"--priority: {priority} is none of high, normal, bulk", 2)
    due_at, expires_at = parse_time("--at", at) or datetime.now(UTC), parse_time("--expires", expires)

    async def work() -> UUID:
        async with connected(settings) as conn:
            for name, own in settings.workspaces.items():
                if name == workspace:
                    await conn.execute(query("register_workspace"), name, own.duplicate_window_seconds)
            found: UUID = await conn.fetchval(
                "select duly.enqueue($1, $2, $3, $4, due_at => $5, priority => $6, idempotency_key => $7,"
                " category => $8, expires_at => $9, metadata => $10::text::jsonb)",
                workspace,
                channel.value,
                to,
                body,
                due_at,
                _PRIORITIES[priority],
                key,
                category,
                expires_at,
                orjson.dumps({"media_urls": media} if media else {}).decode(),
            )
            return found

    delivery = run_async(work)
    print_json({"id": str(delivery)}) if json else print(delivery)


def explain(id: UUID, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Tell what happened to a delivery, step by step."""
    settings = configuration(config)

    async def work() -> timeline.Timeline | None:
        async with connected(settings) as conn:
            return await timeline.load(conn, id)

    found = run_async(work)
    if found is None:
        fail(f"there is no delivery {id}")
    if json:
        print_json(found.as_json())
        return
    print(
        f"{found.channel} to {found.to} for {found.workspace}: {found.state}"
        + (f" ({found.reason})" if found.reason else "")
    )
    for step in found.steps:
        print(f"  {step.at:%Y-%m-%d %H:%M:%S.%f %Z}  {step.what}  {step.detail}".rstrip())


def cancel(id: UUID, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Cancel a delivery whose call has not begun. Exit status 1 if it is too late."""
    settings = configuration(config)

    async def work() -> bool:
        async with connected(settings) as conn:
            try:
                return bool(await conn.fetchval("select duly.cancel($1)", id))
            except asyncpg.NoDataFoundError:
                fail(f"there is no delivery {id}")

    canceled = run_async(work)
    if json:
        print_json({"id": str(id), "canceled": canceled})
    elif canceled:
        print("Canceled.")
    if not canceled:
        fail("too late: the call has begun or the delivery had already ended; see `duly explain`")
