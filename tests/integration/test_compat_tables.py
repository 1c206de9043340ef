"""Patients, BuildOS and Prasso: what else their code writes, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from daemon.store.compat import Part
from daemon.store.database import Connection
from tests.integration.compat import person, put

WRONG = asyncpg.InvalidParameterValueError
LATE = asyncpg.ObjectNotInPrerequisiteStateError


async def refuses(conn: Connection, statement: str, words: str, *args: object) -> None:
    """In a savepoint, so that one test can try many."""
    with pytest.raises((WRONG, LATE), match=f"^{words}"):
        async with conn.transaction():
            await conn.execute(statement, *args)


# Patients.


async def test_patients_and_their_messages(conn: Connection) -> None:
    await put(conn, Part.PATIENTS)
    await conn.execute(
        """insert into patients (id, name, phone, telegram_chat_id, email)
           values ('p-7', 'Cy', '+14155550102', '4711', 'cy@example.com')"""
    )
    insert = """insert into scheduled_messages (patient_id, message_content, scheduled_time, platform)
                values ('p-7', 'Hello', $1, $2) returning *"""
    later = datetime.now(UTC) + timedelta(hours=2)
    telegram = await conn.fetchrow(insert, later, "telegram")
    assert telegram is not None
    assert (telegram["platform"], telegram["scheduled_time"]) == ("telegram", later)
    assert await conn.fetchval('select "to" from duly.delivery') == "4711"
    await refuses(
        conn,
        insert.replace("returning *", ""),
        "patient_id: 'p-7' has no whatsapp address",
        later,
        "whatsapp",
    )
    await refuses(conn, insert.replace("returning *", ""), "platform: 'fax' is none of", later, "fax")
    await refuses(conn, insert.replace("'p-7'", "'p-8'"), "patient_id: 'p-8' is no contact", later, "sms")
    await refuses(conn, insert.replace("'Hello'", "''"), "message_content: is empty", later, "sms")
    await refuses(conn, insert, "scheduled_time: must be a time", later + timedelta(days=4000), "sms")
    for change, words in (
        ("status = 'sent'", "status: 'sent' is for Duly to say"),
        ("attempts = 4", "attempts: Duly writes it"),
        ("message_content = 'x'", "message_content: of what is queued"),
        ("platform = 'sms'", "platform: of what is queued"),
        ("scheduled_time = null", "scheduled_time: must be a time"),
    ):
        await refuses(conn, f"update scheduled_messages set {change}", words)
    sooner = await conn.fetchval(
        "update scheduled_messages set scheduled_time = now(), updated_at = now() returning scheduled_time"
    )
    assert sooner < later
    await conn.execute("update scheduled_messages set status = 'cancelled'")
    row = await conn.fetchrow("select status, last_error from scheduled_messages")
    assert row is not None
    assert tuple(row) == ("failed", "canceled")
    await conn.execute("update patients set phone = null, email = 'cy@example.org' where id = 'p-7'")
    rows = await conn.fetch("select channel, address from duly.address order by 1")
    assert [tuple(row) for row in rows] == [("email", "cy@example.org"), ("telegram", "4711")]
    await refuses(conn, "update patients set email = 'no'", "email: 'no' is not a mail address")
    with pytest.raises(
        asyncpg.FeatureNotSupportedError, match=r"^message_delivery_attempts: shows what Duly has done"
    ):
        await conn.execute("insert into message_delivery_attempts (status) values ('success')")


# BuildOS.


async def test_a_changed_template_is_a_new_version_and_jobs_pin_theirs(conn: Connection) -> None:
    await put(conn, Part.BUILDOS)
    template = await conn.fetchval(
        "insert into message_templates (name, content_template) values ('reminder', 'Due: {{task}}') returning id"
    )
    job = """insert into message_jobs (recipient_phone, message_content, template_id, template_vars)
             values ('+14155550103', 'As it is', $1, $2) returning id"""
    first = await conn.fetchval(job, template, '{"task": "Taxes"}')
    changed = await conn.fetchrow(
        """update message_templates
           set content_template = 'Now due: {{task}} ({{hours}} h)', template_vars = '{"hours": 2}'
           where id = $1 returning *""",
        template,
    )
    assert changed is not None
    assert (changed["id"], changed["name"]) == (template, "reminder")
    second = await conn.fetchval(job, template, '{"task": 12, "hours": 3.50}')
    literal = await conn.fetchval(job, template, None)
    rows = await conn.fetch("select id, message_content, template_id from message_jobs")
    assert {row["id"]: (row["message_content"], row["template_id"]) for row in rows} == {
        first: ("Due: Taxes", template),
        second: ("Now due: 12 (3.5 h)", template),
        literal: ("As it is", None),
    }
    assert [row["template"] for row in await conn.fetch("select template from duly.message order by id")] == [
        "reminder@1",
        "reminder@2",
        None,
    ]
    await refuses(conn, job, "variables.task: is missing", template, "{}")
    await refuses(conn, job, "template_id: there is no template", uuid4(), "{}")
    await conn.execute("update message_templates set name = 'Der Erinnerer' where id = $1", template)
    assert await conn.fetchval("select name from message_templates") == "Der Erinnerer"
    await conn.execute("delete from message_templates where id = $1", template)
    assert await conn.fetchval("select count(*) from message_templates") == 0
    await refuses(conn, job, "template_id: 'reminder' is no live template", template, '{"task": "x"}')


async def test_what_is_no_template_is_said_by_its_field(conn: Connection) -> None:
    await put(conn, Part.BUILDOS)
    insert = "insert into message_templates (name, content_template, template_vars) values ($1, $2, $3)"
    for name, text, given, words in (
        ("", "x", "{}", "name: must have"),
        ("a\nb", "x", "{}", "name: must have"),
        ("x", " ", "{}", "content_template: is empty"),
        ("x", "{{ 1 + 1 }}", "{}", "content_template: line 1: SQL takes"),
        ("x", "{% if a %}", "{}", "content_template: line 1: SQL takes"),
        ("x", "{{a", "{}", "content_template: line 1: SQL takes"),
        ("x", "{{a}}", "[]", "template_vars: must be a JSON object"),
        ("x", "{{a}}", '{"a": []}', "template_vars.a: must be"),
        ("x", "{{a}}", '{"a": {"type": "color"}}', "template_vars.a: must have a type"),
        (
            "x",
            "{{a}}",
            '{"a": {"type": "date", "default": "soon"}}',
            "template_vars.a: the default must be a date",
        ),
    ):
        await refuses(conn, insert, words, name, text, given)
    assert await conn.fetchval("select count(*) from duly.template") == 0


async def test_jobs_are_scheduled_moved_canceled_and_sent_again(conn: Connection) -> None:
    await put(conn, Part.BUILDOS)
    given, due = uuid4(), datetime.now(UTC) + timedelta(hours=3)
    insert = """insert into message_jobs (id, recipient_phone, message_content, scheduled_for, status)
                values ($1, $2, $3, $4, $5)"""
    await conn.execute(insert, given, "+14155550103", "Hi", due, "scheduled")
    row = await conn.fetchrow(
        "select status, scheduled_for, priority, max_retries from message_jobs where id = $1", given
    )
    assert row is not None
    assert tuple(row) == ("scheduled", due, 0, 3)
    await conn.execute("update message_jobs set priority = 10, scheduled_for = now() where id = $1", given)
    stored = await conn.fetchrow("select priority, due_at <= now() from duly.delivery")
    assert stored is not None
    assert tuple(stored) == (1, True)
    await conn.execute("update duly.delivery_row set state = 'failed', reason = 'rejected', attempts = 3")
    failed = await conn.fetchrow("select status, retry_count, error_details from message_jobs")
    assert failed is not None
    assert (failed["status"], failed["retry_count"]) == ("failed", 2)
    details = json.loads(failed["error_details"])
    assert (details["message"], details["final_attempt"]) == ("rejected", True)
    await conn.execute("update message_jobs set status = 'pending' where id = $1", given)
    assert await conn.fetchval("select status from message_jobs") == "pending"
    await conn.execute("delete from message_jobs where id = $1", given)
    assert await conn.fetchval("select count(*) from message_jobs") == 0
    for values, words in (
        ((None, "5550103", "Hi", due, "pending"), "recipient_phone: '5550103' is not an E.164 number"),
        ((None, "+14155550103", "", due, "pending"), "message_content: is empty"),
        ((None, "+14155550103", "Hi", due, "sent"), "status: 'sent' says what has been"),
        (
            (None, "+14155550103", "Hi", due + timedelta(days=4000), "pending"),
            "scheduled_for: must be a time",
        ),
    ):
        await refuses(conn, insert, words, *values)


# Prasso.


async def message(conn: Connection, body: str = "Hello", team: int | None = None) -> int:
    found: int = await conn.fetchval(
        "insert into msg_messages (team_id, type, subject, body) values ($1, 'email', 'For {{Name}}', $2) returning id",
        team,
        body,
    )
    return found


DELIVER = """insert into msg_deliveries (team_id, msg_message_id, recipient_type, recipient_id, channel, metadata)
             values ($1, $2, $3, $4, 'email', '{"campaign": 3}') returning id"""


async def test_a_team_is_a_workspace_and_each_recipient_gets_their_own_text(conn: Connection) -> None:
    await put(conn, Part.PRASSO)
    await conn.execute("select duly_compat.put_team('public', 7, 'shop')")
    await person(conn, "user:1", "eve@example.com", "email", r"{{Name}} \1", "Eve")
    await conn.execute(
        """select duly.put_contact('shop', 'user:1', first_name => 'Sue',
             addresses => '[{"channel": "email", "address": "sue@example.com"}]')"""
    )
    ours = await message(conn, "{{FirstName}}, {{ Name }}!")
    theirs = await message(conn, team=7)
    await conn.fetchval(DELIVER, None, ours, "user", 1)
    await conn.fetchval(DELIVER, 7, theirs, "user", 1)
    rows = await conn.fetch(
        """select d.workspace, d."to", m.body, m.metadata ->> 'subject' as subject from duly.delivery d
           join duly.message m on m.id = d.message_id order by 1"""
    )
    assert [tuple(row) for row in rows] == [
        ("clinic", "eve@example.com", r"{{Name}} \1, Eve!", "For Eve"),
        ("shop", "sue@example.com", "Hello", "For Sue"),
    ]
    assert [r["team_id"] for r in await conn.fetch("select team_id from msg_deliveries order by id")] == [
        None,
        7,
    ]
    await conn.execute("set duly.workspace = 'shop'")
    assert [r["id"] for r in await conn.fetch("select id from msg_messages")] == [theirs]
    await conn.execute("reset duly.workspace")
    await conn.execute("delete from msg_messages where id = $1", ours)
    assert await conn.fetchval("select count(*) from msg_deliveries") == 1
    assert await conn.fetchval("select state from duly.delivery where workspace = 'clinic'") == "canceled"


async def test_ids_are_numbers_and_may_be_given(conn: Connection) -> None:
    await put(conn, Part.PRASSO)
    await person(conn, "guest:10", "flo@example.com", "email", "Flo")
    first = await message(conn)
    await conn.execute("insert into msg_messages (id, type, body) values (500, 'sms', 'moved over')")
    assert await message(conn) > 500
    with pytest.raises(asyncpg.UniqueViolationError):
        await conn.execute("insert into msg_messages (id, type, body) values (500, 'sms', 'again')")
    await conn.execute("update msg_messages set body = 'Hi {{Name}}' where id = $1", first)
    await conn.fetchval(DELIVER, None, first, "guest", 10)
    await refuses(conn, "update msg_messages set body = 'late' where id = $1", "body: has recipients", first)


async def test_what_prasso_cannot_send_is_refused(conn: Connection) -> None:
    await put(conn, Part.PRASSO)
    await person(conn, "user:1", "+14155550104")
    await person(conn, "user:2", "anon@example.com", "email")
    hello = await message(conn)
    named = await message(conn, "Dear {{FirstName}}")
    insert = "insert into msg_messages (type, body, team_id) values ($1, $2, $3)"
    wrong: list[tuple[object, ...]] = [
        ("fax", "x", None, "type: 'fax' is none of"),
        (None, "x", None, "type: null is none of"),
        ("sms", " ", None, "body: is empty"),
        ("sms", "{{Price}}", None, r"body: \{\{Price\}\} is no token"),
        ("sms", "x", 9, "team_id: 9 is no workspace"),
    ]
    for *values, words in wrong:
        await refuses(conn, insert, str(words), *values)
    for args, words in (
        ((None, 99, "user", 1), "msg_message_id: there is no message 99"),
        ((4, hello, "user", 1), "team_id: is another than the message's"),
        ((None, hello, "bot", 1), "recipient_type: 'bot' is none of"),
        ((None, hello, "user", None), "recipient_id: is missing"),
        ((None, hello, "user", 3), "recipient_id: 'user:3' is no contact"),
        ((None, hello, "user", 1), "recipient_id: 'user:1' has no email address"),
        ((None, named, "user", 2), "recipient_id: user:2 has no first name"),
    ):
        await refuses(conn, DELIVER, words, *args)
    assert await conn.fetchval("select count(*) from duly.delivery") == 0
    await conn.execute("update duly.workspace set seal = true where name = 'clinic'")
    await refuses(conn, insert, "body: workspace clinic is sealed", "sms", "x", None)


async def test_a_share_of_keys_stays_a_share(conn: Connection) -> None:
    await put(conn, Part.BUILDOS)
    rows = await conn.fetch(
        """select duly_compat.among('user-' || n, 10) as ten, duly_compat.among('user-' || n, 30) as thirty
           from generate_series(1, 10000) n"""
    )
    assert 900 < sum(row["ten"] for row in rows) < 1100
    assert 2850 < sum(row["thirty"] for row in rows) < 3150
    assert all(row["thirty"] for row in rows if row["ten"])
    for key, share, expected in (("a", 0, False), ("a", 100, True), ("", 100, True)):
        assert await conn.fetchval("select duly_compat.among($1, $2)", key, share) is expected
