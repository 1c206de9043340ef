"""What the commands share that take addresses, or a file of them whole or not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from daemon.bulk.csvfile import CsvFile, CsvProblem
from daemon.bulk.errors import ErrorFile
from daemon.bulk.progress import Progress
from daemon.bulk.whole import Report, Tally
from daemon.cli.common import connected, fail, run_async
from daemon.cli.wrong_rows import complain
from daemon.config import Config
from daemon.contacts.addresses import REGIONS, AddressProblem, normalise
from daemon.model import Channel
from daemon.store.database import Connection

F = TypeVar("F", bound=CsvFile)

RegionOption = Annotated[
    str | None,
    typer.Option(help="Whose phone numbers are meant where there is no country code, such as US."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check all of it, write nothing.")]
SkipWrongOption = Annotated[
    bool, typer.Option("--skip-wrong", help="Write the rows that are right although others are wrong.")
]
ErrorsOption = Annotated[Path | None, typer.Option(help="Write all wrong rows here, to be corrected.")]
IgnoreOption = Annotated[list[str] | None, typer.Option(help="A column to leave out; may be repeated.")]


def known_region(region: str | None) -> str | None:
    """The region, or the end of the command where there is none of that name."""
    if region is not None and region.upper() not in REGIONS:
        fail(f"--region: {region} is not a country: use ISO 3166's two letters, such as US", 2)
    return region and region.upper()


def address_of(channel: Channel, text: str, region: str | None) -> str:
    """The address that is meant, or the end of the command where it is none."""
    try:
        return normalise(channel, text, known_region(region))
    except AddressProblem as problem:
        fail(f"address: {problem}", 2)


def import_file(
    settings: Config,
    path: Path,
    opener: Callable[[], F],
    errors: Path | None,
    tally: Tally,
    work: Callable[[Connection, F, Report], Awaitable[None]],
) -> float:
    """Opens the file, does `work` on it, and tells what was wrong. Returns how many seconds it took.

    Ends the command with status 2 where the file cannot be used, 1 where it was interrupted or changed.
    """
    began = time.monotonic()
    try:
        with (
            opener() as file,
            ErrorFile(errors, path, file) as wrong_rows,
            Progress(sys.stderr, path.name, file.rows) as bar,
        ):

            def report(tally: Tally, rows: Mapping[int, list[str]], wrong: Mapping[int, str]) -> None:
                wrong_rows.write(rows, wrong)
                bar.show(tally.rows)

            async def main() -> None:
                async with connected(settings) as conn:
                    await work(conn, file, report)

            try:
                run_async(main)
            except KeyboardInterrupt:
                fail("interrupted; a file that was not done is as if it had not been begun")
    except CsvProblem as problem:
        fail(str(problem), 1 if tally.rows else 2)
    complain(tally.first_wrong, tally.wrong, errors)
    return time.monotonic() - began


def outcome(tally: Tally, *, written: bool, dry_run: bool) -> str:
    """The first words of a summary."""
    if written:
        return ""
    if tally.wrong and not dry_run:
        return "nothing was written, as rows are wrong: correct them, or leave them out by --skip-wrong. It says: "
    return "nothing was written. It says: "
