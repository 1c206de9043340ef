"""`duly do-not-contact`: who must not be written to by a workspace, or by anybody."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from daemon.bulk.whole import Report
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
from daemon.cli.imports import (
    DryRunOption,
    ErrorsOption,
    IgnoreOption,
    RegionOption,
    SkipWrongOption,
    address_of,
    import_file,
    known_region,
    outcome,
)
from daemon.contacts.lists import EXPORTED, Listed, ListFile, ListTerms, import_list
from daemon.model import Channel
from daemon.store.database import Connection
from daemon.store.sql import query

app = typer.Typer(
    help="Who must not be written to by a workspace, or with --all by anybody.", no_args_is_help=True
)

AddressArgument = Annotated[str, typer.Argument(help="Such as +14155550123.")]
WorkspaceOption = Annotated[str | None, typer.Option(help="The workspace's own list.")]
AllOption = Annotated[bool, typer.Option("--all", help="Instead of --workspace: the list of all.")]
CategoryOption = Annotated[str, typer.Option(help="Only messages of this category; else all.")]


@app.command()
def add(
    address: AddressArgument,
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    workspace: WorkspaceOption = None,
    everywhere: AllOption = False,
    category: CategoryOption = "",
    region: RegionOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put an address on the list, and end what waits for it."""
    settings = configuration(config)
    owner, to = _list(workspace, everywhere), address_of(channel, address, region)
    item = {"channel": channel.value, "to": to, "category": category, "source": "person"}

    async def work() -> dict[str, object]:
        async with connected(settings) as conn:
            if owner is not None:
                await register(conn, settings, owner)
            row = await conn.fetchrow(
                query("do_not_contact_batch"), owner, orjson.dumps([item]).decode(), True
            )
            assert row is not None
            return dict(row)

    found = run_async(work)
    if found["error"] is not None:
        fail(str(found["error"]), 2)
    facts = {"address": to, "channel": channel.value, "added": found["added"], "skipped": found["skipped"]}
    if json:
        print_json(facts)
    else:
        print(
            f"{to} is on the list{'' if facts['added'] else ' already'}; {facts['skipped']:,} deliveries ended"
        )


@app.command()
def remove(
    address: AddressArgument,
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    workspace: WorkspaceOption = None,
    everywhere: AllOption = False,
    category: CategoryOption = "",
    region: RegionOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Take an address off the list. Exit status 1 if it was not on it. An opt-out of the person's own stays."""
    settings = configuration(config)
    owner, to = _list(workspace, everywhere), address_of(channel, address, region)

    async def work() -> bool:
        async with connected(settings) as conn:
            return bool(await conn.fetchval(query("contact_again"), owner, channel.value, to, category))

    removed = run_async(work)
    if json:
        print_json({"address": to, "channel": channel.value, "removed": removed})
    elif removed:
        print(f"{to} is off the list")
    if not removed:
        fail(f"{to} was not on this list for that channel and category; see `duly do-not-contact check`")


@app.command()
def check(
    address: AddressArgument,
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    workspace: WorkspaceOption = None,
    everywhere: AllOption = False,
    region: RegionOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say what forbids to write to an address: lists, opt-outs, erasures; a workspace's, and those of all."""
    settings = configuration(config)
    owner, to = _list(workspace, everywhere), address_of(channel, address, region)

    async def work() -> list[dict[str, object]]:
        async with connected(settings) as conn:
            return [dict(row) for row in await conn.fetch(query("suppressions"), owner, channel.value, to)]

    found = run_async(work)
    if json:
        print_json(
            {"address": to, "channel": channel.value, "suppressed": bool(found), "suppressions": found}
        )
    elif found:
        print(
            table(
                [{k: v or "all" for k, v in row.items()} for row in found],
                ["workspace", "channel", "category", "account", "reason", "source", "at"],
            )
        )
    else:
        print(f"nothing forbids to write to {to}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV in UTF-8.")],
    workspace: WorkspaceOption = None,
    everywhere: AllOption = False,
    channel: Annotated[Channel | None, typer.Option(help="Of rows without a column channel.")] = None,
    region: RegionOption = None,
    dry_run: DryRunOption = False,
    skip_wrong: SkipWrongOption = False,
    errors: ErrorsOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put the addresses of a file on the list; all of them or, where a row is wrong, none.

    Columns: address, channel and category, where an empty category means all; or hash and key, as an export of
    this database has them. What waits for these addresses is ended. Exit status 1 if a row is wrong.
    """
    settings = configuration(config)
    owner = _list(workspace, everywhere)
    terms = ListTerms(owner, channel and channel.value, known_region(region), skip_wrong, dry_run)
    tally = Listed()

    async def work(conn: Connection, opened: ListFile, report: Report) -> None:
        if owner is not None:
            await register(conn, settings, owner)
        await import_list(conn, opened, terms, tally, report)

    seconds = import_file(settings, file, lambda: ListFile(file, ignore or ()), errors, tally, work)
    if json:
        print_json(
            {
                "file": str(file),
                "workspace": owner,
                "written": tally.written,
                "rows": tally.rows,
                "added": tally.added,
                "wrong": tally.wrong,
                "skipped": tally.skipped,
                "seconds": round(seconds, 3),
                "errors": [{"line": line, "error": error} for line, error in tally.first_wrong],
            }
        )
    else:
        print(
            f"{file}: {outcome(tally, written=tally.written, dry_run=dry_run)}{tally.added:,} new on the list, "
            f"{tally.wrong:,} wrong, of {tally.rows:,} rows; {tally.skipped:,} deliveries ended, in {seconds:.1f} s"
        )
    if tally.wrong:
        raise typer.Exit(1)


@app.command()
def export(
    workspace: WorkspaceOption = None,
    everywhere: AllOption = False,
    config: ConfigOption = None,
) -> None:
    """Write the list as a CSV to stdout: keyed hashes, as it keeps no addresses, which only this database knows."""
    settings = configuration(config)
    owner = _list(workspace, everywhere)

    async def work() -> None:
        async with connected(settings) as conn:
            if owner is not None and await conn.fetchval(query("workspace_id"), owner) is None:
                fail(f"workspace: {owner!r} is not known", 2)
            writer = csv.writer(sys.stdout)
            writer.writerow(EXPORTED)
            async with conn.transaction(readonly=True):
                async for row in conn.cursor(query("do_not_contact_export"), owner, prefetch=1000):
                    writer.writerow([row[name] for name in EXPORTED])

    run_async(work)


def _list(workspace: str | None, everywhere: bool) -> str | None:
    """Whose list is meant; None: that of all."""
    if (workspace is None) != everywhere:
        fail("give either --workspace, for its own list, or --all, for the list of all", 2)
    return workspace
