"""A campaign as people ask for it: its fields, what is wrong with them, and how it is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import asyncpg
import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from daemon.content.language import TemplateProblem, compiled
from daemon.content.library import load_templates
from daemon.model import Channel
from daemon.planning.audience import SegmentProblem, segment
from daemon.problem import Problem
from daemon.rules.wall_clock import ZONES, instant
from daemon.store.database import Connection
from daemon.store.sql import query

_UNITS = {
    "s": 1, "second": 1, "seconds": 1,
    "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600,
    "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
_SPAN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([a-z]+)")
_MOST_JSON = 16_000
_LONGEST_DAYS = 60


class CampaignProblem(Problem):
    """What was asked for is no campaign. The text is "field: what is wrong and what would be right"."""


def _span(value: object) -> timedelta:
    if isinstance(value, str) and (found := _SPAN.fullmatch(value.strip().lower())):
        seconds_each = _UNITS.get(found[2])
        if seconds_each is not None and (seconds := float(found[1]) * seconds_each) <= _LONGEST_DAYS * 86_400:
            return timedelta(seconds=seconds)
    raise _wrong(f"must be a time span of up to {_LONGEST_DAYS} days such as 90 min, 4 hours or 1 day")


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("duly", "{message}", {"message": message})


Span = Annotated[timedelta, BeforeValidator(_span)]
Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,79}$")]
_WEEK = timedelta(days=7)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class VariantDraft(_Model):
    """One of the things that a campaign says: a template, or a text of its own."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    template: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    style: Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,40}$")] = ""
    subject: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    body: Text | None = None

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if (self.template is None) == (self.body is None):
            raise _wrong("give either template or body")
        if self.name == "holdout":
            raise _wrong("name: holdout is what those are called who get nothing; use another")
        for field, text in (("body", self.body), ("subject", self.subject)):
            if text is not None:
                try:
                    compiled(text)
                except TemplateProblem as problem:
                    raise _wrong(f"{field}: {problem}") from None
        return self


class Draft(_Model):
    """All that can be said of a campaign. See docs/campaigns.md."""

    name: Name
    category: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = "marketing"
    priority: Annotated[int, Field(ge=1, le=3)] = 3
    channels: Annotated[list[str], Field(min_length=1, max_length=7)] = ["sms"]
    template: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    style: Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,40}$")] = ""
    subject: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    body: Text | None = None
    variants: Annotated[list[VariantDraft], Field(max_length=20)] = []
    variables: dict[str, Any] = {}
    segment: dict[str, Any] | None = None
    at: str | None = None
    zone: str | None = None
    fallback_zone: str = "UTC"
    passed: Literal["next_day", "now", "skip"] = "next_day"
    per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    per_hour: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    earlier: Span = timedelta()
    later: Span = timedelta()
    expires_at: str | None = None
    holdout: Annotated[float, Field(ge=0, le=90)] = 0.0
    test_part: Annotated[float, Field(gt=0, le=100)] = 100.0
    metric: Literal["reply", "click", "helpful", "callback"] = "reply"
    measure: Span = timedelta(days=1)
    alpha: Annotated[float, Field(ge=0.0001, le=0.5)] = 0.05
    decides: Literal["auto", "manual"] = "auto"
    decide_after: Span = timedelta(hours=4)

    @model_validator(mode="after")
    def _together(self) -> Self:
        own = self.template is not None or self.body is not None
        if own == bool(self.variants):
            raise _wrong("body: give either a template or body, or variants with one each")
        names = [variant.name for variant in self.all_variants()]
        if len(set(names)) < len(names):
            raise _wrong("variants: each needs a name of its own")
        if self.test_part < 100 and len(names) < 2:
            raise _wrong("test_part: a test needs two variants or more")
        for channel in self.channels:
            if channel not in set(Channel):
                raise _wrong(f"channels: {channel[:40]!r} is none of {', '.join(Channel)}")
        if len(set(self.channels)) < len(self.channels):
            raise _wrong("channels: names one twice")
        for field in ("zone", "fallback_zone"):
            zone = getattr(self, field)
            if zone is not None and zone not in ZONES:
                raise _wrong(f"{field}: {zone[:40]!r} is not an IANA zone such as America/New_York")
        if self.earlier > _WEEK or self.later > _WEEK:
            raise _wrong("later: nothing is moved by more than 7 days")
        if self.measure < timedelta(minutes=1):
            raise _wrong("measure: must be a minute or more")
        if len(_json(self.variables)) > _MOST_JSON:
            raise _wrong("variables: are larger than 16 KB")
        if self.segment is not None:
            try:
                segment(self.segment)
            except SegmentProblem as problem:
                raise _wrong(str(problem)) from None
            if len(_json(self.segment)) > _MOST_JSON:
                raise _wrong("segment: is larger than 16 KB")
        self.moment()
        self.expiry()
        return self

    def all_variants(self) -> list[VariantDraft]:
        """The variants; where there are none, the one text is one."""
        if self.variants:
            return self.variants
        return [
            VariantDraft(
                name="all", template=self.template, style=self.style, subject=self.subject, body=self.body
            )
        ]

    def moment(self) -> tuple[datetime | None, datetime | None]:
        """`at` as an instant, or as a time on everybody's own wall clock."""
        if self.at is None:
            if self.zone is not None:
                raise _wrong("zone: goes with at")
            return None, None
        found = _time("at", self.at)
        if found.tzinfo is not None:
            if self.zone is not None:
                raise _wrong("zone: at has a zone already; leave one out")
            return found, None
        if self.zone is not None:
            return instant(found, self.zone), None
        return None, found

    def expiry(self) -> datetime | None:
        """`expires_at` as an instant."""
        if self.expires_at is None:
            return None
        found = _time("expires_at", self.expires_at)
        if found.tzinfo is None:
            raise _wrong("expires_at: has no zone; add one, such as +01:00 or Z")
        return found


def draft(given: object) -> Draft:
    """Reads what was asked for. Raises `CampaignProblem`."""
    try:
        return Draft.model_validate(given)
    except ValidationError as error:
        raise CampaignProblem(_said(error)) from None


async def make(conn: Connection, workspace: str, wanted: Draft) -> UUID:
    """Makes the draft; its id. Raises `CampaignProblem`, also where there is one of its name."""
    workspace_id = await conn.fetchval(query("workspace_id"), workspace)
    if workspace_id is None:
        raise CampaignProblem(f"workspace: {workspace[:100]!r} is not known")
    variants = wanted.all_variants()
    await _check_templates(conn, workspace_id, wanted, variants)
    sends_at, wall_at = wanted.moment()
    try:
        made = await conn.fetchval(
            query("campaign_make"),
            workspace_id,
            wanted.name,
            wanted.category,
            wanted.priority,
            wanted.channels,
            None if wanted.segment is None else _json(wanted.segment),
            _json(wanted.variables),
            sends_at,
            wall_at,
            wanted.fallback_zone,
            wanted.passed,
            wanted.per_minute,
            wanted.per_hour,
            wanted.earlier,
            wanted.later,
            wanted.expiry(),
            wanted.holdout,
            wanted.test_part,
            wanted.metric,
            wanted.measure,
            wanted.alpha,
            wanted.decides,
            wanted.decide_after,
            orjson.dumps([variant.model_dump() for variant in variants]).decode(),
        )
    except asyncpg.DataError:
        raise CampaignProblem(
            "variables: hold something that the database cannot store, such as a NUL"
        ) from None
    if made is None:
        raise CampaignProblem(f"name: there is a campaign {wanted.name} already; take another name")
    return UUID(str(made))


async def _check_templates(
    conn: Connection, workspace_id: int, wanted: Draft, variants: list[VariantDraft]
) -> None:
    names = {variant.template for variant in variants if variant.template is not None}
    found = await load_templates(conn, workspace_id, names) if names else {}
    for variant in variants:
        if variant.template is None:
            continue
        version = found.get(variant.template)
        if version is None:
            raise CampaignProblem(f"template: {variant.template!r} is no live template of this workspace")
        for channel in wanted.channels:
            if not any(text.channel in (channel, "") for text in version.texts):
                raise CampaignProblem(f"template: {version.name} has no text for {channel}")


def _time(field: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(
            f"{field}: {text[:40]!r} is not a time such as 2026-01-31T09:00 or 2026-01-31T09:00Z"
        ) from None


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        raise _wrong("variables: hold something that is no JSON") from None


def _said(error: ValidationError) -> str:
    first: Mapping[str, Any] = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{where[:80]}: is no field of a campaign; they are {', '.join(Draft.model_fields)}"
    message = first["msg"]
    if not where:
        return message if first["type"] == "duly" else "campaign: must be a JSON object"
    if first["type"] == "duly" and ": " in message.split(" ")[0] + " ":
        return f"{where}: {message}"
    return f"{where}: {message[:1].lower()}{message[1:]}"
