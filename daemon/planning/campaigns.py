"""A campaign as the daemon works on it: what stands in its row, who gets which variant, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon.jsonb import read_jsonb
from daemon.rules.wall_clock import ZONES, instant, local

HOLDOUT = "holdout"
"""The variant, and the reason, of those who get nothing so that the others can be compared with them."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the things that a campaign says: a template, or a text of its own."""

    name: str
    weight: float
    template: str | None
    style: str
    subject: str | None
    body: str | None


@dataclass(frozen=True, slots=True)
class Campaign:
    """A row of duly.campaign with its variants. `now`: the database's clock when it was read."""

    id: UUID
    workspace_id: int
    workspace: str
    name: str
    category: str
    priority: int
    channels: Sequence[str]
    segment: Any
    variables: Mapping[str, Any]
    variants: Sequence[Variant]
    sends_at: datetime | None
    wall_at: datetime | None  # naive
    fallback_zone: str
    passed: str
    per_minute: int | None
    per_hour: int | None
    earlier: timedelta
    later: timedelta
    expires_at: datetime | None
    holdout: float
    test_part: float
    alpha: float
    decides: str
    decide_after: timedelta
    winner: str | None
    last_contact: UUID | None
    gathered_at: datetime | None
    tested_at: datetime | None
    next_at: datetime | None
    started_at: datetime
    now: datetime

    @property
    def gap(self) -> timedelta | None:
        """What lies between two of its messages, by the throttle; None: no throttle."""
        gaps = [60 / self.per_minute] if self.per_minute else []
        gaps += [3600 / self.per_hour] if self.per_hour else []
        return timedelta(seconds=max(gaps)) if gaps else None

    def variant(self, name: str) -> Variant:
        """The one of that name."""
        return next(variant for variant in self.variants if variant.name == name)


def variants_of(texts: Sequence[str]) -> list[Variant]:
    """The variants as a query has them: JSON, in their order."""
    found = []
    for text in texts:
        row = orjson.loads(text)
        found.append(
            Variant(row["name"], row["weight"], row["template"], row["style"], row["subject"], row["body"])
        )
    return found


def campaign_of(row: asyncpg.Record) -> Campaign:
    """A row of campaign_turn.sql."""
    segment = row["segment_json"]
    own = {
        "segment": None if segment is None else read_jsonb(segment),
        "variables": read_jsonb(row["variables_json"]),
        "variants": variants_of(row["variants"]),
    }
    fields = {name: own.get(name, row[name]) for name in Campaign.__dataclass_fields__ if name not in own}
    return Campaign(**fields, **own)


def draw(campaign: Campaign, contact: UUID) -> tuple[str | None, bool]:
    """Which variant a contact gets, and whether that was drawn; None: whatever wins. It depends on nothing but the two,
    and is the same each time.
    """
    if _number(campaign.id, contact, b"holdout") < campaign.holdout / 100:
        return HOLDOUT, False
    if len(campaign.variants) == 1:
        return campaign.variants[0].name, False
    if _number(campaign.id, contact, b"test part") >= campaign.test_part / 100:
        return None, False
    left = _number(campaign.id, contact, b"variant") * sum(variant.weight for variant in campaign.variants)
    for variant in campaign.variants:
        left -= variant.weight
        if left < 0:
            return variant.name, True
    return campaign.variants[-1].name, True


def choice(campaign: Campaign, contact: UUID, of: int) -> int:
    """Which of several equally good texts a contact gets."""
    return int(_number(campaign.id, contact, b"text") * of)


def _number(campaign: UUID, contact: UUID, purpose: bytes) -> float:
    """From 0 to just below 1, evenly, and independently for each purpose."""
    digest = blake2b(campaign.bytes + contact.bytes + purpose, digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def zone_of(given: str | None, inferred: Sequence[str], fallback: str) -> str:
    """By whose clock a person's time is reckoned: their own zone, else the only one that their number allows, else
    the campaign's.
    """
    if given is not None and given in ZONES:
        return given
    return inferred[0] if len(inferred) == 1 else fallback


def when(campaign: Campaign, zone: str | None) -> tuple[datetime, datetime] | None:
    """A member's time on the wall clock that it is reckoned by, and as an instant; None: it has passed, and they are
    to be skipped. `zone`: of the member, where the campaign goes by that.
    """
    if campaign.wall_at is None or zone is None:
        at = campaign.sends_at or campaign.started_at
        return at.astimezone(UTC).replace(tzinfo=None), at
    wall = campaign.wall_at
    at = instant(wall, zone)
    latest = campaign.started_at - campaign.later
    if at >= latest:
        return wall, at
    if campaign.passed == "skip":
        return None
    if campaign.passed == "now":
        return wall, campaign.started_at
    today = local(latest, zone).date()
    wall = datetime.combine(today, wall.time())
    if instant(wall, zone) < latest:
        wall += _DAY
    return wall, instant(wall, zone)
