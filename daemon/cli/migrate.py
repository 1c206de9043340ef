"""`duly migrate`."""

from __future__ import annotations

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
)
from daemon.config import Config
from daemon.store import compat as compatible
from daemon.store import migrations
from daemon.store.compat import CompatError, Part
from daemon.store.database import Connection

_ALL = "all"


def migrate(
    config: ConfigOption = None,
    json: JsonOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is pending and change nothing.")
    ] = False,
    compat: Annotated[
        str | None,
        typer.Option(help="Install compatible SQL too: rundown, patients, buildos, prasso or all."),
    ] = None,
    schema: Annotated[str, typer.Option(help="Where the compatible SQL goes.")] = "public",
    workspace: Annotated[str | None, typer.Option(help="What is queued through it belongs to this.")] = None,
    category: Annotated[str | None, typer.Option(help="The category of what is queued through it.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="A view or function to leave out.")] = None,
    team: Annotated[list[str] | None, typer.Option(help="prasso: ID=WORKSPACE, a team's workspace.")] = None,
    sender: Annotated[str | None, typer.Option(help="rundown: who sends its queue, duly or foreign.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the compatible SQL away.")] = False,
) -> None:
    """Bring the database's schema up to this version; put compatible SQL beside an application's tables."""
    parts = _parts(compat, workspace, remove, sender, team)
    teams = [_team(each) for each in team or ()]
    settings = configuration(config)

    async def work() -> tuple[list[str], list[str] | int | None]:
        async with connected(settings) as conn:
            try:
                found = await (migrations.pending(conn) if dry_run else migrations.migrate(conn))
                names = [m.name for m in found]
                if not parts:
                    return names, None
                if found and dry_run:
                    fail("the database must be migrated before compatible SQL can be looked at")
                if remove:
                    return names, await _remove(conn, parts, schema, compat == _ALL)
                assert workspace is not None
                return names, await _install(
                    conn, settings, parts, schema, workspace, category, skip or [], teams, sender, dry_run
                )
            except migrations.MigrationError as error:
                fail(str(error))
            except CompatError as error:
                fail(str(error))

    names, objects = run_async(work)
    if json:
        facts: dict[str, object] = {"pending" if dry_run else "applied": names}
        if objects is not None:
            facts["removed" if remove else "compatible"] = objects
        print_json(facts)
        return
    if names:
        print("\n".join(f"{'pending' if dry_run else 'applied'}  {name}" for name in names))
    elif objects is None:
        print("The schema is up to date.")
    if isinstance(objects, list):
        print(f"{'wanted' if dry_run else 'installed'} in {schema}  {', '.join(objects)}")
    elif objects is not None:
        print(f"{objects} objects of compatible SQL have gone from {schema}; what they showed stays in Duly.")


async def _install(
    conn: Connection,
    settings: Config,
    parts: list[Part],
    schema: str,
    workspace: str,
    category: str | None,
    skip: list[str],
    teams: list[tuple[int, str]],
    sender: str | None,
    dry_run: bool,
) -> list[str]:
    if not dry_run:
        for name in (workspace, *(name for _, name in teams)):
            await register(conn, settings, name)
    async with conn.transaction():
        names = await compatible.install(
            conn, parts, schema, workspace, category=category, skip=skip, dry_run=dry_run
        )
        if not dry_run:
            for number, name in teams:
                await compatible.put_team(conn, schema, number, name)
            if sender is not None:
                await compatible.set_sender(conn, schema, sender)
    return names


async def _remove(conn: Connection, parts: list[Part], schema: str, all_parts: bool) -> int:
    if all_parts:
        parts = await compatible.installed(conn, schema)
    return await compatible.remove(conn, parts, schema)


def _parts(
    word: str | None, workspace: str | None, remove: bool, sender: str | None, team: list[str] | None
) -> list[Part]:
    if word is None:
        if remove or workspace is not None or sender is not None or team:
            fail("--compat: say which: rundown, patients, buildos, prasso or all", 2)
        return []
    if word != _ALL and word not in list(Part):
        fail(f"--compat: {word!r} is none of {', '.join(Part)}, {_ALL}", 2)
    parts = list(Part) if word == _ALL else [Part(word)]
    if not remove and workspace is None:
        fail("--workspace: is missing; say whose deliveries these are", 2)
    if sender is not None and (Part.RUNDOWN not in parts or sender not in ("duly", "foreign")):
        fail("--sender: is duly or foreign, and for rundown", 2)
    if team and Part.PRASSO not in parts:
        fail("--team: is for prasso", 2)
    return parts


def _team(text: str) -> tuple[int, str]:
    number, _, workspace = text.partition("=")
    if not number.isdecimal() or not workspace or int(number) >= 2**63:
        fail(f"--team: {text!r} is not ID=WORKSPACE, such as 7=clinic", 2)
    return int(number), workspace
