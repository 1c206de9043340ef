"""Gathers what the verdict of a race is made from, and says what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon.chaos.evidence import MOST_SHOWN, Outcome, explained
from daemon.chaos.opt_out.figures import Tally, hollow, tally
from daemon.chaos.opt_out.judging import Bad, Evidence, Fault, Judge, Row, Stopped
from daemon.chaos.opt_out.plan import Planned
from daemon.chaos.opt_out.racing import Queued
from daemon.chaos.opt_out.rules import CAPS
from daemon.chaos.verdict import Arrival
from daemon.store.database import Connection
from daemon.store.sql import query


async def gather(
    conn: Connection,
    *,
    planned: Sequence[Planned],
    queued: Mapping[UUID, Queued],
    stopped: Sequence[Stopped],
    arrivals: Sequence[Arrival],
    quiet: Mapping[str, tuple[datetime, datetime]],
    logs: Path,
) -> Evidence:
    """The evidence, once all has come to rest; a copy is left with the logs."""
    ids, was = list(queued), list(queued.values())
    columns = [each.number for each in was], [each.to for each in was], [each.due_seconds for each in was]
    rows = [Row(**row) for row in await conn.fetch(query("chaos_race_rows"), ids, *columns)]
    charges = await conn.fetch(query("chaos_charges"), list(CAPS))
    for name, facts in (("deliveries", rows), ("stops", stopped), ("plan", planned)):
        lines = b"".join(orjson.dumps(asdict(fact), default=str) + b"\n" for fact in facts)
        (logs / f"{name}.jsonl").write_bytes(lines)
    return Evidence(
        planned=planned,
        stopped=stopped,
        rows=rows,
        arrivals=arrivals,
        charges={(charge["cap"], charge["delivery"]): charge["at"] for charge in charges},
        caps=CAPS,
        quiet=quiet,
    )


async def outcome(
    conn: Connection,
    evidence: Evidence,
    *,
    pairs: int,
    stuck: Sequence[asyncpg.Record],
    kills: int,
    seconds: float,
    logs: Path,
) -> Outcome:
    """What the run came to. `stuck`: what never comes to rest."""
    bad = list(Judge(evidence).bad())
    found = tally(evidence)
    said = [f"never at rest: {dict(row)}" for row in stuck[:MOST_SHOWN]]
    said += [
        await explained(conn, each.fault.value, each.delivery, each.why, evidence.arrivals)
        for each in bad[:MOST_SHOWN]
    ]
    deadlocks = int(await conn.fetchval(query("chaos_deadlocks")))
    if deadlocks:
        said.append(f"{deadlocks} deadlocks: see postgres.log for who waited for whom")
    said += [f"this proves nothing: {why}" for why in hollow(found)]
    figures = _figures(found, bad, pairs, len(evidence.planned))
    figures |= {"deadlocks": deadlocks, "kills": kills, "seconds": round(seconds, 1)}
    return Outcome(figures, said, logs)


def _figures(found: Tally, bad: Sequence[Bad], pairs: int, deliveries: int) -> dict[str, Any]:
    faults = Counter(each.fault for each in bad)
    return {
        "pairs": pairs,
        **{fault.value: faults[fault] for fault in Fault},
        "deliveries": deliveries,
        "raced": found.pairs,
        "sent": found.sent,
        "stopped": found.stopped,
        "stopped_by": {kind: f"{found.won[kind]} of {asked}" for kind, asked in sorted(found.asked.items())},
        "in_flight": found.in_flight,
        "capped": found.capped,
        "shared": found.shared,
        "before_quiet": found.before_quiet,
        "after_quiet": found.after_quiet,
    }
