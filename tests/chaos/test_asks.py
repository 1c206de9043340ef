"""Asking about uncertain deliveries while daemons die and come back."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from daemon.content.rendering import Renderer
from daemon.model import Rendered, State
from daemon.platforms.base import CannotTell, Found
from daemon.queue.membership import Membership
from daemon.queue.reconciler import Asking, Reconciler, Verdict, judge
from daemon.queue.rescuer import Rescuer
from daemon.store.database import Connection, Database, DatabaseDown
from daemon.store.sql import query
from tests.chaos.test_fencing import Remembering, enqueue, member
from tests.support import plain_unsealer


class Answering(Remembering):
    """A platform that has no such message."""

    async def find(self, rendered: Rendered, since: datetime) -> Found:
        return []


async def uncertain(conn: Connection) -> None:
    await enqueue(conn)
    await conn.execute(
        "update duly.delivery_row set state = 'uncertain', account = 'main', attempts = 1, lease_token = 1,"
        " sending_at = now(), ask_at = now()"
    )


async def rescue(database: Database, membership: Membership) -> None:
    rescuer = Rescuer(database, membership, set, lease_seconds=5, longest_call_seconds=lambda: 1)
    await rescuer.once()


async def test_what_a_daemon_was_asking_about_when_it_died_is_asked_about_at_once(
    conn: Connection, database: Database
) -> None:
    await uncertain(conn)
    async with member(database) as asker, member(database) as other:
        assert await conn.fetch(query("ask_claim"), ["main"], 50, asker.node_id)
        await rescue(database, other)
        assert not await conn.fetch(query("ask_claim"), ["main"], 50, other.node_id)
        await conn.execute("update duly.node set alive_until = now() where id = $1", asker.node_id)
        await rescue(database, other)
        assert await conn.fetch(query("ask_claim"), ["main"], 50, other.node_id)


async def test_the_pause_before_the_next_ask_is_kept_when_the_daemon_that_asked_last_dies(
    conn: Connection, database: Database
) -> None:
    await uncertain(conn)
    async with member(database) as asker, member(database) as other:
        row = (await conn.fetch(query("ask_claim"), ["main"], 50, asker.node_id))[0]
        asked = (row["id"], row["workspace_id"], row["lease_token"], row["asks"])
        await conn.fetchrow(query("resolve"), *asked, "absent", "uncertain", None, None, None, 30.0)
        await conn.execute("update duly.node set alive_until = now() where id = $1", asker.node_id)
        await rescue(database, other)
        assert not await conn.fetch(query("ask_claim"), ["main"], 50, other.node_id)


def test_one_failed_ask_after_a_long_outage_of_ours_leaves_nothing_to_a_person() -> None:
    asking = Asking(Remembering(), Renderer(None, {}), 60, resend=False, max_attempts=5)

    def verdict(in_vain: int) -> Verdict:
        return judge(
            CannotTell("500"), claimed=frozenset(), rivals=0, uncertain_seconds=9999.0, asks=50,
            in_vain=in_vain, attempts=1, asking=asking,
        )  # fmt: skip

    assert (verdict(0).state, verdict(0).seconds is None) == (State.UNCERTAIN, False)
    assert (verdict(3).state, verdict(3).seconds) == (State.UNCERTAIN, None)


async def test_only_asks_that_told_nothing_count_as_in_vain(conn: Connection, database: Database) -> None:
    await uncertain(conn)
    async with member(database) as asker:

        async def ask(answer: str) -> int:
            await conn.execute("update duly.delivery_row set ask_at = now()")
            row = (await conn.fetch(query("ask_claim"), ["main"], 50, asker.node_id))[0]
            asked = (row["id"], row["workspace_id"], row["lease_token"], row["asks"])
            if answer:  # else the daemon died over it
                await conn.fetchrow(query("resolve"), *asked, answer, "uncertain", None, None, None, 30.0)
            return int(row["in_vain"])

        answers = ["absent", "", "cannot_tell", "absent", "", "cannot_tell", "absent"]
        assert [await ask(answer) for answer in answers] == [0, 0, 0, 1, 1, 1, 2]


async def test_what_a_person_was_to_decide_is_asked_about_again_once_its_equal_is_settled(
    conn: Connection, database: Database
) -> None:
    await uncertain(conn)
    await enqueue(conn)  # the same words to the same person
    await conn.execute(
        "update duly.delivery_row set state = 'uncertain', account = 'main', ask_at = null, sending_at = now(),"
        " lease_token = 2, detail = 'an equal delivery is uncertain too; a person must decide'"
    )
    async with member(database) as other:
        await rescue(database, other)
        assert await conn.fetchval("select count(*) from duly.delivery_row where ask_at is null") == 2
        settled = await conn.fetchval("select id from duly.delivery_row limit 1")
        await conn.execute("update duly.delivery_row set state = 'delivered' where id = $1", settled)
        await rescue(database, other)
        claimed = await conn.fetch(query("ask_claim"), ["main"], 50, other.node_id)
        assert [row["id"] != settled for row in claimed] == [True]


class Flaky(Database):
    """A database that goes away between a claim and its answer."""

    away = True

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        if self.away and "nobody can place yet" in query:
            raise DatabaseDown("gone")
        return await super().fetch(query, *args)


async def test_an_ask_that_an_outage_cut_short_is_asked_again_at_once(dsn: str, conn: Connection) -> None:
    await uncertain(conn)
    asking = Asking(Answering(), Renderer(None, {}), 60, resend=False, max_attempts=5)
    database = Flaky(lambda: dsn)
    async with member(database) as asker:
        reconciler = Reconciler(database, asker, plain_unsealer(database), lambda: {"main": asking})
        assert await reconciler.once() == 1
        database.away = False
        assert await reconciler.once() == 1
        assert await conn.fetchval("select answer from duly.resolution") == "absent"
    await database.close()
