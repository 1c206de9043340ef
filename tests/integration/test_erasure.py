"""A person is erased from everywhere, stays suppressed, and leaves the facts; or is refused, and nothing changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.integration import people
from tests.integration.people import MAIL, NUMBER, SECRET_BODY, campaign, everything, sent, traces, wrote
from tests.integration.test_roles import Logins

OTHER = "+14155550199"
OPEN = asyncpg.ObjectInUseError
NOT_NOW = asyncpg.ObjectNotInPrerequisiteStateError


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


@pytest_asyncio.fixture
async def logins(dsn: str, conn: Connection) -> AsyncIterator[Logins]:
    found = Logins(dsn, conn)
    yield found
    await found.close()


async def erase(
    conn: Connection, to: str | None = NUMBER, *, workspace: str = "clinic", contact: UUID | None = None
) -> dict[str, Any]:
    channel = "email" if to and "@" in to else "sms"
    answer = await conn.fetchval(query("erase"), workspace, "dpo", "asked by letter", channel, to, contact)
    found: dict[str, Any] = json.loads(answer)
    return found


async def hold(conn: Connection, to: str | None = NUMBER) -> bool:
    return bool(await conn.fetchval(query("legal_hold_begin"), "clinic", "counsel", "Case 12", "sms", to))


async def release(conn: Connection, to: str | None = NUMBER) -> bool:
    return bool(await conn.fetchval(query("legal_hold_end"), "clinic", "counsel", "settled", "sms", to))


async def a_life(conn: Connection, database: Database) -> dict[str, UUID]:
    """All that can be known of a person in the clinic."""
    found = {"contact": await people.contact(conn)}
    for name, state in (("sent", "sent"), ("failed", "failed"), ("delivered", "delivered")):
        found[name] = await people.enqueue(conn, body=f"{SECRET_BODY} {name}", key=f"{name} {NUMBER}")
        await sent(conn, found[name], state)
    found["queued"] = await people.enqueue(conn)
    found["mail"] = await people.enqueue(conn, MAIL)
    found["canceled"] = await people.enqueue(conn, body=f"{SECRET_BODY} canceled")
    await conn.execute("select duly.cancel($1)", found["canceled"])
    workspace = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    await wrote(database, workspace)
    await wrote(database, 0, "Whose number is this? My knee!")
    found["mine"], found["theirs"] = await campaign(conn, NUMBER, OTHER)
    return found


async def test_an_erased_person_is_in_no_column_of_any_table(conn: Connection, database: Database) -> None:
    await a_life(conn, database)
    await people.joins(conn)
    before = await traces(conn)
    tables = {line.partition(".")[0] for line in before}
    assert {
        "address", "attempt", "contact", "conversation", "decision", "delivery_row", "inbound", "message", "resolution",
        "ruling", "series_member", "upload_refusal",
    } <= tables  # fmt: skip
    counts = await erase(conn)
    assert await traces(conn) == []
    assert counts == {
        "addresses": 2, "contacts": 1, "deliveries": 7, "messages": 6, "attempts": 3, "rulings": 3, "resolutions": 3,
        "skipped": 3, "inbound": 2, "conversations": 2, "refusals": 1,
    }  # fmt: skip


async def test_no_hash_that_needs_no_key_is_left_of_the_content(conn: Connection) -> None:
    await conn.execute("select duly.register_workspace('clinic', interval '1 hour')")
    delivery = await people.enqueue(conn, key="a key")
    assert await conn.fetchval("select content_hash is not null from duly.message where id = $1", delivery)
    assert await conn.fetchval("select count(*) from duly.recent_content") == 1
    await erase(conn)
    assert await conn.fetchval("select content_hash is null from duly.message where id = $1", delivery)
    assert await conn.fetchval("select count(*) from duly.recent_content") == 0


async def test_the_facts_stay_under_the_keyed_hash(conn: Connection, database: Database) -> None:
    life = await a_life(conn, database)
    facts = (
        "select id, state::text, attempts, account, provider_id, due_at, sent_at, address_key from duly.delivery_row"
        " where id <> $1 and id <> $2 and id <> $3 order by id"
    )
    were_queued = (life["queued"], life["mail"], life["mine"])
    before = await conn.fetch(facts, *were_queued)
    await erase(conn)
    assert await conn.fetch(facts, *were_queued) == before
    skipped = await conn.fetch(
        "select state::text, reason from duly.delivery_row where id = any ($1)", were_queued
    )
    assert {tuple(row) for row in skipped} == {("skipped", "erased")}
    key = await conn.fetchval("select duly.address_key('sms', $1)", NUMBER)
    assert await conn.fetchval("select count(*) from duly.attempt where address_key = $1", key) == 3
    assert await conn.fetchval("select count(*) from duly.callback") == 3
    assert await conn.fetchval('select "to" from duly.delivery where id = $1', life["sent"]) is None


async def test_others_keep_what_is_theirs(conn: Connection, database: Database) -> None:
    life = await a_life(conn, database)
    other = await people.enqueue(conn, NUMBER, "For the shop", workspace="shop")
    await erase(conn)
    row = await conn.fetchrow("select d.*, m.body from duly.delivery_row d join duly.message m on m.id = d.message_id"
                              " where d.id = $1", life["theirs"])  # fmt: skip
    assert row is not None
    assert (row["to"], row["body"], row["state"]) == (OTHER, "Hello all", "queued")
    row = await conn.fetchrow("select d.*, m.body from duly.delivery_row d join duly.message m on m.id = d.message_id"
                              " where d.id = $1", other)  # fmt: skip
    assert row is not None
    assert (row["to"], row["body"], row["state"]) == (NUMBER, "For the shop", "queued")


async def test_a_contact_is_erased_by_its_id_with_all_its_addresses(conn: Connection) -> None:
    ada = await people.contact(conn)
    by_mail, by_phone = await people.enqueue(conn, MAIL), await people.enqueue(conn)
    assert (await erase(conn, None, contact=ada))["skipped"] == 2
    assert await traces(conn) == []
    states = await conn.fetch("select reason from duly.delivery_row where id = any ($1)", [by_mail, by_phone])
    assert {row["reason"] for row in states} == {"erased"}
    with pytest.raises(asyncpg.NoDataFoundError, match=r"^contact: there is no contact"):
        await erase(conn, None, contact=ada)


async def test_who_was_erased_is_not_written_to_also_when_imported_again(conn: Connection) -> None:
    await erase(conn)
    again = await people.enqueue(conn)
    assert await conn.fetchval("select duly.contact_again('clinic', 'sms', $1)", NUMBER) is False
    (line,) = await campaign(conn, NUMBER)
    for delivery in (again, line):
        row = await conn.fetchrow("select state::text, reason from duly.delivery_row where id = $1", delivery)
        assert tuple(row or ()) == ("skipped", "erased")


async def test_an_erasure_is_on_record_by_the_key_alone(conn: Connection) -> None:
    counts = await erase(conn)
    row = await conn.fetchrow("select * from duly.erasure")
    assert row is not None
    assert (row["who"], row["why"], json.loads(row["counts"])) == ("dpo", "asked by letter", counts)
    assert row["address_keys"] == [await conn.fetchval("select duly.address_key('sms', $1)", NUMBER)]


@pytest.mark.parametrize("state", ["leased", "sending", "uncertain"])
async def test_while_a_delivery_is_open_the_erasure_is_refused_and_changes_nothing(
    conn: Connection, database: Database, state: str
) -> None:
    await a_life(conn, database)
    delivery = await people.enqueue(conn, body="One more")
    await conn.execute(
        "update duly.delivery_row set state = $2::text::duly.state, node_id = 1, ask_at = now() where id = $1",
        delivery,
        state,
    )
    before = await everything(conn)
    with pytest.raises(OPEN, match=rf"delivery {delivery} is {state}, and 1 in all are open: wait until"):
        await erase(conn)
    assert await everything(conn) == before
    await conn.execute("update duly.delivery_row set node_id = null where id = $1", delivery)
    await sent(conn, delivery)
    await erase(conn)
    assert await traces(conn) == []


async def test_what_waits_for_a_person_must_be_decided_first(conn: Connection) -> None:
    delivery = await people.enqueue(conn)
    await conn.execute("update duly.delivery_row set state = 'uncertain' where id = $1", delivery)
    with pytest.raises(OPEN, match="decide on it with `duly replay`"):
        await erase(conn)


@pytest.mark.parametrize("whose", [NUMBER, None], ids=["the person", "the workspace"])
async def test_a_legal_hold_keeps_everything_until_it_is_released(
    conn: Connection, database: Database, whose: str | None
) -> None:
    await a_life(conn, database)
    assert [await hold(conn, whose), await hold(conn, whose)] == [True, False]
    before = await everything(conn)
    with pytest.raises(NOT_NOW, match=r"under a legal hold since \d{4}-\d\d-\d\d: Case 12"):
        await erase(conn)
    assert await everything(conn) == before
    assert [await release(conn, whose), await release(conn, whose)] == [True, False]
    await erase(conn)
    assert await traces(conn) == []


async def test_a_hold_on_one_address_covers_the_person_by_another(conn: Connection) -> None:
    await people.contact(conn)
    await hold(conn)
    with pytest.raises(NOT_NOW):
        await erase(conn, MAIL)


async def test_a_hold_of_another_person_or_workspace_keeps_nobody(conn: Connection) -> None:
    await hold(conn, OTHER)
    await conn.fetchval(query("legal_hold_begin"), "shop", "counsel", "Case 13", "sms", None)
    await people.enqueue(conn)
    assert (await erase(conn))["skipped"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("clinic", "dpo", "why", "sms", None, None), "to: give an address or a contact"),
        (("clinic", "dpo", "why", "sms", "4155", None), "to: '4155' is not an E.164 number"),
        (("clinic", "dpo", "why", "fax", NUMBER, None), "channel: 'fax'"),
        (("nowhere", "dpo", "why", "sms", NUMBER, None), "workspace: 'nowhere' is not"),
        (("clinic", " ", "why", "sms", NUMBER, None), "who: say who"),
        (("clinic", "dpo", None, "sms", NUMBER, None), "why: give the reason"),
        (("clinic", "dpo", "415-555-7731 asked", "sms", NUMBER, None), "why: names the address"),
    ],
)
async def test_bad_input_is_refused_with_its_field(
    conn: Connection, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=f"^{words}"):
        await conn.fetchval(query("erase"), *arguments)


async def test_a_producer_erases_in_its_own_workspace_and_holds_nothing(
    conn: Connection, database: Database, logins: Logins
) -> None:
    login = await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", login)
    producer = await logins.connect(login)
    await wrote(database, 0, "To nobody, of my knee")
    await people.enqueue(conn)
    kept = await people.enqueue(conn, workspace="shop")
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: 'shop' is not"):
        await erase(producer, workspace="shop")
    assert (await erase(producer))["inbound"] == 0
    assert await conn.fetchval("select body from duly.inbound") == "To nobody, of my knee"
    assert await conn.fetchval('select "to" from duly.delivery where id = $1', kept) == NUMBER
    for name in ("legal_hold_begin", "legal_hold_end"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await producer.fetchval(query(name), "clinic", "me", "why", "sms", NUMBER)


async def test_of_an_erasure_and_a_lease_at_the_same_moment_one_comes_first(
    conn: Connection, dsn: str
) -> None:
    """Either the lease has the row and the erasure is refused, or the row is skipped and the lease has nothing."""
    await conn.execute(
        "insert into duly.node (name, version, alive_until) values ('a', '1', now() + interval '1 hour')"
    )
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    fetcher: Connection = await asyncpg.connect(dsn)
    ends: set[tuple[bool, bool]] = set()
    try:
        for turn in range(60):
            number = f"+1415556{turn:04}"
            delivery = await people.enqueue(conn, number)
            lease = fetcher.fetch(query("lease"), [clinic], ["sms"], [2], [10], turn + 1, 1)

            async def erased(number: str = number, turn: int = turn) -> bool:
                await asyncio.sleep((turn % 12) * 0.0003)
                try:
                    await erase(conn, number)
                except OPEN:
                    return False
                return True

            rows, done = await asyncio.gather(lease, erased())
            leased = [row for row in rows if row["id"] == delivery]
            assert done != bool(leased)
            assert all(row["body"] == SECRET_BODY and row["to"] == number for row in leased)
            state = await conn.fetchval("select state::text from duly.delivery_row where id = $1", delivery)
            assert state == ("skipped" if done else "leased")
            ends.add((done, bool(leased)))
            await conn.execute(
                "update duly.delivery_row set state = 'canceled', node_id = null where state = 'leased'"
            )
    finally:
        await fetcher.close()
    assert ends


async def test_an_erasure_waits_for_a_mark_under_way_and_is_refused(conn: Connection, dsn: str) -> None:
    delivery = await people.enqueue(conn)
    daemon: Connection = await asyncpg.connect(dsn)
    try:
        async with daemon.transaction():
            await daemon.execute(
                "update duly.delivery_row set state = 'sending', node_id = 1 where id = $1", delivery
            )
            waiting = asyncio.create_task(erase(conn))
            await asyncio.sleep(0.2)
            assert not waiting.done()
        with pytest.raises(OPEN, match="is sending"):
            await waiting
    finally:
        await daemon.close()


async def test_what_was_queued_just_while_the_person_was_erased_is_erased_after(
    conn: Connection, dsn: str
) -> None:
    producer: Connection = await asyncpg.connect(dsn)
    try:
        async with producer.transaction():
            late = await people.enqueue(producer)
            await erase(conn)
        assert (
            await conn.fetchval("select state::text from duly.delivery_row where id = $1", late) == "queued"
        )
    finally:
        await producer.close()
    assert [await conn.fetchval("select duly.erase_again()") for _ in range(2)] == [1, 0]
    assert await traces(conn) == []
    assert await conn.fetchval("select reason from duly.delivery_row where id = $1", late) == "erased"
