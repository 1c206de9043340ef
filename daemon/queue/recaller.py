"""Follows what platforms were given for later: takes back what is wanted back, asks about what should have gone.

Whoever wants something back (a STOP, `duly.cancel`, `duly.reschedule`) has said so in its own transaction, in
`duly.recall`. Here it is asked for, and asked for again until the platform's answer is known. That answer is written as
a status callback is, which is where it may come from as well: only the platform's word ends a hand-over. Each pass
looks at the database and acts, so that a crash anywhere is just the next pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from daemon import clock, metrics
from daemon.actor import at_most, either
from daemon.model import Channel, Delivery, Reason, Sealed, State, StatusUpdate
from daemon.platforms.base import CannotTell, Gone, Scheduling, Standing
from daemon.queue.judge import Judge
from daemon.queue.membership import Membership
from daemon.queue.recorder import Recorder
from daemon.queue.unsealing import Unsealer
from daemon.sealing.envelope import CannotOpen
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_BATCH = 50
_LOOKS = 500
_PAUSE_SECONDS = 1.0
_IDLE_SECONDS = 5.0  # while no platform has anything of ours
_COUNT_SECONDS = 15.0
# The rules are asked once more so long before the platform sends; what was handed over was so at least 5 minutes before.
LAST_LOOK_SECONDS = 180.0
# Without a word so long after its time, the platform is asked.
_SILENT_SECONDS = 60.0
# A message just made may be missing where it is looked for: only so many times is an answer.
_MISSED = 5
_LONGEST_PAUSE_SECONDS = 300.0


class Recaller:
    """The actor that takes back."""

    name = "recaller"

    def __init__(
        self,
        database: Database,
        membership: Membership,
        recorder: Recorder,
        unsealer: Unsealer,
        judge: Judge,
        platforms: Callable[[], Mapping[str, Scheduling]],
        *,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`platforms`: of every account that can be asked, whether it still hands over or not."""
        self._database = database
        self._membership = membership
        self._recorder = recorder
        self._unsealer = unsealer
        self._judge = judge
        self._platforms = platforms
        self._monotonic = monotonic
        self._count_at = 0.0
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        """Something may be wanted back: a person has written, or something was handed over just now."""
        self._wake.set()

    async def run(self) -> None:
        """A pass a second while there is little to do, until `stop()`."""
        await either(self._membership.joined, self._stopping)
        while not self._stopping.is_set():
            self._wake.clear()
            pause = _PAUSE_SECONDS
            with contextlib.suppress(DatabaseDown):
                row = await self._database.fetchrow(query("native_any"))
                if row is None or not row["any"]:
                    pause = _IDLE_SECONDS
                elif await self.once() >= _BATCH:
                    continue
            await self._count_seldom()
            await at_most(pause, self._wake)

    async def stop(self) -> None:
        """Ends after the pass under way."""
        self._stopping.set()
        self._wake.set()

    def health(self) -> str | None:
        """It needs nothing of its own."""
        return None

    async def once(self) -> int:
        """One pass. Returns how many hand-overs it asked about. Raises `DatabaseDown`."""
        platforms = self._platforms()
        strays = await self._database.fetch(query("native_strays"), _LOOKS)
        if strays:
            await self._settle([row["delivery_id"] for row in strays])
        await self._look_again(list(platforms))
        rows = await self._database.fetch(query("native_claim"), list(platforms), _BATCH, _SILENT_SECONDS)
        stale = [row["delivery_id"] for row in rows if not row["stands"]]
        if stale:
            await self._settle(stale)
        asked = [self._ask(platforms[row["account"]], row) for row in rows if row["stands"]]
        for result in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, DatabaseDown):
                raise result
        return len(rows)

    async def _ask(self, platform: Scheduling, row: asyncpg.Record) -> None:
        wanted: bool = row["wanted"]
        standing = await (platform.withdraw if wanted else platform.look)(row["provider_id"])
        answer = _answer(standing)
        metrics.RECALLS.labels(row["account"], "yes" if wanted else "no", answer).inc()
        log.info(
            "asked to take back" if wanted else "asked about what was handed over",
            delivery=str(row["delivery_id"]),
            account=row["account"],
            ask=row["asks"],
            answer=answer,
        )
        update = _update(standing, row)
        if update is not None:
            await self._recorder.status(row["account"], update)
        if update is None or update.state is None:
            pause = min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(row["asks"], 10))
            await self._database.execute(
                query("native_ask_later"),
                row["delivery_id"],
                row["lease_token"],
                row["workspace_id"],
                pause,
            )

    async def _look_again(self, accounts: list[str]) -> None:
        """Asks the rules of what goes soon: whatever has changed since it was handed over, it is taken back."""
        rows = await self._database.fetch(query("native_last_look"), accounts, LAST_LOOK_SECONDS, _LOOKS)
        if not rows:
            return
        may = await self._judge.foresee(await self._opened([row for row in rows if row["stop"] is None]))
        becomes = [_becomes(row, may) for row in rows]
        await self._database.execute(
            query("native_looked"),
            [row["id"] for row in rows],
            [row["lease_token"] for row in rows],
            [row["workspace_id"] for row in rows],
            becomes,
            [row["stop"] or "the rules do not allow it any more" for row in rows],
        )

    async def _opened(self, rows: Sequence[asyncpg.Record]) -> dict[UUID, tuple[Delivery, datetime]]:
        """What the rules are asked of; what does not open cannot be asked, and is taken back to be held."""
        found = {}
        for row in rows:
            with contextlib.suppress(CannotOpen):
                found[row["id"]] = await self._unsealer.opened(_delivery(row)), row["send_at"]
        return found

    async def _settle(self, ids: list[UUID]) -> None:
        await self._database.execute(query("native_settle"), ids)

    async def _count_seldom(self) -> None:
        if self._monotonic() < self._count_at:
            return
        self._count_at = self._monotonic() + _COUNT_SECONDS
        counts: dict[str, int] = {}
        with contextlib.suppress(DatabaseDown):
            rows = await self._database.fetch(query("native_count"))
            counts = {row["account"]: row["total"] for row in rows}
        for account in {*counts, *self._platforms()}:
            metrics.HANDED_OVER.labels(account).set(counts.get(account, 0))


def _answer(standing: Standing) -> str:
    match standing:
        case StatusUpdate():
            return standing.provider_status
        case Gone():
            return "gone"
        case CannotTell():
            return "cannot_tell"


def _update(standing: Standing, row: asyncpg.Record) -> StatusUpdate | None:
    """The answer as a status callback of this delivery; None where there is nothing to write."""
    match standing:
        case StatusUpdate():
            return replace(standing, delivery_id=row["delivery_id"], attempt=row["attempts"])
        case Gone() if row["asks"] >= _MISSED:
            # It is not sent and never will be: as if the platform had given up.
            reason = Reason.CANCELED if row["wanted"] else Reason.PROVIDER_UNAVAILABLE
            return StatusUpdate(
                row["delivery_id"], row["attempts"], row["provider_id"], "gone", State.FAILED, reason
            )
    return None


def _becomes(row: asyncpg.Record, may: Mapping[UUID, object]) -> str | None:
    if row["stop"] is not None:
        return State.SKIPPED.value
    return None if row["id"] in may else State.QUEUED.value


def _delivery(row: asyncpg.Record) -> Delivery:
    """As much of it as the rules ask for."""
    sealed = None if row["sealed_to"] is None else Sealed(None, row["sealed_to"], None)
    return Delivery(
        id=row["id"],
        workspace_id=row["workspace_id"],
        workspace=row["workspace"],
        channel=Channel(row["channel"]),
        to=row["to"],
        body="",
        category=row["category"],
        priority=row["priority"],
        attempts=row["attempts"],
        segments=row["segments"],
        lease_token=row["lease_token"],
        leased_at=0.0,
        address_key=row["address_key"],
        sealed=sealed,
        send_at=row["send_at"],
    )
