"""`duly chaos`: proof by breaking things, on a machine of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.chaos.evidence import Outcome
from daemon.chaos.node import ChaosError
from daemon.chaos.opt_out.rules import NARROW
from daemon.chaos.opt_out.run import Race, RaceSettings
from daemon.chaos.planner.run import PlannerRun, PlannerSettings
from daemon.chaos.run import ChaosSettings, Run
from daemon.chaos.settings import DEFAULT, Place, Tuning, read_tuning, toml
from daemon.cli.common import JsonOption, fail, print_json, run_async, table
from daemon.config import ConfigError


class Scenario(StrEnum):
    """What is proven."""

    KILLS = "kills"
    OPT_OUT = "opt-out"
    PLANNER = "planner"


_AMOUNTS = {Scenario.KILLS: "messages", Scenario.OPT_OUT: "pairs", Scenario.PLANNER: "users"}


def chaos(
    scenario: Annotated[
        Scenario,
        typer.Option(
            help="kills: nothing is lost, sent twice or early; opt-out: nothing is sent that must not be; "
            "planner: nobody is left out, asked twice or against the rules."
        ),
    ] = Scenario.KILLS,
    messages: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="kills: messages to queue; 2000 if not given.")
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="opt-out: deliveries that race with a stop; 2000 if not given."
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="planner: people with preferences and goals; 2000 if not given."
        ),
    ] = None,
    kills: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=10_000,
            help="How often a daemon is killed by kill -9; if not given 10, or for 500 pairs one, at least 2.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=86_400,
            help="How long things are broken or raced; if not given 60, or for 40 pairs one, at least 14.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same schedule.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Take the accounts' tuning and the limits from this TOML; nothing else."
        ),
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Keep the logs in this new directory; else only after a failure.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Break everything on purpose, and count what is lost, sent twice or sent early.

    Or, with --scenario opt-out, what is sent after an opt-out, over a cap, in quiet hours or early, while opt-outs,
    cancellations, do-not-contact lists and erasures race with the daemons that send. Or, with --scenario planner, who is
    left out, asked twice or against the rules while daemons that plan a day are killed.

    It starts its own Postgres, a stand-in for Twilio and three daemons, and touches nothing else: neither your
    database nor a real platform. Exit status 1 if a promise was broken.
    """
    amounts = {Scenario.KILLS: messages, Scenario.OPT_OUT: pairs, Scenario.PLANNER: users}
    for other, amount in amounts.items():
        if amount is not None and other is not scenario:
            fail(f"--{_AMOUNTS[other]} is for --scenario {other}; say --{_AMOUNTS[scenario]}", 2)
    if seconds is not None and scenario is Scenario.PLANNER:
        fail("--seconds: --scenario planner takes as long as there is to plan; leave it out", 2)
    tuning = _tuning(config, scenario)
    seed = random.randrange(1_000_000) if seed is None else seed
    directory = _directory(logs)
    keep = logs is not None
    try:
        run = _prepared(scenario, amounts[scenario], kills, seconds, seed, tuning, directory, quiet=json)
        outcome = run_async(lambda: _run(run))
        keep = keep or not outcome.good
        _print(outcome, json=json)
    except ChaosError as error:
        keep = True
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted; nothing is left running")
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    if not outcome.good:
        raise typer.Exit(1)


def _prepared(
    scenario: Scenario,
    amount: int | None,
    kills: int | None,
    seconds: float | None,
    seed: int,
    tuning: Tuning,
    directory: Path,
    *,
    quiet: bool,
) -> Run | Race | PlannerRun:
    """A run with the scenario's defaults for what was not said."""
    tell = _silent if quiet else _tell
    amount = amount or 2000
    if scenario is Scenario.PLANNER:
        kills = 10 if kills is None else kills
        tell(f"seed {seed}: {amount:,} users, {kills} kills; logs in {directory / 'logs'}")
        return PlannerRun(PlannerSettings(amount, kills, seed, tuning, directory), tell)
    if scenario is Scenario.KILLS:
        kills, seconds = 10 if kills is None else kills, seconds or 60.0
        what = "messages"
    else:
        kills, seconds = max(2, amount // 500) if kills is None else kills, seconds or max(14.0, amount / 40)
        what = "pairs"
    tell(f"seed {seed}: {amount:,} {what}, {kills} kills in {seconds:g} s; logs in {directory / 'logs'}")
    if scenario is Scenario.KILLS:
        return Run(ChaosSettings(amount, kills, seconds, seed, tuning, directory), tell)
    return Race(RaceSettings(amount, kills, seconds, seed, tuning, directory), tell)


def _tuning(config: Path | None, scenario: Scenario) -> Tuning:
    if config is None:
        return NARROW if scenario is Scenario.OPT_OUT else DEFAULT
    try:
        tuning = read_tuning(config)
        toml(Place("try", 1, "postgresql://try@127.0.0.1/try", "http://127.0.0.1:1"), tuning)
    except (OSError, ValueError, ConfigError) as error:  # whatever is no TOML or no text is a ValueError too
        fail(f"--config {config}: {error}", 2)
    return tuning


def _directory(logs: Path | None) -> Path:
    """A new directory for the run, short enough for a socket's path."""
    if logs is None:
        return Path(tempfile.mkdtemp(prefix="duly-chaos-")).resolve()
    try:
        logs.mkdir(parents=True)
    except OSError as error:
        fail(f"--logs {logs}: {error.strerror}", 2)
    return logs.resolve()


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def _run(run: Run | Race | PlannerRun) -> Outcome:
    """A run that a signal ends in order. A second one changes nothing: it must not cut the tidying up short."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def end() -> None:
        if not asked.is_set():
            asked.set()
            task.cancel()

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(number, end)
    try:
        return await run.run()
    except asyncio.CancelledError:
        if asked.is_set():
            for number in _ENDING:  # also once the loop is closed: only the last words are left to be said
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
            raise KeyboardInterrupt from None
        raise


def _silent(_line: str) -> None:
    """With --json only the facts are printed."""


def _tell(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _print(outcome: Outcome, *, json: bool) -> None:
    if json:
        print_json(outcome.figures)
    else:
        print(
            table(
                [{"": name.replace("_", " "), " ": _shown(value)} for name, value in outcome.figures.items()],
                ["", " "],
            )
        )
    for each in outcome.bad:
        print(each, file=sys.stderr)
    if not outcome.good:
        print(f"A promise was broken. The logs are in {outcome.logs}.", file=sys.stderr)


def _shown(value: object) -> object:
    """A figure of parts in one line."""
    return ", ".join(f"{name}: {part}" for name, part in value.items()) if isinstance(value, dict) else value
