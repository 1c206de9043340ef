"""`duly chaos`: proof by breaking things, on a machine of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from daemon.chaos.evidence import Outcome
from daemon.chaos.node import ChaosError
from daemon.chaos.run import ChaosSettings, Run
from daemon.chaos.settings import DEFAULT, Place, Tuning, read_tuning, toml
from daemon.cli.common import JsonOption, fail, print_json, run_async, table
from daemon.config import ConfigError


def chaos(
    messages: Annotated[int, typer.Option(min=1, max=1_000_000, help="Messages to queue.")] = 2000,
    kills: Annotated[
        int, typer.Option(min=0, max=10_000, help="How often a daemon is killed by kill -9.")
    ] = 10,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long things are broken.")] = 60,
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

    It starts its own Postgres, a stand-in for Twilio and three daemons, and touches nothing else: neither your
    database nor a real platform. Exit status 1 if a promise was broken.
    """
    tuning = _tuning(config)
    seed = random.randrange(1_000_000) if seed is None else seed
    directory = _directory(logs)
    keep = logs is not None
    try:
        wanted = ChaosSettings(messages, kills, seconds, seed, tuning, directory)
        if not json:
            print(
                f"seed {seed}: {messages:,} messages, {kills} kills in {seconds:g} s; logs in {directory / 'logs'}"
            )
        outcome = run_async(lambda: _run(wanted, quiet=json))
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


def _tuning(config: Path | None) -> Tuning:
    if config is None:
        return DEFAULT
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


async def _run(wanted: ChaosSettings, *, quiet: bool) -> Outcome:
    """A run that a signal ends in order. A second one changes nothing: it must not cut the tidying up short."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def end() -> None:
        if not asked.is_set():
            asked.set()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(number, end)
    try:
        return await Run(wanted, (lambda _: None) if quiet else _tell).run()
    except asyncio.CancelledError:
        if asked.is_set():
            raise KeyboardInterrupt from None
        raise


def _tell(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _print(outcome: Outcome, *, json: bool) -> None:
    if json:
        print_json(outcome.figures)
    else:
        print(
            table(
                [{"": name.replace("_", " "), " ": value} for name, value in outcome.figures.items()],
                ["", " "],
            )
        )
    for each in outcome.bad:
        print(each, file=sys.stderr)
    if not outcome.good:
        print(f"A promise was broken. The logs are in {outcome.logs}.", file=sys.stderr)
