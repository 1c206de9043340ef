"""One transaction for a whole file, and one file at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

from daemon.bulk.csvfile import CsvProblem
from daemon.store.database import Connection
from daemon.store.sql import query


class _Undo(Exception):
    """Rolls back."""


async def in_one_transaction(
    conn: Connection, name: str, work: Callable[[datetime], Awaitable[bool]]
) -> bool:
    """Does `work`, which is given the transaction's time, and keeps what it did if it says so. Returns whether.

    `name`: of what one file at a time is imported into. Raises `CsvProblem` where another one is.
    """
    with contextlib.suppress(_Undo):
        async with conn.transaction():
            lock = await conn.fetchrow(query("import_lock"), name)
            assert lock is not None
            if not lock["mine"]:
                raise CsvProblem("another import is under way: begin again after it")
            if not await work(lock["now"]):
                raise _Undo
        return True
    return False
