"""`duly plan`: plans what series want said, says what it would come to, or how far it has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from daemon.cli.common import (
    ConfigOption,
    JsonOption,
    configuration,
    fail,
    opened,
    parse_day,
    print_json,
    run_async,
    table,
)
from daemon.config import Config
from daemon.planning.outline import decided, foreseen
from daemon.planning.plan_runs import Only, PlanRuns, Progress
from daemon.planning.registry import sources
from daemon.sealing.keys import DataKeys, ring_of
from daemon.store.database import Database
from daemon.store.sql import query

_LINE_SECONDS = 5.0


def plan(
    on: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD",
            help="The day, by each person's own calendar; else every day that is near.",
        ),
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="Of this workspace only.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be decided, and decide nothing; needs --date.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say how far planning has come.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Plan check-ins and reminders now, as the daemons do by themselves. What was decided before stays.

    Several may do it at once. Exit status 1 if a series could not be planned.
    """
    settings = configuration(config)
    only = Only(workspace, parse_day("--date", on))
    if dry_run and only.on_date is None:
        fail("--dry-run: say for which day, with --date", 2)
    if status and dry_run:
        fail("--status: says what is; leave out --dry-run", 2)
    began = time.monotonic()

    async def work() -> dict[str, Any]:
        async with opened(settings) as database:
            if workspace is not None and not await database.fetch(query("workspace_id"), workspace):
                fail(f"workspace: {workspace!r} is not known", 2)
            if status:
                return {"runs": await _runs(database, only)}
            ring = ring_of(settings.privacy)
            keys = DataKeys(database, lambda: ring)
            return await _planned(database, settings, keys, only, dry_run=dry_run)

    found = run_async(work)
    if not status:
        found["seconds"] = round(time.monotonic() - began, 3)
    print_json(found) if json else print(_written(found))
    if found.get("troubles"):
        raise typer.Exit(1)


async def _planned(
    database: Database, settings: Config, keys: DataKeys, only: Only, *, dry_run: bool
) -> dict[str, Any]:
    known, portion = sources(keys, settings.account_for, lambda: settings), settings.planning.portion
    facts: dict[str, Any] = {
        "date": only.on_date and only.on_date.isoformat(),
        "workspace": only.workspace,
        "dry_run": dry_run,
    }
    if dry_run:
        assert only.on_date is not None
        return facts | (await foreseen(database, known, only, only.on_date, portion)).as_json()
    runs, progress = PlanRuns(database, known, portion=portion), Progress()
    await runs.open(settings.planning.lead_hours, only)
    tell = _teller()
    while await runs.step(progress, only):
        tell(progress)
    now = {"planned": progress.planned, "skipped": progress.skipped}
    facts |= {"decided_now": now, "troubles": list(progress.troubles.values())}
    if only.on_date is not None:
        return facts | (await decided(database, only)).as_json()
    return facts | {"runs": await _runs(database, only)}


async def _runs(database: Database, only: Only) -> list[dict[str, Any]]:
    rows = await database.fetch(query("plan_runs"), only.workspace, only.on_date, False)
    return [dict(row) for row in rows]


def _teller() -> Callable[[Progress], None]:
    """Says now and then on stderr how far it is."""
    began = last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_SECONDS:
            last = now
            print(
                f"{progress.decided:,} decided, {progress.decided / (now - began):,.0f}/s",
                file=sys.stderr,
                flush=True,
            )

    return tell


def _written(found: dict[str, Any]) -> str:
    said = []
    if "planned" in found:
        verb = "would be" if found["dry_run"] else "are"
        said = [
            f"{found['date']}: {found['users']:,} people; {found['planned']:,} {verb} written to, "
            f"{found['skipped']:,} not",
            *(f"  {kind or 'other'}: {count:,}" for kind, count in found["kinds"].items()),
            *(f"  not, {reason}: {count:,}" for reason, count in found["reasons"].items()),
            *(f"  {hour}: {count:,}" for hour, count in found["hours"].items()),
        ]
    if "decided_now" in found:
        now = found["decided_now"]
        said.append(f"Decided now: {now['planned']:,} planned, {now['skipped']:,} not sent")
    if found.get("runs"):
        rows: list[Mapping[str, object]] = [
            {**run, "state": "done" if run["done_at"] else "under way"} for run in found["runs"]
        ]
        said.append(table(rows, ["on_date", "workspace", "series", "kind", "state", "planned", "skipped"]))
    elif "runs" in found:
        said.append("Nothing was ever planned.")
    said += [f"TROUBLE    {trouble}" for trouble in found.get("troubles", [])]
    return "\n".join(said)
