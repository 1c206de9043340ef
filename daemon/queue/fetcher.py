"""Leases due deliveries, fairly among lanes, as many as the dispatcher has room for.

Back pressure is the database: what does not fit stays there. Waking is a notification from `enqueue`, room
in the dispatcher, or a timer set to the next due time; without any of these the database is asked once in
`poll_seconds`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import asyncpg
import structlog

from daemon import clock, metrics
from daemon.actor import at_most, either
from daemon.jsonb import read_jsonb
from daemon.model import Channel, Delivery, Lane, Priority
from daemon.queue.dispatcher import Dispatcher
from daemon.queue.goals_again import GoalsAgain
from daemon.queue.judge import Judge
from daemon.queue.limits import LimitBook
from daemon.queue.membership import Membership
from daemon.queue.share import Ask, LaneBoard, share
from daemon.queue.unsealing import Unsealer, sealed_of
from daemon.store.database import Connection, Database, DatabaseDown, describe
from daemon.store.sql import query

log = structlog.get_logger(__name__)

# What another daemon's transaction holds locked looks due and cannot be had: ask again after this.
_LOCKED_PAUSE_SECONDS = 0.1
_SHORTEST_WAIT_SECONDS = 0.002
# Without a valid claim nothing may be leased: look again whether there is one.
_NO_CLAIM_PAUSE_SECONDS = 0.05
# However many notifications come, their lanes are asked for no more often than this.
_CHECK_SECONDS = 0.2


class Fetcher:
    """The actor that leases."""

    name = "fetcher"

    def __init__(
        self,
        database: Database,
        membership: Membership,
        dispatcher: Dispatcher,
        unsealer: Unsealer,
        goals: GoalsAgain,
        judge: Judge,
        workspaces: Callable[[int], str | None],
        account_of: Callable[[str, Channel], str | None],
        workspace_limits: LimitBook[str],
        *,
        batch: int,
        poll_seconds: float,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self.batch = batch
        self.poll_seconds = poll_seconds
        self._database = database
        self._membership = membership
        self._dispatcher = dispatcher
        self._unsealer = unsealer
        self._goals = goals
        self._judge = judge
        self._workspace_name = workspaces
        self._account_of = account_of
        self._workspace_limits = workspace_limits
        self._monotonic = monotonic
        self._board = LaneBoard()
        self._next_look = 0.0
        self._to_check: set[Lane] = set()  # lanes of which a notification may have said too late a time
        self._check_at = math.inf
        self._unsure: list[int] = []  # tokens of leases whose answer was lost
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        """There may be something to do: room, a reload, news."""
        self._wake.set()

    def look_soon(self) -> None:
        """Looks at all lanes again, as after a reload."""
        self._next_look = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Leases until `stop()`."""
        await either(self._membership.joined, self._stopping)
        listening = asyncio.create_task(self._listen())
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                try:
                    leased = await self._round()
                except DatabaseDown:
                    self._next_look = 0.0
                    await asyncio.sleep(0.2)
                    continue
                if not leased and not self._stopping.is_set():
                    await self._sleep()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def stop(self) -> None:
        """No new leases."""
        self._stopping.set()
        self._wake.set()

    def health(self) -> str | None:
        """It needs nothing of its own beyond the database and the lease."""
        return None

    async def _round(self) -> int:
        """One decision and its lease. Returns how many rows it brought."""
        if not self._membership.valid:
            return 0
        if self._unsure:
            await self._database.execute(query("release"), self._membership.node_id, self._unsure)
            self._unsure.clear()
        now = self._monotonic()
        if now >= self._next_look:
            await self._look()
            now = self._monotonic()
        if now >= self._check_at:
            lanes, self._to_check, self._check_at = list(self._to_check), set(), math.inf
            await self._look_at(lanes)
            now = self._monotonic()
        asks = self._decide(now)
        return await self._lease(asks) if asks else 0

    def _decide(self, now: float) -> list[Ask]:
        """What to lease now; where lines are nearly full, only what is urgent or of a workspace with nothing there.

        A line full of one workspace's rows would else keep another's single message waiting for its next batch.
        """
        due = self._board.due(now)
        for urgent in (False, True):
            asks = share(
                [lane for lane in due if self._overtakes(lane)] if urgent else due,
                room={account: line.room(urgent=urgent) for account, line in self._dispatcher.lines.items()},
                account_of=self._account,
                allowance=self._allowance,
                size_of=self._board.size,
                batch=self.batch,
            )
            if asks:
                return asks
        return []

    def _overtakes(self, lane: Lane) -> bool:
        line = self._dispatcher.lines.get(self._account(lane.workspace_id, lane.channel) or "")
        return lane.priority == Priority.HIGH or (line is not None and not line.waiting_of(lane.workspace_id))

    async def _look(self) -> None:
        now = self._monotonic()
        rows = await self._database.fetch(query("lanes"))
        self._board.replace({_lane(row): now + row["due_in_seconds"] for row in rows})
        self._next_look = now + self.poll_seconds

    async def _lease(self, asks: list[Ask]) -> int:
        self._prepare(asks)
        token = self._membership.new_token()
        leased_at = self._monotonic()
        self._unsure.append(token)
        rows = await self._database.fetch(
            query("lease"),
            [a.lane.workspace_id for a in asks],
            [a.lane.channel.value for a in asks],
            [a.lane.priority for a in asks],
            [a.rows for a in asks],
            token,
            self._membership.node_id,
        )
        by_lane: dict[tuple[int, str, int], list[asyncpg.Record]] = {_key(ask.lane): [] for ask in asks}
        for row in rows:
            by_lane[row["workspace_id"], row["channel"], row["priority"]].append(row)
        leased = [
            self._delivery(row, ask.lane, token, leased_at)
            for ask in asks
            for row in by_lane[_key(ask.lane)]
            if row["leased"]
        ]
        opened = await self._unsealer.sift(leased)
        free = await self._judge.sift(await self._goals.sift(opened))
        self._unsure.remove(token)
        emptied = []
        for ask in asks:
            got = by_lane[_key(ask.lane)]
            await self._hand_over(ask.account, [free[row["id"]] for row in got if row["id"] in free])
            self._board.leased(ask.lane, ask.rows, len(got), sum(row["segments"] for row in got))
            if len(got) < ask.rows:
                emptied.append(ask.lane)
        self._board.served({ask.lane: ask.rows for ask in asks})
        metrics.LEASED.inc(len(rows))
        if emptied:
            await self._look_at(emptied)
        return len(rows)

    def _prepare(self, asks: list[Ask]) -> None:
        """The workspaces' limits ask for what the first row needs while it is leased, not after."""
        now = self._monotonic()
        for workspace_id in {ask.lane.workspace_id for ask in asks}:
            name = self._workspace_name(workspace_id)
            if name is not None:
                self._workspace_limits.of(name).delay(1, now)

    async def _hand_over(self, account: str, leased: list[Delivery]) -> None:
        line = self._dispatcher.lines.get(account)
        if line is not None:
            line.push(leased)
        else:  # a reload has taken the account away meanwhile
            await self._dispatcher.hand_back(leased)

    async def _look_at(self, lanes: list[Lane]) -> None:
        """What comes next in lanes that gave all that was due."""
        now = self._monotonic()
        rows = await self._database.fetch(
            query("next_due"),
            [lane.workspace_id for lane in lanes],
            [lane.channel.value for lane in lanes],
            [lane.priority for lane in lanes],
        )
        for row in rows:
            # Overdue and yet not leased a moment ago: another transaction has it locked.
            pause = _LOCKED_PAUSE_SECONDS if row["due_in_seconds"] < -1 else 0.0
            self._board.hint(_lane(row), now + max(row["due_in_seconds"], pause))

    def _delivery(self, row: asyncpg.Record, lane: Lane, token: int, leased_at: float) -> Delivery:
        metadata = {} if row["metadata"] == "{}" else read_jsonb(row["metadata"])
        return Delivery(
            id=row["id"],
            workspace_id=lane.workspace_id,
            workspace=self._workspace_name(lane.workspace_id) or "",
            channel=lane.channel,
            to=row["to"],
            body=row["body"],
            category=row["category"],
            priority=lane.priority,
            attempts=row["attempts"],
            forgiven=row["forgiven"],
            segments=row["segments"],
            lease_token=token,
            leased_at=leased_at,
            expires_in_seconds=row["expires_in_seconds"],
            media_urls=tuple(metadata.get("media_urls", ())),
            metadata=metadata,
            address_key=row["address_key"],
            sealed=sealed_of(row),
            from_template=row["from_template"],
        )

    def _account(self, workspace_id: int, channel: Channel) -> str | None:
        name = self._workspace_name(workspace_id)
        return None if name is None else self._account_of(name, channel)

    def _allowance(self, workspace_id: int) -> float:
        name = self._workspace_name(workspace_id)
        if name is None:
            return 0
        waiting = sum(line.waiting_of(workspace_id) for line in self._dispatcher.lines.values())
        return self._workspace_limits.of(name).available(self._monotonic()) - waiting

    async def _sleep(self) -> None:
        """Until news, the next due time, or a limit that lets something pass again."""
        now = self._monotonic()
        until = min(self._board.next_due(now) or self._next_look, self._next_look, self._check_at)
        if not self._membership.valid:
            until = now + _NO_CLAIM_PAUSE_SECONDS
        for workspace_id in {lane.workspace_id for lane in self._board.due(now)}:
            name = self._workspace_name(workspace_id)
            if name is not None:
                until = min(until, now + max(0.02, self._workspace_limits.of(name).foresee(1, now)))
        await at_most(max(_SHORTEST_WAIT_SECONDS, until - now), self._wake)

    async def _listen(self) -> None:
        """Keeps a connection that hears what `enqueue` notifies."""
        while True:
            try:
                conn: Connection = await asyncpg.connect(**self._database.connect_options())
                try:
                    await conn.add_listener("duly", self._heard)
                    self.look_soon()
                    gone = asyncio.Event()
                    conn.add_termination_listener(lambda _, gone=gone: gone.set())
                    await gone.wait()
                finally:
                    await conn.close(timeout=1)
            except (
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                log.info("not listening", error=describe(error))
            await asyncio.sleep(0.5)

    def _heard(self, _conn: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == "look":
            self.look_soon()
            return
        try:
            workspace_id, channel, priority, due_in_ms = str(payload).split(" ")
            lane = Lane(int(workspace_id), Channel(channel), int(priority))
            now = self._monotonic()
            self._board.hint(lane, now + int(due_in_ms) / 1000)
            if due_in_ms != "0":
                # Counted from its transaction's begin, which may be long ago: ask for the time itself.
                self._to_check.add(lane)
                self._check_at = min(self._check_at, now + _CHECK_SECONDS)
        except ValueError:
            log.warning("a notification makes no sense", payload=str(payload)[:100])
            self._next_look = 0.0
        self._wake.set()


def _key(lane: Lane) -> tuple[int, str, int]:
    """A lane as rows name it."""
    return lane.workspace_id, lane.channel.value, lane.priority


def _lane(row: asyncpg.Record) -> Lane:
    return Lane(row["workspace_id"], Channel(row["channel"]), row["priority"])
