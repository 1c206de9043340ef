"""What goes wrong with the embedded Postgres, in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

_REMEDIES = (
    (r"no space left|disk quota", "Free some disk space, or choose a data directory on another disk."),
    (r"cannot allocate memory|could not map anonymous", "Lower shared_buffers in the database's settings."),
    (r"pre-existing shared memory", "Another Postgres still uses this directory: stop it, then start again."),
    (r"configuration parameter|invalid value|outside the valid range", "Correct the database's settings."),
    (
        r"permission denied|not permitted|read-only",
        "Run Duly as a user who may write there, or choose another.",
    ),
    (r"user does not exist", "Run Duly as a user who is in /etc/passwd: Postgres looks up its name."),
    (r"password authentication", "Put back the `password` file that this data was made with."),
)
# What a server answers that does not serve yet, or no longer.


class EmbeddedError(Exception):
    """The embedded Postgres cannot run. The text says what is wrong, where, and what to do."""


def trouble(data_dir: Path, what: str, remedy: str = "") -> EmbeddedError:
    """The error with its remedy, looked up if none is given, and the end of the server's log."""
    try:
        tail = "\n".join((data_dir / "log").read_text(errors="replace").splitlines()[-8:])
    except OSError:
        tail = ""
    # A statement's error is not why the server fails.
    signs = "\n".join([what, *(line for line in tail.splitlines() if "ERROR:" not in line)])
    for pattern, known in _REMEDIES:
        if not remedy and re.search(pattern, signs, re.IGNORECASE):
            remedy = known
    log = f"\nThe end of {data_dir / 'log'}:\n{tail}" if tail else ""
    return EmbeddedError(f"the embedded Postgres in {data_dir}: {what.rstrip('.')}. {remedy}".rstrip() + log)


@contextmanager
def explained(data_dir: Path) -> Iterator[None]:
    """Turn the system's and the server's errors into ours."""
    try:
        yield
    except (OSError, asyncpg.PostgresError) as error:
        raise trouble(data_dir, str(error)) from error
