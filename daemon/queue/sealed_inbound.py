"""Seals what a person has written before it is stored."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import orjson
import structlog

from daemon.model import InboundMessage
from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys
from daemon.store.database import Database
from daemon.store.sql import query

log = structlog.get_logger(__name__)


class SealedInbound(NamedTuple):
    """A message and its conversation's address, sealed for the workspace whose they are."""

    workspace_id: int
    message: bytes
    address: bytes
    generation: int


async def sealed_inbound(
    database: Database,
    keys: DataKeys,
    account: str,
    message: InboundMessage,
    workspace_id: int | None,
    new_id: UUID,
) -> SealedInbound | None:
    """None where the workspace does not seal, or cannot: then it is stored in clear, and sealed when that is mended.

    Raises `DatabaseDown`.
    """
    row = await database.fetchrow(
        query("inbound_owner"), account, message.channel.value, message.from_address, workspace_id
    )
    if row is None or not row["seal"]:
        return None
    try:
        key = await keys.newest(row["workspace_id"])
    except CannotOpen as error:
        log.error("an inbound message is stored in clear", id=str(new_id), why=str(error))
        return None
    parts = [message.from_address, message.body, orjson.dumps(message.media_urls).decode()]
    identity = f"{row['address_key']} {message.channel.value}"
    return SealedInbound(
        row["workspace_id"],
        key.seal("inbound", str(new_id), parts),
        key.seal("conversation", identity, [message.from_address]),
        key.generation,
    )
