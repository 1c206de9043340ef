"""The caps' last word: before deliveries are marked, each is charged to the caps of its address, exactly.

The count stands in the database, one row an address and cap, locked while it is charged: however many daemons
mark at once, no cap sees one too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from daemon.model import Delivery, Reason
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
        held = [_held(d, full[d.id]) for d in capped if d.id in full]
        await conn.execute(query("hold_back"), *map(list, zip(*held, strict=True)), "marked")
    return set(full)


def _held(delivery: Delivery, row: Any) -> tuple[object, ...]:
    """One line of hold_back.sql's arrays."""
    charge = next(each for each in delivery.gate.charges if each.cap == row["cap"])
    until = None if charge.skips else row["free_at"] or charge.ends
    ruling: dict[str, Any] = {"rule": "cap", "answer": "skip" if charge.skips else "defer"}
    ruling |= {"reason": Reason.CAP_REACHED.value, "because": {"cap": row["cap"], "used": row["used"]}}
    if until is not None:
        ruling["until"] = until.isoformat()
    return (
        delivery.id,
        delivery.workspace_id,
        delivery.lease_token,
        "skipped" if charge.skips else "queued",
        Reason.CAP_REACHED.value,
        f"cap: {row['cap']} was used up by another delivery",
        until,
        orjson.dumps([ruling]).decode(),
    )
