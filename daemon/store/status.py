"""What is queued, under way and done, for `duly status`. Every statement reads an index's part of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from daemon.store.database import Connection
from daemon.store.sql import query

_ENDED = {"read": "delivered"}


@dataclass(frozen=True, slots=True)
class QueuedLane:
    """What is queued of one workspace on one channel."""

    workspace: str
    channel: str
    total: int
    due: int
    segments: int
    due_segments: int
    overdue: int  # due for more than five minutes
    oldest_due_at: datetime
    oldest_due_seconds: float  # negative where nothing is due yet


@dataclass(frozen=True, slots=True)
class Passing:
    """What is under way and what has ended, of one workspace or account."""

    states: Counter[str] = field(
        default_factory=Counter
    )  # leased, sending, uncertain, handed_over; the rest of 24 h
    stuck: Counter[str] = field(default_factory=Counter)  # leased, sending: held for longer than two leases
    undecided: int = 0  # of the uncertain: left to a person
    # Segments sent in the last minute, by how many tens of seconds ago: 0 to 5.
    sent: Counter[int] = field(default_factory=Counter)

    @property
    def minute_segments(self) -> int:
        """Sent in the last minute."""
        return self.sent.total()

    @property
    def spans(self) -> list[int]:
        """The same in the last ten seconds, in the ten before, and so on."""
        return [self.sent[tens] for tens in range(6)]

    def __add__(self, other: Passing) -> Passing:
        return Passing(
            self.states + other.states,
            self.stuck + other.stuck,
            self.undecided + other.undecided,
            self.sent + other.sent,
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon that lives, or that died and still holds something."""

    id: int
    name: str
    version: str
    started_at: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the database says. `passing` is by workspace and account (None: no call was made)."""

    at: datetime
    workspaces: list[str]
    platforms: dict[str, str]  # by account
    lanes: list[QueuedLane]
    passing: dict[tuple[str, str | None], Passing]
    nodes: list[Node]

    def of_workspace(self, name: str) -> Passing:
        """Under every account."""
        return _sum(passing for (workspace, _), passing in self.passing.items() if workspace == name)

    def of_account(self, name: str) -> Passing:
        """Of every workspace."""
        return _sum(passing for (_, account), passing in self.passing.items() if account == name)

    @property
    def together(self) -> Passing:
        """Everything."""
        return _sum(self.passing.values())


async def snapshot(conn: Connection, lease_seconds: float) -> Snapshot:
    """Looks, in one transaction and thus at one moment."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        names = {row["id"]: row["name"] for row in await conn.fetch(query("workspaces"))}
        lanes = await conn.fetch(query("status_queued"))
        held = await conn.fetch(query("status_held"), lease_seconds)
        recent = await conn.fetch(query("status_recent"))
        nodes = await conn.fetch(query("status_nodes"))
        accounts = await conn.fetch(query("status_accounts"))
        at: datetime = await conn.fetchval("select now()")
    passing: dict[tuple[str, str | None], Passing] = {}
    for row in held:
        new = Passing(
            Counter({row["state"]: row["total"]}), Counter({row["state"]: row["stuck"]}), row["undecided"]
        )
        _put(passing, _key(names, row["workspace_id"], row["account"]), new)
    for row in recent:
        state = _ENDED.get(row["state"], row["state"])
        new = Passing(Counter({state: row["total"]}))
        if row["tens_ago"] is not None:
            new.sent[min(5, row["tens_ago"])] += row["segments"]
        _put(passing, _key(names, row["workspace_id"], row["account"]), new)
    return Snapshot(
        at=at,
        workspaces=sorted(names.values()),
        platforms={row["name"]: row["platform"] for row in accounts},
        lanes=[
            QueuedLane(names.get(row["workspace_id"], "?"), *list(row.values())[1:])
            for row in sorted(lanes, key=lambda row: (names.get(row["workspace_id"], "?"), row["channel"]))
        ],
        passing=passing,
        nodes=[Node(**dict(row)) for row in nodes],
    )


def _key(names: dict[int, str], workspace_id: int, account: str | None) -> tuple[str, str | None]:
    return names.get(workspace_id, "?"), account


def _put(into: dict[tuple[str, str | None], Passing], key: tuple[str, str | None], new: Passing) -> None:
    into[key] = into.get(key, Passing()) + new


def _sum(parts: Iterable[Passing]) -> Passing:
    return sum(parts, Passing())
