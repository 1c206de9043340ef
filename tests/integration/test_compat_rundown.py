"""Rundown's tables, functions and queries over Duly's."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.sandbox.app import Sandbox
from daemon.store.compat import Part
from daemon.store.database import Connection, Database
from tests.daemons import plain_sandbox
from tests.integration.compat import publish, put, user
from tests.support import free_port, running, toml, until

WRONG = asyncpg.InvalidParameterValueError
LATE = asyncpg.ObjectNotInPrerequisiteStateError
QUEUE = """insert into message_queue (user_id, contact_id, scheduled_for, message_text, priority)
           values ($1, $2, $3, $4, $5) returning *"""


@pytest.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with Rundown's tables for the clinic."""
    await put(conn, Part.RUNDOWN)
    return conn


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def queue(
    conn: Connection, ada: UUID, text: str = "Run!", due: datetime | None = None, priority: int = 3
) -> asyncpg.Record:
    row = await conn.fetchrow(QUEUE, ada, None, due or soon(), text, priority)
    assert row is not None
    return row


async def word(conn: Connection, message: UUID) -> str:
    found: str = await conn.fetchval("select status from message_queue where id = $1", message)
    return found


async def handed(conn: Connection, **limits: int) -> list[UUID]:
    named = ", ".join(f"{name} => {limit}" for name, limit in limits.items())
    rows = await conn.fetch(f"select * from get_messages_to_send({named})")
    return [row["message_id"] for row in rows]


async def foreign(conn: Connection, database: Database) -> None:
    await publish(database)
    await conn.execute("select duly_compat.set_sender('public', 'foreign')")


async def sent(conn: Connection, message: UUID) -> bool:
    return await word(conn, message) == "sent"


async def test_preferences_are_dulys_own(conn: Connection) -> None:
    ada = await user(conn)
    row = await conn.fetchrow("insert into notification_preferences (user_id) values ($1) returning *", ada)
    assert row is not None
    assert (row["send_day"], row["send_time"], row["timezone"]) == ("Sunday", time(18), "UTC")
    assert (row["max_messages_per_week"], row["enabled"], row["send_if_goal_met"]) == (1, True, False)
    assert (
        await conn.fetchval("select time_zone from duly.contact") is None
    )  # unknown, and not said to be UTC
    await conn.execute(
        """update notification_preferences set send_day = 'monday', send_time = '07:30', timezone = 'Europe/Vienna',
             max_messages_per_week = 3, enabled = false, send_if_goal_met = true, message_style = 'chaotic'
           where user_id = $1""",
        ada,
    )
    stored = await conn.fetchrow(
        """select p.send_day, p.send_time, p.enabled, p.on_goal_met, p.style, c.time_zone, c.max_per_week
           from duly.preference p join duly.contact c on c.id = p.contact_id"""
    )
    assert stored is not None
    assert tuple(stored) == (1, time(7, 30), False, True, "chaotic", "Europe/Vienna", 3)
    assert await conn.fetchval("select send_day from notification_preferences") == "Monday"
    assert await conn.fetchval("select message_style from users") == "chaotic"
    with pytest.raises(asyncpg.UniqueViolationError, match=r"user_id: .* has preferences already"):
        await conn.execute("insert into notification_preferences (user_id) values ($1)", ada)
    await conn.execute("delete from notification_preferences where user_id = $1", ada)
    assert await conn.fetchval("select count(*) from duly.preference") == 0


async def refuses(conn: Connection, statement: str, words: str, *args: object) -> None:
    """In a savepoint, so that one test can try many."""
    with pytest.raises(WRONG, match=f"^{words}"):
        async with conn.transaction():
            await conn.execute(statement, *args)


async def test_wrong_preferences_are_refused(conn: Connection) -> None:
    ada = await user(conn)
    await conn.execute("insert into notification_preferences (user_id) values ($1)", ada)
    wrong: list[tuple[str, object, str]] = [
        ("send_day", "Someday", "send_day: 'Someday' is no day"),
        ("send_day", None, "send_day: null is no day"),
        ("send_time", None, "send_time: must be a time"),
        ("timezone", "Mars/Base", "timezone: 'Mars/Base' is not the name"),
        ("max_messages_per_week", -1, "max_messages_per_week: must be from 0"),
        ("enabled", None, "enabled: must be true or false"),
        ("send_if_goal_met", None, "send_if_goal_met: must be true or false"),
        ("message_style", "LOUD!", "message_style: must be"),
        ("user_id", uuid4(), "user_id: is not changed"),
    ]
    before = await conn.fetchrow("select * from notification_preferences")
    for column, value, words in wrong:
        await refuses(conn, f"update notification_preferences set {column} = $1", words, value)
    await refuses(conn, "insert into notification_preferences (user_id) values (null)", "user_id: is missing")
    assert await conn.fetchrow("select * from notification_preferences") == before


async def test_what_waits_is_moved_stopped_and_taken_away(conn: Connection) -> None:
    ada = await user(conn)
    message = (await queue(conn, ada))["id"]
    later = soon() + timedelta(days=1)
    moved = await conn.fetchrow(
        "update message_queue set scheduled_for = $2, priority = 1 where id = $1 returning *", message, later
    )
    assert moved is not None
    assert (moved["scheduled_for"], moved["priority"], moved["status"]) == (later, 1, "queued")
    stored = await conn.fetchrow("select due_at, priority from duly.delivery")
    assert stored is not None
    assert tuple(stored) == (later, 1)
    # What a daemon has leased comes back to be leased when its time has come.
    await conn.execute("update duly.delivery_row set state = 'leased', lease_token = 7, node_id = 1")
    assert await word(conn, message) == "processing"
    await conn.execute("update message_queue set scheduled_for = $2 where id = $1", message, soon())
    assert await conn.fetchval("select lease_token is null and state = 'queued' from duly.delivery_row")
    await conn.execute("delete from message_queue where id = $1", message)
    assert await conn.fetchval("select count(*) from message_queue") == 0
    assert await conn.fetchval("select state from duly.delivery") == "canceled"
    await conn.execute("delete from message_queue where id = $1", message)  # nobody is there


async def test_what_has_gone_is_not_moved_and_what_failed_is_sent_again(conn: Connection) -> None:
    ada = await user(conn)
    message = (await queue(conn, ada))["id"]
    await conn.execute("update duly.delivery_row set state = 'sending'")
    with pytest.raises(LATE, match="scheduled_for: it is too late, the message is sending"):
        await conn.execute("update message_queue set scheduled_for = $1", soon() + timedelta(hours=1))
    with pytest.raises(LATE, match="status: it is too late"):
        await conn.execute("update message_queue set status = 'cancelled'")
    with pytest.raises(LATE, match="id: the message is being sent"):
        await conn.execute("delete from message_queue")
    await conn.execute("update duly.delivery_row set state = 'failed', reason = 'rejected', attempts = 3")
    assert await word(conn, message) == "failed"
    await conn.execute("update message_queue set status = 'queued' where id = $1", message)
    assert await conn.fetchval("select state from duly.delivery") == "queued"
    assert await conn.fetchval("select decision from duly.decision") == "replayed"


async def test_updates_that_cannot_be_are_refused(conn: Connection) -> None:
    await queue(conn, await user(conn))
    for change, words in (
        ("status = 'sent'", "status: 'sent' is for Duly to say"),
        ("status = 'processing'", "status: 'processing' is for Duly to say"),
        ("status = 'gone'", "status: 'gone' is for Duly to say"),
        ("status = null", "status: null is for Duly to say"),
        ("attempts = 1", "attempts: Duly writes it"),
        ("message_text = 'x'", "message_text: of what is queued it is not changed"),
        ("scheduled_for = 'infinity'", "scheduled_for: must be a time between"),
        ("scheduled_for = null", "scheduled_for: must be a time between"),
        ("priority = 4", "priority: must be 1"),
        ("max_attempts = 0", "max_attempts: must be from 1"),
    ):
        await refuses(conn, f"update message_queue set {change}", words)


async def test_wrong_messages_are_refused(conn: Connection) -> None:
    ada = await user(conn)
    wrong: list[tuple[dict[str, str], str]] = [
        ({"message_text": "' '"}, "message_text: is empty"),
        ({"user_id": "gen_random_uuid()"}, "user_id: '.*' is no contact of workspace clinic"),
        ({"user_id": "null"}, "contact_id: is missing"),
        ({"contact_id": "gen_random_uuid()"}, "contact_id: '.*' is no contact"),
        ({"scheduled_for": "'1999-01-01Z'"}, "scheduled_for: must be a time between"),
        ({"priority": "9"}, "priority: 9 is none of"),
        ({"status": "'sent'"}, "status: 'sent' says what has been"),
        ({"attempts": "2"}, "attempts: Duly counts them"),
        ({"max_attempts": "0"}, "max_attempts: must be from 1"),
    ]
    for columns, words in wrong:
        values = {"user_id": f"'{ada}'", "scheduled_for": "now()", "message_text": "'Run!'", **columns}
        names, given = ", ".join(values), ", ".join(values.values())
        await refuses(conn, f"insert into message_queue ({names}) values ({given})", words)
    assert await conn.fetchval("select count(*) from duly.delivery") == 0


async def test_an_id_is_given_once(conn: Connection) -> None:
    ada, given = await user(conn), uuid4()
    insert = (
        "insert into message_queue (id, user_id, message_text, scheduled_for) values ($1, $2, 'x', now())"
    )
    await conn.execute(insert, given, ada)
    with pytest.raises(asyncpg.UniqueViolationError):
        await conn.execute(insert, given, ada)
    assert await conn.fetchval("select count(*) from duly.delivery") == 1


async def test_without_a_time_it_is_the_users_next_day_and_time(conn: Connection) -> None:
    ada = await user(conn)
    await conn.execute(
        """insert into notification_preferences (user_id, send_day, send_time, timezone)
           values ($1, 'Wednesday', '07:30', 'America/New_York')""",
        ada,
    )
    message = await conn.fetchval("select schedule_accountability_message($1, null, 'Run!')", ada)
    row = await conn.fetchrow(
        """select scheduled_for - now() between '0' and '7 days' as within,
                  to_char(scheduled_for at time zone 'America/New_York', 'FMDay HH24:MI') as local, priority
           from message_queue where id = $1""",
        message,
    )
    assert row is not None
    assert tuple(row) == (True, "Wednesday 07:30", 3)


# A sender of the application's own.


async def test_where_duly_sends_a_foreign_sender_gets_nothing(conn: Connection) -> None:
    message = (await queue(conn, await user(conn), due=datetime.now(UTC)))["id"]
    assert await handed(conn) == []
    for status in ("processing", "sent"):
        with pytest.raises(WRONG, match="is for Duly to say"):
            await conn.execute("select update_message_status($1, $2)", message, status)
    with pytest.raises(asyncpg.NoDataFoundError, match="there is no message"):
        await conn.execute("select update_message_status($1, 'sent')", uuid4())
    with pytest.raises(LATE, match="Duly is the sender"):
        await conn.execute("insert into message_rate_limits (time_slot) values (now())")


async def test_a_foreign_sender_is_handed_each_message_once(
    conn: Connection, database: Database, dsn: str
) -> None:
    ada = await user(conn)
    await foreign(conn, database)
    low = (await queue(conn, ada, "low", datetime.now(UTC)))["id"]
    high = (await queue(conn, ada, "high", datetime.now(UTC), priority=1))["id"]
    later = (await queue(conn, ada, "later"))["id"]
    others = [await asyncpg.connect(dsn) for _ in range(4)]
    try:
        lists = await asyncio.gather(*(handed(each) for each in others))
    finally:
        for each in others:
            await each.close()
    assert sorted(lists, key=len)[:3] == [[], [], []]
    assert max(lists, key=len) == [high, low]
    assert await word(conn, high) == "processing"
    assert await conn.fetchval("select update_message_status($1, 'processing')", high)
    for _ in range(2):
        assert await conn.fetchval("select update_message_status($1, 'sent')", high)
    assert await conn.fetchval(
        "select update_message_status(p_message_id => $1, p_status => 'failed', p_error_message => 'busy')",
        low,
    )
    assert await word(conn, high) == "sent"
    row = await conn.fetchrow("select * from message_queue where id = $1", low)
    assert row is not None
    assert (row["status"], row["attempts"], row["error_message"]) == ("queued", 1, "rejected: busy")
    assert timedelta(minutes=1) < row["scheduled_for"] - datetime.now(UTC) <= timedelta(minutes=2)
    assert await handed(conn) == []
    (slot,) = await conn.fetch("select * from message_rate_limits")
    assert (slot["messages_sent"], slot["max_messages_per_slot"]) == (1, 100)
    with pytest.raises(LATE, match="get_messages_to_send"):
        await conn.execute("select update_message_status($1, 'sent')", later)
    await conn.execute("insert into messages (user_id, status) values ($1, 'sent')", ada)  # its own log
    assert await conn.fetchval("select count(*) from messages") == 3


async def test_a_daemon_leaves_alone_what_a_foreign_sender_sends(
    work_dir: Path, dsn: str, conn: Connection, database: Database, sandbox: Sandbox
) -> None:
    ada = await user(conn)
    await foreign(conn, database)
    theirs = (await queue(conn, ada, "theirs", datetime.now(UTC)))["id"]
    ours = await conn.fetchval("select duly.enqueue('clinic', 'sms', '+14155550123', 'ours')")
    (work_dir / "duly.toml").write_text(toml(dsn, sandbox.url, port := free_port()))
    async with running(work_dir / "duly.toml", port) as daemon:
        await until(lambda: sent(conn, ours))
        assert await word(conn, theirs) == "queued"
        assert await handed(conn) == [theirs]
        await conn.execute("select update_message_status($1, 'sent')", theirs)
        last = (await queue(conn, ada, "handed over", datetime.now(UTC)))["id"]
        status = await asyncio.to_thread(
            CliRunner().invoke, app, ["status", "--config", str(daemon.config), "--json"]
        )
        assert status.exit_code == 0
        (facts,) = [w for w in json.loads(status.stdout)["workspaces"] if w["workspace"] == "clinic"]
        assert (facts["queued"]["total"], facts["queued"]["due"]) == (1, 0)
        assert (await daemon.get("/readyz", expect=200)) is not None
        assert await conn.fetchval("select duly_compat.set_sender('public', 'duly')") == 1
        await until(lambda: sent(conn, last))
        assert await handed(conn) == []
    assert [m.body for m in sandbox.ledger.messages] == ["ours", "handed over"]


async def test_no_message_is_sent_twice_or_lost_while_the_sender_changes(
    work_dir: Path, dsn: str, conn: Connection, database: Database
) -> None:
    ada, theirs, stop = await user(conn), Counter[str](), asyncio.Event()
    await publish(database)
    await conn.execute(
        "update duly_compat.installed set category = 'transactional'"
    )  # no cap for one address

    async def sender() -> None:
        mine: Connection = await asyncpg.connect(dsn)
        try:
            while not stop.is_set():
                for row in await mine.fetch("select * from get_messages_to_send(5, 100000)"):
                    theirs[row["message_text"]] += 1
                    await mine.execute("select update_message_status($1, 'sent')", row["message_id"])
        finally:
            mine.terminate()

    async with plain_sandbox() as sandbox:
        (work_dir / "duly.toml").write_text(toml(dsn, sandbox.url, port := free_port()))
        async with running(work_dir / "duly.toml", port), asyncio.TaskGroup() as senders:
            for _ in range(2):
                senders.create_task(sender())
            for turn in range(8):
                who = ("foreign", "duly")[turn % 2]
                if who == "duly":
                    await until(lambda: asyncio.sleep(0, len(theirs) > 15 * (turn // 2)))  # noqa: B023
                await conn.execute("select duly_compat.set_sender('public', $1)", who)
                for n in range(20):
                    await queue(conn, ada, f"{turn}/{n}", datetime.now(UTC))
            await until(lambda: conn.fetchval("select bool_and(status = 'sent') from message_queue"))
            stop.set()
        ours = Counter(message.body for message in sandbox.ledger.messages)
    assert set((ours + theirs).values()) == {1}
    assert len(ours + theirs) == 160
    assert min(len(ours), len(theirs)) >= 40


async def test_the_rules_and_the_hours_slot_hold_for_a_foreign_sender(
    conn: Connection, database: Database
) -> None:
    ada = await user(conn)
    await foreign(conn, database)
    now = datetime.now(UTC)
    for _ in range(4):
        await queue(conn, ada, due=now)
    stopped = (await queue(conn, await user(conn, "+14155550199"), due=now, priority=1))["id"]
    await conn.execute("select duly.do_not_contact('clinic', 'sms', '+14155550199')")
    assert await word(conn, stopped) == "failed"
    assert await handed(conn, max_per_time_slot=0) == []
    first = await handed(conn, batch_size=1, max_per_time_slot=2)
    assert len(first) == 1
    await conn.execute("select update_message_status($1, 'sent')", first[0])
    await conn.execute("insert into message_rate_limits (time_slot, max_messages_per_slot) values (now(), 3)")
    assert len(await handed(conn)) == 2  # one was sent and what is on its way counts too
    assert await handed(conn) == []
    await conn.execute("update message_rate_limits set max_messages_per_slot = 100")
    await conn.execute("insert into notification_preferences (user_id, enabled) values ($1, false)", ada)
    assert await handed(conn) == []
    for limit in ("batch_size => 0", "batch_size => 1001", "max_per_time_slot => -1"):
        with pytest.raises(WRONG, match=limit.partition(" ")[0]):
            await conn.fetch(f"select * from get_messages_to_send({limit})")


async def test_what_a_foreign_sender_never_answers_is_left_to_a_person(
    conn: Connection, database: Database
) -> None:
    ada = await user(conn)
    await foreign(conn, database)
    message = (await queue(conn, ada, due=datetime.now(UTC)))["id"]
    assert await handed(conn) == [message]
    await conn.execute("update duly.delivery_row set state_at = now() - interval '16 minutes'")
    assert await handed(conn) == []
    row = await conn.fetchrow("select state, reason from duly.delivery")
    assert row is not None
    assert tuple(row) == ("uncertain", "timed_out")
    assert await word(conn, message) == "processing"
    assert await conn.fetchval("select duly.replay('me', 'it never went')") == 1
    assert await handed(conn) == [message]
    for attempt in (2, 3):  # the first was forgiven by the person
        await conn.execute("select update_message_status($1, 'failed', 'no')", message)
        await conn.execute("update duly_compat.entry set due_at = now()")
        assert await handed(conn) == [message], attempt
    await conn.execute("select update_message_status($1, 'failed', 'no')", message)
    assert await word(conn, message) == "failed"
    assert await conn.fetchval("select reason from duly.delivery") == "attempts_exhausted"


async def test_what_was_handed_out_before_duly_took_over_is_answered_and_not_lost(
    conn: Connection, database: Database
) -> None:
    ada = await user(conn)
    await foreign(conn, database)
    now = datetime.now(UTC)
    out = {(await queue(conn, ada, due=now))["id"] for _ in range(4)}
    assert set(await handed(conn)) == out
    waiting = (await queue(conn, ada))["id"]
    assert await conn.fetchval("select duly_compat.set_sender('public', 'duly')") == 1
    sent_one, failed_one, unsent_one, silent_one = out
    for message, status in ((sent_one, "sent"), (failed_one, "failed"), (unsent_one, "queued")):
        assert await conn.fetchval("select update_message_status($1, $2)", message, status)
    await conn.execute(
        "update duly.delivery_row set state_at = now() - interval '1 hour' where state = 'sending'"
    )
    assert await handed(conn) == []
    rows = await conn.fetch("""select q.id, q.status, d.due_at < now() + interval '1 day' as dulys
                               from message_queue q join duly_compat.entry e on e.id = q.id
                               join duly.delivery d on d.id = e.delivery_id""")
    assert {row["id"]: (row["status"], row["dulys"]) for row in rows} == {
        sent_one: ("sent", True),
        failed_one: ("queued", True),
        unsent_one: ("queued", True),
        silent_one: ("processing", True),  # uncertain, until a person decides
        waiting: ("queued", True),
    }
    assert await conn.fetchval("select duly.replay('me', 'it never went')") == 1
    assert await handed(conn) == []
    later = soon() + timedelta(hours=2)
    await conn.execute("update message_queue set scheduled_for = $2 where id = $1", silent_one, later)
    stored = "select d.due_at from duly.delivery d join duly_compat.entry e on e.delivery_id = d.id where e.id = $1"
    assert await conn.fetchval(stored, silent_one) == later
    assert await conn.fetchval("select scheduled_for from message_queue where id = $1", silent_one) == later


async def test_a_sealed_workspace_shows_no_texts_and_has_no_foreign_sender(conn: Connection) -> None:
    ada = await user(conn)
    message = (await queue(conn, ada))["id"]
    await conn.execute("update duly.workspace set seal = true where name = 'clinic'")
    with pytest.raises(WRONG, match="sealed"):
        await conn.execute("select duly_compat.set_sender('public', 'foreign')")
    await conn.execute("update duly.message set body = '', sealed = 'x', sealed_with = 1")
    await conn.execute("update duly.delivery_row set \"to\" = '', sealed = 'x', sealed_with = 1")
    await conn.execute("update duly.address set address = '', sealed = 'x', sealed_with = 1")
    row = await conn.fetchrow("select message_text, user_id from message_queue where id = $1", message)
    assert row is not None
    assert tuple(row) == ("", ada)
    assert await conn.fetchval("select phone from users") is None
    with pytest.raises(LATE, match="user_id: the addresses of workspace clinic are sealed"):
        await queue(conn, ada)


async def test_who_is_erased_is_no_user_of_a_message_any_more(conn: Connection) -> None:
    ada = await user(conn)
    await queue(conn, ada)
    await conn.execute("select duly.erase('clinic', 'me', 'asked', 'sms', '+14155550123')")
    row = await conn.fetchrow("select user_id, contact_id, message_text, status from message_queue")
    assert row is not None
    assert tuple(row) == (None, None, "", "failed")
    assert await conn.fetchval("select count(*) from users") == 0
    await conn.execute("delete from duly.delivery_row")  # as retention does
    assert await conn.fetchval("select count(*) from duly_compat.entry") == 0


async def test_people_are_changed_and_not_deleted(conn: Connection) -> None:
    ada = await user(conn)
    await conn.execute(
        "update users set phone = '+14155550177', name = 'Ada L', timezone = 'Europe/Vienna' where id = $1",
        ada,
    )
    row = await conn.fetchrow("select phone, name, timezone from users")
    assert row is not None
    assert tuple(row) == ("+14155550177", "Ada L", "Europe/Vienna")
    assert await conn.fetchval("select count(*) from duly.address") == 1
    with pytest.raises(WRONG, match="phone: '0123' is not"):
        await conn.execute("update users set phone = '0123'")
    with pytest.raises(asyncpg.UniqueViolationError, match="there is a user"):
        await conn.execute("insert into users (id) values ($1)", ada)
    with pytest.raises(asyncpg.FeatureNotSupportedError, match=r"duly\.erase"):
        await conn.execute("delete from users")
