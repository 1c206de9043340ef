"""Contacts in SQL: whose an address is, what stays and what changes, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.store.database import Connection
from daemon.store.embedded import EmbeddedHandle
from tests.support import dsn_of

SMS = {"channel": "sms", "address": "+14155550123"}
OTHER = {"channel": "sms", "address": "+14155550124"}
MAIL = {"channel": "email", "address": "Ann@example.com"}
WRONG = asyncpg.InvalidParameterValueError


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """A database of this test's own, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


async def put(conn: Connection, workspace: str = "clinic", **fields: Any) -> UUID:
    """duly.put_contact by named arguments."""
    kinds = {"max_per_week": "integer", "attributes": "jsonb", "addresses": "jsonb"}
    names = "".join(f", {name} => ${n}::{kinds.get(name, 'text')}" for n, name in enumerate(fields, start=2))
    values = [json.dumps(v) if kinds.get(k) == "jsonb" and v is not None else v for k, v in fields.items()]
    found: UUID = await conn.fetchval(f"select duly.put_contact($1{names})", workspace, *values)
    return found


async def put_many(conn: Connection, items: Any, workspace: str = "clinic") -> list[tuple[Any, ...]]:
    rows = await conn.fetch("select * from duly.put_contacts($1, $2::jsonb)", workspace, json.dumps(items))
    assert [row["position"] for row in rows] == list(range(1, len(items) + 1))
    return [(row["id"], row["change"], row["error"]) for row in rows]


async def contact(conn: Connection, id: UUID) -> dict[str, Any]:
    row = await conn.fetchrow("select * from duly.contact where id = $1", id)
    assert row is not None
    return dict(row) | {"attributes": json.loads(row["attributes"])}


async def addresses(conn: Connection, id: UUID) -> dict[str, str]:
    rows = await conn.fetch("select channel, address from duly.address where contact_id = $1", id)
    return {row["address"]: row["channel"] for row in rows}


async def everything(conn: Connection) -> list[Any]:
    return [
        await conn.fetch("select c.*, c.xmin::text from duly.contact c order by id"),
        await conn.fetch("select a.*, a.xmin::text from duly.address a order by address_key, channel"),
    ]


async def test_a_contact_has_what_was_given_and_keeps_what_was_not_said_again(conn: Connection) -> None:
    id = await put(
        conn, external_id="p-1", first_name="Ann", name="Ann Lee", locale="pt-BR", time_zone="America/New_York",
        max_per_week=3, attributes={"city": "Boston", "visits": 2}, addresses=[SMS, MAIL],
    )  # fmt: skip
    assert await put(conn, external_id="p-1", first_name="Anna", attributes={"visits": 3}) == id
    found = await contact(conn, id)
    assert (found["first_name"], found["name"], found["locale"]) == ("Anna", "Ann Lee", "pt-BR")
    assert (found["time_zone"], found["max_per_week"]) == ("America/New_York", 3)
    assert found["attributes"] == {"city": "Boston", "visits": 3}
    assert await addresses(conn, id) == {"+14155550123": "sms", "Ann@example.com": "email"}


async def test_an_empty_text_or_a_json_null_takes_away(conn: Connection) -> None:
    all_of_it = {
        "external_id": "p-1", "first_name": "Ann", "name": "Lee", "locale": "en", "time_zone": "UTC",
        "max_per_week": 0, "attributes": {"a": 1, "b": {"c": None}},
    }  # fmt: skip
    (id, change, _), *_ = await put_many(conn, [all_of_it])
    assert (change, (await contact(conn, id))["max_per_week"]) == ("created", 0)
    await put(conn, external_id="p-1", first_name="", attributes={"a": None})
    assert (await contact(conn, id))["first_name"] is None
    assert (await contact(conn, id))["attributes"] == {"b": {"c": None}}
    await put_many(conn, [{**dict.fromkeys(all_of_it), "external_id": "p-1"}])
    found = await contact(conn, id)
    assert all(found[name] is None for name in ("name", "locale", "time_zone", "max_per_week"))
    assert (found["attributes"], found["external_id"]) == ({}, "p-1")


async def test_the_same_again_writes_nothing(conn: Connection) -> None:
    items = [
        {"external_id": "p-1", "name": "Ann", "time_zone": "Europe/Berlin", "attributes": {"a": 1},
         "addresses": [{**SMS, "verified": True}, MAIL]},
        {"addresses": [OTHER]},
    ]  # fmt: skip
    assert [change for _, change, _ in await put_many(conn, items)] == ["created", "created"]
    before = await everything(conn)
    assert [change for _, change, _ in await put_many(conn, items)] == [None, None]
    assert await everything(conn) == before


async def test_workspaces_do_not_share_people(conn: Connection) -> None:
    mine = await put(conn, external_id="p-1", addresses=[SMS])
    theirs = await put(conn, "shop", external_id="p-1", addresses=[SMS])
    assert mine != theirs
    assert await addresses(conn, mine) == await addresses(conn, theirs)


# Whose an address is.


async def test_an_address_of_another_contact_is_refused_and_says_whose_it_is(conn: Connection) -> None:
    first = await put(conn, external_id="p-1", addresses=[SMS])
    with pytest.raises(
        WRONG, match=r"^addresses\.sms: '\+14155550123' is the address of contact 'p-1'; leave"
    ):
        await put(conn, external_id="p-2", name="Bob", addresses=[SMS, OTHER])
    assert await conn.fetchval("select count(*) from duly.contact") == 1
    assert await addresses(conn, first) == {"+14155550123": "sms"}
    assert await conn.fetchval("select duly.remove_address('clinic', 'sms', '+14155550123')") is True
    second = await put(conn, external_id="p-2", addresses=[SMS])
    assert await addresses(conn, second) == {"+14155550123": "sms"}
    assert await addresses(conn, first) == {}


async def test_the_same_number_on_another_channel_is_another_address(conn: Connection) -> None:
    await put(conn, external_id="p-1", addresses=[SMS])
    second = await put(conn, external_id="p-2", addresses=[{**SMS, "channel": "whatsapp"}])
    assert await addresses(conn, second) == {"+14155550123": "whatsapp"}


async def test_a_mailbox_is_the_same_in_any_case(conn: Connection) -> None:
    id = await put(conn, external_id="p-1", addresses=[MAIL])
    await put(conn, external_id="p-1", addresses=[{**MAIL, "address": "ann@example.com"}])
    assert await addresses(conn, id) == {"ann@example.com": "email"}
    with pytest.raises(WRONG, match="p-1"):
        await put(conn, external_id="p-2", addresses=[{**MAIL, "address": "ANN@example.com"}])


async def test_a_guest_is_found_by_any_address(conn: Connection) -> None:
    guest = await put(conn, time_zone="UTC", addresses=[SMS, MAIL])
    assert await put(conn, addresses=[SMS], first_name="Ann") == guest
    assert await put(conn, addresses=[MAIL, OTHER]) == guest
    assert len(await addresses(conn, guest)) == 3
    assert (await contact(conn, guest))["external_id"] is None


async def test_a_guest_becomes_the_contact_that_its_address_is_given_for(conn: Connection) -> None:
    guest = await put(
        conn, time_zone="Asia/Tokyo", max_per_week=1, attributes={"a": 1}, addresses=[SMS, MAIL]
    )
    assert await put(conn, external_id="p-1", name="Ann", addresses=[SMS]) == guest
    found = await contact(conn, guest)
    assert (found["external_id"], found["name"], found["max_per_week"]) == ("p-1", "Ann", 1)
    assert len(await addresses(conn, guest)) == 2


async def test_a_known_contact_takes_over_a_guest_and_knows_better(conn: Connection) -> None:
    known = await put(conn, external_id="p-1", time_zone="UTC", attributes={"a": 1})
    guest = await put(
        conn, time_zone="Asia/Tokyo", max_per_week=2, attributes={"a": 9, "b": 2}, addresses=[SMS, MAIL]
    )
    assert await put(conn, external_id="p-1", addresses=[SMS]) == known
    found = await contact(conn, known)
    assert (found["time_zone"], found["max_per_week"]) == ("UTC", 2)
    assert found["attributes"] == {"a": 1, "b": 2}
    assert len(await addresses(conn, known)) == 2
    assert await conn.fetchval("select count(*) from duly.contact where id = $1", guest) == 0


async def test_guests_who_turn_out_to_be_one_become_one(conn: Connection) -> None:
    first, second = await put(conn, addresses=[SMS]), await put(conn, addresses=[MAIL], name="Ann")
    assert await put(conn, addresses=[SMS, MAIL]) == first
    assert (await contact(conn, first))["name"] == "Ann"
    assert await conn.fetch("select id from duly.contact where id = $1", second) == []


async def test_a_guest_cannot_be_two_contacts(conn: Connection) -> None:
    await put(conn, external_id="p-1", addresses=[SMS])
    await put(conn, external_id="p-2", addresses=[MAIL])
    with pytest.raises(WRONG, match=r"^addresses: belong to several contacts"):
        await put(conn, addresses=[SMS, MAIL])


async def test_a_guest_without_an_address_left_is_gone_and_a_contact_stays(conn: Connection) -> None:
    await put(conn, addresses=[SMS])
    known = await put(conn, external_id="p-1", addresses=[OTHER])
    for number in (SMS, OTHER, OTHER):
        await conn.fetchval("select duly.remove_address('clinic', 'sms', $1)", number["address"])
    assert [row["id"] for row in await conn.fetch("select id from duly.contact")] == [known]
    assert await conn.fetchval("select duly.remove_address('clinic', 'sms', '+14155550123')") is False
    with pytest.raises(WRONG, match=r"^to:"):
        await conn.fetchval("select duly.remove_address('clinic', 'sms', 'x')")


async def test_verified_is_kept_until_it_is_taken_back(conn: Connection) -> None:
    async def verified() -> Any:
        return await conn.fetchval("select verified_at from duly.address where address = $1", SMS["address"])

    await put(conn, external_id="p-1", addresses=[SMS])
    assert await verified() is None
    await put(conn, external_id="p-1", addresses=[{**SMS, "verified": True}])
    since = await verified()
    await put(conn, external_id="p-1", addresses=[{**SMS, "verified": True}])
    await put(conn, external_id="p-1", addresses=[SMS])
    assert await verified() == since
    await put(conn, external_id="p-1", addresses=[{**SMS, "verified": False}])
    assert await verified() is None


async def test_two_who_put_the_same_guest_in_at_once_make_one(dsn: str, conn: Connection) -> None:
    other: Connection = await asyncpg.connect(dsn)
    try:
        transaction = conn.transaction()
        await transaction.start()
        first = await put(conn, addresses=[SMS])
        waiting = asyncio.create_task(put(other, addresses=[SMS]))
        await asyncio.sleep(0.2)
        await transaction.commit()
        with pytest.raises(asyncpg.SerializationError, match="try again"):
            await waiting
        assert await put(other, addresses=[SMS]) == first
        assert await conn.fetchval("select count(*) from duly.contact") == 1
    finally:
        await other.close()


async def test_many_in_one_transaction_are_looked_up_and_not_searched_for(conn: Connection) -> None:
    """Also where the tables were known to be empty when the transaction began."""
    await conn.execute("vacuum analyze duly.contact, duly.address, duly.consent")
    numbers = [f"+1415{5_000_000 + n}" for n in range(600)]
    async with conn.transaction():
        for _ in range(2):
            await put_many(
                conn,
                [
                    {"external_id": f"p{number}", "addresses": [{"channel": "sms", "address": number}]}
                    for number in numbers
                ],
            )
            said = [
                {"channel": "sms", "to": number, "state": "given", "at": "2026-01-01T00:00:00Z"}
                for number in numbers
            ]
            await conn.execute("select duly.record_consents('clinic', $1::jsonb)", json.dumps(said))
        searched = await conn.fetchval(
            """select sum(seq_tup_read) from pg_stat_xact_user_tables
               where schemaname = 'duly' and relname in ('contact', 'address', 'consent', 'suppression')"""
        )
    assert searched == 0


# What is refused.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"external_id": "x" * 256}, "external_id: has 256 characters"),
        ({"external_id": None}, "external_id: is missing"),
        ({"external_id": ""}, "external_id: is missing"),
        ({"addresses": [], "external_id": None}, "external_id: is missing"),
        ({"name": "n" * 201}, "name: has 201"),
        ({"first_name": "a\nb"}, "first_name: has control"),
        ({"locale": "en_US"}, "locale: 'en_US' is not a language tag"),
        ({"locale": "english-language"}, "locale: "),
        ({"time_zone": "EST5"}, "time_zone: 'EST5' is not the name of an IANA zone"),
        ({"time_zone": "america/new_york"}, "time_zone: "),
        ({"time_zone": "posix/UTC"}, "time_zone: "),
        ({"time_zone": "localtime"}, "time_zone: "),
        ({"max_per_week": -1}, "max_per_week: must be a whole number from 0 to 1000"),
        ({"max_per_week": 1001}, "max_per_week: "),
        ({"attributes": [1]}, "attributes: must be a JSON object"),
        ({"attributes": {"a": "x" * 17000}}, "attributes: are larger than 16 KiB"),
        ({"addresses": {}}, "addresses: must be a list"),
        ({"addresses": [7]}, "addresses: "),
        ({"addresses": [{"channel": "sms"}]}, "addresses: each must be an object with the texts channel and address"),
        ({"addresses": [{"address": "x"}]}, "addresses: each must be"),
        ({"addresses": [{"channel": "pigeon", "address": "x"}]}, "addresses: channel: 'pigeon' is none of"),
        ({"addresses": [{**SMS, "address": "555"}]}, "addresses.sms: '555' is not an E.164 number"),
        ({"addresses": [{**SMS, "address": ""}]}, "addresses.sms: is missing"),
        ({"addresses": [{**SMS, "address": 7}]}, "addresses: each must be"),
        ({"addresses": [{**SMS, "verified": 1}]}, "addresses: each must be"),
        ({"addresses": [{**SMS, "own": "yes"}]}, "addresses: each must be"),
        ({"addresses": [{**SMS, "kind": "x"}]}, "addresses: each must be"),
        ({"addresses": [SMS, SMS]}, r"addresses.sms: '.*' is there twice"),
        ({"addresses": [SMS] * 51}, "addresses: must be a list of up to 50"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_by_its_field(
    conn: Connection, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(WRONG, match=f"^{words}"):
        await put(conn, **{"external_id": "p-1", **fields})
    assert await conn.fetchval("select count(*) from duly.contact") == 0


async def test_a_wrong_item_keeps_no_other_back_and_items_see_each_other(conn: Connection) -> None:
    found = await put_many(
        conn,
        [
            {"external_id": "p-1", "addresses": [SMS]},
            7,
            {"external_id": "p-2", "max_per_week": 1.5},
            {"external_id": "p-3", "names": "x"},
            {"external_id": "p-4", "addresses": [SMS]},
            {"external_id": "p-1", "addresses": [OTHER]},
        ],
    )
    assert [change for _, change, _ in found] == ["created", None, None, None, None, "changed"]
    errors = [error and error.partition(":")[0] for *_, error in found]
    assert errors == [None, "item", "max_per_week", "names", "addresses.sms", None]
    assert found[0][0] == found[5][0]
    assert all((id is None) == (error is not None) for id, _, error in found)
    with pytest.raises(WRONG, match=r"^items:"):
        await conn.fetch("select * from duly.put_contacts('clinic', '{}')")
    with pytest.raises(WRONG, match=r"^workspace:"):
        await conn.fetch("select * from duly.put_contacts('nowhere', '[]')")


ANY_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["external_id", "first_name", "name", "locale", "time_zone", "max_per_week", "attributes", "addresses"]
)
ADDRESS = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(["sms", "email"]) | JSON,
        "address": st.sampled_from(["+14155550123", "a@b.example"]) | JSON,
    },
    optional={"verified": st.booleans() | JSON, "own": JSON},
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    items=st.lists(
        st.dictionaries(FIELDS, JSON | st.lists(ADDRESS, max_size=2), max_size=4) | JSON, max_size=8
    )
)
def test_whatever_is_put_in_is_taken_or_told_what_is_wrong(
    shared: tuple[asyncio.Runner, Connection], items: list[Any]
) -> None:
    runner, connection = shared
    found = runner.run(put_many(connection, items))
    assert all(": " in error for *_, error in found if error is not None)
    assert all((id is None) == (error is not None) for id, _, error in found)


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedHandle) -> Iterator[tuple[asyncio.Runner, Connection]]:
    """A loop and a connection to a database of this module's own, for tests that are not async."""
    with asyncio.Runner() as runner:
        admin = runner.run(asyncpg.connect(postgres.server.dsn))
        runner.run(admin.execute("create database contacts_any template duly_template"))
        runner.run(admin.close())
        connection = runner.run(asyncpg.connect(dsn_of(postgres.server.dsn, "contacts_any")))
        runner.run(connection.execute("select duly.register_workspace('clinic')"))
        yield runner, connection
        runner.run(connection.close())
