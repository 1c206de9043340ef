"""`duly contacts`: people and their addresses, from a file and to one."""

from __future__ import annotations

import csv
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, TextIO

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
)
from daemon.cli.imports import (
    DryRunOption,
    ErrorsOption,
    IgnoreOption,
    RegionOption,
    SkipWrongOption,
    import_file,
    known_region,
    outcome,
)
from daemon.contacts.importing import Imported, Terms, import_contacts
from daemon.contacts.rows import CHANNELS, TEXTS, ContactFile
from daemon.store.database import Connection
from daemon.store.sql import query

app = typer.Typer(help="People and their addresses, from a file and to one.", no_args_is_help=True)

_EXPORTED = (*TEXTS, "max_per_week", *CHANNELS, "attributes")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV in UTF-8.")],
    workspace: Annotated[str, typer.Option(help="Whose contacts they are.")],
    region: RegionOption = None,
    dry_run: DryRunOption = False,
    skip_wrong: SkipWrongOption = False,
    errors: ErrorsOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put the people of a file in, or change them; all of them or, where a row is wrong, none.

    Columns: external_id, first_name, name, locale, time_zone, max_per_week, an address in each of sms, whatsapp,
    rcs, telegram, email, push, in_app, attributes (JSON) or attr.NAME; and consent (given, requested, withdrawn)
    with consent_at, consent_channel, consent_category and consent_words. An empty cell says nothing. The same file
    again changes nothing. Exit status 1 if a row is wrong.
    """
    settings = configuration(config)
    terms = Terms(workspace, known_region(region), skip_wrong, dry_run)
    tally = Imported()

    async def work(conn: Connection, opened: ContactFile, report: Report) -> None:
        await register(conn, settings, workspace)
        await import_contacts(conn, opened, terms, tally, report)

    seconds = import_file(settings, file, lambda: ContactFile(file, ignore or ()), errors, tally, work)
    unchanged = tally.rows - tally.wrong - tally.created - tally.changed
    if json:
        print_json(
            {
                "file": str(file),
                "workspace": workspace,
                "written": tally.written,
                "rows": tally.rows,
                "created": tally.created,
                "changed": tally.changed,
                "unchanged": unchanged,
                "wrong": tally.wrong,
                "consents": tally.consents,
                "skipped": tally.skipped,
                "seconds": round(seconds, 3),
                "errors": [{"line": line, "error": error} for line, error in tally.first_wrong],
            }
        )
    else:
        print(
            f"{file}: {outcome(tally, written=tally.written, dry_run=dry_run)}{tally.created:,} created, "
            f"{tally.changed:,} changed, {unchanged:,} as they were, {tally.wrong:,} wrong, of {tally.rows:,} rows; "
            f"{tally.consents:,} entries of consent, {tally.skipped:,} deliveries ended, in {seconds:.1f} s"
        )
    if tally.wrong:
        raise typer.Exit(1)


@app.command()
def export(
    workspace: Annotated[str, typer.Option(help="Whose contacts.")],
    file: Annotated[Path | None, typer.Argument(help="Where to; else stdout.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write the contacts as a CSV that can be imported. Who has several addresses on a channel has several rows."""
    settings = configuration(config)

    async def work() -> None:
        async with connected(settings) as conn:
            owner = await conn.fetchval(query("workspace_id"), workspace)
            if owner is None:
                fail(f"workspace: {workspace!r} is not known", 2)
            with ExitStack() as stack:
                writer = csv.writer(_opened(file, stack))
                writer.writerow(_EXPORTED)
                async with conn.transaction(readonly=True):
                    async for row in conn.cursor(query("contacts_export"), owner, prefetch=1000):
                        writer.writerow([row[name] for name in _EXPORTED])

    run_async(work)


def _opened(path: Path | None, stack: ExitStack) -> TextIO:
    if path is None:
        return sys.stdout
    try:
        return stack.enter_context(path.open("w", encoding="utf-8", newline=""))
    except OSError as error:
        fail(f"{path}: {error.strerror}", 2)
