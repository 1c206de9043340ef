"""`duly send`, `explain` and `cancel`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
import typer

from daemon.bulk.uploading import Terms
from daemon.cli.campaigns import send_file
from daemon.cli.common import (
    ConfigOption,
    JsonOption,
    configuration,
    connected,
    fail,
    parse_time,
    print_json,
    register,
    run_async,
)
from daemon.cli.templates import VarOption, VarsOption, variables_of
from daemon.content.library import load_templates
from daemon.content.preparing import prepare
from daemon.content.values import typed
from daemon.model import Channel
from daemon.sealing.keys import DataKeys, ring_of
from daemon.store import timeline
from daemon.store.database import Connection
from daemon.store.sql import query

_PRIORITIES = {"high": 1, "normal": 2, "bulk": 3}


def send(
    workspace: Annotated[str, typer.Option(help="Whose message it is.")],
    to: Annotated[str | None, typer.Option(help="The address, such as +14155550123.")] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Instead of --to: a file of recipients with a column to, and others."),
    ] = None,
    body: Annotated[str, typer.Option(help="The text.")] = "",
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    at: Annotated[str | None, typer.Option(help="When, as ISO 8601 with a zone; else now.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it is no longer worth sending.")] = None,
    priority: Annotated[
        str | None, typer.Option(help="high, normal or bulk; else normal, and bulk for a file.")
    ] = None,
    category: Annotated[str, typer.Option()] = "transactional",
    key: Annotated[
        str | None,
        typer.Option(
            help="Idempotency key: the same key is queued once. For a file, its name is the default."
        ),
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Instead of --body: a template's NAME, or NAME@VERSION.")
    ] = None,
    var: VarOption = None,
    vars: VarsOption = None,
    style: Annotated[str | None, typer.Option(help="With --template; else what the contact prefers.")] = None,
    language: Annotated[str | None, typer.Option(help="With --template; else the contact's.")] = None,
    media: Annotated[list[str] | None, typer.Option(help="URL of a picture; may be repeated.")] = None,
    errors: Annotated[
        Path | None, typer.Option(help="With --csv: write all wrong rows here, to be corrected and sent.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="With --csv: a column to leave out; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Queue one message, or one for each row of a CSV.

    The file's columns are to, and as you like body, due_at, priority, expires_at, idempotency_key, category,
    metadata (JSON) and media (URLs); with --template also var.NAME for a variable; the options say it for all rows
    that do not. Interrupted, the same command
    goes on where it stopped, and nobody is queued twice. A row that is wrong does not keep the others back, but
    the exit status is 1.
    """
    settings = configuration(config)
    if (to is None) == (csv is None):
        fail("give either --to, for one message, or --csv, for a file", 2)
    if csv is None and (errors or ignore):
        fail("--errors and --ignore belong to --csv", 2)
    if priority is None:
        priority = "normal" if csv is None else "bulk"
    if priority not in _PRIORITIES:
        fail(f"--priority: {priority} is none of high, normal, bulk", 2)
    if template is None and (var or vars or style or language):
        fail("--var, --vars, --style and --language belong to --template", 2)
    if template is not None and body:
        fail("--template: has the text; leave out --body", 2)
    variables = variables_of(var, vars)
    due_at, expires_at = parse_time("--at", at), parse_time("--expires", expires)
    if csv is not None:
        terms = Terms(
            workspace, key or csv.name, channel.value, body, due_at, _PRIORITIES[priority], category, expires_at,
            tuple(media or ()), template, variables, style, language,
        )  # fmt: skip
        send_file(settings, csv, terms, ignore or (), errors, json=json)
        return

    metadata: dict[str, Any] = {"media_urls": media} if media else {}
    metadata |= {name: value for name, value in (("style", style), ("language", language)) if value}

    async def work() -> UUID:
        async with connected(settings) as conn:
            await register(conn, settings, workspace)
            if template is not None:
                item = {
                    "workspace": workspace, "channel": channel.value, "to": to, "template": template,
                    "variables": variables, "due_at": (due_at or datetime.now(UTC)).isoformat(),
                    "priority": _PRIORITIES[priority], "idempotency_key": key, "category": category,
                    "expires_at": expires_at and expires_at.isoformat(), "metadata": metadata,
                }  # fmt: skip
                return await _from_template(conn, item)
            found: UUID = await conn.fetchval(
                "select duly.enqueue($1, $2, $3, $4, due_at => $5, priority => $6, idempotency_key => $7,"
                " category => $8, expires_at => $9, metadata => $10::text::jsonb)",
                workspace,
                channel.value,
                to,
                body,
                due_at or datetime.now(UTC),
                _PRIORITIES[priority],
                key,
                category,
                expires_at,
                orjson.dumps(metadata).decode(),
            )
            return found

    delivery = run_async(work)
    print_json({"id": str(delivery)}) if json else print(delivery)


async def _from_template(conn: Connection, item: dict[str, Any]) -> UUID:
    """Queues one; a login that may not read templates leaves it to the database to render."""
    statement = "enqueue_batch"
    more: tuple[str, ...] = ()
    try:
        owner = await conn.fetchval(query("workspace_id"), item["workspace"])
        for version in (await load_templates(conn, owner, [item["template"]])).values():
            item = item | {"variables": typed(version.variables, item["variables"])}
        prepared = await prepare(conn, [item])
        statement, more = "enqueue_rendered", (orjson.dumps(prepared).decode(),)
    except asyncpg.InsufficientPrivilegeError:
        pass
    row = await conn.fetchrow(query(statement), orjson.dumps([item]).decode(), *more)
    assert row is not None
    if row["error"] is not None:
        fail(row["error"], 2)
    found: UUID = row["id"]
    return found


def explain(id: UUID, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Tell what happened to a delivery, step by step."""
    settings = configuration(config)
    ring = ring_of(settings.privacy)

    async def work() -> timeline.Timeline | None:
        async with connected(settings) as conn:
            return await timeline.load(conn, id, DataKeys(conn, lambda: ring))

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
        there = f" ({found.there(step.at)})" if found.zones else ""
        print(f"  {step.at:%Y-%m-%d %H:%M:%S.%f %Z}{there}  {step.what}  {step.detail}".rstrip())
        for line in step.answers:
            print(f"      {line}")


def cancel(id: UUID, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Cancel a delivery whose call has not begun. Exit status 1 if it is too late.

    What a platform has for later is canceled there: `duly explain` tells what it answered.
    """
    settings = configuration(config)

    async def work() -> bool | None:
        async with connected(settings) as conn:
            try:
                found: bool | None = await conn.fetchval("select duly.cancel($1)", id)
            except asyncpg.NoDataFoundError:
                fail(f"there is no delivery {id}")
            return found

    canceled = run_async(work)
    if json:
        print_json({"id": str(id), "canceled": bool(canceled), "asked": canceled is None})
    elif canceled:
        print("Canceled.")
    elif canceled is None:
        print("The platform has it for later and is asked to cancel it; see `duly explain`.")
    if canceled is False:
        fail("too late: the call has begun or the delivery had already ended; see `duly explain`")


def reschedule(
    id: UUID,
    at: Annotated[str, typer.Argument(help="When, as ISO 8601 with a zone.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Give a delivery another time. Exit status 1 if it is too late.

    What a platform has for later is canceled there first: `duly explain` tells what it answered.
    """
    settings = configuration(config)
    due_at = parse_time("at", at)

    async def work() -> bool | None:
        async with connected(settings) as conn:
            try:
                found: bool | None = await conn.fetchval("select duly.reschedule($1, $2)", id, due_at)
            except asyncpg.NoDataFoundError:
                fail(f"there is no delivery {id}")
            return found

    done = run_async(work)
    if json:
        print_json({"id": str(id), "rescheduled": bool(done), "asked": done is None})
    elif done:
        print("Rescheduled.")
    elif done is None:
        print("The platform has it for its old time and is asked to cancel it; see `duly explain`.")
    if done is False:
        fail("too late: the call has begun or the delivery had already ended; see `duly explain`")
