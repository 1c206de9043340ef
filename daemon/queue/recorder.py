"""Writes what happened: the outcomes of calls, status callbacks, messages from people.

One place, two group commits: outcomes, which nobody waits for and which are never given up, and callbacks,
whose sender gets its 2xx only when their transaction has committed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg
import structlog

from daemon import clock, metrics
from daemon.config import RulesConfig
from daemon.model import (
    Accepted,
    Delivery,
    InboundMessage,
    Outcome,
    Reason,
    Rejected,
    State,
    StatusUpdate,
    Unknown,
)
from daemon.queue.backoff import Next, after_failure
from daemon.queue.batching import GroupCommit
from daemon.queue.keywords import heed
from daemon.queue.policies import Policies
from daemon.queue.replies import note_reply
from daemon.queue.sealed_inbound import sealed_inbound
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database, DatabaseDown, describe
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_LINGER_SECONDS = 0.005
_REFUSED_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Done:
    """A call that has ended, and what its delivery becomes."""

    delivery: Delivery
    account: str
    outcome: Outcome
    next: Next
    began: float  # by the monotonic clock
    took_seconds: float


@dataclass(frozen=True, slots=True)
class ReceivedStatus:
    """A status callback for one account."""

    account: str
    update: StatusUpdate


class Recorder:
    """The actor that writes outcomes and callbacks."""

    name = "recorder"

    def __init__(
        self,
        database: Database,
        policies_of: Callable[[str], Policies],
        rules_of: Callable[[str], RulesConfig] = lambda _workspace: RulesConfig(),
        keys: Callable[[], DataKeys | None] = lambda: None,
        *,
        rng: random.Random | None = None,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`keys`: what inbound messages are sealed with; None while no workspace seals."""
        self._database = database
        self._policies_of = policies_of
        self._rules_of = rules_of
        self._keys = keys
        self._rng = rng or random.Random()
        self._monotonic = monotonic
        self._outcomes: GroupCommit[Done] = GroupCommit(self._write_outcomes, linger_seconds=_LINGER_SECONDS)
        self._statuses: GroupCommit[ReceivedStatus] = GroupCommit(
            self._write_statuses, linger_seconds=_LINGER_SECONDS
        )
        self._refused: str | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Writes until `stop()`."""
        writers = [asyncio.create_task(group.run()) for group in (self._outcomes, self._statuses)]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([*writers, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            for task in (*writers, stopped):
                task.cancel()
            await asyncio.gather(*writers, stopped, return_exceptions=True)

    async def stop(self) -> None:
        """Returns when everything has been written."""
        await self._outcomes.drained()
        await self._statuses.drained()
        self._stopping.set()

    def health(self) -> str | None:
        """Outcomes that pile up, or are refused, mean that the database does not take them."""
        if self._refused is not None:
            return f"outcomes are refused: {self._refused}"
        return f"{len(self._outcomes)} outcomes wait to be written" if len(self._outcomes) > 2000 else None

    def holds(self) -> set[UUID]:
        """The deliveries whose outcome is not written yet."""
        return {done.delivery.id for done in self._outcomes.pending()}

    def put(self, done: Done) -> None:
        """Leaves an outcome. It is written as soon as the database can."""
        self._outcomes.put(done)

    async def status(self, account: str, update: StatusUpdate) -> None:
        """Returns when the callback's transaction has committed. Raises `DatabaseDown`."""
        if self._stopping.is_set():
            raise DatabaseDown("shutting down")
        await self._statuses.submit(ReceivedStatus(account, update))

    async def inbound(
        self, account: str, message: InboundMessage, workspace_id: int | None, new_id: UUID
    ) -> None:
        """Returns when the message is stored and what it asks for is done. Raises `DatabaseDown`."""
        message = replace(message, body=message.body.replace("\0", ""))
        keys, sealed = self._keys(), None
        if keys is not None:
            sealed = await sealed_inbound(self._database, keys, account, message, workspace_id, new_id)
        async with self._database.acquire() as conn, conn.transaction():
            row = await conn.fetchrow(
                query("inbound"),
                account,
                message.provider_id,
                message.channel.value,
                message.from_address,
                message.to_address,
                message.body,
                list(message.media_urls),
                message.opt_out_type,
                new_id,
                workspace_id if sealed is None else sealed.workspace_id,
                sealed and sealed.message,
                sealed and sealed.address,
                sealed and sealed.generation,
            )
            if row is not None:
                rules = self._rules_of(row["workspace"] or "")
                if not await heed(conn, account, message, row, rules):
                    await note_reply(conn, message, row)
        if row is not None:
            metrics.INBOUND.labels(account).inc()
            log.info("inbound message", account=account, id=str(row["id"]), workspace_id=row["workspace_id"])

    async def _write_outcomes(self, batch: Sequence[Done]) -> None:
        by_account: dict[str, list[Done]] = {}
        for done in batch:
            by_account.setdefault(done.account, []).append(done)
        for account, mine in by_account.items():
            await self._write_or_split(account, sorted(mine, key=lambda d: d.delivery.id))

    async def _write_or_split(self, account: str, batch: list[Done]) -> None:
        """One bad row must not keep the others back: halve until it is alone, and say which it is."""
        try:
            await self._insist(account, batch)
        except (asyncpg.PostgresError, ValueError) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._write_or_split(account, batch[:middle])
                await self._write_or_split(account, batch[middle:])
            else:
                log.error(
                    "an outcome could not be written", delivery=str(batch[0].delivery.id), error=str(error)
                )

    async def _insist(self, account: str, batch: list[Done]) -> None:
        while True:
            try:
                await self._database.insist(lambda: self._record(account, batch))
            except asyncpg.SyntaxOrAccessError as error:
                # A table or a right is missing: no outcome's fault, so none is given up for it.
                self._refused = describe(error)
                log.error("outcomes cannot be written", error=self._refused, waiting=len(self._outcomes))
                await asyncio.sleep(_REFUSED_PAUSE_SECONDS)
            else:
                self._refused = None
                return

    async def _record(self, account: str, batch: list[Done]) -> None:
        now = self._monotonic()
        rows = [_row(done, now) for done in batch]
        notices = _notices((done.delivery.id, done.next) for done in batch)
        refused = [
            (done.delivery, getattr(done.outcome, "code", None))
            for done in batch
            if done.next.reason is Reason.OPTED_OUT
        ]
        ahead = [done.delivery.id for done in batch if done.delivery.send_at is not None]
        together = bool(notices or refused or ahead)
        async with self._database.acquire() as conn, conn.transaction() if together else nullcontext():
            *columns, rulings, waited = map(_column, zip(*rows, strict=True))
            await conn.execute(query("record"), *columns, account, rulings, waited)
            if ahead:
                await conn.execute(query("native_settle"), ahead)
            if notices:
                await conn.executemany(query("notice_make"), notices)
            for delivery, code in refused:
                await self._consent_refused(conn, account, delivery.workspace, delivery.id, code)
        ends = Counter((done.next.state.value, done.next.reason or "") for done in batch)
        for (state, reason), how_many in ends.items():
            metrics.OUTCOMES.labels(account, state, reason).inc(how_many)

    async def _write_statuses(self, batch: Sequence[ReceivedStatus]) -> None:
        by_account: dict[str, list[StatusUpdate]] = {}
        for received in batch:
            if received.update.delivery_id is not None:
                by_account.setdefault(received.account, []).append(received.update)
        for account, updates in by_account.items():
            while updates:
                now, updates = _one_each(updates)
                await self._apply(account, now)
        for received in batch:
            metrics.CALLBACKS.labels(received.account, received.update.provider_status).inc()

    async def _apply(self, account: str, updates: list[StatusUpdate]) -> None:
        async with self._database.acquire() as conn:
            tries = await self._tries(conn, updates)
            then = [self._after_status(account, update, tries) for update in updates]
            rows = [_status_row(update, next_) for update, next_ in zip(updates, then, strict=True)]
            canceled = [u for u in updates if u.reason is Reason.CANCELED]
            again = [
                u.delivery_id for u, n in zip(updates, then, strict=True) if n and n.state is State.QUEUED
            ]
            matters = any(n and (n.notify or n.reason is Reason.OPTED_OUT) for n in then) or canceled or again
            async with conn.transaction() if matters else nullcontext():
                if canceled:  # what was wanted of it, before it is only a failure
                    await conn.execute(
                        query("native_canceled"),
                        [u.delivery_id for u in canceled],
                        [u.attempt for u in canceled],
                        [u.delivery_id for u in updates],
                    )
                row = await conn.fetchrow(
                    query("status_callbacks"), *map(list, zip(*rows, strict=True)), account
                )
                assert row is not None
                if again:
                    await conn.execute(query("native_settle"), again)
                # Only of what has just been given up: a repeated callback is no news.
                moved = ((updates[place - 1].delivery_id, then[place - 1]) for place in row["moved"])
                notices = _notices((delivery, next_) for delivery, next_ in moved if next_ is not None)
                if notices:
                    await conn.executemany(query("notice_make"), notices)
                for place in row["moved"]:
                    update, next_ = updates[place - 1], then[place - 1]
                    if update.delivery_id and next_ is not None and next_.reason is Reason.OPTED_OUT:
                        workspace, _ = tries[update.delivery_id]
                        await self._consent_refused(conn, account, workspace, update.delivery_id, update.code)
        if row["known"] < len(updates):
            unknown = len(updates) - row["known"]
            log.warning("callbacks for deliveries we do not have", account=account, count=unknown)

    async def _consent_refused(
        self, conn: Connection, account: str, workspace: str, delivery_id: UUID, code: str | None
    ) -> None:
        """A platform's word that somebody has opted out counts like their own."""
        of_account = self._rules_of(workspace).opt_out_scope == "account"
        await conn.execute(query("consent_refused"), delivery_id, account, of_account, code)

    async def _tries(self, conn: Connection, updates: list[StatusUpdate]) -> dict[UUID, tuple[str, int]]:
        """For what has failed: whose it is, and how many of its attempts a replay has forgiven."""
        failed = [u.delivery_id for u in updates if u.state is State.FAILED]
        if not failed:
            return {}
        rows = await conn.fetch(query("tries"), failed)
        return {row["id"]: (row["workspace"], row["forgiven"]) for row in rows}

    def _after_status(
        self, account: str, update: StatusUpdate, tries: dict[UUID, tuple[str, int]]
    ) -> Next | None:
        if update.state is None:
            return None
        if update.state is not State.FAILED or update.delivery_id not in tries:
            return Next(update.state, update.reason)
        workspace, forgiven = tries[update.delivery_id]
        reason = update.reason or Reason.UNKNOWN_ERROR
        if reason is Reason.UNKNOWN_ERROR:
            metrics.UNLISTED.labels(account, update.code or "none").inc()
            log.warning("a code that our table does not have", account=account, code=update.code)
        return after_failure(
            reason,
            attempts=(update.attempt or 1) - forgiven,
            policy=self._policies_of(account).of(workspace, reason),
            rng=self._rng,
            taken=True,
        )


def _notices(ends: Iterable[tuple[UUID | None, Next]]) -> list[tuple[UUID, str, str]]:
    """Whom to tell of what was given up."""
    return [
        (delivery, then.reason.value, then.notify)
        for delivery, then in ends
        if delivery is not None and then.reason is not None and then.notify is not None
    ]


def _status_row(update: StatusUpdate, then: Next | None) -> tuple[object, ...]:
    """One line of status_callbacks.sql's arrays."""
    return (
        update.delivery_id,
        update.attempt,
        update.provider_id,
        update.provider_status,
        then.state.value if then else None,
        then.reason.value if then and then.reason else None,
        update.code,
        update.detail.replace("\0", "") or None,
        then.retry_seconds if then else 0.0,
    )


def _one_each(updates: list[StatusUpdate]) -> tuple[list[StatusUpdate], list[StatusUpdate]]:
    """Splits off at most one update per delivery, sorted by id so that writers lock rows in one order."""
    first: dict[UUID | None, StatusUpdate] = {}
    rest = []
    for update in updates:
        if update.delivery_id in first:
            rest.append(update)
        else:
            first[update.delivery_id] = update
    return sorted(first.values(), key=lambda u: u.delivery_id or UUID(int=0)), rest


def _column(values: tuple[object, ...]) -> list[object]:
    """One array of a statement. Only nulls: an empty one, which unnest fills up with nulls, at no cost."""
    return [] if values.count(None) == len(values) else list(values)


def _without(address: str, detail: str) -> str:
    """A platform's words without the address that they may repeat."""
    return detail.replace(address, "<to>") if address else detail


def _row(done: Done, now: float) -> tuple[object, ...]:
    """One line of record.sql's arrays."""
    delivery, outcome, then = done.delivery, done.outcome, done.next
    kind, provider_id, code, detail = "unknown", None, None, ""
    match outcome:
        case Accepted():
            kind, provider_id = "accepted", outcome.provider_id
        case Rejected():
            kind, code, detail = "rejected", outcome.code, outcome.detail
        case Unknown():
            detail = outcome.detail
    return (
        delivery.id,
        delivery.workspace_id,
        delivery.lease_token,
        then.state.value,
        then.reason.value if then.reason else None,
        _without(delivery.to, detail).replace("\0", "")[:500] or None,
        provider_id,
        then.retry_seconds,
        then.counts,
        delivery.attempt,
        delivery.address_key,
        kind,
        outcome.http_status,
        code,
        max(0.0, now - done.began),
        int(done.took_seconds * 1000),
        delivery.gate.rulings,
        max(0, int((done.began - delivery.leased_at) * 1000)),
    )
