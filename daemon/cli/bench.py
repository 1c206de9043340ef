"""`duly bench`: how fast, how fair, how flat, measured on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.common import JsonOption, fail

# The harness is of the source, not of the wheel: it needs the tests' helpers and what it compares with.
_ROOT = Path(__file__).resolve().parents[2]
_HARNESS = _ROOT / "tests" / "bench" / "__main__.py"


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="A fraction of the work: does it still run? Not for figures.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this line of the table; may be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure this machine against its own limits; it starts its own Postgres and a stand-in, and nothing else.

    Exit status 1 if a line could not be measured. A missed goal is a figure, not a failure.
    """
    if not _HARNESS.exists():
        fail(
            "the benchmarks are not part of the installed package: they need a source checkout with its "
            "development environment. There, run `make bench`.",
            2,
        )
    words = ["-m", "tests.bench", *(["--quick"] if quick else []), *(["--json"] if json else [])]
    words += [word for name in only or [] for word in ("--only", name)]
    os.chdir(_ROOT)
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - our own interpreter; signals reach it
