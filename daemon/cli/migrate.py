"""`duly migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli.common import ConfigOption, JsonOption, configuration, connected, fail, print_json, run_async
from daemon.store import migrations


def migrate(
    config: ConfigOption = None,
    json: JsonOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is pending and change nothing.")
    ] = False,
) -> None:
    """Bring the database's schema up to this version."""
    settings = configuration(config)

    async def work() -> list[str]:
        async with connected(settings) as conn:
            try:
                found = await (migrations.pending(conn) if dry_run else migrations.migrate(conn))
            except migrations.MigrationError as error:
                fail(str(error))
            return [m.name for m in found]

    names = run_async(work)
    if json:
        print_json({"pending" if dry_run else "applied": names})
    elif names:
        print("\n".join(f"{'pending' if dry_run else 'applied'}  {name}" for name in names))
    else:
        print("The schema is up to date.")
