"""Examines the audit's chain: whether each line follows the one before it, and is what it was when it was written.

The hashes are computed here and not in the database, as whoever changes its rows could change its functions too.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.store.audit import GENESIS, Head, line_hash, links
from daemon.store.database import Connection
from daemon.store.findings import Finding, Level
from daemon.store.sql import query

# A daemon chains within seconds.
_PATIENCE_SECONDS = 60.0

_HASHED = ("id", "microseconds", "who", "what", "workspace_id", "subject", "detail")
_CURE = (
    "Somebody with an owner's or a superuser's rights changed the table: keep it as it is, compare it with a backup, "
    "and find out who."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the chain was found to be."""

    newest: Head  # the last line that is whole
    waiting: int  # lines that are not chained yet
    waiting_seconds: float  # how long the oldest of them has waited
    broken: int | None = None  # the first line that is not what it was
    problem: str = ""  # what is wrong; empty where nothing is


async def verify(conn: Connection, kept: Head | None = None) -> Verdict:
    """Reads the chain once, in bounded memory. `kept`: a line that must be in it, as somebody wrote it down."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        newest, broken, problem = await _walk(conn, kept)
        head = await conn.fetchrow(query("audit_head"))
        waiting = await conn.fetchrow(query("audit_waiting"))
    assert waiting is not None
    if not problem and (head is None or Head(head["id"], head["hash"]) != newest):
        broken = newest.id + 1
        problem = f"the chain ends with line {newest.id}, but it was written on to line {head['id'] if head else '?'}"
    return Verdict(newest, waiting["total"], waiting["seconds"], broken, problem)


async def _walk(conn: Connection, kept: Head | None) -> tuple[Head, int | None, str]:
    """The last whole line, and the first that is broken with what is wrong with it."""
    last, found = GENESIS, kept is None or kept == GENESIS
    async for line in links(conn):
        expected = last.id + 1
        if line["id"] != expected:
            return last, expected, f"line {expected} is missing: after {last.id} comes {line['id']}"
        if line["previous"] != last.hash:
            return last, expected, f"line {expected} does not follow line {last.id} as that one is now"
        if line_hash(line["previous"], *(line[name] for name in _HASHED)) != line["hash"]:
            return last, expected, f"line {expected} was changed: its hash is not that of its fields"
        last = Head(expected, line["hash"])
        if kept is not None and kept.id == last.id:
            if kept != last:
                return last, expected, f"line {expected} is another than the one that --audit-head names"
            found = True
    if kept is not None and not found:
        broken = last.id + 1
        return (
            last,
            broken,
            f"the chain ends with line {last.id}, before line {kept.id} that --audit-head names",
        )
    return last, None, ""


async def examine_audit(conn: Connection, kept: Head | None) -> list[Finding]:
    """What `duly doctor` says of the audit."""
    verdict = await verify(conn, kept)
    if verdict.problem:
        return [Finding("audit", Level.PROBLEM, verdict.problem, _CURE)]
    what = f"the chain of {verdict.newest.id:,} lines is whole; its head is {verdict.newest}"
    if kept is not None:
        what += f", and line {kept.id} is the one kept"
    if not verdict.waiting:
        return [Finding("audit", Level.OK, what)]
    what += f"; {verdict.waiting:,} wait to be chained"
    if verdict.waiting_seconds < _PATIENCE_SECONDS:
        return [Finding("audit", Level.OK, what)]
    cure = "Start a daemon, which chains them, or see in its log why it does not."
    return [Finding("audit", Level.WARNING, f"{what}, the oldest for {verdict.waiting_seconds:.0f} s", cure)]
