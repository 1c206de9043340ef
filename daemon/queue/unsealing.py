"""Opens what was leased sealed, before the rules and the platform see it; what does not open is put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import orjson
import structlog

from daemon import metrics
from daemon.model import Delivery, Sealed
from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys
from daemon.store.database import Database
from daemon.store.sql import query

log = structlog.get_logger(__name__)


class Unsealer:
    """Between the lease and the rules."""

    def __init__(self, database: Database, keys: DataKeys) -> None:
        self._database = database
        self._keys = keys
        self.troubles: dict[str, str] = {}  # workspace → why its last one could not be opened

    async def sift(self, leased: Sequence[Delivery]) -> Sequence[Delivery]:
        """Those that are open or could be opened. The others are queued again for a minute later, with the reason.

        Raises `DatabaseDown`; then nothing is decided, and all is still leased.
        """
        if all(delivery.sealed is None for delivery in leased):
            return leased
        opened, held = [], []
        for delivery in leased:
            try:
                opened.append(await self.opened(delivery))
            except CannotOpen as error:
                held.append((delivery, str(error)))
        if held:
            await self._hold_back(held)
        return opened

    async def opened(self, delivery: Delivery) -> Delivery:
        """A delivery in clear. Raises `CannotOpen`."""
        sealed = delivery.sealed
        if sealed is None:
            return delivery
        try:
            found = await self._open(delivery, sealed)
        except CannotOpen as error:
            self.troubles[delivery.workspace] = str(error)
            raise
        self.troubles.pop(delivery.workspace, None)
        return found

    async def says(self, row: asyncpg.Record, body: str) -> bool:
        """Whether a row of ask_rivals.sql has this text; one that cannot be opened may have."""
        if row["sealed"] is None:
            return True
        parts = await self._keys.try_open(row["workspace_id"], "message", row["message_id"], row["sealed"])
        return parts is None or parts[0] == body

    async def _open(self, delivery: Delivery, sealed: Sealed) -> Delivery:
        to, body, metadata = delivery.to, delivery.body, delivery.metadata
        if sealed.to is not None:
            parts = await self._keys.open(delivery.workspace_id, "delivery", str(delivery.id), sealed.to)
            to = parts[0] or ""
        if sealed.message is not None:
            text, media, *_ = await self._keys.open(
                delivery.workspace_id, "message", str(sealed.message_id), sealed.message
            )
            body = text or ""
            metadata = {"media_urls": orjson.loads(media)} if media is not None else {}
        media_urls = tuple(metadata.get("media_urls", ()))
        return replace(delivery, to=to, body=body, metadata=metadata, media_urls=media_urls, sealed=None)

    async def _hold_back(self, held: Sequence[tuple[Delivery, str]]) -> None:
        for delivery, why in held:
            log.error(
                "a delivery cannot be opened",
                delivery=str(delivery.id),
                workspace=delivery.workspace,
                why=why,
            )
        metrics.UNOPENED.inc(len(held))
        ordered = sorted(held, key=lambda pair: pair[0].id)
        rows = [(d.id, d.workspace_id, d.lease_token, why) for d, why in ordered]
        await self._database.execute(query("hold_unopened"), *map(list, zip(*rows, strict=True)))


def sealed_of(row: asyncpg.Record) -> Sealed | None:
    """What lease.sql and ask_claim.sql say of a delivery's sealing."""
    if row["sealed_to"] is None and row["sealed_message"] is None:
        return None
    return Sealed(row["message_id"], row["sealed_to"], row["sealed_message"])
