"""Asks the platform what became of calls whose end nobody saw.

An uncertain delivery is settled by the first of these:
1. its own status callback, which carries our id (the recorder does that; here we only leave it time);
2. the platform's list: a message to this address with this text that no other delivery has claimed → sent;
3. nothing there for as long as the account's patience → the call never happened → queued again;
4. the platform cannot tell, or an equal delivery is just as uncertain → the account's `on_uncertain`.

Any daemon may ask; asking takes the row for a minute, and an answer counts only if nothing moved meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import structlog

from daemon import clock, metrics
from daemon.actor import at_most, either
from daemon.jsonb import read_jsonb
from daemon.model import Accepted, Channel, Delivery, Reason, Rendered, State
from daemon.platforms.base import CannotTell, Found, Platform
from daemon.queue.membership import Membership
from daemon.queue.unsealing import Unsealer, sealed_of
from daemon.sealing.envelope import CannotOpen
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_BATCH = 50
_PAUSE_SECONDS = 1.0
# Our database's clock and the platform's may differ by so much.
_CLOCK_MARGIN = timedelta(seconds=30)
# An equal, just as uncertain delivery: so many patiences for a callback to tell the two apart.
_RIVAL_PATIENCES = 3
# After an outage of our own all patience may be over at the first ask: one failure then says nothing. Asks that
# a daemon died over are no answer either.
_LEAST_IN_VAIN = 4
_LONGEST_ASK_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Asking:
    """How the reconciler deals with one account."""

    platform: Platform
    render: Callable[[Delivery], Rendered]
    patience_seconds: float
    resend: bool  # on_uncertain = "resend"
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an ask came to."""

    answer: str  # found | absent | cannot_tell
    state: State
    provider_id: str | None = None
    reason: Reason | None = None
    seconds: float | None = None  # until the next ask or the retry; None while uncertain: a person decides
    detail: str | None = None


def judge(
    found: Found,
    *,
    claimed: frozenset[str],
    rivals: int,
    uncertain_seconds: float,
    asks: int,
    in_vain: int,
    attempts: int,
    asking: Asking,
) -> Verdict:
    """Decides. Pure.

    `claimed`: provider ids that belong to other deliveries. `rivals`: equal deliveries nobody can place yet.
    `asks`: how often it was asked about, this time included; `in_vain`: how often before nobody could tell.
    """
    patience = asking.patience_seconds
    again = min(_LONGEST_ASK_PAUSE_SECONDS, max(0.5, patience / 8) * 2 ** min(asks - 1, 6))
    if isinstance(found, CannotTell):
        if uncertain_seconds < patience * _RIVAL_PATIENCES or in_vain + 1 < _LEAST_IN_VAIN:
            return Verdict("cannot_tell", State.UNCERTAIN, seconds=again, detail=found.detail)
        return _give_up_asking(attempts, asking, found.detail)
    free = [accepted for accepted in found if accepted.provider_id not in claimed]
    if rivals and len(free) <= rivals:
        # Fewer messages than equal deliveries: whose they are only a callback can say.
        if uncertain_seconds < patience * _RIVAL_PATIENCES:
            return Verdict(
                "cannot_tell", State.UNCERTAIN, seconds=again, detail="an equal delivery is uncertain too"
            )
        if free:
            return _give_up_asking(attempts, asking, "an equal delivery is uncertain too")
    if free:
        return Verdict("found", State.SENT, provider_id=free[-1].provider_id)
    if uncertain_seconds < patience:
        return Verdict("absent", State.UNCERTAIN, seconds=again, detail="not there yet")
    return _send_again(attempts, asking)


def _send_again(attempts: int, asking: Asking) -> Verdict:
    if attempts >= asking.max_attempts:
        return Verdict("absent", State.FAILED, reason=Reason.ATTEMPTS_EXHAUSTED)
    return Verdict("absent", State.QUEUED, seconds=0.0)


def _give_up_asking(attempts: int, asking: Asking, detail: str) -> Verdict:
    if asking.resend and attempts >= asking.max_attempts:
        return Verdict("cannot_tell", State.FAILED, reason=Reason.ATTEMPTS_EXHAUSTED, detail=detail)
    if asking.resend:
        return Verdict("cannot_tell", State.QUEUED, seconds=0.0, detail=f"{detail}; on_uncertain is resend")
    return Verdict("cannot_tell", State.UNCERTAIN, detail=f"{detail}; a person must decide")


class Reconciler:
    """The actor that asks."""

    name = "reconciler"

    def __init__(
        self,
        database: Database,
        membership: Membership,
        unsealer: Unsealer,
        accounts: Callable[[], Mapping[str, Asking]],
    ) -> None:
        self._database = database
        self._membership = membership
        self._unsealer = unsealer
        self._accounts = accounts
        self._unanswered = False  # an outage kept an answer, or even the claim's own, from us
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Asks about what is due, until `stop()`."""
        await either(self._membership.joined, self._stopping)
        while not self._stopping.is_set():
            asked = 0
            with contextlib.suppress(DatabaseDown):
                asked = await self.once()
            if asked < _BATCH:
                await at_most(_PAUSE_SECONDS, self._stopping)

    async def stop(self) -> None:
        """Ends after the asks under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """It needs nothing of its own."""
        return None

    async def once(self) -> int:
        """Takes what is due and asks. Returns how many it took. Raises `DatabaseDown`."""
        accounts = self._accounts()
        if self._unanswered:
            await self._database.execute(query("ask_free"), self._membership.node_id)
        self._unanswered = True
        rows = await self._database.fetch(
            query("ask_claim"), list(accounts), _BATCH, self._membership.node_id
        )
        results = await asyncio.gather(
            *(self._ask(accounts[row["account"]], row) for row in rows), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, DatabaseDown):
                raise result
        self._unanswered = any(isinstance(result, DatabaseDown) for result in results)
        return len(rows)

    async def _ask(self, asking: Asking, row: asyncpg.Record) -> None:
        try:
            delivery = await self._unsealer.opened(_delivery(row))
        except CannotOpen as error:
            log.error("an uncertain delivery cannot be opened", delivery=str(row["id"]), why=str(error))
            return  # it is asked about again when our claim has run out
        found = await asking.platform.find(asking.render(delivery), row["sending_at"] - _CLOCK_MARGIN)
        verdict = judge(
            found,
            claimed=await self._claimed(found, row),
            rivals=await self._rivals(delivery),
            uncertain_seconds=row["uncertain_seconds"],
            asks=row["asks"],
            in_vain=row["in_vain"],
            attempts=row["attempts"] - row["forgiven"],
            asking=asking,
        )
        await self._write(row, verdict)

    async def _rivals(self, delivery: Delivery) -> int:
        """How many others with the same text to the same address are just as uncertain; what cannot be opened is one."""
        rows = await self._database.fetch(
            query("ask_rivals"), delivery.id, delivery.address_key, delivery.body
        )
        return sum([await self._unsealer.says(row, delivery.body) for row in rows])

    async def _claimed(self, found: Found, row: asyncpg.Record) -> frozenset[str]:
        if isinstance(found, CannotTell) or not found:
            return frozenset()
        ids = [accepted.provider_id for accepted in found if isinstance(accepted, Accepted)]
        rows = await self._database.fetch(query("ask_claimed_ids"), ids, row["id"], row["lease_token"])
        return frozenset(r["provider_id"] for r in rows)

    async def _write(self, row: asyncpg.Record, verdict: Verdict) -> None:
        asked = (row["id"], row["workspace_id"], row["lease_token"], row["asks"])
        async with self._database.acquire() as conn, conn.transaction():
            if verdict.provider_id is not None:
                await conn.execute(query("ask_lock"), verdict.provider_id)
            written = await conn.fetchrow(
                query("resolve"),
                *asked,
                verdict.answer,
                verdict.state.value,
                verdict.provider_id,
                verdict.detail,
                verdict.reason.value if verdict.reason else None,
                verdict.seconds,
            )
            if written is None:
                # A callback or the daemon's own late answer was faster; or an equal delivery, asked about at
                # the same time, was given this message: then there is another one for us.
                await conn.execute(query("ask_soon"), *asked)
                return
            await conn.execute(query("native_settle"), [row["id"]])
        became = written["became"]
        metrics.RESOLUTIONS.labels(row["account"], verdict.answer, became).inc()
        log.info(
            "asked about an uncertain delivery",
            delivery=str(row["id"]),
            workspace=row["workspace"],
            account=row["account"],
            ask=row["asks"],
            answer=verdict.answer,
            becomes="held" if verdict.state is State.UNCERTAIN and verdict.seconds is None else became,
        )


def _delivery(row: asyncpg.Record) -> Delivery:
    metadata = {} if row["metadata"] == "{}" else read_jsonb(row["metadata"])
    return Delivery(
        id=row["id"],
        workspace_id=row["workspace_id"],
        workspace=row["workspace"],
        channel=Channel(row["channel"]),
        to=row["to"],
        body=row["body"],
        category=row["category"],
        priority=row["priority"],
        attempts=row["attempts"] - 1,
        segments=row["segments"],
        lease_token=row["lease_token"],
        leased_at=clock.monotonic(),
        forgiven=row["forgiven"],
        media_urls=tuple(metadata.get("media_urls", ())),
        metadata=metadata,
        address_key=row["address_key"],
        sealed=sealed_of(row),
    )
