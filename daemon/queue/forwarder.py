"""Hands deliveries over ahead of their time, to platforms that send them then, where an account asks for it.

What is chosen here goes the way of all others: leased, through the account's line with its limits, marked, called,
recorded. Only it has a `send_at`. Whatever keeps a delivery from being handed over, it stays queued, and is sent by
ourselves when its time comes. So nothing here has to succeed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import asyncpg
import structlog

from daemon import clock
from daemon.actor import at_most, either
from daemon.jsonb import read_jsonb
from daemon.model import Channel, Delivery, Gate, Priority
from daemon.queue.judge import Judge
from daemon.queue.line import Line
from daemon.queue.membership import Membership
from daemon.queue.unsealing import Unsealer, sealed_of
from daemon.sealing.envelope import CannotOpen
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_PORTION = 500
_LANES = 100
# Looking through what is queued takes at most so much of the time, and no more often than this.
_PAUSE_PER_SECOND = 20.0
_SHORTEST_PAUSE_SECONDS = 5.0
_ROOM_SECONDS = 1.0
_NOWHERE = UUID(int=0)


class Window(NamedTuple):
    """How long ahead a platform takes messages, and by how much we stay within that: clocks differ, calls take time."""

    least_seconds: float = 300.0
    most_seconds: float = 35 * 86_400.0
    margin_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Ahead:
    """An account that asks for it: its line, and whether it carries a workspace's messages and may hand them over."""

    line: Line
    carries: Callable[[str, Channel], bool]


class _Lane(NamedTuple):
    workspace_id: int
    priority: int


class _Position(NamedTuple):
    due_at: datetime
    id: UUID


_BEGINNING = _Position(datetime(2000, 1, 1, tzinfo=UTC), _NOWHERE)


class Forwarder:
    """The actor that hands over."""

    name = "forwarder"

    def __init__(
        self,
        database: Database,
        membership: Membership,
        unsealer: Unsealer,
        judge: Judge,
        accounts: Callable[[], Mapping[str, Ahead]],
        on_leased: Callable[[], None],
        *,
        window: Window = Window(),  # noqa: B008 - immutable
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self._database = database
        self._membership = membership
        self._unsealer = unsealer
        self._judge = judge
        self._accounts = accounts
        self._on_leased = on_leased
        self._window = window
        self._monotonic = monotonic
        self._room = asyncio.Event()
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        """A line may have room."""
        self._room.set()

    async def run(self) -> None:
        """Walks through what is queued, again and again, until `stop()`."""
        await either(self._membership.joined, self._stopping)
        while not self._stopping.is_set():
            began = self._monotonic()
            with contextlib.suppress(DatabaseDown):
                await self.once()
            took = self._monotonic() - began
            await at_most(max(_SHORTEST_PAUSE_SECONDS, took * _PAUSE_PER_SECOND), self._stopping)

    async def stop(self) -> None:
        """Ends after the portion under way."""
        self._stopping.set()
        self._room.set()

    def health(self) -> str | None:
        """It needs nothing of its own."""
        return None

    async def once(self) -> int:
        """One walk for all accounts that ask for it. Returns how many it has leased. Raises `DatabaseDown`."""
        accounts = self._accounts()
        if not accounts:
            return 0
        names = {row["id"]: row["name"] for row in await self._database.fetch(query("workspaces"))}
        done = 0
        for account, ahead in accounts.items():
            for channel in ahead.line.worker.platform.channels:
                mine = {id_: name for id_, name in names.items() if ahead.carries(name, channel)}
                lanes = [_Lane(id_, priority) for id_ in mine for priority in Priority]
                for begin in range(0, len(lanes), _LANES):
                    done += await self._walk(account, channel, mine, lanes[begin : begin + _LANES])
        return done

    async def _walk(
        self, account: str, channel: Channel, names: Mapping[int, str], lanes: Sequence[_Lane]
    ) -> int:
        positions = dict.fromkeys(lanes, _BEGINNING)
        done = 0
        while positions and not self._stopping.is_set():
            each = max(1, _PORTION // len(positions))
            rows = await self._candidates(channel, positions, each)
            ahead = {row["id"]: _delivery(row, channel, names) for row in rows if row["eligible"]}
            done += await self._offer(account, await self._fit(ahead), ahead)
            positions = _further(rows, each)
        return done

    async def _candidates(
        self, channel: Channel, positions: Mapping[_Lane, _Position], each: int
    ) -> list[asyncpg.Record]:
        window = self._window
        return await self._database.fetch(
            query("native_candidates"),
            [lane.workspace_id for lane in positions],
            [lane.priority for lane in positions],
            [position.due_at for position in positions.values()],
            [position.id for position in positions.values()],
            channel.value,
            each,
            window.least_seconds + window.margin_seconds,
            window.most_seconds - window.margin_seconds,
        )

    async def _fit(self, ahead: Mapping[UUID, tuple[Delivery, datetime]]) -> dict[UUID, Delivery]:
        """Those that open and that the rules allow for their time, with the gate of the mark."""
        opened: dict[UUID, tuple[Delivery, datetime]] = {}
        for id_, (delivery, due_at) in ahead.items():
            with contextlib.suppress(CannotOpen):  # said when it is due
                opened[id_] = await self._unsealer.opened(delivery), due_at
        may = await self._judge.foresee(opened)
        least = timedelta(seconds=self._window.least_seconds)
        return {
            id_: replace(opened[id_][0], gate=Gate(opened[id_][1] - least, rulings=gate.rulings))
            for id_, gate in may.items()
        }

    async def _offer(
        self,
        account: str,
        fit: Mapping[UUID, Delivery],
        ahead: Mapping[UUID, tuple[Delivery, datetime]],
    ) -> int:
        """Leases as many at a time as the line has room for; waits for that room."""
        waiting = iter(fit.values())
        done = 0
        while (line := await self._line(account)) is not None:
            some = list(islice(waiting, line.room_ahead()))
            if not some:
                break
            done += await self._lease(line, {d.id: (d, ahead[d.id][1]) for d in some})
        return done

    async def _line(self, account: str) -> Line | None:
        """The account's line once it has room; None where it asks for nothing any more, or we stop."""
        while not self._stopping.is_set():
            self._room.clear()
            found = self._accounts().get(account)
            if found is None:
                return None
            if self._membership.valid and found.line.room_ahead() > 0:
                return found.line
            await at_most(_ROOM_SECONDS, self._room)
        return None

    async def _lease(self, line: Line, some: Mapping[UUID, tuple[Delivery, datetime]]) -> int:
        token, now = self._membership.new_token(), self._monotonic()
        rows = await self._database.fetch(
            query("native_lease"),
            list(some),
            [delivery.workspace_id for delivery, _ in some.values()],
            [due_at for _, due_at in some.values()],
            token,
            self._membership.node_id,
        )
        leased = [replace(some[row["id"]][0], lease_token=token, leased_at=now) for row in rows]
        line.push(leased)
        self._on_leased()
        return len(leased)


def send_at(due_at: datetime) -> datetime:
    """The moment to ask a platform for that counts in whole seconds: never before the delivery is due."""
    whole = due_at.replace(microsecond=0)
    return whole if whole == due_at else whole + timedelta(seconds=1)


def _further(rows: Sequence[asyncpg.Record], each: int) -> dict[_Lane, _Position]:
    """Where each lane goes on; one that gave fewer than asked for is at its end."""
    seen: dict[_Lane, list[_Position]] = {}
    for row in rows:
        seen.setdefault(_Lane(row["workspace_id"], row["priority"]), []).append(
            _Position(row["due_at"], row["id"])
        )
    return {lane: max(positions) for lane, positions in seen.items() if len(positions) >= each}


def _delivery(row: asyncpg.Record, channel: Channel, names: Mapping[int, str]) -> tuple[Delivery, datetime]:
    """A candidate, not leased yet, and when it is due. It goes like bulk: what is due now is before it."""
    metadata = {} if row["metadata"] == "{}" else read_jsonb(row["metadata"])
    at, expires_at = send_at(row["due_at"]), row["expires_at"]
    return Delivery(
        id=row["id"],
        workspace_id=row["workspace_id"],
        workspace=names[row["workspace_id"]],
        channel=channel,
        to=row["to"],
        body=row["body"],
        category=row["category"],
        priority=Priority.BULK,
        attempts=row["attempts"],
        forgiven=row["forgiven"],
        segments=row["segments"],
        lease_token=0,
        leased_at=0.0,
        expires_in_seconds=None if expires_at is None else (expires_at - at).total_seconds(),
        media_urls=tuple(metadata.get("media_urls", ())),
        metadata=metadata,
        address_key=row["address_key"],
        sealed=sealed_of(row),
        send_at=at,
    ), row["due_at"]
