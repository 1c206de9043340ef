"""`duly privacy`: what is known of a person, exported and erased; legal holds; keys in their turn."""

from __future__ import annotations

import getpass
import sys
from collections import Counter
from typing import Annotated, Any
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
    opened,
    print_json,
    run_async,
    table,
)
from daemon.config import Config
from daemon.model import Channel
from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys, ring_of
from daemon.sealing.pending import Pending
from daemon.store.audit import Act, Note, append
from daemon.store.database import Database
from daemon.store.export import document, find
from daemon.store.sql import query

app = typer.Typer(help="Export, erase or hold what is known of a person; rotate keys.", no_args_is_help=True)
hold = typer.Typer(help="Legal holds: what they cover is neither erased nor removed.", no_args_is_help=True)
app.add_typer(hold, name="hold")

WorkspaceOption = Annotated[str, typer.Option(help="Whose person it is.")]
ChannelOption = Annotated[Channel, typer.Option(help="What kind of address --to is.")]
ToOption = Annotated[str | None, typer.Option(help="The address, such as +14155550123.")]
ContactOption = Annotated[UUID | None, typer.Option(help="A contact's id, instead of --to or beside it.")]
WhyOption = Annotated[str, typer.Option(help="The reason, for the record; without the address.")]
WhoOption = Annotated[str | None, typer.Option(help="Who decides; else the login name.")]
_EVERYONE = "Without --to: all of the workspace."


@app.command("export")
def export(
    workspace: WorkspaceOption,
    to: ToOption = None,
    channel: ChannelOption = Channel.SMS,
    contact: ContactOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Export all that is known of a person, as JSON; without --json only say how much there is."""
    settings = configuration(config)
    _check_subject(to, contact)

    async def work() -> Counter[str]:
        counts: Counter[str] = Counter()
        ring = ring_of(settings.privacy)
        async with connected(settings) as conn:
            if json:  # what leaves Duly leaves a line
                detail = orjson.dumps({"workspace": workspace}).decode()
                await conn.execute(query("audit_append"), getpass.getuser(), Act.EXPORTED.value, None, detail)
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                person = await find(conn, workspace, channel.value, to, contact)
                if person is None:
                    fail(f"there is no workspace {workspace}")
                async for piece in document(conn, person, counts, DataKeys(conn, lambda: ring)):
                    if json:
                        sys.stdout.buffer.write(piece)
        return counts

    counts = run_async(work)
    if json:
        sys.stdout.buffer.flush()
    else:
        print(_listed(counts) or "Nothing is known.")


@app.command("erase")
def erase(
    workspace: WorkspaceOption,
    why: WhyOption,
    to: ToOption = None,
    channel: ChannelOption = Channel.SMS,
    contact: ContactOption = None,
    who: WhoOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Erase a person: texts, addresses and names go, counts stay, and they are not written to again.

    Exit status 1 while a delivery to them is open, or where a legal hold covers them.
    """
    settings = configuration(config)
    _check_subject(to, contact)
    counts = orjson.loads(
        _asked(settings, "erase", workspace, who or getpass.getuser(), why, channel.value, to, contact)
    )
    if json:
        print_json(counts)
    else:
        print(f"Erased: {_listed(counts)}")


@app.command("rotate")
def rotate(
    data: Annotated[
        bool, typer.Option("--data", help="Also make new data keys, and seal everything anew with them.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Wrap the data keys with the current key, so that older ones are no longer needed. Daemons may go on.

    Before: add the new key to [privacy] keys, set current, and reload every daemon.
    """
    settings = configuration(config)
    ring = ring_of(settings.privacy)

    async def work() -> dict[str, int]:
        async with opened(settings) as database:
            keys = DataKeys(database, lambda: ring)
            try:
                done = {"wrapped": await keys.rewrap()}
                if data:
                    workspaces = await keys.workspaces()
                    for workspace_id in workspaces:
                        await keys.renew(workspace_id)
                    done |= {
                        "renewed": len(workspaces),
                        "sealed": await _seal_all(database, keys, workspaces),
                    }
            except CannotOpen as error:
                fail(str(error))
            await append(database, Note(getpass.getuser(), Act.KEYS_ROTATED, done))
            return done

    done = run_async(work)
    print_json(done) if json else print(", ".join(f"{name}: {count}" for name, count in done.items()))


async def _seal_all(database: Database, keys: DataKeys, workspaces: list[int]) -> int:
    """Seals until nothing is left but what is broken; returns how many rows."""
    pending, sealed = Pending(database, keys), 0
    while some := await pending.seal(workspaces):
        sealed += some
    return sealed


@hold.command("add", epilog=_EVERYONE)
def add(
    workspace: WorkspaceOption,
    why: WhyOption,
    to: ToOption = None,
    channel: ChannelOption = Channel.SMS,
    who: WhoOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Keep what is known of a person from being erased or removed."""
    settings = configuration(config)
    added = _asked(settings, "legal_hold_begin", workspace, who or getpass.getuser(), why, channel.value, to)
    if json:
        print_json({"added": added})
    else:
        print("Held." if added else "It was held already.")


@hold.command("remove", epilog=_EVERYONE)
def remove(
    workspace: WorkspaceOption,
    why: WhyOption,
    to: ToOption = None,
    channel: ChannelOption = Channel.SMS,
    who: WhoOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Release a legal hold. Exit status 1 if there is none."""
    settings = configuration(config)
    removed = _asked(settings, "legal_hold_end", workspace, who or getpass.getuser(), why, channel.value, to)
    if json:
        print_json({"removed": removed})
    if not removed:
        fail("there is no such legal hold")
    if not json:
        print("Released.")


@hold.command("list")
def list_holds(
    workspace: Annotated[str | None, typer.Option(help="Only of this workspace.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the legal holds that stand. An address is shown as its keyed hash."""
    settings = configuration(config)

    async def work() -> list[dict[str, Any]]:
        async with connected(settings) as conn:
            return [dict(row) for row in await conn.fetch(query("legal_holds"), workspace)]

    rows = run_async(work)
    print_json(rows) if json else print(table(list(rows), ["workspace", "address", "who", "why", "at"]))


def _check_subject(to: str | None, contact: UUID | None) -> None:
    if to is None and contact is None:
        fail("give --to or --contact", 2)


def _asked(settings: Config, name: str, *arguments: object) -> Any:
    """The one value that a query answers; the end of the command where it is refused for what is the case."""

    async def work() -> Any:
        async with connected(settings) as conn:
            try:
                return await conn.fetchval(query(name), *arguments)
            except (
                asyncpg.ObjectInUseError,
                asyncpg.ObjectNotInPrerequisiteStateError,
                asyncpg.NoDataFoundError,
            ) as error:
                fail(str(error))

    return run_async(work)


def _listed(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
