"""`duly consent`: what a person has agreed to, recorded by hand, and what follows from all that was said."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

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
    register,
    run_async,
    table,
)
from daemon.cli.imports import RegionOption, address_of
from daemon.contacts.standing import Record, load
from daemon.model import Channel
from daemon.store.sql import query

app = typer.Typer(
    help="What a person has agreed to, and what follows from all that was said.", no_args_is_help=True
)


class State(StrEnum):
    """What was said."""

    GIVEN = "given"
    REQUESTED = "requested"
    WITHDRAWN = "withdrawn"


@app.command()
def record(
    address: Annotated[str, typer.Argument(help="Such as +14155550123.")],
    workspace: Annotated[str, typer.Option(help="To whom it was said.")],
    state: Annotated[State, typer.Option(help="What was said.")],
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    category: Annotated[str, typer.Option(help="Of which messages; else all.")] = "",
    words: Annotated[str | None, typer.Option(help="What was said or agreed to, word for word.")] = None,
    at: Annotated[str | None, typer.Option(help="When, as ISO 8601 with a zone; else now.")] = None,
    region: RegionOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Add to the log what a person has said to you. A withdrawal ends what waits for the address."""
    settings = configuration(config)
    moment = parse_time("--at", at)
    item = {
        "channel": channel.value,
        "to": address_of(channel, address, region),
        "state": state.value,
        "category": category,
        "words": words,
        "source": "person",
        "proof": {"login": getpass.getuser()},
        "at": moment and moment.isoformat(),
    }

    async def work() -> dict[str, object]:
        async with connected(settings) as conn:
            await register(conn, settings, workspace)
            row = await conn.fetchrow(query("record_consents"), workspace, orjson.dumps([item]).decode())
            assert row is not None
            return dict(row)

    found = run_async(work)
    if found["error"] is not None:
        fail(str(found["error"]), 2)
    if json:
        print_json({key: found[key] for key in ("id", "state", "repeated", "skipped")})
    else:
        print(f"{item['to']}: {found['state']}; {found['skipped']:,} deliveries ended")


@app.command()
def show(
    address: Annotated[str, typer.Argument(help="Such as +14155550123.")],
    workspace: Annotated[str, typer.Option(help="To whom it was said.")],
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    region: RegionOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show all that was said of an address, what forbids to write to it, and what follows for each category."""
    settings = configuration(config)
    to = address_of(channel, address, region)

    async def work() -> Record:
        async with connected(settings) as conn:
            if await conn.fetchval(query("workspace_id"), workspace) is None:
                fail(f"workspace: {workspace!r} is not known", 2)
            return await load(conn, workspace, channel.value, to)

    found = run_async(work)
    standings = [asdict(standing) for standing in found.standings]
    if json:
        print_json(
            {
                "workspace": workspace,
                "channel": channel.value,
                "to": to,
                "standings": standings,
                "log": found.log,
                "suppressions": found.suppressions,
            }
        )
        return
    print(table([_all(row) for row in standings], ["category", "state", "at", "source", "suppressed"]))
    if found.log:
        print("\nsaid:")
        print(table([_all(row) for row in found.log], ["at", "state", "category", "source", "who", "words"]))
    if found.suppressions:
        print("\nsuppressed:")
        print(
            table(
                [_all(row) for row in found.suppressions],
                ["workspace", "category", "account", "reason", "source", "at"],
            )
        )


def _all(row: dict[str, object]) -> dict[str, object]:
    """An empty scope as a word."""
    scopes = {key: row[key] or "all" for key in ("workspace", "category", "account") if key in row}
    return row | scopes
