"""What happened to one delivery, in order: for `duly explain` and the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened."""

    at: datetime
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A delivery with everything that happened to it. It has no body: who may read this may not read that."""

    id: UUID
    workspace: str
    channel: str
    to: str
    state: str
    reason: str | None
    facts: dict[str, Any]
    steps: list[Step]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "id": str(self.id),
            "workspace": self.workspace,
            "channel": self.channel,
            "to": self.to,
            "state": self.state,
            "reason": self.reason,
            **self.facts,
            "steps": [{"at": s.at.isoformat(), "what": s.what, "detail": s.detail} for s in self.steps],
        }


_FACTS = (
    "priority",
    "category",
    "segments",
    "attempts",
    "account",
    "provider_id",
    "due_at",
    "expires_at",
    "detail",
)


async def load(conn: Connection, delivery_id: UUID, keys: DataKeys | None = None) -> Timeline | None:
    """The timeline of a delivery; None if there is no such delivery.

    An address that is sealed is shown where `keys` open it, and else as `<sealed>`.
    """
    row = await conn.fetchrow(query("delivery"), delivery_id)
    if row is None:
        return None
    steps = [Step(row["created_at"], "queued", f"due {row['due_at']:%Y-%m-%d %H:%M:%S %Z}")]
    steps += [_attempt(r) for r in await conn.fetch(query("delivery_attempts"), delivery_id)]
    steps += [_callback(r) for r in await conn.fetch(query("delivery_callbacks"), delivery_id)]
    steps += [_resolution(r) for r in await conn.fetch(query("delivery_resolutions"), delivery_id)]
    steps += [_decision(r) for r in await conn.fetch(query("delivery_decisions"), delivery_id)]
    if row["state"] != "queued":
        steps.append(Step(row["state_at"], row["state"], row["reason"] or ""))
    steps.sort(key=lambda step: step.at)
    return Timeline(
        id=row["id"],
        workspace=row["workspace"],
        channel=row["channel"],
        to=await _to(row, keys),
        state=row["state"],
        reason=row["reason"],
        facts={name: row[name] for name in _FACTS},
        steps=steps,
    )


async def _to(row: Record, keys: DataKeys | None) -> str:
    to: str = row["to"]
    if row["sealed"] is None or keys is None:
        return to
    parts = await keys.try_open(row["workspace_id"], "delivery", str(row["id"]), row["sealed"])
    return to if parts is None else parts[0] or ""


def _attempt(row: Record) -> Step:
    parts = [f"by {row['account']}", f"{row['took_ms']} ms", row["provider_id"], row["reason"]]
    parts.append(f"HTTP {row['http_status']}" if row["http_status"] else None)
    parts.append(f"code {row['code']}" if row["code"] else None)
    parts.append(row["detail"])
    return Step(row["began_at"], f"attempt {row['number']} {row['outcome']}", _list(parts))


def _callback(row: Record) -> Step:
    parts = [f"attempt {row['attempt']}", f"code {row['code']}" if row["code"] else None]
    if not row["moved"]:
        parts.append("changed nothing")
    return Step(row["received_at"], f"callback {row['provider_status']}", _list(parts))


def _resolution(row: Record) -> Step:
    became = "held for a person" if row["held"] else row["became"]
    return Step(row["at"], f"asked the platform: {row['answer']}", _list([f"then {became}", row["detail"]]))


def _decision(row: Record) -> Step:
    return Step(row["at"], f"{row['decision']} by {row['who']}", row["why"])


def _list(parts: list[str | None]) -> str:
    return ", ".join(part for part in parts if part)
