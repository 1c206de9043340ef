"""What is old goes: first the texts, then the facts; never what is open, held, young, consent or a suppression."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from daemon.config import parse_config
from daemon.planning.campaign_drafts import draft, make
from daemon.queue.retention import Retention
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.integration import people
from tests.integration.people import NUMBER, SECRET_BODY, campaign, sent, wrote
from tests.support import free_port, running, toml, until

OTHER = "+14155550199"
FINAL = ("delivered", "read", "failed", "expired", "skipped", "canceled")
OPEN = ("queued", "leased", "sending", "uncertain")
DAYS = """
[privacy]
keep_bodies_days = 30
keep_facts_days = 90
[workspaces.clinic]
[workspaces.shop]
keep_bodies_days = 0
keep_facts_days = 0
[workspaces.gym]
keep_bodies_days = 7
"""


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with the workspaces of `DAYS`."""
    for name in ("clinic", "shop", "gym"):
        await conn.execute("select duly.register_workspace($1)", name)
    return conn


@pytest.fixture
def retention(database: Database) -> Retention:
    config = parse_config(DAYS)
    return Retention(database, lambda: config, asyncio.Event())


async def age(conn: Connection, delivery: UUID, days: float, *, ended_days: float | None = None) -> UUID:
    """Makes a delivery one that was queued so long ago, and ended then or later. Returns its new id."""
    old: UUID = await conn.fetchval(
        "select (left(duly.first_id_at(now() - $2::interval)::text, 18) || right($1::uuid::text, 18))::uuid",
        delivery,
        timedelta(days=days),
    )
    for table in ("attempt", "callback", "ruling", "resolution", "decision"):
        await conn.execute(f"update duly.{table} set delivery_id = $2 where delivery_id = $1", delivery, old)
    await conn.execute("update duly.message set id = $2 where id = $1", delivery, old)
    await conn.execute(
        """update duly.delivery_row set id = $2, message_id = case when message_id = $1 then $2 else message_id end,
             state_at = now() - $3::interval where id = $1""",
        delivery,
        old,
        timedelta(days=days if ended_days is None else ended_days),
    )
    return old


async def ended(
    conn: Connection, state: str, days: float, *, workspace: str = "clinic", ended_days: float | None = None
) -> UUID:
    """A delivery that has come to this state so many days ago, with all that is written about a call."""
    delivery = await people.enqueue(conn, workspace=workspace)
    await sent(conn, delivery, state)
    return await age(conn, delivery, days, ended_days=ended_days)


async def body(conn: Connection, delivery: UUID) -> str | None:
    """Its text; None where it is gone with everything else."""
    found: str | None = await conn.fetchval("select body from duly.message where id = $1", delivery)
    return found


async def rows(conn: Connection, delivery: UUID) -> dict[str, int]:
    """In how many rows of each table a delivery stands."""
    tables = ("delivery_row", "message", "attempt", "callback", "ruling", "resolution", "decision")
    ids = {"delivery_row": "id", "message": "id"}
    found = {}
    for table in tables:
        column = ids.get(table, "delivery_id")
        found[table] = await conn.fetchval(f"select count(*) from duly.{table} where {column} = $1", delivery)
    return found


@pytest.mark.parametrize("state", FINAL)
async def test_a_text_goes_after_its_days_and_the_facts_after_theirs(
    conn: Connection, retention: Retention, state: str
) -> None:
    young, old, oldest = [await ended(conn, state, days) for days in (29, 31, 91)]
    done = await retention.once()
    assert (done["texts"], done["deliveries"]) == (2, 1)
    assert await body(conn, young) == SECRET_BODY
    assert await body(conn, old) == ""
    row = await conn.fetchrow("select * from duly.message where id = $1", old)
    assert row is not None
    assert (row["variables"], row["metadata"], row["content_hash"]) == ("{}", "{}", None)
    assert set((await rows(conn, old)).values()) == {1}
    assert set((await rows(conn, oldest)).values()) == {0}


@pytest.mark.parametrize("state", OPEN)
async def test_what_has_not_ended_stays_however_old(
    conn: Connection, retention: Retention, state: str
) -> None:
    delivery = await ended(conn, state, 400)
    assert not (await retention.once()).total()
    assert await body(conn, delivery) == SECRET_BODY
    assert set((await rows(conn, delivery)).values()) == {1}


async def test_what_is_sent_has_ended_when_nothing_more_came_for_a_week(
    conn: Connection, database: Database
) -> None:
    config = parse_config("[privacy]\nkeep_bodies_days = 1")
    young, old = await ended(conn, "sent", 6), await ended(conn, "sent", 8)
    await Retention(database, lambda: config, asyncio.Event()).once()
    assert [await body(conn, young), await body(conn, old)] == [SECRET_BODY, ""]


async def test_the_days_count_from_its_end_not_from_when_it_was_queued(
    conn: Connection, retention: Retention
) -> None:
    delivery = await ended(conn, "delivered", 400, ended_days=5)
    assert not (await retention.once()).total()
    assert await body(conn, delivery) == SECRET_BODY


async def test_a_workspaces_own_days_go_before_the_common_ones(
    conn: Connection, retention: Retention
) -> None:
    for_good = await ended(conn, "delivered", 400, workspace="shop")
    short = await ended(conn, "delivered", 8, workspace="gym")
    await retention.once()
    assert [await body(conn, for_good), await body(conn, short)] == [SECRET_BODY, ""]


async def test_without_days_nothing_goes(conn: Connection, database: Database) -> None:
    delivery = await ended(conn, "delivered", 4000)
    config = parse_config("")
    assert not (await Retention(database, lambda: config, asyncio.Event()).once()).total()
    assert await body(conn, delivery) == SECRET_BODY


@pytest.mark.parametrize("whose", [NUMBER, None], ids=["the person", "the workspace"])
async def test_what_a_legal_hold_covers_stays(
    conn: Connection, retention: Retention, database: Database, whose: str
) -> None:
    delivery = await ended(conn, "delivered", 400)
    await wrote(database, await conn.fetchval("select id from duly.workspace where name = 'clinic'"))
    await conn.execute("update duly.inbound set received_at = now() - interval '400 days'")
    await conn.fetchval(query("legal_hold_begin"), "clinic", "counsel", "Case 12", "sms", whose)
    assert not (await retention.once()).total()
    assert await body(conn, delivery) == SECRET_BODY
    await conn.fetchval(query("legal_hold_end"), "clinic", "counsel", "settled", "sms", whose)
    assert (await retention.once()).total() == 4  # text, facts; the same of what the person wrote


async def test_consent_and_suppressions_stay(conn: Connection, retention: Retention) -> None:
    await conn.execute("select duly.record_consent('clinic', 'sms', $1, 'withdrawn')", NUMBER)
    await conn.execute("update duly.suppression set at = now() - interval '4000 days'")
    delivery = await ended(conn, "skipped", 400)
    await retention.once()
    assert await body(conn, delivery) is None
    assert await conn.fetchval("select count(*) from duly.consent") == 1
    assert await conn.fetchval("select count(*) from duly.suppression") == 1


async def test_a_dead_letter_without_its_text_is_no_dead_letter(
    conn: Connection, retention: Retention
) -> None:
    delivery = await ended(conn, "failed", 31)
    assert await conn.fetchval("select count(*) from duly.dead_letters()") == 1
    await retention.once()
    assert await conn.fetchval("select count(*) from duly.dead_letters()") == 0
    assert await conn.fetchval("select duly.replay('me', 'why', ids => array[$1::uuid])", delivery) == 0


async def test_a_replay_and_the_loss_of_the_text_exclude_each_other(
    conn: Connection, retention: Retention, dsn: str
) -> None:
    delivery = await ended(conn, "failed", 31)
    person: Connection = await asyncpg.connect(dsn)
    try:
        async with person.transaction():
            assert (
                await person.fetchval("select duly.replay('me', 'why', ids => array[$1::uuid])", delivery)
                == 1
            )
            assert not (await retention.once()).total()  # it waits for nobody
    finally:
        await person.close()
    assert not (await retention.once()).total()
    assert await body(conn, delivery) == SECRET_BODY


async def old_campaign(conn: Connection, *states: str, days: float = 31) -> tuple[UUID, list[UUID]]:
    """A campaign to as many people as states, that ended so long ago. Returns its message and deliveries."""
    deliveries = await campaign(conn, *(f"+1415556{n:04}" for n in range(len(states))))
    message = await conn.fetchval("select message_id from duly.upload")
    await conn.execute(
        "update duly.upload set began_at = now() - $1::interval, moved_at = now() - $1::interval",
        timedelta(days=days),
    )
    aged = []
    for delivery, state in zip(deliveries, states, strict=True):
        await sent(conn, delivery, state)
        aged.append(await age(conn, delivery, days))
    return message, aged


async def test_a_message_to_many_goes_when_all_of_them_are_old(
    conn: Connection, retention: Retention
) -> None:
    message, deliveries = await old_campaign(conn, "delivered", "failed", "queued")
    await retention.once()
    assert await body(conn, message) == "Hello all"
    assert await conn.fetchval("select count(*) from duly.upload_refusal") == 1
    await conn.execute("update duly.delivery_row set state = 'expired' where id = $1", deliveries[2])
    assert (await retention.once())["campaigns"] == 1
    assert await body(conn, message) == ""
    assert await conn.fetchval("select count(*) from duly.upload_refusal") == 0
    assert await conn.fetchval("select count(*) from duly.dead_letters()") == 0
    assert not (await retention.once()).total()


async def test_a_message_to_many_is_removed_after_the_last_of_them(
    conn: Connection, retention: Retention
) -> None:
    message, deliveries = await old_campaign(conn, "delivered", "queued", days=91)
    await retention.once()
    assert await body(conn, message) == "Hello all"
    assert (await rows(conn, deliveries[0]))["delivery_row"] == 0
    await conn.execute("update duly.delivery_row set state = 'expired' where id = $1", deliveries[1])
    await retention.once()
    assert await body(conn, message) is None
    assert await conn.fetchval("select count(*) from duly.upload") == 1  # the same file is not sent twice


async def test_members_of_old_campaigns_go_and_their_counts_stay(
    conn: Connection, retention: Retention
) -> None:
    """What was said to each alone goes with the texts, the rest with the facts; of who is held nothing does."""
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    for name in ("spring", "summer"):
        await make(conn, "clinic", draft({"name": name, "body": "Hi {{n}}"}))
        items = [
            {"addresses": [{"channel": "sms", "address": to}], "variables": {"n": n}}
            for n, to in enumerate((NUMBER, OTHER))
        ]
        await conn.fetch(query("campaign_add"), "clinic", name, json.dumps(items))
        await conn.execute("select duly.campaign_start('clinic', $1)", name)
    await conn.execute(
        """insert into duly.campaign_event (campaign_id, contact_id, kind, key, workspace_id)
           select campaign_id, contact_id, 'click', '', workspace_id from duly.campaign_member"""
    )
    await conn.execute("update duly.campaign_member set state = 'sent', sent_at = now(), variant = 'only'")
    await conn.execute("select duly.legal_hold_begin('clinic', 'me', 'a trial', 'sms', $1)", OTHER)

    async def ended(days: int) -> Counter[str]:
        await conn.execute(
            "update duly.campaign set state = 'done', ended_at = now() - make_interval(days => $1) where name = 'spring'",
            days,
        )
        return await retention.once()

    async def left(table: str, where: str = "true") -> int:
        return int(await conn.fetchval(f"select count(*) from duly.{table} where {where}"))

    assert not (await ended(29)).total()
    before = await conn.fetchval(query("campaign_progress"), "clinic", "spring")
    spring = await conn.fetchval("select id from duly.campaign where name = 'spring'")
    results = await conn.fetch(query("campaign_results"), spring, clinic)
    assert (await ended(31))["members"] == 1
    assert await left("campaign_member", "variables <> '{}'") == 3
    assert (await ended(91))["members"] == 1
    assert (await left("campaign_member"), await left("campaign_event")) == (3, 3)
    assert not (await retention.once()).total()
    after = await conn.fetchval(query("campaign_progress"), "clinic", "spring")
    assert json.loads(after) | {"ended_at": None} == json.loads(before) | {"ended_at": None}
    assert await conn.fetch(query("campaign_results"), spring, clinic) == results != []


async def test_what_people_wrote_goes_likewise(
    conn: Connection, database: Database, retention: Retention
) -> None:
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    for text, workspace, days in (
        ("new", clinic, 29),
        ("old", clinic, 31),
        ("oldest", clinic, 91),
        ("nobody's", 0, 31),
    ):
        await wrote(database, workspace, text)
        await conn.execute(
            "update duly.inbound set received_at = now() - $2::interval where body = $1",
            text,
            timedelta(days=days),
        )
    await retention.once()
    found = await conn.fetch("select body, media_urls from duly.inbound order by received_at")
    assert [(row["body"], len(row["media_urls"])) for row in found] == [("", 0), ("", 0), ("new", 1)]
    await conn.execute("update duly.inbound set received_at = now() - interval '100 days'")
    await retention.once()
    assert await conn.fetchval("select count(*) from duly.conversation") == 2
    await conn.execute("update duly.conversation set last_inbound_at = now() - interval '100 days'")
    await retention.once()
    assert await conn.fetchval("select count(*) from duly.conversation") == 0


async def test_a_pass_looks_only_at_what_has_come_of_age_since_the_last(
    conn: Connection, retention: Retention
) -> None:
    just, before = await ended(conn, "delivered", 30.1), await ended(conn, "delivered", 60)
    assert (await retention.once(datetime.now(UTC) - timedelta(days=1)))["texts"] == 1
    assert [await body(conn, just), await body(conn, before)] == ["", SECRET_BODY]
    assert (await retention.once())["texts"] == 1


async def test_much_goes_in_portions(conn: Connection, retention: Retention) -> None:
    await conn.execute(
        "select duly.enqueue('clinic', 'sms', '+14155557731', 'Hello') from generate_series(1, 1200)"
    )
    then = datetime.now(UTC) - timedelta(days=100)
    older = "(left(duly.first_id_at($1)::text, 18) || right(id::text, 18))::uuid"
    await conn.execute(f"update duly.message set id = {older}", then)
    await conn.execute(
        f"update duly.delivery_row set id = {older}, message_id = {older}, state = 'read', state_at = $1",
        then,
    )
    done = await retention.once()
    assert (done["texts"], done["deliveries"]) == (1200, 1200)
    assert await conn.fetchval("select count(*) from duly.delivery_row") == 0


async def test_days_below_one_are_refused_by_the_database_too(conn: Connection) -> None:
    for call in (
        "select duly.empty_old('{1}', '1 hour', '00000000-0000-0000-0000-000000000000', 10)",
        "select duly.remove_old('{1}', null, '00000000-0000-0000-0000-000000000000', 10)",
        "select duly.empty_campaigns('{1}', '0', true)",
        "select duly.remove_old_members('{1}', '0', true, 10)",
        "select duly.empty_inbound('{1}', '-1 day', null, 10, true)",
    ):
        with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^keep: must be a day or more"):
            await conn.execute(call)


async def test_the_daemon_removes_what_is_old_and_takes_turns(
    conn: Connection, dsn: str, sandbox: Sandbox, work_dir: Path
) -> None:
    delivery = await ended(conn, "delivered", 31)
    port = free_port()
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port, extra="[privacy]\nkeep_bodies_days = 30\n"))
    async with running(path, port) as daemon:

        async def gone() -> bool:
            return await body(conn, delivery) == ""

        await until(gone)
        assert await conn.fetchrow(query("retention_turn"), 3600.0) is None
        await daemon.stop()
    assert '"texts":1' in daemon.log
    assert NUMBER not in daemon.log
