"""A person that the tests of privacy look for: everything that Duly can know of somebody, and a look everywhere."""

from __future__ import annotations

import uuid
from uuid import UUID

from daemon.model import Channel, InboundMessage
from daemon.queue.policies import Policies
from daemon.queue.recorder import Recorder
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database

NUMBER = "+14155557731"
MAIL = "ada@people.example"
# Words that stand wherever something of the person can be written; none of them is anywhere else.
MARKS = ("4155557731", "555-7731", "ada@people.example", "Lovelace", "knee", "Anselm")
SECRET_BODY = "Dear Lovelace, about your knee"


async def everything(conn: Connection) -> str:
    """Every column of every row of every table, as text; bytes also as the text they may be."""
    tables = await conn.fetch(
        "select relname from pg_class where relnamespace = 'duly'::regnamespace and relkind = 'r'"
    )
    found: list[str] = []
    for table in tables:
        rows = await conn.fetch(f"select t.* from duly.{table['relname']} t")
        for row in rows:
            for name, value in row.items():
                text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                found.append(f"{table['relname']}.{name}: {text}")
    return "\n".join(found)


async def traces(conn: Connection, marks: tuple[str, ...] = MARKS) -> list[str]:
    """Where the person still stands: the lines of `everything` that hold one of the marks."""
    return [line for line in (await everything(conn)).splitlines() if any(mark in line for mark in marks)]


async def contact(conn: Connection, workspace: str = "clinic") -> UUID:
    """A contact of that name with a number and a mailbox."""
    found: UUID = await conn.fetchval(
        """insert into duly.contact (id, workspace_id, external_id, first_name, name, attributes)
           select duly.new_id(), w.id, 'Lovelace-1', 'Ada', 'Lovelace', '{"ward": "knee"}' from duly.workspace w
           where w.name = $1 returning id""",
        workspace,
    )
    await conn.execute(
        """insert into duly.address (workspace_id, address_key, channel, contact_id, address)
           select c.workspace_id, duly.address_key(a.channel, a.address), a.channel, c.id, a.address
           from duly.contact c, (values ('sms', $2), ('email', $3)) a (channel, address) where c.id = $1""",
        found,
        NUMBER,
        MAIL,
    )
    return found


async def joins(conn: Connection, workspace: str = "clinic") -> None:
    """The contact is in a series of reminders."""
    await conn.execute(
        "select duly.put_series($1, 'physio', 'stretch', 'FREQ=DAILY', '2027-01-01T09:00')", workspace
    )
    variables = '{"part": "knee"}'
    await conn.execute(
        "select duly.add_to_series($1, 'physio', 'Lovelace-1', $2, ends_on => '2027-02-01')",
        workspace,
        variables,
    )


async def enqueue(
    conn: Connection,
    to: str = NUMBER,
    body: str = SECRET_BODY,
    *,
    workspace: str = "clinic",
    key: str | None = None,
) -> UUID:
    """Queues a message that has the marks wherever something can be written."""
    found: UUID = await conn.fetchval(
        """select duly.enqueue($1, case when $2 like '%@%' then 'email' else 'sms' end, $2, $3, idempotency_key => $4,
             variables => '{"name": "Lovelace"}', metadata => '{"case": "knee"}')""",
        workspace,
        to,
        body,
        key,
    )
    return found


async def sent(conn: Connection, delivery: UUID, state: str = "sent") -> None:
    """Makes it one that was called for, with all that is written about a call."""
    await conn.execute(
        """with row as (
             update duly.delivery_row set state = $2::text::duly.state, attempts = 1, account = 'main',
               provider_id = 'SM1', reason = case when $2 = 'failed' then 'invalid_address' end,
               detail = 'no such number +14155557731',
               sent_at = now()
             where id = $1 returning id, workspace_id, address_key
           ), call as (
             insert into duly.attempt (delivery_id, lease_token, workspace_id, number, account, address_key, outcome,
               provider_id, detail, began_at, took_ms, rulings)
             select id, 1, workspace_id, 1, 'main', address_key, 'accepted', 'SM1', 'to +14155557731', now(), 5,
                    '[{"rule": "quiet_hours", "because": {"place": "Anselm"}}]' from row
           ), callback as (
             insert into duly.callback (workspace_id, delivery_id, attempt, account, provider_id, provider_status, moved)
             select workspace_id, id, 1, 'main', 'SM1', 'sent', true from row
           ), asked as (
             insert into duly.resolution (delivery_id, workspace_id, lease_token, number, answer, became, detail)
             select id, workspace_id, 1, 1, 'found', 'sent', 'to +14155557731' from row
           ), decided as (
             insert into duly.decision (delivery_id, workspace_id, decision, who, why)
             select id, workspace_id, 'replayed', 'ops', '(415) 555-7731 has called us' from row
           )
           insert into duly.ruling (delivery_id, workspace_id, stage, became, rulings)
           select id, workspace_id, 'leased', 'queued', '[{"because": {"place": "Anselm"}}]' from row""",
        delivery,
        state,
    )


async def wrote(
    database: Database,
    workspace_id: int | None,
    text: str = "My knee, yours Lovelace",
    *,
    keys: DataKeys | None = None,
) -> None:
    """Stores a message from the person, as a daemon does that seals with these keys or none."""
    message = InboundMessage(
        provider_id=f"SM{uuid.uuid4().hex}",
        channel=Channel.SMS,
        from_address=NUMBER,
        to_address="+15005550006",
        body=text,
        media_urls=("https://media.example/knee.png",),
    )
    recorder = Recorder(database, lambda _: Policies(lambda _: [], 5), keys=lambda: keys)
    await recorder.inbound("main", message, workspace_id, uuid.uuid4())


async def campaign(
    conn: Connection, *numbers: str, workspace: str = "clinic", key: str = "spring.csv"
) -> list[UUID]:
    """One message to many, and a line that was refused. Returns the deliveries in the numbers' order."""
    upload = await conn.fetchval(
        "select id from duly.upload_begin($1, $2, $3, 'sms', 'Hello all')", workspace, key, bytes(32)
    )
    lines = list(range(1, len(numbers) + 2))
    await conn.fetch(
        'select * from duly.upload_lines($1, 0, $2, $3, "to" => $4)',
        upload,
        len(lines),
        lines,
        [*numbers, "415 555-7731"],
    )
    rows = await conn.fetch("select id from duly.delivery_row where message_id = $1 order by id", upload)
    return [row["id"] for row in rows]
