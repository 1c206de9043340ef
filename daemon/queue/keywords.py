"""What a STOP, START or HELP does, in the transaction that stores the message it came in."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import orjson
import structlog

from daemon.config import RulesConfig
from daemon.content.opt_out import confirmation
from daemon.model import InboundMessage
from daemon.rules.keywords import Intent, Means, Recognised, recognise
from daemon.rules.loops import may_answer
from daemon.store.database import Connection
from daemon.store.sql import query

log = structlog.get_logger(__name__)

NOBODY = 0
"""The workspace of messages from whom nobody wrote to; as a suppression's, all workspaces."""


async def heed(
    conn: Connection, account: str, message: InboundMessage, stored: asyncpg.Record, rules: RulesConfig
) -> bool:
    """Does what a stored message asks for, if it asks for anything, within the caller's transaction. False: it does not.

    A STOP suppresses the address and ends what waits for it; a START lifts that. Both are confirmed once and HELP
    is answered, unless the platform has done so, or two robots might be answering each other. `stored`: the row of
    inbound.sql.
    """
    business = rules.business or stored["workspace"] or ""
    found = recognise(message.body, message.opt_out_type, names=[business] if business else ())
    if found is None:
        return False
    workspace_id: int = stored["workspace_id"]
    heard = await conn.fetchrow(
        query("heard"),
        workspace_id,
        message.channel.value,
        message.from_address,
        message.body,
        stored["id"],
        stored["conversation_id"],
    )
    assert heard is not None
    before: str | None = heard["consent"]
    plain = recognise(message.body)  # also where the platform took a yes for a START
    if plain is not None and plain.only_agrees and before not in ("withdrawn", "requested"):
        return False  # an answer to something else
    if found.intent is not Intent.HELP:
        await _record(conn, account, message, stored["id"], workspace_id, heard, found, rules)
    news = found.intent is Intent.HELP or before != ("withdrawn" if found.intent is Intent.STOP else "given")
    if (
        rules.answer_keywords
        and news
        and found.means is not Means.PLATFORM
        and workspace_id != NOBODY
        and may_answer(heard["answered"], heard["repeated"])
    ):
        text = confirmation(found.intent, heard["locale"] or rules.language, business, rules.help_contact)
        await conn.execute(
            query("answer_keyword"),
            workspace_id,
            stored["id"],
            message.channel.value,
            message.from_address,
            text,
        )
    return True


async def _record(
    conn: Connection,
    account: str,
    message: InboundMessage,
    inbound_id: UUID,
    workspace_id: int,
    heard: asyncpg.Record,
    found: Recognised,
    rules: RulesConfig,
) -> None:
    of_account = rules.opt_out_scope == "account" or workspace_id == NOBODY
    asked_for = heard["category"] if heard["consent"] == "requested" and found.intent is Intent.START else ""
    proof = {
        "inbound": str(inbound_id),
        "means": found.means.value,
        "account": account,
        "to": message.to_address,
    }
    skipped = await conn.fetchval(
        query("consent_record"),
        NOBODY if of_account else workspace_id,
        heard["key"],
        message.channel.value,
        asked_for,
        account if of_account else "",
        "withdrawn" if found.intent is Intent.STOP else "given",
        "inbound",
        found.words,
        orjson.dumps(proof).decode(),
    )
    log.info(
        "keyword heeded",
        account=account,
        intent=found.intent.value,
        means=found.means.value,
        workspace_id=workspace_id,
        skipped=skipped,
    )
