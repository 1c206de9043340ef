"""`duly campaign`: what is said to many, from its draft to its results."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

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
from daemon.cli.imports import ErrorsOption, IgnoreOption, RegionOption, import_file, known_region
from daemon.config import Config
from daemon.contacts.audiences import Added, AudienceFile, add_people, opener
from daemon.planning.campaign_drafts import CampaignProblem, draft, make
from daemon.planning.campaign_outlook import NoCampaign, progress, results
from daemon.store.database import Connection
from daemon.store.sql import query

app = typer.Typer(help="What is said to many: make, start, pause, watch, compare.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The campaign.")]
WorkspaceOption = Annotated[str, typer.Option(help="Whose it is.")]

_WATCH_SECONDS = 1.0
_LISTED = 100


@app.command()
def create(
    name: NameArgument,
    workspace: WorkspaceOption,
    file: Annotated[
        Path | None, typer.Option(help="All that is not given here, as a JSON object; - for stdin.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="What is said: a template.")] = None,
    body: Annotated[str | None, typer.Option(help="Or a text, with {{variables}}.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="By which channel; repeated: the first somebody has.")
    ] = None,
    category: Annotated[str | None, typer.Option(help="Which rules apply; marketing if not given.")] = None,
    segment: Annotated[str | None, typer.Option(help='To whom: JSON such as {"city": "Boston"}.')] = None,
    at: Annotated[
        str | None, typer.Option(help="When; without a zone on each person's own clock. Else at the start.")
    ] = None,
    per_hour: Annotated[int | None, typer.Option(help="No more in an hour.")] = None,
    per_minute: Annotated[int | None, typer.Option(help="No more in a minute.")] = None,
    expires: Annotated[str | None, typer.Option(help="Not after this time.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help='One of several texts: JSON such as {"name": "a", "body": "…", "weight": 1}.'),
    ] = None,
    holdout: Annotated[float | None, typer.Option(help="Percent that get nothing, to compare with.")] = None,
    test_part: Annotated[
        float | None, typer.Option(help="Percent that the variants are tried on; the rest gets the winner.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What counts: reply, click, helpful or callback.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a draft. Nothing is sent before `duly campaign start`."""
    settings = configuration(config)
    given = _file(file) | {
        field: value
        for field, value in {
            "name": name, "template": template, "body": body, "channels": channel or None, "category": category,
            "segment": _object("--segment", segment), "at": at, "per_hour": per_hour, "per_minute": per_minute,
            "expires_at": expires, "holdout": holdout, "test_part": test_part, "metric": metric,
            "variants": [_object("--variant", each) for each in variant] if variant else None,
        }.items()
        if value is not None
    }  # fmt: skip

    async def work(conn: Connection) -> None:
        await register(conn, settings, workspace)
        try:
            made = await make(conn, workspace, draft(given))
        except CampaignProblem as problem:
            fail(str(problem), 2)
        facts = {"campaign": name, "workspace": workspace, "id": str(made), "state": "draft"}
        print_json(facts) if json else print(f"{name} is a draft: `duly campaign start {name}` begins it")

    _with(settings, work)


@app.command()
def add(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help="A CSV in UTF-8.")],
    workspace: WorkspaceOption,
    region: RegionOption = None,
    errors: ErrorsOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Add the people of a file to a draft.

    The columns are those of `duly contacts import` without consent, and var.NAME for what is said to each alone. Who
    is not known becomes a contact, or without an external_id an unnamed guest. The same file again adds nobody twice.
    Exit status 1 if a row is wrong.
    """
    settings = configuration(config)
    where = known_region(region)
    tally = Added()

    async def work(conn: Connection, opened: AudienceFile, report: Report) -> None:
        await add_people(conn, workspace, name, opened, where, tally, report)

    seconds = import_file(settings, file, opener(file, ignore or ()), errors, tally, work)
    if json:
        print_json(
            {
                "campaign": name,
                "file": str(file),
                "rows": tally.rows,
                "added": tally.added,
                "repeated": tally.repeated,
                "wrong": tally.wrong,
                "seconds": round(seconds, 3),
                "errors": [{"line": line, "error": error} for line, error in tally.first_wrong],
            }
        )
    else:
        print(
            f"{file}: {tally.added:,} added, {tally.repeated:,} were in it, {tally.wrong:,} wrong, "
            f"of {tally.rows:,} rows in {seconds:.1f} s"
        )
    if tally.wrong:
        raise typer.Exit(1)


@app.command()
def start(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Begin it: its audience is what it is at this moment."""
    _act("start", "is running", name, workspace, config, json=json)


@app.command()
def pause(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Stop it at once; nothing more goes but what a platform is being handed just now."""
    _act("pause", "is paused", name, workspace, config, json=json)


@app.command()
def resume(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Go on where it was paused; nobody gets it twice."""
    _act("resume", "is running", name, workspace, config, json=json)


@app.command()
def cancel(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """End it for good and at once."""
    _act("cancel", "is canceled", name, workspace, config, json=json)


@app.command("pick-winner")
def pick_winner(
    name: NameArgument,
    variant: Annotated[str, typer.Argument(help="What the rest gets.")],
    workspace: WorkspaceOption,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Choose the variant that the waiting rest gets."""
    settings = configuration(config)

    async def work(conn: Connection) -> None:
        picked = await conn.fetchval(query("campaign_pick"), workspace, name, variant, '{"by": "person"}')
        facts = {"campaign": name, "winner": variant, "changed": bool(picked)}
        print_json(facts) if json else print(f"the rest of {name} gets {variant}")

    _with(settings, work)


@app.command()
def status(
    name: NameArgument,
    workspace: WorkspaceOption,
    watch: Annotated[bool, typer.Option("--watch", help="Show it live until it is done.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """How far it is: audience = sent + waiting + skipped by reason, and when it will be done."""
    settings = configuration(config)

    async def look(conn: Connection) -> dict[str, Any]:
        return await progress(conn, settings, workspace, name)

    async def work(conn: Connection) -> None:
        if watch:
            await _watch(lambda: look(conn), json=json)
        else:
            found = await look(conn)
            print_json(found) if json else print(_said(found))

    _with(settings, work)


@app.command("results")
def results_(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """What each variant has brought, and what that proves. It may be looked at as often as one likes."""
    settings = configuration(config)

    async def work(conn: Connection) -> None:
        found = await results(conn, workspace, name)
        print_json(found) if json else print(_compared(found))

    _with(settings, work)


@app.command("list")
def list_(
    workspace: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """The newest campaigns."""
    settings = configuration(config)

    async def work(conn: Connection) -> None:
        rows = [dict(row) for row in await conn.fetch(query("campaign_list"), workspace, _LISTED, False)]
        columns = ["workspace", "name", "state", "category", "created_at", "started_at", "ended_at"]
        print_json(rows) if json else print(table(list(rows), columns))

    _with(settings, work)


def _with(settings: Config, work: Callable[[Connection], Awaitable[None]]) -> None:
    async def main() -> None:
        async with connected(settings) as conn:
            try:
                await work(conn)
            except NoCampaign as error:
                fail(str(error), 2)

    run_async(main)


def _act(action: str, becomes: str, name: str, workspace: str, config: Path | None, *, json: bool) -> None:
    settings = configuration(config)

    async def work(conn: Connection) -> None:
        row = await conn.fetchrow(query(f"campaign_act_{action}"), workspace, name)
        assert row is not None
        if json:
            print_json({"campaign": name, **dict(row)})
        else:
            taken = row.get("taken_back")
            print(f"{name} {becomes}" + (f"; {taken:,} were taken back from the queue" if taken else ""))

    _with(settings, work)


def _file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"--file {path}: {error}", 2)
    return _object(f"--file {path}", text) or {}


def _object(option: str, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        fail(f"{option}: is not JSON: {error.msg}, line {error.lineno}", 2)
    if not isinstance(found, dict):
        fail(f'{option}: must be a JSON object such as {{"city": "Boston"}}', 2)
    return found


async def _watch(look: Callable[[], Awaitable[dict[str, Any]]], *, json: bool) -> None:
    """Draws it until it has ended; with --json a line of JSON a second."""
    with contextlib.ExitStack() as stack:
        live = None
        if not json and sys.stdout.isatty():
            live = stack.enter_context(Live(console=Console(), refresh_per_second=4))
        while True:
            found = await look()
            if live is not None:
                live.update(_drawn(found))
            else:
                print(orjson.dumps(found, default=str).decode() if json else _said(found), flush=True)
            if found["state"] in ("done", "canceled"):
                return
            await asyncio.sleep(_WATCH_SECONDS)


def _drawn(found: Mapping[str, Any]) -> Group:
    over = found["audience"] - found["waiting"]
    width = min(60, os.get_terminal_size().columns - 2) if sys.stdout.isatty() else 60
    bar = ProgressBar(total=max(1, found["audience"]), completed=over, width=width)
    return Group(Text(_said(found)), bar)


def _said(found: Mapping[str, Any]) -> str:
    """The facts in lines for people."""
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(found["skipped"].items())) or "none"
    lines = [
        f"{found['campaign']} is {found['state']}",
        f"audience  {found['audience']:,} = {found['sent']:,} sent + {found['waiting']:,} waiting"
        f" + {sum(found['skipped'].values()):,} skipped",
        f"waiting   {found['to_come']:,} to come, {found['queued']:,} queued, {found['sending']:,} being sent",
        f"skipped   {skipped}",
    ]
    if found["winner"]:
        lines.append(f"winner    {found['winner']}")
    if found["state"] in ("running", "paused"):
        eta = found["eta"]
        held = f", {found['per_second']:g}/s by the {found['held_by']}" if found["per_second"] else ""
        lines.append(
            f"done      about {eta:%Y-%m-%d %H:%M:%S} UTC{held}"
            if isinstance(eta, datetime)
            else f"done      nobody can say: {found['eta_unknown_because']}"
        )
    return "\n".join(lines)


def _compared(found: Mapping[str, Any]) -> str:
    rows: list[Mapping[str, object]] = [
        {**variant, "rate": "-" if variant["rate"] is None else f"{variant['rate']:.2%}"}
        for variant in found["variants"]
    ]
    lines = [table(rows, ["name", "members", "sent", "hits", "rate"])]
    if found["holdout"]:
        held = found["holdout"]
        lines.append(f"holdout: {held['hits']:,} of {held['members']:,} without a message")
    for each in found["comparisons"]:
        most = "any" if each["most"] is None else f"{each['most']:.2f}"
        lines.append(
            f"{each['first']} brings {each['least']:.2f} to {most} times as many as {each['other']}"
            f" (p = {each['p_value']:.3g}, at every look)"
        )
    if found["winner"]:
        lines.append(f"{found['winner']} was chosen, by {(found['winner_because'] or {}).get('by')}")
    elif found["comparisons"]:
        lines.append(
            f"{found['better']} is better"
            if found["better"]
            else "none is better yet, as far as anyone can say"
        )
    return "\n".join(lines)
