"""What a person's answer says of the message that it answers, noted in the transaction that stores it."""

from __future__ import annotations

import asyncpg

from daemon.model import InboundMessage
from daemon.rules.feedback import helpfulness
from daemon.store.database import Connection
from daemon.store.sql import query

WITHIN_DAYS = 7
"""An answer is to the last message that went to the address within so many days."""


async def note_reply(conn: Connection, message: InboundMessage, stored: asyncpg.Record) -> None:
    """Notes a stored message that is no keyword. `stored`: the row of inbound.sql."""
    if stored["workspace"] is None:
        return
    found = helpfulness(message.body)
    await conn.execute(
        query("answered_by"),
        stored["workspace_id"],
        message.channel.value,
        message.from_address,
        None if found is None else found.helpful,
        found is not None and found.short,
        WITHIN_DAYS,
    )
