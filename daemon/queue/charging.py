"""The caps' last word: before deliveries are marked, each is charged to the caps of its address, exactly.

The count stands in the database, one row an address and cap, locked while it is charged: however many daemons
mark at once, no cap sees one too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from daemon.model import Delivery, Reason
from daemon.queue.holding import Held, held_columns
from daemon.rules.answers import Defer, Ruling, Skip
from daemon.rules.judgement import Verdict
from daemon.store.database import Connection
from daemon.store.sql import query


async def charge(conn: Connection, capped: Sequence[Delivery]) -> set[UUID]:
    """Charges deliveries that have caps, within the caller's transaction; returns those that have no room.

    They are queued again for when there is room, or skipped. Asked a second time, what was charged is not charged again.
    """
    lines = [(d, each) for d in capped for each in d.gate.charges]
    rows = await conn.fetch(
        query("charge"),
        [d.id for d, _ in lines],
        [d.workspace_id for d, _ in lines],
        [d.address_key for d, _ in lines],
        [each.cap for _, each in lines],
        [each.limit for _, each in lines],
        [each.window_seconds for _, each in lines],
        [each.since for _, each in lines],
    )
    full: dict[UUID, Any] = {row["id"]: row for row in rows}
    if full:
        columns = held_columns(_held(d, full[d.id]) for d in capped if d.id in full)
        await conn.execute(query("hold_back"), *columns, "marked")
    return set(full)


def _held(delivery: Delivery, row: Any) -> Held:
    charge = next(each for each in delivery.gate.charges if each.cap == row["cap"])
    answer: Defer | Skip = Skip(Reason.CAP_REACHED)
    if not charge.skips:
        until = row["free_at"] or charge.ends
        assert until is not None  # a calendar's period has an end, a window's room a time
        answer = Defer(until, Reason.CAP_REACHED)
    ruling = Ruling("cap", answer, {"cap": row["cap"], "used": row["used"]})
    return delivery, Verdict((ruling,), answer), f"cap: {row['cap']} was used up by another delivery"
