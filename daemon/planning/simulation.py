"""What would become of a message, before it exists: the rules' answers for a moment, and nothing is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from daemon.config import Config
from daemon.model import Channel
from daemon.queue.judge import known_of
from daemon.queue.rule_sets import is_stand_in
from daemon.queue.rulebook import rules_of
from daemon.rules.answers import Allow, Defer
from daemon.rules.judgement import Verdict, as_json, judge
from daemon.store.database import Connection
from daemon.store.sql import query

_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Proposed:
    """A message that might be queued: to whom, and when (aware)."""

    to: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the rules would answer at its moment."""

    proposed: Proposed
    verdict: Verdict

    @property
    def outcome(self) -> str:
        """go, wait or skip."""
        match self.verdict.answer:
            case Allow():
                return "go"
            case Defer():
                return "wait"
        return "skip"

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        answer = self.verdict.answer
        found: dict[str, Any] = {
            "to": self.proposed.to,
            "at": self.proposed.at.isoformat(),
            "outcome": self.outcome,
        }
        if isinstance(answer, Defer):
            found["until"] = answer.until.isoformat()
        if not isinstance(answer, Allow):
            found["reason"] = answer.reason.value
        return found | {"rulings": [as_json(ruling) for ruling in self.verdict.rulings]}


@dataclass(slots=True)
class Tally:
    """How many of a campaign would go, wait and be skipped, by reason; what is wrong is counted by its words."""

    go: int = 0
    wait: Counter[str] = field(default_factory=Counter)
    skip: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, each: Simulated) -> None:
        """Counts one."""
        answer = each.verdict.answer
        match answer:
            case Allow():
                self.go += 1
            case Defer(reason=reason):
                self.wait[reason.value] += 1
            case _:
                self.skip[answer.reason.value] += 1

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {"go": self.go, "wait": dict(self.wait), "skip": dict(self.skip), "wrong": dict(self.wrong)}


async def simulate(
    conn: Connection,
    config: Config,
    workspace: str,
    channel: Channel,
    category: str,
    proposed: Sequence[Proposed],
) -> list[Simulated]:
    """The rules' answers for addresses that are right, in their order. Raises `LookupError` without the workspace."""
    workspace_id = await conn.fetchval(query("workspace_id"), workspace)
    if workspace_id is None:
        raise LookupError(f"there is no workspace {workspace!r}")
    rules = rules_of(config.rules_for(workspace), category)
    stand_in = is_stand_in(config, workspace, channel)
    found = []
    for begin in range(0, len(proposed), _CHUNK):
        chunk = {uuid4(): each for each in proposed[begin : begin + _CHUNK]}
        keys = await conn.fetch(query("address_keys"), channel.value, [each.to for each in chunk.values()])
        of = len(chunk)
        rows = await conn.fetch(
            query("rule_context"),
            list(chunk),
            [workspace_id] * of,
            [row["key"] for row in keys],
            [channel.value] * of,
            [category] * of,
        )
        known = {row["id"]: row for row in rows}
        found += [
            Simulated(each, judge(rules, known_of(known[id_], channel, each.to, stand_in, now=each.at)))
            for id_, each in chunk.items()
        ]
    return found
