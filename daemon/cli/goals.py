"""`duly goal`: what people want to reach, how far they are, and how they want to be asked about it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

from daemon.cli.common import (
    ConfigOption,
    JsonOption,
    configuration,
    connected,
    fail,
    parse_day,
    parse_time,
    print_json,
    register,
    run_async,
    table,
)
from daemon.store.sql import query

app = typer.Typer(
    help="What people want to reach, how far they are, and how they want to be asked about it.",
    no_args_is_help=True,
)

ContactArgument = Annotated[str, typer.Argument(help="The contact's external_id.")]
GoalArgument = Annotated[str, typer.Argument(help="The goal's name.")]
WorkspaceOption = Annotated[str, typer.Option(help="Whose contact it is.")]


class Period(StrEnum):
    """How often a target is to be reached."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@app.command("set")
def set_(
    contact: ContactArgument,
    goal: GoalArgument,
    workspace: WorkspaceOption,
    target: Annotated[str | None, typer.Option(help="How much in each period; a new goal needs it.")] = None,
    unit: Annotated[str | None, typer.Option(help="Of what, such as km.")] = None,
    period: Annotated[
        Period | None, typer.Option(help="In each of these, by their own clock; else week.")
    ] = None,
    begins: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Its first day.")] = None,
    ends: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Its last day.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a goal, or change what is said of it."""
    given = (
        _number("--target", target),
        unit,
        period and period.value,
        parse_day("--begins", begins),
        parse_day("--ends", ends),
    )
    _call(config, workspace, "set_goal", contact, goal, *given)
    _show(config, workspace, contact, json=json)


@app.command()
def progress(
    contact: ContactArgument,
    goal: GoalArgument,
    amount: Annotated[
        str, typer.Argument(help="How much was done; a negative amount takes back (after --).")
    ],
    workspace: WorkspaceOption,
    at: Annotated[str | None, typer.Option(help="When, as ISO 8601 with a zone; else now.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key of a goal counts once.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write down progress towards a goal."""
    moment, number = parse_time("--at", at), _number("AMOUNT", amount)
    item = {
        "contact": contact,
        "goal": goal,
        "amount": orjson.Fragment(f"{number:f}"),
        "at": moment and moment.isoformat(),
        "key": key,
    }
    row = _call(config, workspace, "add_progress", orjson.dumps([item]).decode())
    if row["error"] is not None:
        fail(str(row["error"]), 2)
    if json:
        print_json({"counted": not row["repeated"]})
    else:
        print("counted before" if row["repeated"] else "counted")


@app.command("list")
def list_(
    contact: ContactArgument,
    workspace: WorkspaceOption,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show somebody's preferences, and their goals with what is done in the present period."""
    _show(config, workspace, contact, json=json)


@app.command()
def remove(
    contact: ContactArgument,
    goal: GoalArgument,
    workspace: WorkspaceOption,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a goal with its progress. Exit status 1 where there is none."""
    removed = _call(config, workspace, "remove_goal", contact, goal)[0]
    if json:
        print_json({"removed": removed})
    if not removed:
        fail(f"goal: {goal!r} is no goal of this contact")


@app.command()
def preferences(
    contact: ContactArgument,
    workspace: WorkspaceOption,
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Whether they are asked at all.")
    ] = None,
    day: Annotated[
        str | None, typer.Option(help="The day of the week, such as Sunday; at first Sunday.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="The time, by their own clock; at first 18:00.")] = None,
    on_goal_met: Annotated[bool | None, typer.Option(help="Congratulate them; at first not.")] = None,
    on_partial_goal: Annotated[
        bool | None, typer.Option(help="Write when a part is done; at first yes.")
    ] = None,
    style: Annotated[str | None, typer.Option(help="Such as supportive (at first), snarky, chaotic.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="In the order in which they are tried. Repeatable.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option(help="1 for a coach; 0: by the kind of message, as at first.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show how somebody wants to be asked, after setting what is given.

    Their time zone and the most a week stand with the contact: see `duly contacts import`.
    """
    given = (enabled, day, time, on_goal_met, on_partial_goal, style, channel, priority)
    if any(each is not None for each in given):
        _call(config, workspace, "set_preference", contact, *given)
    _show(config, workspace, contact, json=json)


@app.command("check-ins")
def check_ins(
    name: Annotated[str, typer.Argument(help="The series' name, such as check-in.")],
    workspace: Annotated[str, typer.Option(help="Whose people are asked.")],
    met: Annotated[
        str | None, typer.Option(help="The template for met goals; at first congratulatory.")
    ] = None,
    partial: Annotated[str | None, typer.Option(help="For goals done in part; at first partial.")] = None,
    missed: Annotated[str | None, typer.Option(help="For missed goals; at first accountability.")] = None,
    category: Annotated[str | None, typer.Option(help="Of all of them; else by the kind of message.")] = None,
    priority: Annotated[int | None, typer.Option(help="Of all of them; 0: by the kind of message.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="For who has no order of their own. Repeatable.")
    ] = None,
    catch_up: Annotated[
        str | None, typer.Option(help="What nobody planned in time: skip, latest or all.")
    ] = None,
    earlier_minutes: Annotated[int | None, typer.Option(help="How far one may be moved.")] = None,
    later_minutes: Annotated[int | None, typer.Option(help="How far one may be moved; at first 240.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enabled/--disabled")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Ask everybody with preferences about their goals, each on their own day; or change how."""
    templates = {k: v for k, v in (("met", met), ("partial", partial), ("missed", missed)) if v is not None}
    given = (category, priority, channel, catch_up, earlier_minutes, later_minutes, enabled)
    found = _call(config, workspace, "put_check_in", name, orjson.dumps(templates).decode(), *given)[0]
    if json:
        print_json({"id": found})
    else:
        print(found)


def _call(config: Any, workspace: str, name: str, *arguments: object) -> Any:
    settings = configuration(config)

    async def work() -> Any:
        async with connected(settings) as conn:
            await register(conn, settings, workspace)
            return await conn.fetchrow(query(name), workspace, *arguments)

    return run_async(work)


def _show(config: Any, workspace: str, contact: str, *, json: bool) -> None:
    found = orjson.loads(_call(config, workspace, "goals_of", contact)[0])
    if json:
        print_json(found)
        return
    wants = found["preferences"]
    if wants is None:
        print(f"{contact} has no preferences and is not asked: see `duly goal preferences`")
    else:
        when = f"{wants['send_day']} {wants['send_time'][:5]} {found['time_zone'] or '(zone not known)'}"
        also = [
            word
            for word, yes in (("met", wants["on_goal_met"]), ("partial", wants["on_partial_goal"]))
            if yes
        ]
        print(
            f"{contact}: {when if wants['enabled'] else 'not asked'}, {wants['style']}, also when "
            f"{' or '.join(also) or 'nothing but missed'}, channels {', '.join(wants['channels']) or 'any'}, "
            f"priority {wants['priority'] or 'by kind'}, at most {found['max_per_week'] or 'any number'} a week"
        )
    if found["goals"]:
        print(table(found["goals"], ["name", "done", "target", "unit", "period", "begins_on", "ends_on"]))


def _number(option: str, text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        fail(f"{option}: {text!r} is not a number", 2)
    if not number.is_finite() or abs(number.adjusted()) > 15 or len(text) > 30:
        fail(f"{option}: {text!r} is not a number below 1e12", 2)
    return number
