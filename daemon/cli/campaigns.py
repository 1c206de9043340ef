"""`duly send --csv`: a file of recipients."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from daemon.bulk.chunks import Chunk
from daemon.bulk.csvfile import CsvProblem
from daemon.bulk.errors import ErrorFile
from daemon.bulk.progress import Progress
from daemon.bulk.reading import RecipientFile
from daemon.bulk.uploading import Tally, Terms, upload
from daemon.cli.common import fail, opened, print_json, register, run_async
from daemon.cli.wrong_rows import complain
from daemon.config import Config

_GOES_ON = "the same command goes on from there"


def send_file(
    settings: Config, path: Path, terms: Terms, ignored: Sequence[str], errors: Path | None, *, json: bool
) -> None:
    """Queues everybody in the file and tells how it went. Exit status 1 if a row was wrong or not all was done."""
    began = time.monotonic()
    tally = Tally()
    try:
        with RecipientFile(path, ignored) as file:
            if "body" in file.header.fields and terms.body:
                raise CsvProblem(f"{path}: has a column body: leave out --body, or --ignore body")
            if terms.template is not None and "body" in file.header.fields:
                raise CsvProblem(f"{path}: has a column body: leave out --template, or --ignore body")
            if terms.template is None and file.header.variables:
                raise CsvProblem(f"{path}: has columns var.NAME, which belong to --template")
            with (
                ErrorFile(errors, path, file) as report,
                Progress(sys.stderr, path.name, file.rows) as bar,
            ):

                def done(tally: Tally, chunk: Chunk, wrong: dict[int, str]) -> None:
                    report.write(chunk.rows, wrong)
                    bar.show(tally.rows)

                async def work() -> None:
                    async with opened(settings) as database:
                        async with database.acquire() as conn:
                            await register(conn, settings, terms.workspace)
                        await upload(database, file, terms, tally, done)

                try:
                    run_async(work)
                except KeyboardInterrupt:
                    fail(f"interrupted with {tally.queued:,} queued; {_GOES_ON}")
                except typer.Exit:
                    if tally.id:
                        print(f"duly: {tally.queued:,} are queued; {_GOES_ON}", file=sys.stderr)
                    raise
            rows = file.rows
    except CsvProblem as problem:
        fail(str(problem), 1 if tally.id else 2)
    seconds = time.monotonic() - began
    _complain(tally, errors)
    if json:
        print_json(_facts(path, terms, tally, seconds))
    else:
        print(_summary(path, tally, seconds))
    if tally.wrong or tally.rows != rows:
        raise typer.Exit(1)


def _complain(tally: Tally, errors: Path | None) -> None:
    complain(tally.first_wrong, tally.wrong, errors)
    if tally.repeated:
        line, earlier = tally.first_repeats[0]
        print(
            f"left out as they repeat an earlier row, address and text: {tally.repeated:,}, "
            f"such as line {line}, which repeats line {earlier}",
            file=sys.stderr,
        )


def _facts(path: Path, terms: Terms, tally: Tally, seconds: float) -> dict[str, object]:
    return {
        "upload": tally.id,
        "file": str(path),
        "workspace": terms.workspace,
        "key": terms.key,
        "rows": tally.rows,
        "queued": tally.queued,
        "queued_before": tally.queued_before,
        "wrong": tally.wrong,
        "repeated": tally.repeated,
        "seconds": round(seconds, 3),
        "errors": [{"line": line, "error": error} for line, error in tally.first_wrong],
        "repeats": [{"line": line, "first": first} for line, first in tally.first_repeats],
    }


def _summary(path: Path, tally: Tally, seconds: float) -> str:
    if tally.queued_before and tally.queued_before == tally.queued:
        return f"{path}: all {tally.queued:,} had been queued before; to send them once more, give a --key of its own"
    before = f" ({tally.queued_before:,} of them by an earlier run)" if tally.queued_before else ""
    return (
        f"{path}: {tally.queued:,} queued{before}, {tally.wrong:,} wrong, {tally.repeated:,} repeated, "
        f"of {tally.rows:,} rows in {seconds:.1f} s"
    )
