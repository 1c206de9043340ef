"""The spreader: places what is planned within what its account can carry, as often as something new is planned.

Whichever daemon takes an account's turn (a row of duly.spreading) counts all of it that has not gone yet, spreads it
anew as a whole (spreading.py), and writes what has changed in portions, each a transaction. What is placed keeps its
time unless somebody newly planned comes before it. A pass that was broken off is done again by whoever comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from daemon.actor import at_most, either
from daemon.config import Config
from daemon.model import Channel
from daemon.planning.openings import Slots, opening, planned_per_hour, slot_seconds
from daemon.planning.slot_board import Kind, Opening
from daemon.planning.spreading import Spread, Wish, spread
from daemon.queue.rulebook import rules_of
from daemon.store.database import Connection, Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0
# While the plan still grows so fast, spreading waits for its end, unless something of it is wanted soon.
_SETTLE_SECONDS = 2.0
_TURN_SECONDS = 60.0
_PORTION = 2000
# The first characters of a number, which tell its country and area.
_PLACE = 7
_LONGEST = timedelta(days=400)
_LEAST = timedelta(days=2)
# So much more time than all of it needs, for the nights.
_NIGHTS = 3
# A time that moves by less stays as it was.
_SAME = timedelta(seconds=1)

Key = tuple[Any, ...]
"""All that counts of a delivery for its place: the fields of spread_classes.sql."""
_FIELDS = (
    "workspace_id",
    "channel",
    "priority",
    "category",
    "time_zone",
    "place",
    "segments",
    "wished_at",
    "earliest",
    "latest",
    "expires_at",
)


class Spreader:
    """The actor that spreads."""

    name = "spreader"

    def __init__(self, database: Database, config: Callable[[], Config], after: asyncio.Event) -> None:
        """`after`: set when the schema fits."""
        self._database = database
        self._config = config
        self._after = after
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Looks for what is newly planned, until `stop()`."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            with contextlib.suppress(DatabaseDown):
                await self.once()
            await at_most(_LOOK_SECONDS, self._stopping)

    async def stop(self) -> None:
        """Ends after the portion under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """It needs nothing of its own."""
        return None

    async def once(self, *, settle_seconds: float = _SETTLE_SECONDS) -> int:
        """Spreads the accounts for which something is newly planned. Returns how many deliveries have been given a
        time. Raises `DatabaseDown`; what was written until then holds.
        """
        config = self._config()
        wanted = {row["account"] for row in await self._database.fetch(query("spread_unfinished"))}
        growing: set[str] = set()
        for row in await self._database.fetch(query("spread_wanted"), settle_seconds):
            account = config.account_for(row["workspace"], Channel(row["channel"]))
            if account is not None:
                (growing if row["growing"] and not row["soon"] else wanted).add(account)
        placed = 0
        for account in sorted(wanted - growing):
            if account in config.platforms and not self._stopping.is_set():
                placed += await self._account(account, config)
        return placed

    async def _account(self, account: str, config: Config) -> int:
        token = uuid.uuid4()
        turn = await self._database.fetchrow(query("spread_take"), account, token, _TURN_SECONDS)
        if turn is None:
            return 0  # another daemon is at it
        done = False
        placed = 0
        try:
            pass_ = _Pass(self._database, config, account, token, turn["now"])
            placed = await pass_.make(self._stopping)
            done = not self._stopping.is_set()
        finally:
            with contextlib.suppress(DatabaseDown):
                await self._database.execute(query("spread_end"), account, token, done)
        if placed:
            log.info("spread what is planned", account=account, deliveries=placed, beyond=pass_.beyond)
        return placed


class _Pass:
    """One spreading of an account."""

    def __init__(
        self, database: Database, config: Config, account: str, token: uuid.UUID, now: datetime
    ) -> None:
        self._database = database
        self._config = config
        self._account = account
        self._token = token
        self._now = now
        self._names: dict[int, str] = {}
        self._place = 0
        self.beyond = 0

    async def make(self, stopping: asyncio.Event) -> int:
        """Counts, spreads and writes."""
        self._names = {row["id"]: row["name"] for row in await self._database.fetch(query("workspaces"))}
        lanes = [
            (id_, channel.value)
            for id_, name in self._names.items()
            for channel in Channel
            if self._config.account_for(name, channel) == self._account
        ]
        ids, channels = [lane[0] for lane in lanes], [lane[1] for lane in lanes]
        self._place = _PLACE if self._asks_where(ids) else 0
        rows = await self._database.fetch(query("spread_classes"), ids, channels, self._place)
        placed = 0
        if rows:
            workspaces = sorted({self._names[row["workspace_id"]] for row in rows})
            per_hour = planned_per_hour(self._config, self._account, workspaces)
            slots = self._slots(rows, per_hour)
            taken = await self._taken(ids, channels, slots)
            wishes, keys = self._wishes(rows, slots, per_hour)
            found = await self._solve(wishes, slots.capacity(per_hour, taken))
            times = _Times(slots, wishes, found, per_hour)
            placed = await self._write(ids, channels, keys, times, per_hour, stopping)
            self.beyond = sum(
                messages
                for wish, of in zip(wishes, found.placed, strict=True)
                for slot, messages in of.items()
                if slot > wish.kind.latest
            ) + sum(found.unplaced)
        if not stopping.is_set():
            await self._database.execute(query("spread_settled"), ids, channels)
        return placed

    def _asks_where(self, workspace_ids: Sequence[int]) -> bool:
        rules = [self._config.rules_for(self._names[id_]) for id_ in set(workspace_ids)]
        return any(each.quiet_hours or each.quiet_hours_in for each in rules)

    def _slots(self, rows: Sequence[Any], per_hour: float) -> Slots:
        """As far ahead as all of it needs."""
        longest = max(row["segments"] for row in rows)
        seconds = slot_seconds(per_hour, longest)
        hours = sum(row["segments"] * row["messages"] for row in rows) / per_hour
        latest = max(max(row["latest"], row["wished_at"]) for row in rows)
        ahead = max(latest - self._now, timedelta(0)) + timedelta(hours=min(hours * _NIGHTS, 10_000)) + _LEAST
        return Slots(self._now, seconds, int(min(ahead, _LONGEST).total_seconds() // seconds) + 1)

    async def _taken(self, ids: Sequence[int], channels: Sequence[str], slots: Slots) -> dict[int, int]:
        rows = await self._database.fetch(query("spread_others"), ids, channels, float(slots.seconds))
        taken: dict[int, int] = defaultdict(int)
        for row in rows:
            taken[max(0, slots.of(row["slot"]))] += row["segments"]
        return taken

    def _wishes(
        self, rows: Sequence[Any], slots: Slots, per_hour: float
    ) -> tuple[list[Wish], dict[Key, int]]:
        """The wishes, and of which each row's key is."""
        most = max(1, int(per_hour * slots.seconds / 3600))
        openings: dict[Key, Opening | None] = {}
        counts: dict[tuple[str, Kind], int] = defaultdict(int)
        keys: dict[Key, tuple[str, Kind]] = {}
        for row in rows:
            workspace = self._names[row["workspace_id"]]
            where = (workspace, row["channel"], row["category"], row["time_zone"], row["place"])
            if where not in openings:
                rules = rules_of(self._config.rules_for(workspace), row["category"])
                openings[where] = opening(
                    rules, Channel(row["channel"]), row["to"] or "", row["time_zone"], slots
                )
            wished = slots.of(row["wished_at"])
            kind = Kind(
                priority=row["priority"],
                wished=wished,
                earliest=min(slots.of(row["earliest"]), wished),
                latest=max(slots.of(row["latest"]), wished, 0),
                segments=min(row["segments"], most),
                opening=openings[where],
                expires=None if row["expires_at"] is None else slots.of(row["expires_at"]),
            )
            counts[workspace, kind] += row["messages"]
            keys[_key(row)] = workspace, kind
        number = {of: nth for nth, of in enumerate(counts)}
        wishes = [Wish(workspace, kind, messages) for (workspace, kind), messages in counts.items()]
        return wishes, {key: number[of] for key, of in keys.items()}

    async def _write(
        self,
        ids: Sequence[int],
        channels: Sequence[str],
        keys: dict[Key, int],
        times: _Times,
        per_hour: float,
        stopping: asyncio.Event,
    ) -> int:
        """Walks through the deliveries and gives each the next time of its wish; a portion is a transaction."""
        written = 0
        async with self._database.acquire() as conn, conn.transaction(readonly=True):
            portion: list[tuple[uuid.UUID, int, datetime, datetime]] = []
            async for row in conn.cursor(query("spread_rows"), ids, channels, self._place, prefetch=_PORTION):
                nth = keys.get(_key(row))
                due = None if nth is None else times.next(nth, row)
                if due is None:
                    continue  # planned since: for the next pass
                if row["spread"] and abs(due - row["due_at"]) < _SAME:
                    continue
                portion.append((row["id"], row["workspace_id"], row["due_at"], due))
                if len(portion) == _PORTION:
                    written += await self._portion(portion, per_hour)
                    portion.clear()
                    if stopping.is_set():
                        return written
            return written + (await self._portion(portion, per_hour) if portion else 0)

    async def _portion(
        self, portion: Sequence[tuple[uuid.UUID, int, datetime, datetime]], per_hour: float
    ) -> int:
        columns = [list(column) for column in zip(*portion, strict=True)]
        async with self._database.acquire() as conn:
            await self._keep_turn(conn)
            row = await conn.fetchval(query("spread_write"), *columns, self._account, self._token, per_hour)
        return int(row)

    async def _solve(self, wishes: list[Wish], capacity: list[int]) -> Spread:
        """In a thread, and keeps the turn for as long as it takes: seconds, more on a busy machine."""
        solving = asyncio.create_task(asyncio.to_thread(spread, wishes, capacity))
        while not (await asyncio.wait([solving], timeout=_TURN_SECONDS / 3))[0]:
            async with self._database.acquire() as conn:
                await self._keep_turn(conn)
        return solving.result()

    async def _keep_turn(self, conn: Connection) -> None:
        if await conn.fetchrow(query("spread_take"), self._account, self._token, _TURN_SECONDS) is None:
            raise DatabaseDown("another daemon spreads this account by now")


class _Times:
    """The times of each wish's messages, one after the other: those of a slot follow each other evenly, as fast as the
    account's capacity lets them, so that a full slot is used until its end.
    """

    def __init__(self, slots: Slots, wishes: Sequence[Wish], found: Spread, per_hour: float) -> None:
        self._slots = slots
        self._seconds: dict[int, float] = defaultdict(float)  # that a slot's segments take
        self._unplaced = found.unplaced
        sharing: dict[int, list[int]] = defaultdict(list)
        for nth in sorted(range(len(wishes)), key=lambda nth: wishes[nth].kind.priority):
            for slot in found.placed[nth]:
                sharing[slot].append(nth)
                self._seconds[slot] += found.placed[nth][slot] * wishes[nth].kind.segments * 3600 / per_hour
        self._iterators = [
            self._times(
                [
                    (slot, messages, sharing[slot].index(nth) / len(sharing[slot]))
                    for slot, messages in sorted(of.items())
                ]
            )
            for nth, of in enumerate(found.placed)
        ]

    def next(self, nth: int, row: Any) -> datetime | None:
        """The next time of a wish, for this delivery: never before its earliest. Where there is no room until it
        expires, that is when it does; None where nothing is known of it.
        """
        at = next(self._iterators[nth], None)
        if at is None:
            if not self._unplaced[nth]:
                return None
            expires: datetime | None = row["expires_at"]
            return expires if expires is not None else self._slots.begin(self._slots.count)
        slot, moment = at
        if slot == self._slots.of(row["wished_at"]):
            moment = self._after_wish(slot, moment, row["wished_at"])
        if slot == self._slots.of(row["latest"]):
            moment = min(moment, row["latest"])
        earliest: datetime = row["earliest"]
        return max(moment, earliest)

    def _after_wish(self, slot: int, moment: datetime, wished: datetime) -> datetime:
        """The same part of what is left of the slot after a wish in its middle."""
        begin, end = max(self._slots.begin(slot), self._slots.now), self._slots.begin(slot + 1)
        if wished <= begin:
            return moment
        return max(moment, wished + (end - wished) * ((moment - begin) / (end - begin)))

    def _times(self, placed: Sequence[tuple[int, int, float]]) -> Iterator[tuple[int, datetime]]:
        for slot, messages, part in placed:
            begin = max(self._slots.begin(slot), self._slots.now)
            length = min(self._slots.begin(slot + 1) - begin, timedelta(seconds=self._seconds[slot]))
            for nth in range(messages):
                yield slot, begin + length * ((nth + part) / messages)


def _key(row: Any) -> Key:
    return tuple(row[name] for name in _FIELDS)
