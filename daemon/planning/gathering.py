"""Whom a campaign is for, written down at its start: the segment's contacts and those who were added, portion by portion.

Each portion is a transaction with the cursor in it, so that whoever goes on after a crash neither skips nor repeats
anybody; a member is written once in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import orjson

from daemon.model import Channel
from daemon.planning.audience import segment
from daemon.planning.campaigns import HOLDOUT, Campaign, draw, when, zone_of
from daemon.rules.zones import whereabouts
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

_LOOKED_AT = 2000
_ADDED = 1000


@dataclass(frozen=True, slots=True)
class _Member:
    """A row for campaign_gather.sql."""

    contact: UUID
    channel: str | None
    key: UUID | None
    variant: str | None
    drawn: bool
    reason: str | None
    wall_at: datetime | None
    due_at: datetime | None


async def gather(conn: Connection, campaign: Campaign, keys: DataKeys) -> int:
    """Writes the next portion, in the caller's transaction. Returns how many members; the last portion says so in the
    campaign's row.
    """
    rows = await conn.fetch(
        query("campaign_added"),
        campaign.workspace_id,
        campaign.id,
        _ADDED,
        campaign.channels,
        campaign.category,
    )
    reached, done = None, False
    if not rows:
        if campaign.segment is not None:
            rows = await _segment(conn, campaign)
        reached = rows[-1]["id"] if rows else None
        done = len(rows) < _LOOKED_AT
    members = [await _member(campaign, row, keys) for row in rows if row["fits"]]
    if members:
        await conn.execute(
            query("campaign_gather"),
            campaign.id,
            campaign.workspace_id,
            [m.contact for m in members],
            [m.channel for m in members],
            [m.key for m in members],
            [m.variant for m in members],
            [m.drawn for m in members],
            [m.reason for m in members],
            [m.wall_at for m in members],
            [m.due_at for m in members],
        )
    await conn.execute(query("campaign_gathered"), campaign.id, campaign.workspace_id, reached, done)
    return len(members)


async def _segment(conn: Connection, campaign: Campaign) -> list[asyncpg.Record]:
    wanted = segment(campaign.segment)
    return await conn.fetch(
        query("campaign_segment"),
        campaign.workspace_id,
        campaign.last_contact,
        _LOOKED_AT,
        wanted.path,
        orjson.dumps(wanted.variables).decode(),
        campaign.channels,
        campaign.category,
        campaign.started_at,
    )


async def _member(campaign: Campaign, row: asyncpg.Record, keys: DataKeys) -> _Member:
    contact: UUID = row["id"]
    channel, key = row["channel"], row["address_key"]
    if channel is None:
        return _Member(contact, None, None, None, False, "no_address", None, None)
    if row["suppressed"] is not None:
        return _Member(contact, channel, key, None, False, row["suppressed"], None, None)
    variant, drawn = draw(campaign, contact)
    zone = await _zone(campaign, row, keys) if campaign.wall_at is not None else None
    moment = when(campaign, zone)
    if moment is None:
        return _Member(contact, channel, key, None, False, "passed", None, None)
    reason = HOLDOUT if variant == HOLDOUT else None
    return _Member(contact, channel, key, variant, drawn, reason, *moment)


async def _zone(campaign: Campaign, row: asyncpg.Record, keys: DataKeys) -> str:
    address = row["address"]
    if row["time_zone"] is None and row["sealed"] is not None:
        identity = f"{row['address_key']} {row['channel']}"
        parts = await keys.try_open(campaign.workspace_id, "address", identity, row["sealed"])
        address = (parts[0] or "") if parts else ""
    inferred = whereabouts(None, Channel(row["channel"]), address).zones if row["time_zone"] is None else ()
    return zone_of(row["time_zone"], inferred, campaign.fallback_zone)
