"""`duly series`: reminders that recur, and who gets them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import orjson
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
    table,
)
from daemon.planning.rrule import RuleProblem
from daemon.planning.series import MOST_SHOWN, coming, facts, put_series, wanted_of
from daemon.planning.sources import series_of
from daemon.rules.wall_clock import ZONES
from daemon.store.database import Connection
from daemon.store.sql import query

app = typer.Typer(help="Reminders that recur, and who gets them.", no_args_is_help=True)

WorkspaceOption = Annotated[str, typer.Option(help="Whose series.")]
NameArgument = Annotated[str, typer.Argument(help="The series.")]

_COLUMNS = ["name", "kind", "rrule", "begins_at", "zone", "members", "ahead", "state"]


@app.command()
def put(
    name: NameArgument,
    workspace: WorkspaceOption,
    template: Annotated[str, typer.Option(help="What it says: a template's name, or name@version.")],
    rrule: Annotated[
        str | None, typer.Option(help="When it recurs, as RFC 5545 has it: FREQ=WEEKLY;BYDAY=MO. Else: once.")
    ] = None,
    begins: Annotated[
        str | None,
        typer.Option(
            help="The first time it may come, on the wall clock: 2026-12-01T09:00. Else: each member's own."
        ),
    ] = None,
    zone: Annotated[str | None, typer.Option(help="By which clock. Else: each recipient's own.")] = None,
    exception: Annotated[
        list[str] | None,
        typer.Option("--except", help="A day or time at which it does not come. Repeatable."),
    ] = None,
    catch_up: Annotated[
        str, typer.Option(help="Of what was missed while no daemon ran: skip, latest or all.")
    ] = "skip",
    earlier_minutes: Annotated[int, typer.Option(help="How much earlier each may go.")] = 0,
    later_minutes: Annotated[int, typer.Option(help="How much later each may go; then it was missed.")] = 240,
    category: Annotated[str | None, typer.Option(help="Which rules apply. Else: transactional.")] = None,
    priority: Annotated[int | None, typer.Option(help="1 high, 2 normal, 3 bulk.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="In the order in which they are tried. Repeatable.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a series of reminders, or change the one of that name into this. What had been planned is planned anew."""
    settings = configuration(config)
    try:
        wanted = wanted_of(
            {
                "template": template,
                "rrule": rrule,
                "begins_at": begins,
                "zone": zone,
                "exceptions": exception,
                "catch_up": catch_up,
                "earlier_minutes": earlier_minutes,
                "later_minutes": later_minutes,
                "category": category,
                "priority": priority,
                "channels": channel,
            }
        )
    except RuleProblem as problem:
        fail(str(problem), 2)

    async def work() -> bool:
        async with connected(settings) as conn:
            await register(conn, settings, workspace)
            return (await put_series(conn, workspace, name, wanted))[1]

    created = run_async(work)
    _say(json, {"series": name, "created": created}, f"{name}: {'made' if created else 'changed'}")


@app.command("list")
def list_(workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show all series. Exit status 1 if one cannot be planned."""
    settings = configuration(config)

    async def work() -> list[dict[str, Any]]:
        async with connected(settings) as conn:
            await _known(conn, workspace)
            return [facts(row) for row in await conn.fetch(query("series"), workspace, None)]

    found = run_async(work)
    if json:
        print_json(found)
    elif found:
        print(table([each | {"state": _state(each)} for each in found], _COLUMNS))
    else:
        print("no series")
    if any(each["problem"] for each in found):
        raise typer.Exit(1)


@app.command()
def show(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Show one series. Exit status 1 if it cannot be planned."""
    settings = configuration(config)

    async def work() -> dict[str, Any]:
        async with connected(settings) as conn:
            return facts(await _one(conn, workspace, name))

    found = run_async(work)
    if json:
        print_json(found)
    else:
        shown = found | {"state": _state(found)}
        width = max(map(len, shown))
        for key, value in shown.items():
            if value not in (None, []) and key not in ("enabled", "problem"):
                text = ", ".join(value) if isinstance(value, list) else value
                print(f"{key.replace('_', ' '):<{width}}  {text}")
    if found["problem"]:
        raise typer.Exit(1)


@app.command("next")
def next_(
    name: NameArgument,
    workspace: WorkspaceOption,
    count: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="How many.")] = 5,
    zone: Annotated[str | None, typer.Option(help="A recipient's clock, where the series has none.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show when a series comes next, on the wall clock and in UTC."""
    settings = configuration(config)
    if zone is not None and zone not in ZONES:
        fail(f"--zone: {zone!r} is no IANA zone such as America/New_York", 2)

    async def work() -> Any:
        async with connected(settings) as conn:
            return await _one(conn, workspace, name)

    series = series_of(run_async(work))
    if series.kind != "reminder" or series.begins_at is None:
        fail("series: has no beginning for all; each member has their own")
    try:
        found = coming(series, count, datetime.now(UTC), zone)
    except RuleProblem as problem:
        fail(str(problem))
    if json:
        print_json([{"wall": each.wall.isoformat(), "at": each.at.isoformat()} for each in found])
        return
    for each in found:
        jumped = "" if each.shown == each.wall else f"  (the clock jumps to {each.shown:%H:%M})"
        print(f"{each.wall:%a %Y-%m-%d %H:%M}  {each.at:%Y-%m-%d %H:%M} UTC{jumped}")
    if not found:
        print("it does not come again")


@app.command()
def add(
    name: NameArgument,
    contacts: Annotated[list[str], typer.Argument(help="External ids of contacts.")],
    workspace: WorkspaceOption,
    variables: Annotated[str, typer.Option(help="What the template is told, as a JSON object.")] = "{}",
    begins: Annotated[str | None, typer.Option(help="A beginning of their own: 2026-12-01T09:00.")] = None,
    ends: Annotated[str | None, typer.Option(help="The last day on which it comes: 2026-12-31.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Add contacts to a series, or change what it has for them. Exit status 1 if one cannot be added."""
    settings = configuration(config)
    try:
        told = orjson.loads(variables)
    except orjson.JSONDecodeError:
        fail("--variables: is not JSON", 2)
    items = [
        {"contact": contact, "variables": told, "begins_at": begins, "ends_on": ends} for contact in contacts
    ]

    async def work() -> list[Any]:
        async with connected(settings) as conn:
            return await conn.fetch(query("add_to_series"), workspace, name, orjson.dumps(items).decode())

    rows = run_async(work)
    results = [
        {"contact": contact, "added": row["added"], "error": row["error"]}
        for contact, row in zip(contacts, rows, strict=True)
    ]
    if json:
        print_json(results)
    else:
        for each in results:
            done = "added" if each["added"] else "was in it"
            print(f"{each['contact']}: {each['error'] or done}")
    if any(each["error"] for each in results):
        raise typer.Exit(1)


@app.command()
def remove(
    name: NameArgument,
    contact: Annotated[str, typer.Argument(help="The external id of a contact.")],
    workspace: WorkspaceOption,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Take a contact out of a series; what waits for them is canceled."""
    done = _call("remove_from_series", config, workspace, name, contact)
    _say(json, {"removed": done}, f"{contact}: {'taken out' if done else 'was not in it'}")


@app.command()
def pause(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Stop a series until it is resumed; what waits is canceled."""
    done = _call("pause_series", config, workspace, name)
    _say(json, {"paused": done}, f"{name}: {'paused' if done else 'was paused already'}")


@app.command()
def resume(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Let a paused series go on, from now."""
    done = _call("resume_series", config, workspace, name)
    _say(json, {"resumed": done}, f"{name}: {'goes on' if done else 'was not paused'}")


def _call(name: str, config: ConfigOption, *words: str) -> bool:
    settings = configuration(config)

    async def work() -> bool:
        async with connected(settings) as conn:
            return bool(await conn.fetchval(query(name), *words))

    return run_async(work)


async def _known(conn: Connection, workspace: str) -> None:
    if await conn.fetchval(query("workspace_id"), workspace) is None:
        fail(f"workspace: {workspace!r} is not known", 2)


async def _one(conn: Connection, workspace: str, name: str) -> Any:
    await _known(conn, workspace)
    row = await conn.fetchrow(query("series"), workspace, name)
    return row if row is not None else _unknown(workspace, name)


def _unknown(workspace: str, name: str) -> NoReturn:
    fail(f"series: {name!r} is no series of workspace {workspace}", 2)


def _state(found: dict[str, Any]) -> str:
    if found["problem"]:
        return f"cannot be planned: {found['problem']}"
    return "on" if found["enabled"] else "paused"


def _say(json: bool, facts: dict[str, Any], text: str) -> None:
    if json:
        print_json(facts)
    else:
        print(text)
