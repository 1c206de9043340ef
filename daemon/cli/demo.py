"""`duly demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from daemon.cli.common import JsonOption, fail, run_async


def demo(
    once: Annotated[bool, typer.Option("--once", help="End when every message has come to its end.")] = False,
    json: JsonOption = False,
    messages: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many to queue.")] = 2000,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="For the database and the logs; else .duly/demo, or with --once a temporary one."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Of the page; else 8080. If taken, the next free one."),
    ] = None,
    no_limits: Annotated[
        bool, typer.Option("--no-limits", help="Without limits and waits: to measure messages per second.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed queues the same messages.")] = 1,
    sunday: Annotated[
        bool | None,
        typer.Option(
            "--sunday/--no-sunday",
            help="A coach's Sunday, planned and spread, with clocks sped up. Else not with --once and --no-limits.",
        ),
    ] = None,
    sunday_people: Annotated[int, typer.Option(min=20, max=5000, hidden=True)] = 420,
    sunday_hour_seconds: Annotated[float, typer.Option(min=1, max=3600, hidden=True)] = 10.0,
) -> None:
    """Run everything on this machine, a stand-in for Twilio included, and watch it work."""
    from daemon.demo.play import DemoError, Wishes, play  # what it needs is slow to load
    from daemon.demo.sunday import Size

    if json and not once:
        fail("--json needs --once: without it there is no end to report", 2)
    wanted = sunday if sunday is not None else not (once or no_limits)
    size = Size(sunday_people, sunday_hour_seconds) if wanted else None
    wishes = Wishes(messages, once, json, not no_limits, seed, data_dir, port, size)
    try:
        result = run_async(lambda: play(wishes))
    except DemoError as error:
        fail(str(error))
    if json and result is not None:
        print(orjson.dumps(result.as_json()).decode())
    if once and (result is None or not result.good):
        raise typer.Exit(1)
