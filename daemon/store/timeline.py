"""What happened to one delivery, in order: for `duly explain` and the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

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


async def load(conn: Connection, delivery_id: UUID) -> Timeline | None:
    """The timeline of a delivery; None if there is no such delivery."""
    row = await conn.fetchrow(query("delivery"), delivery_id)
    if row is None:
        return None
    steps = [Step(row["created_at"], "queued", f"due {row['due_at']:%Y-%m-%d %H:%M:%S %Z}")]
    for attempt in await conn.fetch(query("delivery_attempts"), delivery_id):
        steps.append(
            Step(attempt["began_at"], f"attempt {attempt['number']} {attempt['outcome']}", _attempt(attempt))
        )
    for callback in await conn.fetch(query("delivery_callbacks"), delivery_id):
        ignored = (
            ""
            if callback["moved"] or callback["provider_status"] in ("queued", "sending", "accepted")
            else ", changed nothing"
        )
        code = f", code {callback['code']}" if callback["code"] else ""
        steps.append(
            Step(
                callback["received_at"],
                f"callback {callback['provider_status']}",
                f"attempt {callback['attempt']}{code}{ignored}",
            )
        )
    if row["state"] not in ("queued",):
        steps.append(Step(row["state_at"], row["state"], row["reason"] or ""))
    steps.sort(key=lambda step: step.at)
    return Timeline(
        id=row["id"],
        workspace=row["workspace"],
        channel=row["channel"],
        to=row["to"],
        state=row["state"],
        reason=row["reason"],
        facts={name: row[name] for name in _FACTS},
        steps=steps,
    )


def _attempt(row: Any) -> str:
    parts = [f"by {row['account']}", f"{row['took_ms']} ms"]
    if row["provider_id"]:
        parts.append(row["provider_id"])
    if row["reason"]:
        parts.append(row["reason"])
    if row["http_status"]:
        parts.append(f"HTTP {row['http_status']}")
    if row["code"]:
        parts.append(f"code {row['code']}")
    if row["detail"]:
        parts.append(row["detail"])
    return ", ".join(parts)
