"""`duly send --csv`: a file of recipients."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import typer

from daemon.bulk.chunks import Chunk
from daemon.bulk.progress import Progress
from daemon.bulk.reading import REPORT, CsvProblem, Header, RecipientFile
from daemon.bulk.uploading import SHOWN, Tally, Terms, upload
from daemon.cli.common import fail, opened, print_json, register, run_async
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
            with (
                _Errors(errors, path, file.header) as report,
                Progress(sys.stderr, path.name, file.rows) as bar,
            ):

                def done(tally: Tally, chunk: Chunk, wrong: dict[int, str]) -> None:
                    report.write(chunk, wrong)
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


class _Errors:
    """The wrong rows as a CSV that can be corrected and sent: their line and what is wrong with it come first."""

    def __init__(self, path: Path | None, source: Path, header: Header) -> None:
        self._file: TextIO | None = None
        self._kept = [i for i, name in enumerate(header.names) if name not in REPORT]
        self._width = len(header.names)
        if path is None:
            return
        if path.exists() and path.samefile(source):
            raise CsvProblem(f"--errors: {path} is the file itself")
        try:
            self._file = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise CsvProblem(f"--errors: {path}: {error.strerror}") from None
        self._writer = csv.writer(self._file, delimiter=header.delimiter)
        self._writer.writerow([*REPORT, *(header.names[i] for i in self._kept)])

    def __enter__(self) -> _Errors:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, chunk: Chunk, wrong: dict[int, str]) -> None:
        """The wrong rows of a chunk, with all their fields also where those are too many or too few."""
        if self._file is None:
            return
        for line, error in wrong.items():
            cells = chunk.rows[line]
            kept = [cells[i] for i in self._kept] if len(cells) == self._width else cells
            self._writer.writerow([line, error, *kept])
        self._file.flush()


def _complain(tally: Tally, errors: Path | None) -> None:
    for line, error in tally.first_wrong:
        print(f"line {line}: {_printable(error)}", file=sys.stderr)
    if tally.wrong > SHOWN:
        where = f"{errors} has them all" if errors else "--errors FILE writes them all"
        print(f"… and {tally.wrong - SHOWN:,} more; {where}", file=sys.stderr)
    if tally.repeated:
        line, earlier = tally.first_repeats[0]
        print(
            f"left out as they repeat an earlier row, address and text: {tally.repeated:,}, "
            f"such as line {line}, which repeats line {earlier}",
            file=sys.stderr,
        )


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


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
