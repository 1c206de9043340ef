"""Between workspaces: a producer tries to read and write another's, by every function, view and table there is."""

from __future__ import annotations

import asyncpg
import pytest
import pytest_asyncio

from daemon.store.database import Connection
from tests.integration.test_roles import clinic, conn, logins, tables

__all__ = ["clinic", "conn", "logins"]  # fixtures

SHOP = "+14155550188"
DENIED = asyncpg.InsufficientPrivilegeError

# Each function that takes a workspace, tried on another's.
ATTEMPTS = (
    f"select duly.enqueue('shop', 'sms', '{SHOP}', 'Hello')",
    f"select duly.record_consent('shop', 'sms', '{SHOP}', 'withdrawn')",
    f"select duly.record_consent('shop', 'sms', '{SHOP}', 'given')",
    f"select duly.do_not_contact('shop', 'sms', '{SHOP}')",
    f"select duly.contact_again('shop', 'sms', '{SHOP}')",
    "select duly.upload_begin('shop', 'k', '\\x00112233445566778899aabbccddeeff', 'sms', 'Hello')",
)


@pytest_asyncio.fixture
async def shop(conn: Connection) -> Connection:
    """The owner's connection; the shop has one of everything."""
    delivery = await conn.fetchval(f"select duly.enqueue('shop', 'sms', '{SHOP}', 'Secret')")
    await conn.execute(f"select duly.record_consent('shop', 'sms', '{SHOP}', 'given', words => 'Secret')")
    await conn.execute("select duly.do_not_contact('shop', 'sms', '+14155550189')")
    await conn.execute(
        "select duly.upload_begin('shop', 'june', '\\x00112233445566778899aabbccddeeff', 'sms', 'Hi')"
    )
    await conn.execute(
        "insert into duly.ruling (delivery_id, workspace_id, stage, became, rulings)"
        " select $1, id, 'leased', 'queued', '[]' from duly.workspace where name = 'shop'",
        delivery,
    )
    return conn


async def facts(conn: Connection) -> dict[str, int]:
    """How many rows each table has."""
    names = [name for name, kind in await tables(conn) if kind in ("r", "p")]
    return {name: await conn.fetchval(f"select count(*) from duly.{name}") for name in names}


@pytest.mark.parametrize(
    "attempt", ATTEMPTS, ids=lambda text: text.split("(")[0].removeprefix("select duly.")
)
async def test_no_function_reaches_another_workspace(
    shop: Connection, clinic: Connection, attempt: str
) -> None:
    before = await facts(shop)
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: 'shop' is not"):
        await clinic.execute(attempt)
    assert await facts(shop) == before


async def test_the_operator_s_list_and_word_are_not_a_producer_s(
    shop: Connection, clinic: Connection
) -> None:
    for attempt in (
        f"select duly.do_not_contact(null, 'sms', '{SHOP}')",
        f"select duly.contact_again(null, 'sms', '{SHOP}')",
        "select duly.set_verified('clinic', true, 'me', 'because')",
        f"select duly.address_key('sms', '{SHOP}')",
        "select * from duly.hash_key",
    ):
        with pytest.raises(DENIED):
            await clinic.execute(attempt)


async def test_what_is_there_is_another_s_and_cannot_be_canceled(
    shop: Connection, clinic: Connection
) -> None:
    delivery = await shop.fetchval("select id from duly.delivery_row")
    with pytest.raises(asyncpg.NoDataFoundError):
        await clinic.execute("select duly.cancel($1)", delivery)
    assert await clinic.fetchval("select count(*) from duly.delivery") == 0
    assert await clinic.fetchval("select duly.replay('me', 'why', ids => array[$1::uuid])", delivery) == 0


async def test_a_table_granted_by_mistake_still_shows_no_other_workspace_s_rows(
    shop: Connection, clinic: Connection
) -> None:
    await shop.execute("select duly.enqueue('clinic', 'sms', '+14155550177', 'Mine')")
    login = await clinic.fetchval("select current_user")
    await shop.execute(f"grant select, insert, update, delete on all tables in schema duly to {login}")
    mine = await shop.fetchval("select id from duly.workspace where name = 'clinic'")
    guarded = await shop.fetch(
        """select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
           where c.relnamespace = 'duly'::regnamespace and c.relkind = 'r' and a.attname = 'workspace_id'"""
    )
    assert len(guarded) >= 20
    full = 0
    for (table,) in guarded:
        seen = {row["workspace_id"] for row in await clinic.fetch(f"select workspace_id from duly.{table}")}
        assert seen <= {mine}, table
        full += len(await shop.fetch(f"select from duly.{table} where workspace_id <> $1 limit 1", mine))
    assert full >= 6  # there was something to see
    for attempt in (
        "update duly.message set body = 'changed'",
        "delete from duly.delivery_row",
        "delete from duly.suppression",
    ):
        assert await clinic.execute(attempt) in ("UPDATE 0", "DELETE 0")
    with pytest.raises(DENIED, match="row-level security"):
        await clinic.execute(
            "insert into duly.suppression (address_key, workspace_id, reason, source)"
            " values (gen_random_uuid(), 1, 'opted_out', 'me')"
        )
