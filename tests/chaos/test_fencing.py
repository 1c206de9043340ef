"""What a daemon holds stands and falls with the claim it was leased under, never with the next one's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from daemon.content.rendering import Renderer
from daemon.model import Accepted, Channel, Delivery, Outcome, Rendered
from daemon.platforms.twilio import Twilio, TwilioAccount
from daemon.queue.allowances import Allowances
from daemon.queue.limiter import Rate
from daemon.queue.limits import LimitBook
from daemon.queue.line import Line
from daemon.queue.membership import Membership
from daemon.queue.policies import Policies
from daemon.queue.recorder import Recorder
from daemon.queue.worker import Worker
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER, until


class Remembering(Twilio):
    """A platform that takes everything and remembers what it was asked, with whether it might begin."""

    def __init__(self) -> None:
        super().__init__(TwilioAccount(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, sender=SENDER))
        self.sent: list[UUID] = []
        self.might_begin: list[bool] = []
        self.go = asyncio.Event()
        self.go.set()

    async def send(self, rendered: Rendered) -> Outcome:
        await self.go.wait()
        self.sent.append(rendered.delivery.id)
        self.might_begin.append(rendered.may_begin())
        return Accepted("SM1")


@asynccontextmanager
async def member(database: Database) -> AsyncIterator[Membership]:
    membership = Membership(database, "a", 5)
    running = asyncio.create_task(membership.run())
    try:
        await asyncio.wait_for(membership.joined.wait(), 10)
        yield membership
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def lose_the_claim(conn: Connection, membership: Membership) -> None:
    """As after a suspension: the claim has run out, and the daemon has joined anew."""
    before = membership.node_id
    await conn.execute("update duly.node set alive_until = now() - interval '1 second'")

    async def anew() -> bool:
        return membership.node_id != before and membership.valid

    await until(anew)


async def enqueue(conn: Connection) -> UUID:
    await conn.execute("select duly.register_workspace('clinic')")
    found: UUID = await conn.fetchval("select duly.enqueue('clinic', 'sms', '+14155551234', 'Hello')")
    return found


async def lease(conn: Connection, delivery: UUID, membership: Membership) -> Delivery:
    token = membership.new_token()
    row = await conn.fetchrow(
        "update duly.delivery_row set state = 'leased', lease_token = $2, node_id = $3 where id = $1"
        ' returning workspace_id, "to", attempts',
        delivery,
        token,
        membership.node_id,
    )
    assert row is not None
    return Delivery(
        id=delivery,
        workspace_id=row["workspace_id"],
        workspace="clinic",
        channel=Channel.SMS,
        to=row["to"],
        body="Hello",
        category="transactional",
        priority=2,
        attempts=row["attempts"],
        segments=1,
        lease_token=token,
        leased_at=0.0,
    )


def make_line(database: Database, membership: Membership, platform: Twilio, concurrency: int = 5) -> Line:
    policies = Policies(lambda _: [], 5)
    allowances = Allowances(database, lambda: None)
    limits: LimitBook[str] = LimitBook(allowances, str, lambda _: Rate())
    senders: LimitBook[tuple[str, str]] = LimitBook(allowances, str, lambda _: Rate())

    async def hand_back(_: Sequence[Delivery]) -> None:
        return None

    return Line(
        Worker("main", platform, policies),
        database=database,
        membership=membership,
        recorder=Recorder(database, lambda _: policies),
        render=Renderer(None, {}, membership.owns),
        limit=lambda: limits.of("main"),
        sender_limits=senders,
        workspace_limits=limits,
        concurrency=concurrency,
        buffer=100,
        on_room=lambda: None,
        hand_back=hand_back,
    )


@asynccontextmanager
async def serving(line: Line) -> AsyncIterator[None]:
    running = asyncio.create_task(line.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await line.abandon()


async def test_a_row_leased_under_a_claim_that_ran_out_is_not_marked_under_the_next(
    conn: Connection, database: Database
) -> None:
    async with member(database) as membership:
        old = await lease(conn, await enqueue(conn), membership)
        await lose_the_claim(conn, membership)
        rows = await conn.fetch(
            query("mark"),
            [old.id],
            [old.workspace_id],
            [old.lease_token],
            membership.node_id,
            "main",
            [old.address_key],
            [old.channel.value],
            [old.category],
            [],
        )
        # Marked, it would be `sending` under a node that is dead: the rescuer takes such rows at once.
        assert not any(row["marked"] for row in rows)


async def test_a_call_marked_under_a_claim_that_ran_out_does_not_begin_under_the_next(
    conn: Connection, database: Database
) -> None:
    platform = Remembering()
    platform.go.clear()
    async with member(database) as membership:
        line = make_line(database, membership, platform)
        async with serving(line):
            line.push([await lease(conn, await enqueue(conn), membership)])

            async def marked() -> bool:
                return bool(await conn.fetchval("select state = 'sending' from duly.delivery_row"))

            await until(marked)
            await lose_the_claim(conn, membership)  # by now another daemon may have sent it
            platform.go.set()
            await asyncio.wait_for(line.finished(), 10)
        assert platform.might_begin == [False]


@pytest.mark.parametrize("stale_first", [True, False])
async def test_a_stale_copy_of_a_delivery_is_not_sent_beside_the_one_leased_again(
    conn: Connection, database: Database, stale_first: bool
) -> None:
    platform = Remembering()
    async with member(database) as membership:
        delivery = await enqueue(conn)
        stale = await lease(conn, delivery, membership)
        again = await lease(conn, delivery, membership)
        line = make_line(database, membership, platform)
        line.push([stale, again] if stale_first else [again, stale])
        async with serving(line):

            async def sent() -> bool:
                return len(platform.sent) > 0

            await until(sent)
            await asyncio.wait_for(line.finished(), 10)
        assert platform.sent == [delivery]
        assert platform.might_begin == [True]
