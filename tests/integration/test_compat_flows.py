"""From what each application's existing code writes to a delivered message, and its own queries about it."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from daemon.store.compat import Part
from daemon.store.database import Connection
from tests.daemons import plain_sandbox
from tests.integration.compat import person, put, seed_queries, user
from tests.support import free_port, running, toml, until

WORDS = """
select (select status from message_queue where id = $1) = 'sent'
   and (select status from scheduled_messages where id = $2) = 'sent'
   and (select status from message_jobs where id = $3) = 'sent'
   and (select status from msg_deliveries where id = $4) = 'delivered'
"""


async def rundown(conn: Connection) -> UUID:
    """A message of Rundown's about one user to another person."""
    ada, friend, given = await user(conn, "+14155550100", style="snarky"), uuid4(), uuid4()
    await conn.execute(
        """insert into contacts (id, user_id, name, phone, relationship)
           values ($1, $2, 'Bo', '+14155550101', 'coach')""",
        friend,
        ada,
    )
    row = await conn.fetchrow(
        """insert into message_queue (id, user_id, contact_id, scheduled_for, message_text, priority)
           values ($1, $2, $3, now(), 'Ada ran once', 1) returning *""",
        given,
        ada,
        friend,
    )
    assert row is not None
    assert (row["id"], row["user_id"], row["contact_id"]) == (given, ada, friend)
    assert (row["status"], row["attempts"], row["max_attempts"]) == ("queued", 0, 3)
    call = "select schedule_accountability_message($1, null, 'No', now() + interval '1 hour', 3)"
    await conn.execute(
        "update message_queue set status = 'failed' where id = $1", await conn.fetchval(call, ada)
    )
    return given


async def patients(conn: Connection) -> UUID:
    """A scheduled message to a patient."""
    await conn.execute(
        "insert into patients (id, name, phone, timezone) values ('p-7', 'Cy', '+14155550102', 'Europe/Vienna')"
    )
    row = await conn.fetchrow(
        """insert into scheduled_messages (patient_id, message_content, scheduled_time, platform)
           values ('p-7', 'Your appointment: 9:00', now(), 'sms') returning *"""
    )
    assert row is not None
    assert (row["patient_id"], row["status"], row["attempts"], row["last_error"]) == (
        "p-7",
        "pending",
        0,
        None,
    )
    found: UUID = row["id"]
    return found


async def buildos(conn: Connection) -> UUID:
    """A job from a template, as the producer writes it: the row, then the queue."""
    template = await conn.fetchval(
        """insert into message_templates (name, content_template, template_vars)
           values ('Task Reminder', 'Hi {{name}}, {{ task.name }} is due {{when}}.', '{"when": "today"}') returning id"""
    )
    given = uuid4()
    await conn.execute(
        """insert into message_jobs
             (id, recipient_phone, message_content, template_id, template_vars, metadata, priority, status)
           values ($1, '+14155550103', '', $2, '{"name": "Di", "task": {"name": "Taxes"}}',
                   '{"type": "task_reminder"}', 10, 'pending')""",
        given,
        template,
    )
    await conn.execute(
        "select pgmq_public.send(queue_name => 'sms_priority_queue', message => $1)",
        json.dumps({"job_id": str(given), "recipient_phone": "+14155550103"}),
    )
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^message: has no job_id"):
        await conn.execute("select pgmq_public.send('sms_queue', $1)", json.dumps({"job_id": str(uuid4())}))
    return given


async def prasso(conn: Connection) -> int:
    """One message to a user; a guest who is on the list is skipped."""
    await person(conn, "user:1", "+14155550104", first_name="Eve", name="Eve Adams")
    await person(conn, "guest:10", "+14155550105", first_name="Flo")
    await conn.execute("select duly.do_not_contact('clinic', 'sms', '+14155550105')")
    message = await conn.fetchval(
        """insert into msg_messages (type, subject, body)
           values ('sms', null, 'Dear {{FirstName}} ({{ Name }})') returning id"""
    )
    ids = [
        await conn.fetchval(
            """insert into msg_deliveries (msg_message_id, recipient_type, recipient_id, channel, status)
               values ($1, $2, $3, 'sms', 'queued') returning id""",
            message,
            kind,
            number,
        )
        for kind, number in (("user", 1), ("guest", 10))
    ]
    assert await conn.fetchval("select status from msg_deliveries where id = $1", ids[1]) == "skipped"
    found: int = ids[0]
    return found


async def test_each_applications_code_and_queries_work(work_dir: Path, dsn: str, conn: Connection) -> None:
    await put(conn, *Part)
    queries = seed_queries()
    theirs = [await rundown(conn), await patients(conn), await buildos(conn), await prasso(conn)]
    metrics = await conn.fetchrow(queries["buildos: queue depth monitoring"])
    assert metrics is not None
    assert (metrics["regular_queue"][1], metrics["priority_queue"][1]) == (2, 2)
    assert await conn.fetchval(queries["prasso: check queued deliveries"]) == 1
    async with plain_sandbox(callbacks=True) as sandbox:
        (work_dir / "duly.toml").write_text(toml(dsn, sandbox.url, port := free_port()))
        async with running(work_dir / "duly.toml", port):
            await until(lambda: conn.fetchval(WORDS, *theirs))
        assert {m.to: m.body for m in sandbox.ledger.messages} == {
            "+14155550101": "Ada ran once",
            "+14155550102": "Your appointment: 9:00",
            "+14155550103": "Hi Di, Taxes is due today.",
            "+14155550104": "Dear Eve (Eve Adams)",
        }
    (volume,) = await conn.fetch(queries["rundown: daily message volume"])
    assert volume["count"] == 4
    (rates,) = await conn.fetch(queries["rundown: success rates by message style"])
    assert dict(rates) == {"message_style": "snarky", "sent": 1, "failed": 1}
    (slot,) = await conn.fetch("select messages_sent, max_messages_per_slot from message_rate_limits")
    assert tuple(slot) == (4, None)
    (attempt,) = await conn.fetch("select * from message_delivery_attempts where message_id = $1", theirs[1])
    assert (attempt["status"], attempt["error_message"]) == ("success", None)
    response = json.loads(attempt["response_data"])
    assert (response["account"], response["http_status"]) == ("main", 201)
    job = await conn.fetchrow("select * from message_jobs where id = $1", theirs[2])
    assert job is not None
    assert job["twilio_sid"] == response["provider_id"] or job["twilio_sid"].startswith("SM")
    assert (job["message_content"], job["priority"], job["retry_count"], job["error_details"]) == (
        "Hi Di, Taxes is due today.",
        10,
        0,
        None,
    )
    assert json.loads(job["metadata"])["type"] == "task_reminder"
    assert await conn.fetchval(queries["buildos: messages sent today"]) == 4
    failed = await conn.fetch(queries["buildos: failed messages requiring attention"])
    assert {json.loads(row["error_details"])["reason"] for row in failed} == {"canceled", "do_not_contact"}
    rows = await conn.fetch(queries["prasso: check delivery success rate"])
    assert {tuple(row) for row in rows} == {("sms", "delivered", 1), ("sms", "skipped", 1)}
    recent = queries["prasso: check recent failures"]
    with pytest.raises(asyncpg.PostgresSyntaxError):  # MySQL's words for it
        await conn.fetch(recent)
    adapted = recent.replace("DATE_SUB(NOW(), INTERVAL 1 HOUR)", "NOW() - INTERVAL '1 HOUR'")
    (skipped,) = await conn.fetch(adapted)
    assert (skipped["recipient_type"], skipped["recipient_id"], skipped["status"]) == ("guest", 10, "skipped")
    assert skipped["error"].startswith("do_not_contact")
