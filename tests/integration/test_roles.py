"""Who may do what: real logins in duly_producer, duly_reader, duly_daemon, and in none of them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from daemon.config import parse_config
from daemon.queue.publisher import publish_rules
from daemon.queue.retention import Retention
from daemon.queue.sealer import Sealer
from daemon.sandbox.app import Sandbox
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from daemon.store.export import document, find
from daemon.store.sql import query, sql_dir
from tests.support import free_port, running, toml, until

DENIED = asyncpg.InsufficientPrivilegeError
PASSWORD = "correct-horse"
QUERIES = sorted(path.stem for path in (sql_dir() / "queries").glob("*.sql"))

# What each role may call; a new function that is granted to somebody belongs here.
READS = {"caller", "visible_workspaces"}
WRITES = {
    "enqueue",
    "enqueue_batch",
    "cancel",
    "reschedule",
    "upload_begin",
    "upload_lines",
    "upload_end",
    "dead_letters",
    "replay",
    "dismiss",
    "record_consent",
    "do_not_contact",
    "contact_again",
    "simulate",
    "put_contact",
    "put_contacts",
    "remove_address",
    "record_consents",
    "do_not_contact_batch",
    "erase",
    "put_template",
    "set_template_state",
    "delete_template",
    "set_preference",
    "set_goal",
    "remove_goal",
    "add_progress",
    "add_progress_batch",
    "goals_of",
    "put_check_in",
    "put_series",
    "add_to_series",
    "add_to_series_batch",
    "remove_from_series",
    "pause_series",
    "resume_series",
    "make_link",
    "give_feedback",
    "campaign_add",
    "campaign_start",
    "campaign_pause",
    "campaign_resume",
    "campaign_cancel",
    "campaign_progress",
    "campaign_hit",
}
MAY_CALL = {
    "duly_reader": READS,
    "duly_producer": READS | WRITES,
}


def dsn_for(dsn: str, login: str) -> str:
    """The same database for another login."""
    parts = urlsplit(dsn)
    return urlunsplit((parts.scheme, f"{login}:{PASSWORD}@", parts.path, parts.query, ""))


class Logins:
    """Makes logins, which belong to the whole server, and removes them again."""

    def __init__(self, dsn: str, admin: Connection) -> None:
        self._dsn = dsn
        self._admin = admin
        self._made: list[str] = []
        self._open: list[Connection] = []

    async def role(self, *member_of: str, options: str = "", login: str = "login") -> str:
        """A new login in those roles."""
        name = f"t_{secrets.token_hex(6)}"
        members = f"in role {', '.join(member_of)}" if member_of else ""
        await self._admin.execute(f"create role {name} {login} password '{PASSWORD}' {options} {members}")
        self._made.append(name)
        return name

    async def connect(self, login: str) -> Connection:
        """A connection as that login."""
        connection: Connection = await asyncpg.connect(dsn_for(self._dsn, login))
        self._open.append(connection)
        return connection

    async def close(self) -> None:
        """Leaves no login behind."""
        for connection in self._open:
            await connection.close()
        for name in reversed(self._made):
            if await self._admin.fetchval("select true from pg_roles where rolname = $1", name):
                await self._admin.execute(f"drop owned by {name}; drop role {name}")


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


@pytest_asyncio.fixture
async def clinic(logins: Logins, conn: Connection) -> Connection:
    """A producer that may write to the workspace clinic."""
    login = await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", login)
    return await logins.connect(login)


@pytest_asyncio.fixture
async def reader(logins: Logins) -> Connection:
    return await logins.connect(await logins.role("duly_reader"))


@pytest_asyncio.fixture
async def stranger(logins: Logins) -> Connection:
    return await logins.connect(await logins.role())


async def enqueue(conn: Connection, workspace: str = "clinic", body: str = "Hello") -> UUID:
    found: UUID = await conn.fetchval("select duly.enqueue($1, 'sms', '+14155550123', $2)", workspace, body)
    return found


async def tables(conn: Connection) -> list[tuple[str, str]]:
    rows = await conn.fetch(
        "select relname, relkind::text from pg_class"
        " where relnamespace = 'duly'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S')"
    )
    return [(row["relname"], row["relkind"]) for row in rows]


# A producer.


async def test_a_producer_writes_to_its_own_workspaces_only(clinic: Connection, conn: Connection) -> None:
    delivery = await enqueue(clinic)
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: 'shop' is not") as there:
        await enqueue(clinic, "shop")
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: 'none' is not") as absent:
        await enqueue(clinic, "none")
    assert str(there.value).replace("shop", "none") == str(absent.value)  # which exist is not for strangers
    items = [
        {"workspace": w, "channel": "sms", "to": "+14155550123", "body": "x"} for w in ("shop", "clinic")
    ]
    rows = await clinic.fetch("select * from duly.enqueue_batch($1::jsonb)", json.dumps(items))
    assert [row["id"] is None for row in rows] == [True, False]
    assert {row["id"] for row in await conn.fetch("select id from duly.delivery")} == {
        delivery,
        rows[1]["id"],
    }


async def test_a_producer_sees_its_own_deliveries_only(clinic: Connection, conn: Connection) -> None:
    mine, other = await enqueue(clinic), await enqueue(conn, "shop")
    assert [r["id"] for r in await clinic.fetch("select * from duly.delivery")] == [mine]
    assert await clinic.fetchval("select count(*) from duly.delivery where id = $1", other) == 0
    assert await clinic.fetchval("select count(*) from duly.delivery where workspace = 'shop'") == 0


async def test_a_function_in_a_where_sees_no_row_of_others(clinic: Connection, conn: Connection) -> None:
    """The view is a security barrier: a cheap function of the reader's cannot run before its filter."""
    await enqueue(clinic, body="mine")
    await enqueue(conn, "shop")
    await clinic.execute(
        """create function pg_temp.tell(workspace text) returns boolean language plpgsql cost 0.0000001
           as $$ begin raise notice '%', workspace; return true; end $$"""
    )
    heard: list[str] = []
    clinic.add_log_listener(lambda _, message: heard.append(str(getattr(message, "message", message))))
    await clinic.fetch("select * from duly.delivery where pg_temp.tell(workspace)")
    assert heard == ["clinic"]


async def test_a_producer_cancels_its_own_deliveries_only(clinic: Connection, conn: Connection) -> None:
    mine, other = await enqueue(clinic), await enqueue(conn, "shop")
    with pytest.raises(asyncpg.NoDataFoundError):
        await clinic.fetchval("select duly.cancel($1)", other)
    assert await clinic.fetchval("select duly.cancel($1)", mine) is True
    assert await conn.fetchval("select state from duly.delivery where id = $1", other) == "queued"


async def test_one_who_reads_everything_and_writes_to_one_workspace_changes_only_that_one(
    logins: Logins, conn: Connection
) -> None:
    login = await logins.role("duly_producer", "duly_reader")
    await conn.execute("select duly.allow_producer($1, 'clinic')", login)
    both = await logins.connect(login)
    other = await enqueue(conn, "shop")
    assert await both.fetchval("select count(*) from duly.delivery") == 1
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await enqueue(both, "shop")
    with pytest.raises(asyncpg.NoDataFoundError):
        await both.fetchval("select duly.cancel($1)", other)
    assert await conn.fetchval("select state from duly.delivery where id = $1", other) == "queued"
    await conn.execute("update duly.delivery_row set state = 'failed' where id = $1", other)
    assert await both.fetchval("select duly.replay('me', 'why')") == 0
    assert await both.fetchval("select duly.dismiss('me', 'why')") == 0


async def test_a_producer_simulates_for_its_own_workspaces_only(
    clinic: Connection, conn: Connection, database: Database, logins: Logins
) -> None:
    await publish_rules(database, parse_config("[workspaces.clinic]"))
    simulate = "select duly.simulate($1, 'sms', '+14155550123')"
    assert json.loads(await clinic.fetchval(simulate, "clinic"))["outcome"] == "go"
    daemon = await logins.connect(await logins.role("duly_daemon"))
    assert json.loads(await daemon.fetchval(simulate, "shop"))["outcome"] == "go"
    for workspace in ("shop", "none"):
        with pytest.raises(asyncpg.InvalidParameterValueError, match=f"^workspace: '{workspace}' is not"):
            await clinic.fetchval(simulate, workspace)
    for statement in (
        "select duly.register_rules('{}')",
        "select duly.register_almanac('x', now(), now(), '[]', '[]', '[]', '[]')",
        "select duly.origin('+14155550123')",
    ):
        with pytest.raises(DENIED):
            await clinic.execute(statement)
    assert await conn.fetchval("select count(*) from duly.rule_set") == 2


async def test_a_producer_has_no_right_on_any_table(clinic: Connection, conn: Connection) -> None:
    for name, kind in await tables(conn):
        if kind == "S":
            with pytest.raises(DENIED):
                await clinic.fetchval("select nextval($1::text::regclass)", f"duly.{name}")
            continue
        if name != "delivery":
            with pytest.raises(DENIED):
                await clinic.fetch(f"select * from duly.{name}")
        for statement in (f"delete from duly.{name}", f"insert into duly.{name} default values"):
            with pytest.raises((DENIED, asyncpg.ObjectNotInPrerequisiteStateError)):
                await clinic.execute(statement)
        if kind == "r":
            with pytest.raises(DENIED):
                await clinic.execute(f"truncate duly.{name}")


@pytest.mark.parametrize("role", sorted(MAY_CALL))
async def test_a_role_may_call_what_it_needs_and_nothing_else(conn: Connection, role: str) -> None:
    rows = await conn.fetch(
        """select distinct proname from pg_proc
           where pronamespace = 'duly'::regnamespace and has_function_privilege($1, oid, 'execute')""",
        role,
    )
    assert {row["proname"] for row in rows} == MAY_CALL[role]


async def test_a_producer_cannot_let_itself_in(clinic: Connection) -> None:
    for statement in (
        "select duly.allow_producer(session_user, 'shop')",
        "select duly.register_workspace('mine')",
        "select duly.enqueue_checked(null, 'sms', '', '', now(), 1, null, 'x', null, null, '{}', '{}')",
        "insert into duly.producer select session_user, 1",
        "set role duly_daemon",
        "set role duly_reader",
        "create table duly.mine (a int)",
        "create function duly.mine() returns int language sql as 'select 1'",
        "alter view duly.delivery rename to old",
        "drop view duly.delivery",
        "alter schema duly rename to old",
        "grant duly_daemon to current_user",
    ):
        with pytest.raises(DENIED):
            await clinic.execute(statement)


async def test_a_producer_without_a_workspace_writes_and_sees_nothing(
    logins: Logins, conn: Connection
) -> None:
    login = await logins.connect(await logins.role("duly_producer"))
    await enqueue(conn)
    assert await login.fetch("select * from duly.delivery") == []
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: "):
        await enqueue(login)


async def test_a_workspace_alone_is_not_enough_without_the_role(logins: Logins, conn: Connection) -> None:
    login = await logins.role()
    await conn.execute("select duly.allow_producer($1, 'clinic')", login)
    with pytest.raises(DENIED):
        await enqueue(await logins.connect(login))


async def test_letting_in_names_what_is_unknown(conn: Connection, logins: Logins) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^login: there is no role"):
        await conn.execute("select duly.allow_producer('nobody_at_all', 'clinic')")
    login = await logins.role("duly_producer")
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: .* is not known"):
        await conn.execute("select duly.allow_producer($1, 'nowhere')", login)
    for _ in range(2):
        await conn.execute("select duly.allow_producer($1, 'clinic')", login)


async def test_a_login_that_was_dropped_holds_up_nobody(
    clinic: Connection, reader: Connection, conn: Connection, logins: Logins
) -> None:
    left = await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", left)
    await conn.execute(f"drop role {left}")
    delivery = await enqueue(clinic)
    for each in (clinic, reader, conn):
        assert await each.fetchval("select count(*) from duly.delivery") == 1
    assert await clinic.fetchval("select duly.cancel($1)", delivery) is True


async def test_a_producer_uploads_to_its_own_workspaces_only(
    clinic: Connection, conn: Connection, logins: Logins
) -> None:
    begin = "select id from duly.upload_begin($1, 'people.csv', $2, 'sms', 'Hello')"
    lines = "select * from duly.upload_lines($1, 0, 1, '{1}', '{+14155550123}')"
    upload = await clinic.fetchval(begin, "clinic", bytes(32))
    assert await clinic.fetch(lines, upload) == []
    assert await clinic.fetchval("select count(*) from duly.delivery") == 1
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: 'shop' is not"):
        await clinic.fetch(begin, "shop", bytes(32))
    other = await conn.fetchval(begin, "shop", bytes(32))
    with pytest.raises(asyncpg.NoDataFoundError):
        await clinic.fetch(lines, other)
    assert await conn.fetchval("select count(*) from duly.delivery_row") == 1


async def test_a_producer_knows_the_people_of_its_own_workspaces_only(
    clinic: Connection, conn: Connection
) -> None:
    number = '[{"channel": "sms", "address": "+14155550123"}]'
    to = '[{"channel": "sms", "to": "+14155550123", "state": "given"}]'
    listed = '[{"channel": "sms", "to": "+14155550123"}]'
    calls = (
        ("select duly.put_contact($1, 'p-1', addresses => $2::text::jsonb)", number),
        ("select id from duly.put_contacts($1, $2::text::jsonb)", f'[{{"addresses": {number}}}]'),
        ("select id from duly.record_consents($1, $2::text::jsonb)", to),
        ("select added from duly.do_not_contact_batch($1, $2::text::jsonb)", listed),
        ("select duly.remove_address($1, 'sms', $2)", "+14155550123"),
    )
    for call, argument in calls:
        assert await clinic.fetchval(call, "clinic", argument)
        with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^workspace: 'shop' is not"):
            await clinic.fetchval(call, "shop", argument)
    with pytest.raises(DENIED):
        await clinic.fetchval(calls[3][0], None, listed)
    for table in ("contact", "address", "consent", "suppression", "time_zone"):
        with pytest.raises(DENIED):
            await clinic.fetch(f"select * from duly.{table}")
    assert await conn.fetchval("select array_agg(distinct workspace_id) from duly.consent") == [1]


async def test_a_producer_cannot_make_an_address_the_business_s_own(
    clinic: Connection, conn: Connection
) -> None:
    """An unverified business may write to those: which they are is the operator's to say."""
    put = "select duly.put_contact('clinic', 'us', addresses => $1::text::jsonb)"
    own = '[{"channel": "sms", "address": "+14155550123", "own": true, "verified": true}]'
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^addresses: which are the business's own"):
        await clinic.execute(put, own)
    await conn.execute(put, own)
    await clinic.execute(put, own)
    assert await conn.fetchval("select own and verified_at is not null from duly.address") is True


async def test_a_producers_own_objects_do_not_get_into_an_upload(clinic: Connection) -> None:
    """What is read are the arrays that were given, and no table that the caller could have made."""
    await clinic.execute(
        """create temp table upload (id uuid); create temp table message (id uuid);
           create function pg_temp.problem(text) returns text language sql as 'select null'"""
    )
    upload = await clinic.fetchval(
        "select id from duly.upload_begin('clinic', 'people.csv', $1, 'sms', 'Hello')", bytes(32)
    )
    found = await clinic.fetch("select * from duly.upload_lines($1, 0, 1, '{1}', '{nobody}')", upload)
    assert [row["line"] for row in found] == [1]


# SET ROLE and membership.


async def test_a_member_of_a_producer_group_writes_to_its_workspaces(
    logins: Logins, conn: Connection
) -> None:
    team = await logins.role("duly_producer", login="nologin")
    await conn.execute("select duly.allow_producer($1, 'clinic')", team)
    member = await logins.connect(await logins.role(team))
    delivery = await enqueue(member)
    assert await member.fetchval("select id from duly.delivery") == delivery


async def test_set_role_makes_a_login_another(logins: Logins, conn: Connection) -> None:
    for_clinic, for_shop = await logins.role("duly_producer"), await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", for_clinic)
    await conn.execute("select duly.allow_producer($1, 'shop')", for_shop)
    pooler = await logins.connect(await logins.role(for_clinic, for_shop, options="noinherit"))
    with pytest.raises(DENIED):
        await enqueue(pooler)
    for role, own, others in ((for_clinic, "clinic", "shop"), (for_shop, "shop", "clinic")):
        await pooler.execute(f"set role {role}")
        delivery = await enqueue(pooler, own)
        assert [r["id"] for r in await pooler.fetch("select id from duly.delivery")] == [delivery]
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await enqueue(pooler, others)
    await pooler.execute("reset role")
    with pytest.raises(DENIED):
        await enqueue(pooler)


async def test_a_superuser_in_a_producers_role_is_no_more_than_a_producer(
    conn: Connection, logins: Logins
) -> None:
    login = await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", login)
    await enqueue(conn, "shop")
    async with conn.transaction():
        await conn.execute(f"set local role {login}")
        assert await conn.fetchval("select count(*) from duly.delivery") == 0
        await enqueue(conn, "clinic")
        assert await conn.fetchval("select count(*) from duly.delivery") == 1


# A reader, and everybody else.


async def test_a_reader_sees_the_view_and_nothing_else(reader: Connection, conn: Connection) -> None:
    delivery = await enqueue(conn)
    await enqueue(conn, "shop")
    assert await reader.fetchval("select count(*) from duly.delivery") == 2
    for name, kind in await tables(conn):
        if kind == "r":
            with pytest.raises(DENIED):
                await reader.fetch(f"select * from duly.{name}")
    for statement in (
        "select duly.enqueue('clinic', 'sms', '+14155550123', 'Hello')",
        "select duly.enqueue_batch('[]')",
        "select duly.upload_begin('clinic', 'k', '\\x00', 'sms', 'Hello')",
        "select duly.simulate('clinic', 'sms', '+14155550123')",
        f"select duly.cancel('{delivery}')",
        "select duly.replay('me', 'why')",
        "update duly.delivery set state = 'sent'",
        "delete from duly.delivery",
    ):
        with pytest.raises((DENIED, asyncpg.ObjectNotInPrerequisiteStateError)):
            await reader.execute(statement)


async def test_everybody_else_has_nothing(stranger: Connection, conn: Connection) -> None:
    await enqueue(conn)
    for statement in (
        "select * from duly.delivery",
        "select * from duly.delivery_row",
        "select duly.enqueue('clinic', 'sms', '+14155550123', 'Hello')",
        "select duly.caller()",
        "select 'sms'::duly.channel",
    ):
        with pytest.raises(DENIED, match="schema duly"):
            await stranger.execute(statement)


async def test_public_has_no_right_on_anything(conn: Connection) -> None:
    """Functions are open to everybody when they are made: each migration has to take that back."""
    rows = await conn.fetch(
        """select 'function ' || p.proname as what from pg_proc p,
                  aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
           where p.pronamespace = 'duly'::regnamespace and a.grantee = 0
           union all
           select 'table ' || c.relname from pg_class c,
                  aclexplode(coalesce(
                    c.relacl, acldefault((case c.relkind when 'S' then 's' else 'r' end)::"char", c.relowner))) a
           where c.relnamespace = 'duly'::regnamespace and a.grantee = 0
           union all
           select 'schema' from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'duly' and a.grantee = 0"""
    )
    assert [row["what"] for row in rows] == []


# Attacks through the search path.


async def test_every_function_with_its_owners_rights_has_a_fixed_search_path(conn: Connection) -> None:
    rows = await conn.fetch(
        "select proname, proconfig from pg_proc where pronamespace = 'duly'::regnamespace and prosecdef"
    )
    assert {"enqueue", "enqueue_batch", "upload_lines", "cancel", "visible_workspaces"} <= {
        row["proname"] for row in rows
    }
    for row in rows:
        assert row["proconfig"] == ["search_path=duly, pg_temp"], row["proname"]


async def test_a_search_path_of_the_callers_changes_nothing(
    clinic: Connection, conn: Connection, logins: Logins
) -> None:
    login = await clinic.fetchval("select session_user::text")
    await conn.execute(f"create schema evil authorization {login}")
    await enqueue(conn, "shop")
    for statement in (
        "create function evil.pg_has_role(name, name, text) returns boolean language sql as 'select true'",
        "create function evil.pg_has_role(name, oid, text) returns boolean language sql as 'select true'",
        "create function evil.current_setting(text) returns text language sql as $$ select 'postgres' $$",
        "create function evil.now() returns timestamptz language sql as $$ select 'epoch'::timestamptz $$",
        """create function evil.jsonb_typeof(jsonb) returns text language plpgsql
           as $$ begin insert into evil.loot select current_user; return 'array'; end $$""",
        """create function evil.equal(name, name) returns boolean language plpgsql
           as $$ begin insert into evil.loot select current_user; return true; end $$""",
        "create operator evil.= (leftarg = name, rightarg = name, function = evil.equal)",
        "create table evil.loot (who name)",
        "create table evil.workspace (id int, name text, duplicate_window interval, created_at timestamptz)",
        "insert into evil.workspace values (2, 'shop')",
        "create temp table workspace as select * from evil.workspace",
        "create temp table producer as select session_user as login, 2 as workspace_id",
        "create temp table pg_roles as select oid, rolname from pg_catalog.pg_roles",
        "set search_path = evil, pg_temp, pg_catalog, duly",
    ):
        await clinic.execute(statement)
    delivery = await enqueue(clinic)
    await clinic.fetch("select * from duly.enqueue_batch('[{}]')")
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await enqueue(clinic, "shop")
    assert [r["id"] for r in await clinic.fetch("select id from duly.delivery")] == [delivery]
    assert await clinic.fetchval("select duly.cancel($1)", delivery) is True
    assert await clinic.fetch("select who from evil.loot") == []
    assert await conn.fetchval("select due_at > now() - interval '1 day' from duly.delivery_row") is True


# The audit.

APPEND = "select duly.audit_append('ada', 'exported')"


@pytest.mark.parametrize("role", ["duly_producer", "duly_reader", "duly_daemon"])
async def test_no_role_changes_the_audit(logins: Logins, conn: Connection, role: str) -> None:
    await conn.execute(f"{APPEND}; select duly.audit_chain(10); {APPEND}")
    login = await logins.connect(await logins.role(role))
    before = await conn.fetch("select * from duly.audit")
    for table, column in (("audit", "who"), ("audit_intake", "who"), ("audit_head", "hash")):
        for statement in (
            f"insert into duly.{table} default values",
            f"update duly.{table} set {column} = {column}",
            f"delete from duly.{table}",
            f"truncate duly.{table}",
            f"alter table duly.{table} disable trigger all",
            f"drop trigger append_only on duly.{table}",
            f"create trigger mine before insert on duly.{table} execute function duly.audit_refuse()",
        ):
            with pytest.raises(DENIED):
                await login.execute(statement)
    for statement in (
        "set session_replication_role = replica",
        "alter type duly.act add value 'nothing'",
        "select setval('duly.audit_intake_id_seq', 1)",
        "create or replace function duly.audit_append(who text, what text, workspace_id integer default null,"
        " subject text default null, detail jsonb default '{}') returns void language sql as 'select'",
    ):
        with pytest.raises(DENIED):
            await login.execute(statement)
    assert await conn.fetch("select * from duly.audit") == before
    assert await conn.fetchval("select count(*) from duly.audit_intake") == 1


@pytest.mark.parametrize(
    ("role", "may"), [("duly_producer", False), ("duly_reader", False), ("duly_daemon", True)]
)
async def test_only_the_daemon_records_chains_and_reads(
    logins: Logins, conn: Connection, role: str, may: bool
) -> None:
    login = await logins.connect(await logins.role(role))
    for statement in (
        APPEND,
        "select duly.audit_chain(10)",
        "select * from duly.audit",
        "select * from duly.audit_head",
    ):
        if may:
            await login.execute(statement)
        else:
            with pytest.raises(DENIED):
                await login.execute(statement)
    assert await conn.fetchval("select count(*) from duly.audit") == int(may)


async def test_a_producers_cancel_is_recorded_under_its_own_name(
    clinic: Connection, conn: Connection, logins: Logins
) -> None:
    login = await clinic.fetchval("select session_user::text")
    await clinic.execute("select duly.cancel($1)", await enqueue(clinic))
    other = await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", other)
    async with conn.transaction():
        await conn.execute(f"set local role {other}")
        await conn.execute("select duly.cancel($1)", await enqueue(conn))
    rows = await conn.fetch("select who from duly.audit_intake order by id")
    assert [row["who"] for row in rows] == [login, other]


async def test_a_name_that_a_producer_gives_does_not_hide_its_login(
    clinic: Connection, conn: Connection
) -> None:
    delivery = await enqueue(clinic)
    await conn.execute("update duly.delivery_row set state = 'failed' where id = $1", delivery)
    assert await clinic.fetchval("select duly.replay('the director', 'why')") == 1
    row = await conn.fetchrow("select who, detail ->> 'login' as login from duly.audit_intake")
    assert tuple(row or ()) == ("the director", await clinic.fetchval("select session_user::text"))


# The daemon.


@pytest_asyncio.fixture
async def daemon_login(logins: Logins) -> str:
    return await logins.role("duly_daemon")


async def test_the_daemons_role_may_run_every_query(logins: Logins, daemon_login: str) -> None:
    """EXPLAIN checks the rights as running it would, and needs no parameters' values."""
    daemon = await logins.connect(daemon_login)
    wrong = {}
    for name in QUERIES:
        try:
            await daemon.execute(f"explain (generic_plan) {query(name)}")
        except asyncpg.PostgresError as error:
            wrong[name] = str(error)
    assert wrong == {}
    assert len(QUERIES) > 20


async def test_a_daemon_in_the_daemons_role_does_its_work(
    dsn: str, daemon_login: str, conn: Connection, sandbox: Sandbox, work_dir: Path
) -> None:
    port = free_port()
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn_for(dsn, daemon_login), sandbox.url, port))
    async with running(path, port) as daemon:
        delivery = await enqueue(conn)

        async def delivered() -> bool:
            found = await conn.fetchval("select state from duly.delivery where id = $1", delivery)
            return bool(found == "delivered")

        await until(delivered)
        assert await daemon.stop() == 0
        assert "permission denied" not in daemon.log


async def test_the_daemons_role_seals_exports_erases_and_removes_what_is_old(
    dsn: str, daemon_login: str, conn: Connection
) -> None:
    database = Database(lambda: dsn_for(dsn, daemon_login))
    ring = KeyRing({"a": bytes(32)}, "a")
    keys = DataKeys(database, lambda: ring)
    sealer = Sealer(database, keys, lambda: {"clinic": True}, asyncio.Event())
    await sealer.once()
    delivery = await enqueue(conn)
    assert await sealer.once() == 2
    await keys.renew(1)
    assert (await sealer.once(), await keys.rewrap()) == (2, 0)
    async with database.acquire() as daemon, daemon.transaction():
        person = await find(daemon, "clinic", "sms", "+14155550123", None)
        assert person is not None
        text = b"".join([piece async for piece in document(daemon, person, Counter(), keys)])
    assert json.loads(text)["deliveries"][0]["body"] == "Hello"
    config = parse_config("[privacy]\nkeep_bodies_days = 1\nkeep_facts_days = 2", environ={})
    assert not (await Retention(database, lambda: config, asyncio.Event()).once()).total()
    hold = ("clinic", "me", "why", "sms", "+14155550123")
    assert await database.fetchrow(query("legal_hold_begin"), *hold)
    assert await database.fetchrow(query("legal_hold_end"), *hold)
    await database.fetchrow(query("erase"), *hold, None)
    assert await conn.fetchval("select reason from duly.delivery_row where id = $1", delivery) == "erased"
    await database.close()


async def test_the_daemons_role_removes_nothing_and_changes_no_schema(
    daemon_login: str, logins: Logins, conn: Connection
) -> None:
    daemon = await logins.connect(daemon_login)
    delivery = await enqueue(conn)
    for name, kind in await tables(conn):
        if kind != "r":
            continue
        with pytest.raises(DENIED):
            await daemon.execute(f"truncate duly.{name}")
        with pytest.raises(DENIED):
            await daemon.execute(f"drop table duly.{name}")
        with pytest.raises(DENIED):
            await daemon.execute(f"alter table duly.{name} add column more text")
    for statement in (
        "delete from duly.delivery_row",
        "delete from duly.message",
        "delete from duly.attempt",
        "delete from duly.callback",
        "delete from duly.inbound",
        "delete from duly.workspace",
        "update duly.message set body = ''",
        "update duly.workspace set name = name || 'x'",
        "insert into duly.delivery_row (id) select gen_random_uuid()",
        "insert into duly.producer select 'postgres', 1",
        "insert into duly.migration select 99, 'x', 'x'",
        "select duly.allow_producer('postgres', 'clinic')",
        "create table duly.more (a int)",
        "create or replace function duly.cancel(id uuid) returns boolean language sql as 'select true'",
        "drop function duly.cancel(uuid)",
        "drop view duly.delivery",
        "drop schema duly cascade",
    ):
        with pytest.raises(DENIED):
            await daemon.execute(statement)
    assert await daemon.fetchval("select duly.cancel($1)", delivery) is True
