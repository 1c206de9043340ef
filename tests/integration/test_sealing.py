"""What a workspace seals is nowhere in clear, flows all the same, and opens with its key and in its row only."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from daemon.content.rendering import Renderer
from daemon.model import Accepted, Channel, Delivery, Rendered
from daemon.platforms.base import Found
from daemon.queue.reconciler import Asking, Reconciler
from daemon.queue.sealer import Sealer
from daemon.queue.unsealing import Unsealer, sealed_of
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from daemon.store.export import document, find
from daemon.store.sql import query
from daemon.store.timeline import load
from tests.chaos.test_fencing import Remembering, member
from tests.integration import people
from tests.integration.people import MAIL, NUMBER, SECRET_BODY, campaign, traces, wrote

OLD, NEW, OTHER_KEY = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
OTHER = "+14155550199"


class Statements(Database):
    """A database that counts what it is asked."""

    asked = 0

    async def fetch(self, query: str, *args: object) -> list[Any]:
        self.asked += 1
        return await super().fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Any:
        self.asked += 1
        return await super().fetchrow(query, *args)


class Sealing:
    """A sealer and what it works with."""

    def __init__(self, database: Database, ring: KeyRing, **wanted: bool) -> None:
        self.ring = ring
        self.keys = DataKeys(database, lambda: self.ring)
        self.sealer = Sealer(database, self.keys, lambda: wanted, asyncio.Event())


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


@pytest_asyncio.fixture
async def sealing(conn: Connection, database: Database) -> Sealing:
    """The clinic seals, the shop does not; the database has been told."""
    found = Sealing(database, KeyRing({"old": OLD, "new": NEW}, "old"), clinic=True, shop=False)
    await found.sealer.once()
    return found


async def a_life(conn: Connection) -> list[UUID]:
    """What can be known of a person but a platform's words about a call."""
    await people.contact(conn)
    await conn.execute("update duly.contact set name = null, external_id = null, attributes = '{}'")
    one, mail = await people.enqueue(conn, key="one"), await people.enqueue(conn, MAIL)
    many = await campaign(conn, NUMBER, OTHER)
    await conn.execute("select duly.upload_end(id) from duly.upload")
    return [one, mail, *many]


async def cipher_of(conn: Connection, delivery: UUID) -> tuple[bytes | None, bytes | None]:
    row = await conn.fetchrow(
        "select d.sealed as to, m.sealed as message from duly.delivery_row d join duly.message m on m.id = d.message_id"
        " where d.id = $1",
        delivery,
    )
    assert row is not None
    return row["to"], row["message"]


async def generations(conn: Connection) -> Counter[int | None]:
    """With which data keys messages and deliveries are sealed."""
    rows = await conn.fetch(
        "select sealed_with from duly.message union all select sealed_with from duly.delivery_row"
    )
    return Counter(row["sealed_with"] for row in rows)


async def leased(conn: Connection, database: Database) -> list[Delivery]:
    """What a fetcher leases in the clinic."""
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    async with member(database) as node:
        token = node.new_token()
        rows = await conn.fetch(query("lease"), [clinic], ["sms"], [2], [100], token, node.node_id)
    return [
        Delivery(
            id=row["id"], workspace_id=clinic, workspace="clinic", channel=Channel.SMS, to=row["to"], body=row["body"],
            category=row["category"], priority=2, attempts=0, segments=1, lease_token=token, leased_at=0.0,
            address_key=row["address_key"], sealed=sealed_of(row),
        )
        for row in rows
    ]  # fmt: skip


# What is at rest.


async def test_what_is_sealed_is_in_no_column_of_any_table(conn: Connection, sealing: Sealing) -> None:
    deliveries = await a_life(conn)
    assert len(await traces(conn)) > 8
    assert await sealing.sealer.once() == 9  # 3 messages, 4 deliveries, 2 addresses
    assert await traces(conn, (*people.MARKS, "Hello all", OTHER)) == []
    assert await sealing.sealer.once() == 0
    shown = await conn.fetch('select "to" from duly.delivery where id = any ($1)', deliveries)
    assert {row["to"] for row in shown} == {"<sealed>"}


async def test_an_address_written_over_a_sealed_one_is_sealed_again(
    conn: Connection, sealing: Sealing
) -> None:
    put = "select duly.put_contact('clinic', external_id => 'p1', addresses => $1::jsonb)"
    await conn.execute(put, f'[{{"channel": "sms", "address": "{NUMBER}"}}]')
    assert await sealing.sealer.once() == 1
    await conn.execute(put, f'[{{"channel": "sms", "address": "{NUMBER}", "verified": true}}]')
    assert await sealing.sealer.once() == 1
    assert await conn.fetchval("select count(*) from duly.address where address <> ''") == 0
    assert await traces(conn, (NUMBER,)) == []


async def test_what_a_person_writes_is_sealed_before_it_is_stored(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    await people.enqueue(conn)
    await people.sent(conn, await people.enqueue(conn, body="Hi"))
    await sealing.sealer.once()
    await wrote(database, None, keys=sealing.keys)
    await conn.execute("delete from duly.attempt; delete from duly.decision; delete from duly.ruling;"
                       " delete from duly.resolution; update duly.delivery_row set detail = null")  # fmt: skip
    assert await traces(conn) == []
    row = await conn.fetchrow("select i.*, k.sealed as address from duly.inbound i, duly.conversation k")
    assert row is not None
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    assert row["workspace_id"] == clinic  # by the attempt's key: the address is nowhere
    parts = await sealing.keys.open(clinic, "inbound", str(row["id"]), row["sealed"])
    assert parts == [NUMBER, "My knee, yours Lovelace", '["https://media.example/knee.png"]']


async def test_a_second_message_from_a_person_stands_in_the_same_conversation(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    for _ in range(2):
        await wrote(database, clinic, keys=sealing.keys)
    assert await conn.fetchval("select count(*) from duly.conversation") == 1
    assert await sealing.sealer.once() == 0


async def test_where_it_cannot_be_sealed_it_is_stored_and_sealed_later(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    without = DataKeys(database, lambda: KeyRing({}, None))
    await wrote(database, clinic, keys=without)
    assert await conn.fetchval("select body from duly.inbound") == "My knee, yours Lovelace"
    assert await sealing.sealer.once() == 2
    assert await traces(conn) == []


async def test_who_does_not_ask_for_it_is_not_touched_and_costs_nothing(
    conn: Connection, dsn: str, sealing: Sealing
) -> None:
    delivery = await people.enqueue(conn, workspace="shop")
    await sealing.sealer.once()
    row = await conn.fetchrow("select * from duly.delivery_row where id = $1", delivery)
    assert row is not None
    assert (row["to"], row["sealed"], row["sealed_with"]) == (NUMBER, None, None)
    database = Statements(lambda: dsn)
    idle = Sealing(database, KeyRing({}, None), shop=False)
    await idle.sealer.once()
    asked = database.asked
    await idle.sealer.once()
    assert database.asked == asked
    await database.close()


async def test_sealing_changes_neither_a_state_nor_a_lease_and_waits_for_nobody(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    delivery, locked = await people.enqueue(conn), await people.enqueue(conn, OTHER)
    assert {each.id for each in await leased(conn, database)} == {delivery, locked}
    facts = "select state::text, lease_token, node_id, due_at, state_at, attempts from duly.delivery_row where id = $1"
    before = await conn.fetchrow(facts, delivery)
    async with conn.transaction():
        await conn.execute("select from duly.delivery_row where id = $1 for update", locked)
        async with asyncio.timeout(5):
            assert await sealing.sealer.once() == 3  # all but the row that is locked
    assert await sealing.sealer.once() == 1
    assert await conn.fetchrow(facts, delivery) == before


async def test_what_a_workspace_had_before_it_asked_is_sealed_too(
    conn: Connection, database: Database, dsn: str
) -> None:
    await a_life(conn)
    await wrote(database, await conn.fetchval("select id from duly.workspace where name = 'clinic'"))
    found = Sealing(database, KeyRing({"old": OLD}, "old"), clinic=True)
    await found.sealer.once()
    refused = ("upload_refusal",)  # what was typed wrongly before is no address
    assert [line for line in await traces(conn) if not line.startswith(refused)] == []


async def test_a_workspace_that_asks_no_more_keeps_what_is_sealed(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    before = await people.enqueue(conn)
    await sealing.sealer.once()
    await Sealing(database, sealing.ring, clinic=False).sealer.once()
    after = await people.enqueue(conn, OTHER)
    assert await sealing.sealer.once() == 0
    assert (await cipher_of(conn, before))[0] is not None
    assert (await cipher_of(conn, after)) == (None, None)


async def test_the_hashes_of_contents_need_the_key_too(conn: Connection, sealing: Sealing) -> None:
    await conn.execute("select duly.register_workspace('clinic', interval '1 hour')")
    first = await people.enqueue(conn, key="a")
    plain = await conn.fetchval(
        "select sha256(convert_to(jsonb_build_array('sms', $1::text, $2::text)::text, 'UTF8'))",
        NUMBER,
        SECRET_BODY,
    )
    assert await conn.fetchval("select digest from duly.recent_content") != plain
    await sealing.sealer.once()
    assert await people.enqueue(conn, key="a") == first
    row = await conn.fetchrow(
        "select * from duly.enqueue_batch($1)",
        json.dumps([{"workspace": "clinic", "channel": "sms", "to": NUMBER, "body": SECRET_BODY}]),
    )
    assert row is not None
    assert row["error"].startswith("body: equal content went to this address")


async def test_a_campaign_goes_on_until_its_upload_has_ended(conn: Connection, sealing: Sealing) -> None:
    upload = await conn.fetchval(
        "select id from duly.upload_begin('clinic', 'k', $1, 'sms', 'Hello all', metadata => '{\"a\": \"knee\"}')",
        bytes(32),
    )
    lines = 'select * from duly.upload_lines($1, $2::bigint, $2 + 1, array[$2 + 1], "to" => array[$3])'
    for line in range(2):
        assert await conn.fetch(lines, upload, line, f"+1415556000{line}") == []
        await sealing.sealer.once()
    assert await conn.fetchval("select body from duly.message") == "Hello all"
    await conn.execute("select duly.upload_end($1)", upload)
    assert await sealing.sealer.once() == 1
    assert await traces(conn, ("Hello all", "knee", "+1415556000")) == []


async def test_of_a_line_that_was_refused_nothing_is_kept(conn: Connection, sealing: Sealing) -> None:
    await campaign(conn)
    assert await conn.fetchval("select error from duly.upload_refusal") == (
        "to: what it has is not an E.164 number such as +14155550123"
    )


# What is opened.


async def test_a_sealed_delivery_is_opened_where_its_key_is(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    (delivery, *_) = await a_life(conn)
    await sealing.sealer.once()
    assert (await load(conn, delivery, sealing.keys)).to == NUMBER  # type: ignore[union-attr]
    assert (await load(conn, delivery)).to == "<sealed>"  # type: ignore[union-attr]
    without = DataKeys(database, lambda: KeyRing({}, None))
    assert (await load(conn, delivery, without)).to == "<sealed>"  # type: ignore[union-attr]


async def exported(conn: Connection, keys: DataKeys) -> dict[str, Any]:
    async with conn.transaction():
        person = await find(conn, "clinic", "sms", NUMBER, None)
        assert person is not None
        text = b"".join([piece async for piece in document(conn, person, Counter(), keys)])
    found: dict[str, Any] = json.loads(text)
    return found


async def test_an_export_opens_what_is_sealed(conn: Connection, database: Database, sealing: Sealing) -> None:
    await a_life(conn)
    await wrote(database, await conn.fetchval("select id from duly.workspace where name = 'clinic'"))
    await sealing.sealer.once()
    found = await exported(conn, sealing.keys)
    assert {a["address"] for a in found["addresses"]} == {NUMBER, MAIL}
    first = found["deliveries"][0]
    assert (first["to"], first["body"], first["variables"], first["metadata"]) == (
        NUMBER, SECRET_BODY, {"name": "Lovelace"}, {"case": "knee"},
    )  # fmt: skip
    assert found["inbound"][0]["media_urls"] == ["https://media.example/knee.png"]
    found = await exported(conn, DataKeys(database, lambda: KeyRing({}, None)))
    first = found["deliveries"][0]
    assert (first["to"], first["body"], first["metadata"], found["inbound"][0]["body"]) == ("<sealed>",) * 4


async def test_who_is_sealed_is_found_and_erased_by_the_key(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    await a_life(conn)
    await wrote(database, await conn.fetchval("select id from duly.workspace where name = 'clinic'"))
    await sealing.sealer.once()
    counts = json.loads(await conn.fetchval(query("erase"), "clinic", "dpo", "asked", "sms", NUMBER, None))
    assert (counts["deliveries"], counts["contacts"], counts["inbound"]) == (3, 1, 1)
    rows = await conn.fetch("select sealed, sealed_with from duly.delivery_row where reason = 'erased'")
    assert {tuple(row) for row in rows} == {(None, None)}
    assert await conn.fetchval("select count(*) from duly.message where sealed is not null") == 1  # of many
    assert await conn.fetchval("select count(*) from duly.inbound where sealed is not null") == 0
    again = await people.enqueue(conn)
    assert await traces(conn) == []
    assert await conn.fetchval("select reason from duly.delivery_row where id = $1", again) == "erased"


@pytest.mark.parametrize("damage", ["moved", "changed", "key"])
async def test_what_does_not_open_is_put_back_with_the_reason_and_the_others_go(
    conn: Connection, database: Database, sealing: Sealing, damage: str
) -> None:
    broken, other = await people.enqueue(conn, body="Broken"), await people.enqueue(conn, OTHER)
    await sealing.sealer.once()
    if damage == "moved":
        to, _ = await cipher_of(conn, other)
        await conn.execute("update duly.delivery_row set sealed = $2 where id = $1", broken, to)
    elif damage == "changed":
        await conn.execute(
            "update duly.message set sealed = set_byte(sealed, 30, get_byte(sealed, 30) # 1) where id = $1",
            broken,
        )
    else:
        await conn.execute(
            "update duly.message set sealed = set_byte(sealed, 1, 9) where id = $1", broken
        )  # a data key that there is not
    unsealer = Unsealer(database, sealing.keys)
    opened = await unsealer.sift(await leased(conn, database))
    assert [(d.id, d.to, d.body, d.sealed) for d in opened] == [(other, OTHER, SECRET_BODY, None)]
    row = await conn.fetchrow("select *, due_at > now() + interval '50 seconds' as later from duly.delivery_row"
                              " where id = $1", broken)  # fmt: skip
    assert row is not None
    assert (row["state"], row["reason"], row["later"], row["lease_token"]) == (
        "queued",
        "cannot_open",
        True,
        None,
    )
    ruling = json.loads(await conn.fetchval("select rulings from duly.ruling where delivery_id = $1", broken))
    assert ruling[0]["reason"] == "cannot_open"
    assert row["detail"] == ruling[0]["because"]["why"]


class Listing(Remembering):
    """A platform that lists one message, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Rendered] = []

    async def find(self, rendered: Rendered, since: datetime) -> Found:
        self.asked.append(rendered)
        return [Accepted("SM1")]


async def uncertain(conn: Connection, delivery: UUID, token: int) -> None:
    await conn.execute(
        "update duly.delivery_row set state = 'uncertain', account = 'main', attempts = 1, lease_token = $2,"
        " sending_at = now(), ask_at = now() where id = $1",
        delivery,
        token,
    )


@pytest.mark.parametrize(("twin", "state"), [("Another text", "sent"), (SECRET_BODY, "uncertain")])
async def test_what_is_uncertain_is_asked_about_in_clear_and_told_from_others_by_its_text(
    conn: Connection, database: Database, sealing: Sealing, twin: str, state: str
) -> None:
    delivery, other = await people.enqueue(conn), await people.enqueue(conn, body=twin)
    await sealing.sealer.once()
    await uncertain(conn, delivery, 1)
    await uncertain(conn, other, 2)
    await conn.execute("update duly.delivery_row set ask_at = now() + interval '1 hour' where id = $1", other)
    platform = Listing()
    asking = Asking(platform, Renderer(None, {}), 60, resend=False, max_attempts=5)
    async with member(database) as node:
        reconciler = Reconciler(database, node, Unsealer(database, sealing.keys), lambda: {"main": asking})
        assert await reconciler.once() == 1
    assert [(r.delivery.to, r.body) for r in platform.asked] == [(NUMBER, SECRET_BODY)]
    assert await conn.fetchval("select state::text from duly.delivery_row where id = $1", delivery) == state


# Keys in their turn.


async def test_rotation_wraps_the_data_keys_anew_and_the_old_key_is_needed_no_more(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    delivery = await people.enqueue(conn)
    await sealing.sealer.once()
    ring = KeyRing({"old": OLD, "new": NEW}, "new")
    assert [await DataKeys(database, lambda: ring).rewrap() for _ in range(2)] == [1, 0]
    assert await conn.fetchval("select wrapped_by from duly.data_key") == "new"
    only_new = DataKeys(database, lambda: KeyRing({"new": NEW}, "new"))
    assert (await load(conn, delivery, only_new)).to == NUMBER  # type: ignore[union-attr]


async def test_new_data_keys_replace_the_old_ones_in_every_row(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    await a_life(conn)
    await sealing.sealer.once()
    assert set(await generations(conn)) == {1}
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    await sealing.keys.renew(clinic)
    assert await sealing.sealer.once() == 9
    assert set(await generations(conn)) == {2}
    assert (await exported(conn, sealing.keys))["deliveries"][0]["body"] == SECRET_BODY


async def test_a_broken_row_keeps_no_other_from_being_sealed_anew(conn: Connection, sealing: Sealing) -> None:
    broken = await people.enqueue(conn)
    others = [await people.enqueue(conn, OTHER, f"Text {n}") for n in range(3)]
    await sealing.sealer.once()
    await conn.execute("update duly.message set sealed = set_byte(sealed, 30, 0) where id = $1", broken)
    await conn.execute("update duly.message set sealed = set_byte(sealed, 31, 0) where id = $1", broken)
    await sealing.keys.renew(await conn.fetchval("select id from duly.workspace where name = 'clinic'"))
    assert await sealing.sealer.once() == 7
    assert await sealing.sealer.once() == 0
    rows = await conn.fetch("select id from duly.message where sealed_with = 2")
    assert {row["id"] for row in rows} == set(others)


async def test_two_who_make_the_first_data_key_at_once_use_the_same(
    conn: Connection, database: Database
) -> None:
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    ring = KeyRing({"old": OLD}, "old")
    for _ in range(10):
        both = [DataKeys(database, lambda: ring) for _ in range(2)]
        one, two = await asyncio.gather(*(keys.newest(clinic) for keys in both))
        assert two.open("message", "a", one.seal("message", "a", ["x"])) == ["x"]
        assert await conn.fetchval("select count(*) from duly.data_key") == 1
        await conn.execute("delete from duly.data_key")


async def test_without_the_key_nothing_is_sealed_and_it_is_said(
    conn: Connection, database: Database, sealing: Sealing
) -> None:
    await sealing.sealer.once()
    wrong = Sealing(database, KeyRing({"old": OTHER_KEY}, "old"), clinic=True)
    await people.enqueue(conn)
    assert await wrong.sealer.once() == 0
    assert wrong.sealer.trouble == "key old is not the one that the data key was wrapped with"
    assert await conn.fetchval("select body from duly.message") == SECRET_BODY
    wrong.ring = KeyRing({"old": OLD}, "old")
    assert await wrong.sealer.once() == 2
    assert not wrong.sealer.trouble
