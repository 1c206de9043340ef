"""How an address stands: what was said of consent for it, what forbids to write to it, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.jsonb import read_jsonb
from daemon.store.database import Connection
from daemon.store.sql import query


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows for one category, the empty one being all that were never named. `state` None: nothing was said."""

    category: str
    state: str | None
    at: datetime | None
    source: str | None
    suppressed: str | None  # the reason of a suppression, which forbids whatever the state is


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of an address on one channel, oldest first."""

    log: list[dict[str, Any]]
    suppressions: list[dict[str, Any]]

    @property
    def standings(self) -> list[Standing]:
        """The empty category first, then the others by name."""
        return standings(self.log, self.suppressions)


async def load(conn: Connection, workspace: str, channel: str, to: str) -> Record:
    """Reads an address's record in one workspace, with the suppressions of all."""
    log = [dict(row) for row in await conn.fetch(query("consent_log"), workspace, channel, to)]
    for entry in log:
        entry["proof"] = read_jsonb(entry["proof"])
    return Record(log, [dict(row) for row in await conn.fetch(query("suppressions"), workspace, channel, to)])


def standings(log: Sequence[Mapping[str, Any]], suppressions: Sequence[Mapping[str, Any]]) -> list[Standing]:
    """The last word that covers a category counts, as in rule_context.sql. `log`: oldest first."""
    categories = {""}.union(entry["category"] for entry in (*log, *suppressions))
    return [_standing(category, log, suppressions) for category in sorted(categories)]


def _standing(
    category: str, log: Sequence[Mapping[str, Any]], suppressions: Sequence[Mapping[str, Any]]
) -> Standing:
    covers = ("", category)
    last = next((entry for entry in reversed(log) if entry["category"] in covers), None)
    reasons = [s["reason"] for s in suppressions if s["category"] in covers and not s["account"]]
    return Standing(
        category,
        last["state"] if last else None,
        last["at"] if last else None,
        last["source"] if last else None,
        reasons[0] if reasons else None,
    )
