"""What happened to one delivery, in order: for `duly explain` and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from asyncpg import Record

from daemon.model import Channel
from daemon.rules import wall_clock
from daemon.rules.zones import whereabouts
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, and what the rules answered with it, as the receipt holds it."""

    at: datetime
    what: str
    detail: str = ""
    rulings: Sequence[Mapping[str, Any]] = ()

    @property
    def answers(self) -> list[str]:
        """The rulings, a line each."""
        return [answer_line(ruling) for ruling in self.rulings]


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
    zones: tuple[str, ...] = ()  # where the recipient is or may be

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
            "zones": list(self.zones),
            "steps": [self._step(step) for step in self.steps],
        }

    def there(self, at: datetime) -> str:
        """A moment by the recipient's clock, with its zone; empty where that is not known."""
        if not self.zones:
            return ""
        return f"{wall_clock.local(at, self.zones[0]):%Y-%m-%d %H:%M:%S} {self.zones[0]}"

    def _step(self, step: Step) -> dict[str, Any]:
        found = {"at": step.at.isoformat(), "what": step.what, "detail": step.detail}
        if self.zones:
            found["there"] = self.there(step.at)
        return found | ({"rulings": list(step.rulings)} if step.rulings else {})


def answer_line(ruling: Mapping[str, Any]) -> str:
    """A rule's answer in words: `quiet_hours: defer until 2026-01-05T13:00:00+00:00 (hours 21:00 to 08:00, …)`."""
    because = ", ".join(
        f"{key.replace('_', ' ')} {_word(value)}"
        for key, value in ruling.get("because", {}).items()
        if value is not None
    )
    until = f" until {ruling['until']}" if "until" in ruling else ""
    reason = f", {ruling['reason']}" if "reason" in ruling else ""
    return f"{ruling['rule']}: {ruling['answer']}{until}{reason}" + (f" ({because})" if because else "")


def _word(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key.replace('_', ' ')} {_word(each)}" for key, each in value.items()) + ")"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


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
    "template",
    "text_id",
)


async def load(conn: Connection, delivery_id: UUID, keys: DataKeys | None = None) -> Timeline | None:
    """The timeline of a delivery; None if there is no such delivery.

    An address that is sealed is shown where `keys` open it, and else as `<sealed>`.
    """
    row = await conn.fetchrow(query("delivery"), delivery_id)
    if row is None:
        return None
    due = f"due {row['planned_for']:%Y-%m-%d %H:%M:%S %Z}"
    steps = [Step(row["created_at"], "queued", _list([due, _template(row)]))]
    steps += [_planned(r) for r in await conn.fetch(query("delivery_planned"), delivery_id)]
    attempts = await conn.fetch(query("delivery_attempts"), delivery_id)
    steps += [step for r in attempts for step in (*_lease(r), _attempt(r))]
    steps += [_callback(r) for r in await conn.fetch(query("delivery_callbacks"), delivery_id)]
    steps += [_resolution(r) for r in await conn.fetch(query("delivery_resolutions"), delivery_id)]
    steps += [_decision(r) for r in await conn.fetch(query("delivery_decisions"), delivery_id)]
    steps += [_ruling(r) for r in await conn.fetch(query("delivery_rulings"), delivery_id)]
    handed = await conn.fetch(query("delivery_handed_over"), delivery_id)
    steps += [_handed_over(r) for r in handed]
    steps += [_recall(r) for r in await conn.fetch(query("delivery_recalls"), delivery_id)]
    steps += [_response(r) for r in await conn.fetch(query("delivery_responses"), delivery_id)]
    steps += [_spread(r) for r in await conn.fetch(query("delivery_spread"), delivery_id)]
    given = await conn.fetchval(query("delivery_zone"), delivery_id)
    waits_there = row["state"] == "sending" and any(
        r["ended_at"] is None and r["provider_id"] for r in handed
    )
    if row["state"] != "queued" and not waits_there:
        decided_by_us = row["state"] in ("skipped", "expired")
        why = [row["reason"], row["detail"] if decided_by_us else None]
        steps.append(Step(row["state_at"], row["state"], _list(why)))
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
        zones=whereabouts(given, Channel(row["channel"]), row["to"]).zones,
    )


def _template(row: Record) -> str | None:
    """The template that it was written from, and which of its texts."""
    if row["template"] is None or row["text_number"] is None:
        return row["template"] and f"from template {row['template']}"
    place = [row["text_channel"], row["text_language"], row["text_style"], f"number {row['text_number']}"]
    return f"from template {row['template']}, text {' '.join(part for part in place if part)}"


def _handed_over(row: Record) -> Step:
    what = "handed over" if row["provider_id"] else "to be handed over"
    return Step(
        row["at"],
        what,
        _list([f"to {row['account']} for {row['send_at']:%Y-%m-%d %H:%M:%S %Z}", row["provider_id"]]),
    )


def _recall(row: Record) -> Step:
    if row["reason"] == "rescheduled":
        return Step(row["at"], f"rescheduled by {row['who']}", f"to {row['due_at']:%Y-%m-%d %H:%M:%S %Z}")
    by = "" if row["who"] == "duly" else f" by {row['who']}"
    then = "to be queued" if row["becomes"] == "queued" else row["becomes"]
    return Step(row["at"], f"asked back{by}: {then}", row["reason"])


def _lease(row: Record) -> list[Step]:
    """The lease that an attempt was made under; none where only a callback told of it."""
    if row["waited_ms"] is None:
        return []
    node = row["node"] or "that is gone"
    return [
        Step(
            row["began_at"] - timedelta(milliseconds=row["waited_ms"]),
            "leased",
            f"by node {row['node_id']}, {node}",
        )
    ]


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
    return Step(row["began_at"], f"attempt {row['number']} {row['outcome']}", _list(parts), _rulings(row))


def _planned(row: Record) -> Step:
    """Why it was planned, for when, and how far it may be moved."""
    because: dict[str, Any] = orjson.loads(row["because"])
    goals = ", ".join(
        f"{goal['name']}: {goal['done']} of {goal['target']} {goal['unit']}".rstrip()
        for goal in because.pop("goals", [])
    )
    moved = f"may go from {row['earliest']:%H:%M:%S} to {row['latest']:%H:%M:%S}" if row["latest"] else None
    parts = [
        f"{row['source'].replace('_', '-')} {row['name']}" if row["name"] else row["source"],
        row["kind"],
        goals,
        f"wished for {row['wished_at']:%Y-%m-%d %H:%M:%S %Z}" if row["wished_at"] else None,
        moved,
    ]
    parts += [f"{key.replace('_', ' ')} {_word(each)}" for key, each in because.items() if key != "kind"]
    return Step(row["at"], "planned", _list(parts))


def _ruling(row: Record) -> Step:
    until = f"until {row['until']:%Y-%m-%d %H:%M:%S %Z}" if row["until"] else ""
    became = {"queued": "deferred", "leased": "said otherwise"}.get(row["became"], row["became"])
    return Step(row["at"], f"asked the rules when {row['stage']}: {became}", until, _rulings(row))


def _rulings(row: Record) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(row["rulings"]) if row["rulings"] else []
    return found


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


_RESPONSES = {
    "reply": "was answered",
    "click": "its link was followed",
    "preview": "a program opened its link",
    "opt_out": "was followed by an opt-out",
    "helpful": "was called helpful",
    "not helpful": "was called not helpful",
}


def _response(row: Record) -> Step:
    times = f"{row['times']} times" if row["times"] > 1 else None
    return Step(row["at"], _RESPONSES[row["kind"]], _list([times, row["via"] and f"by {row['via']}"]))


def _spread(row: Record) -> Step:
    """Where it was placed among all that wanted the same time."""
    parts = [
        f"wished {row['wished_at']:%Y-%m-%d %H:%M}",
        f"set to {row['placed_at']:%Y-%m-%d %H:%M}: {float(row['per_hour']):g} an hour",
        "beyond its tolerance" if row["beyond"] else None,
    ]
    return Step(row["spread_at"], "spread", _list(parts))


def _list(parts: list[str | None]) -> str:
    return ", ".join(part for part in parts if part)
