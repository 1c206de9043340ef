"""Gathers what the verdict is made from, and what an operator wants to see of each delivery that is bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon.chaos.schedule import Action
from daemon.chaos.verdict import Arrival, Bad, Fault, Row, Told, Verdict, judge
from daemon.store import timeline
from daemon.store.database import Connection
from daemon.store.sql import query

MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    figures: Mapping[str, Any]  # what --json prints
    bad: Sequence[str]  # for people: the first deliveries that broke a promise or never came to rest
    logs: Path

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.bad


async def gather(
    conn: Connection,
    *,
    told: Sequence[Told],
    arrivals: Sequence[Arrival],
    stuck: Sequence[asyncpg.Record],
    done: Mapping[Action, int],
    seconds: float,
    logs: Path,
) -> Outcome:
    """The outcome, once all has come to rest or never will: that is `stuck`."""
    rows = [Row(**row) for row in await conn.fetch(query("chaos_rows"))]
    (logs / "deliveries.jsonl").write_bytes(
        b"".join(orjson.dumps(asdict(row), default=str) + b"\n" for row in rows)
    )
    verdict = judge(told, rows, arrivals)
    held = [Bad(Fault.HELD, row.id, row.reason or "") for row in rows if row.held]
    (logs / "held.txt").write_text(
        "\n".join([await _explained(conn, each, arrivals) for each in held]), "utf-8"
    )
    bad = [f"never at rest: {dict(row)}" for row in stuck[:MOST_SHOWN]]
    bad += [await _explained(conn, each, arrivals) for each in verdict.bad[:MOST_SHOWN]]
    return Outcome(_figures(verdict, done, seconds), bad, logs)


def _figures(verdict: Verdict, done: Mapping[Action, int], seconds: float) -> dict[str, int | float]:
    return {
        "accepted": verdict.accepted,
        "delivered": verdict.delivered,
        "lost": verdict.count(Fault.LOST),
        "duplicates": verdict.count(Fault.DUPLICATE),
        "early": verdict.count(Fault.EARLY),
        "kills": done.get(Action.KILL, 0),
        "stops": done.get(Action.STOP, 0),
        "database_restarts": done.get(Action.RESTART_DATABASE, 0),
        "uncertain": verdict.uncertain,
        "uncertain_resolved": verdict.uncertain_resolved,
        "held": verdict.held,
        "seconds": round(seconds, 1),
    }


async def _explained(conn: Connection, bad: Bad, arrivals: Sequence[Arrival]) -> str:
    return await explained(conn, bad.fault.value, bad.delivery, bad.why, arrivals)


async def explained(
    conn: Connection, fault: str, delivery: UUID | None, why: str, arrivals: Sequence[Arrival]
) -> str:
    """One delivery's fault, with what the ledger and the database say of it."""
    lines = [f"{fault}: {delivery or 'a message of no delivery'}: {why}"]
    if delivery is None:
        return lines[0]
    mine = [a for a in arrivals if a.delivery == str(delivery)]
    lines += [
        f"  ledger    {datetime.fromtimestamp(a.accepted_at, UTC):%H:%M:%S.%f}  {a.sid} attempt {a.attempt}"
        f" {a.status}{' DUPLICATE' if a.duplicate else ''}"
        for a in mine
    ] or ["  ledger    nothing"]
    lines += await _timeline(conn, delivery)
    return "\n".join(lines)


async def _timeline(conn: Connection, delivery: UUID) -> list[str]:
    found = await timeline.load(conn, delivery)
    if found is None:
        return ["  database  nothing"]
    head = f"  database  {found.state} ({found.reason}), due {found.facts['due_at']:%H:%M:%S.%f}"
    return [head, *(f"  database  {s.at:%H:%M:%S.%f}  {s.what}  {s.detail}" for s in found.steps)]
