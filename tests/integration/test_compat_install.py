"""Compatible SQL installed, taken away, and refused where the application has something of that name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from daemon.cli import app
from daemon.store.compat import CompatError, Part, install, installed, load, remove
from daemon.store.database import Connection
from tests.integration.compat import put, user
from tests.integration.test_roles import DENIED, Logins

RUNNER = CliRunner()
WRONG = asyncpg.InvalidParameterValueError


@pytest_asyncio.fixture
async def logins(dsn: str, conn: Connection) -> AsyncIterator[Logins]:
    found = Logins(dsn, conn)
    yield found
    await found.close()


@pytest.fixture
def config(work_dir: Path, dsn: str) -> str:
    path = work_dir / "duly.toml"
    path.write_text(f'[database]\nurl = "{dsn}"\n[workspaces.clinic]\n[workspaces.shop]\n')
    return str(path)


def run(*args: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, ["migrate", *args])
    return result.exit_code, result.output


async def visible(conn: Connection, schema: str = "public") -> set[str]:
    rows = await conn.fetch(
        """select relname as name from pg_class where relnamespace = $1::regnamespace and relkind = 'v'
           union select proname from pg_proc where pronamespace = $1::regnamespace""",
        schema,
    )
    return {row["name"] for row in rows}


async def test_it_is_installed_again_and_taken_away(conn: Connection) -> None:
    wanted = {s.name for part in Part for s in load(part).sections if s.kind != "schema"}
    for _ in range(2):
        await put(conn, *Part)
        assert await visible(conn) == wanted
    assert await installed(conn, "public") == sorted(Part)
    ada = await user(conn)
    assert await remove(conn, list(Part), "public") == len(wanted) + 2  # and the two schemas of pgmq
    assert await visible(conn) == set()
    assert await conn.fetchval("select count(*) from pg_namespace where nspname like 'pgmq%'") == 0
    with pytest.raises(CompatError, match="rundown is not installed in schema public"):
        await remove(conn, [Part.RUNDOWN], "public")
    await put(conn, Part.RUNDOWN)
    assert await conn.fetchval("select id from users") == ada  # what it showed has stayed


async def test_what_is_there_already_is_left_alone(conn: Connection) -> None:
    await conn.execute("select duly.register_workspace('clinic'); create table users (id int)")
    await conn.execute("create function get_messages_to_send() returns int language sql as 'select 1'")
    with pytest.raises(CompatError) as told:
        await install(conn, [Part.PATIENTS, Part.RUNDOWN], "public", "clinic")
    assert "function get_messages_to_send(), table users" in str(told.value)
    assert "search_path" in str(told.value)
    assert await conn.fetchval("select to_regclass('patients')") is None
    assert await conn.fetchval("select to_regnamespace('duly_compat')") is None
    names = await install(
        conn, [Part.RUNDOWN], "public", "clinic", skip=["users", "contacts", "get_messages_to_send"]
    )
    assert "message_queue" in names
    assert await conn.fetchval("select relkind::text from pg_class where oid = 'users'::regclass") == "r"
    await remove(conn, [Part.RUNDOWN], "public")
    assert await conn.fetchval("select count(*) from users") == 0
    # Beside it, in a schema of its own that the application looks into first; with a name that wants quoting.
    await conn.execute("""create schema "Mr. O'Duly" """)
    await install(conn, [Part.RUNDOWN], "Mr. O'Duly", "clinic")
    await conn.execute("""set search_path = "Mr. O'Duly", public""")
    ada = await user(conn)
    message = await conn.fetchval("select schedule_accountability_message($1, null, 'Run!')", ada)
    assert await conn.fetchval("select id from message_queue") == message
    assert await remove(conn, [Part.RUNDOWN], "Mr. O'Duly") == 9


async def test_what_needs_it_keeps_it_and_what_waits_for_a_foreign_sender_too(conn: Connection) -> None:
    await put(conn, Part.RUNDOWN)
    await conn.execute("create view overview as select count(*) from message_queue")
    with pytest.raises(CompatError, match="view overview depends on view message_queue"):
        await remove(conn, [Part.RUNDOWN], "public")
    await conn.execute("drop view overview; select duly_compat.set_sender('public', 'foreign')")
    ada = await user(conn)
    await conn.execute("insert into message_queue (user_id, message_text) values ($1, 'x')", ada)
    with pytest.raises(CompatError, match="messages wait for the foreign sender"):
        await remove(conn, [Part.RUNDOWN], "public")
    with pytest.raises(
        asyncpg.InvalidParameterValueError, match="stands in schema public for workspace clinic"
    ):
        await put(conn, Part.RUNDOWN, workspace="shop")


async def test_two_schemas_are_two_workspaces(conn: Connection) -> None:
    await conn.execute("create schema a; create schema b")
    await put(conn, Part.PATIENTS, schema="a")
    await put(conn, Part.PATIENTS, schema="b", workspace="shop")
    await conn.execute("insert into a.patients (id, phone) values ('p-1', '+14155550102')")
    await conn.execute("insert into b.patients (id, phone) values ('p-1', '+14155550103')")
    for schema, phone in (("a", "+14155550102"), ("b", "+14155550103")):
        assert [r["phone"] for r in await conn.fetch(f"select phone from {schema}.patients")] == [phone]


async def test_the_command_installs_looks_and_takes_away(conn: Connection, config: str) -> None:
    common = ("--config", config, "--compat", "all", "--workspace", "clinic", "--json")
    status, output = await asyncio.to_thread(run, *common, "--dry-run")
    assert status == 0
    assert "message_queue" in json.loads(output)["compatible"]
    assert await visible(conn) == set()
    status, output = await asyncio.to_thread(run, *common, "--team", "7=shop", "--sender", "foreign")
    assert status == 0
    assert json.loads(output)["applied"] == []
    row = await conn.fetchrow(
        """select i.category, i.sender,
                  (select w.name from duly_compat.team t join duly.workspace w on w.id = t.workspace_id)
           from duly_compat.installed i where part = 'rundown'"""
    )
    assert row is not None
    assert tuple(row) == ("accountability", "foreign", "shop")
    status, output = await asyncio.to_thread(run, "--config", config, "--compat", "all", "--remove")
    assert (status, "objects of compatible SQL have gone from public" in output) == (0, True)
    assert await visible(conn) == set()


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["--compat", "other", "--workspace", "clinic"], 2, "--compat: 'other' is none of rundown"),
        (["--compat", "rundown"], 2, "--workspace: is missing"),
        (["--workspace", "clinic"], 2, "--compat: say which"),
        (["--compat", "patients", "--workspace", "clinic", "--sender", "foreign"], 2, "--sender: is duly or"),
        (
            ["--compat", "rundown", "--workspace", "clinic", "--sender", "me"],
            2,
            "--sender: is duly or foreign",
        ),
        (["--compat", "rundown", "--workspace", "clinic", "--team", "7=shop"], 2, "--team: is for prasso"),
        (
            ["--compat", "prasso", "--workspace", "clinic", "--team", "x"],
            2,
            "--team: 'x' is not ID=WORKSPACE",
        ),
    ],
)
def test_the_command_says_what_is_wrong(work_dir: Path, args: list[str], status: int, words: str) -> None:
    result = RUNNER.invoke(app, ["migrate", "--config", str(work_dir / "none.toml"), *args])
    assert result.exit_code == status
    assert words in result.stderr


async def test_the_command_refuses_what_does_not_fit(conn: Connection, config: str) -> None:
    for args, status, words in (
        (["rundown", "--workspace", "nobody"], 2, "workspace: 'nobody'"),
        (["rundown", "--workspace", "clinic", "--schema", "nowhere"], 1, "there is no schema nowhere"),
        (["rundown", "--workspace", "clinic", "--schema", "duly"], 1, "is no schema of an application"),
        (["rundown", "--workspace", "clinic", "--skip", "tables"], 1, "--skip: 'tables' is none of"),
        (["rundown", "--workspace", "clinic", "--category", "Loud"], 2, "category: must be"),
        (["rundown", "--remove"], 1, "no compatible SQL is installed"),
    ):
        result = await asyncio.to_thread(
            RUNNER.invoke, app, ["migrate", "--config", config, "--compat", *args]
        )
        assert (result.exit_code, words in result.stderr) == (status, True), result.stderr
    assert await visible(conn) == set()


# Who may do what.


async def test_roles_read_and_write_their_own_workspaces_only(conn: Connection, logins: Logins) -> None:
    await conn.execute("create schema a; create schema b; grant usage on schema a, b to public")
    await put(conn, *Part, schema="a")
    await put(conn, Part.PATIENTS, Part.RUNDOWN, schema="b", workspace="shop")
    ada = uuid4()
    await conn.execute("insert into a.users (id, phone) values ($1, '+14155550123')", ada)
    for schema in "ab":
        await conn.execute(f"insert into {schema}.patients (id, phone) values ('p-1', '+14155550102')")
        await conn.execute(
            f"""insert into {schema}.scheduled_messages (patient_id, message_content, scheduled_time, platform)
                values ('p-1', 'Hi', now() + interval '1 hour', 'sms')"""
        )
    login = await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", login)
    clinic = await logins.connect(login)
    reader = await logins.connect(await logins.role("duly_reader"))
    both_login = await logins.role("duly_producer", "duly_reader")
    await conn.execute("select duly.allow_producer($1, 'clinic')", both_login)
    both = await logins.connect(both_login)
    stranger = await logins.connect(await logins.role())

    # A producer of the clinic's.
    assert await clinic.fetchval("select count(*) from a.scheduled_messages") == 1
    assert await clinic.fetchval("select count(*) from b.scheduled_messages") == 0
    assert await clinic.fetchval("select count(*) from b.patients") == 0
    assert await clinic.fetchval("select a.schedule_accountability_message($1, null, 'Run!')", ada)
    assert await clinic.fetchval("select count(*) from a.message_jobs") == 2
    with pytest.raises(WRONG, match="workspace: 'shop' is not a workspace that"):
        await clinic.execute("insert into b.patients (id) values ('p-2')")
    with pytest.raises(WRONG, match="workspace: 'shop' is not a workspace that"):
        await clinic.execute("select b.schedule_accountability_message($1, null, 'Run!')", ada)
    await clinic.execute("set duly.workspace = 'shop'")
    assert await clinic.fetchval("select count(*) from a.scheduled_messages") == 0
    with pytest.raises(WRONG, match="workspace: 'shop' is not"):
        await clinic.execute("insert into a.patients (id) values ('p-2')")
    await clinic.execute("reset duly.workspace")
    await clinic.execute("update a.scheduled_messages set status = 'canceled' where patient_id = 'p-1'")
    for statement in (
        "select * from duly_compat.entry",
        "select * from duly_compat.delivery",
        "select * from duly_compat.person",
        "insert into duly_compat.team values ('a', 1, 1)",
        "select duly_compat.set_sender('a', 'foreign')",
        "select duly_compat.put_team('a', 1, 'clinic')",
        "select duly_compat.set_status(1, gen_random_uuid(), 'queued')",
        "select duly_compat.put_installation('a', 'rundown', 'clinic', null)",
        "select duly_compat.take_away('a', 'rundown')",
        "create table duly_compat.mine (a int)",
        "drop view a.message_queue",
    ):
        with pytest.raises(DENIED):
            await clinic.execute(statement)

    # Who reads all, and who reads all and writes to one.
    assert await reader.fetchval("select count(*) from b.scheduled_messages") == 1
    assert await both.fetchval("select count(*) from b.scheduled_messages") == 1
    for statement in (
        "insert into b.patients (id) values ('p-2')",
        "update b.scheduled_messages set status = 'canceled'",
        "delete from b.scheduled_messages",
    ):
        with pytest.raises(DENIED):
            await reader.execute(statement)
        with pytest.raises((DENIED, WRONG)):
            await both.execute(statement)
    with pytest.raises(DENIED):
        await reader.execute("select * from a.get_messages_to_send()")
    assert await conn.fetchval("select state from duly.delivery where workspace = 'shop'") == "queued"

    # And nobody else.
    for statement in (
        "select * from a.patients",
        "select a.update_message_status(gen_random_uuid(), 'sent')",
    ):
        with pytest.raises(DENIED):
            await stranger.execute(statement)
    daemon = await logins.connect(await logins.role("duly_daemon"))
    assert await daemon.fetchval("select count(*) from b.scheduled_messages") == 1
    await daemon.execute("select duly_compat.put_team('a', 1, 'clinic')")


async def test_a_function_in_a_where_sees_no_row_of_others(conn: Connection, logins: Logins) -> None:
    await put(conn, *Part)
    await conn.execute("select duly.enqueue('shop', 'sms', '+14155550123', 'theirs')")
    await conn.execute("select duly.enqueue('clinic', 'sms', '+14155550123', 'ours')")
    login = await logins.role("duly_producer")
    await conn.execute("select duly.allow_producer($1, 'clinic')", login)
    clinic = await logins.connect(login)
    await clinic.execute("set duly.workspace = 'clinic'")
    await clinic.execute(
        """create function pg_temp.tell(words text) returns boolean language plpgsql cost 0.0000001
           as $$ begin raise notice '%', words; return true; end $$"""
    )
    heard: list[str] = []
    clinic.add_log_listener(lambda _, message: heard.append(str(getattr(message, "message", message))))
    for view, column in (
        ("message_queue", "message_text"),
        ("messages", "message_text"),
        ("scheduled_messages", "message_content"),
        ("message_jobs", "message_content"),
    ):
        await clinic.fetch(f"select * from {view} where pg_temp.tell({column})")
    assert heard == ["ours"] * 4


async def test_the_roles_may_call_what_they_need_and_nothing_else(conn: Connection) -> None:
    await put(conn, *Part)
    reads = {"readable", "as_uuid", "queue_metrics"}
    writes = {"schedule_accountability_message", "get_messages_to_send", "update_message_status"}
    sends = {"among", "queued_already"}
    for role, wanted in (
        ("public", set()),
        ("duly_reader", reads),
        ("duly_producer", reads | writes | sends),
        ("duly_daemon", reads | writes | sends | {"set_sender", "put_team"}),
    ):
        rows = await conn.fetch(
            """select proname from pg_proc
               where pronamespace = 'duly_compat'::regnamespace and has_function_privilege($1, oid, 'execute')""",
            role,
        )
        assert {row["proname"] for row in rows} == wanted, role
