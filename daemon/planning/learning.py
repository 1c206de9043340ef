"""What has been learned of people, loaded for many of them at once; and a chance that falls the same way each time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from uuid import UUID

from asyncpg import Record

from daemon.planning.send_time import Habit
from daemon.planning.styles import Words
from daemon.store.database import Connection
from daemon.store.sql import query

_ALL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Habits:
    """Of some people, and of all of their workspace together."""

    of: Mapping[UUID, Habit]
    cohort: Habit

    def person(self, contact: UUID) -> Habit:
        """What is known of one of them; of who is new, nothing."""
        return self.of.get(contact, _NOTHING)


@dataclass(frozen=True, slots=True)
class Tastes:
    """Which styles some people called helpful, and all of their workspace together."""

    of: Mapping[UUID, Mapping[str, Words]]
    cohort: Mapping[str, Words]

    def person(self, contact: UUID) -> Mapping[str, Words]:
        """What one of them said."""
        return self.of.get(contact, {})


_NOTHING = Habit()


async def load_habits(conn: Connection, workspace_id: int, contacts: Sequence[UUID]) -> Habits:
    """For `send_time.learned`."""
    rows: dict[UUID, list[Record]] = defaultdict(list)
    for row in await conn.fetch(query("habits"), workspace_id, contacts):
        rows[row["contact_id"]].append(row)
    found = {contact: _habit(theirs) for contact, theirs in rows.items()}
    return Habits(found, found.pop(_ALL, _NOTHING))


async def load_tastes(
    conn: Connection, workspace_id: int, contacts: Sequence[UUID], cohort: Mapping[str, Words] | None = None
) -> Tastes:
    """For `styles.choose_style`. `cohort`: what an earlier call found, for who plans in chunks."""
    of: dict[UUID, dict[str, Words]] = defaultdict(dict)
    for row in await conn.fetch(query("style_words"), workspace_id, contacts):
        of[row["contact_id"]][row["style"]] = Words(row["helpful"], row["not_helpful"])
    if cohort is None:
        rows = await conn.fetch(query("style_words_of_all"), workspace_id)
        cohort = {row["style"]: Words(row["helpful"], row["not_helpful"]) for row in rows}
    return Tastes(of, cohort)


def chance(source: UUID, contact: UUID, occurrence: datetime, what: str = "time") -> Random:
    """Falls the same way for the same person and occurrence, however often it is planned. `what` is to fall."""
    return Random(f"{source} {contact} {occurrence.isoformat()} {what}")


def _habit(rows: Iterable[Record]) -> Habit:
    active: dict[int, float] = {}
    sent: dict[int, float] = {}
    answered: dict[int, float] = {}
    for row in rows:
        for weights, name in ((active, "active"), (sent, "sent"), (answered, "answered")):
            if row[name]:
                weights[row["hour"]] = row[name]
    return Habit(active, sent, answered)
