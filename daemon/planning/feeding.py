"""Queues the next members of a campaign: as many as the throttle lets go soon, rendered, and only whom the rules allow.

What the rules put off waits with the campaign and not in the queue, so that it takes no place of the throttle and is
nothing to take back; they are asked again at the lease and at the mark all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon.config import Config
from daemon.content.language import TemplateProblem, compiled
from daemon.content.library import load_templates
from daemon.content.templates import Content, TemplateVersion, Text
from daemon.content.values import look_up
from daemon.jsonb import read_jsonb
from daemon.model import Channel
from daemon.planning.campaigns import Campaign, Variant, choice
from daemon.planning.links import NewLink, TextLinks, store_links, with_links
from daemon.planning.simulation import Proposed, simulate
from daemon.planning.sources import Item
from daemon.planning.writing import write
from daemon.rules.answers import Allow, Defer
from daemon.rules.judgement import Verdict
from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

AHEAD = timedelta(seconds=10)
"""How long before its time a delivery is queued."""
MOST_QUEUED = 2000
"""No more of a campaign are in the queue at once."""
BEFORE_SPREADING = timedelta(seconds=5)
"""What may be spread is queued so long before its time at least: the spreader must come first."""
PORTION = 250
_AGAIN = timedelta(minutes=1)  # where an address cannot be opened


@dataclass(slots=True)
class _Fate:
    """What becomes of one member."""

    contact: UUID
    state: str
    due_at: datetime
    reason: str | None = None
    delivery: UUID | None = None
    variant: str | None = None
    item: Item | None = None


class Feeder:
    """One portion of one campaign, in the caller's transaction, which holds the campaign."""

    def __init__(self, conn: Connection, campaign: Campaign, config: Config, keys: DataKeys) -> None:
        self._conn = conn
        self._campaign = campaign
        self._config = config
        self._keys = keys
        self._next_at = max(campaign.next_at or campaign.now, campaign.now)

    async def feed(self, queued: int) -> int:
        """Queues what may go by `AHEAD` from now; `queued`: how many are already. Returns how many members were moved."""
        campaign = self._campaign
        until = campaign.now + AHEAD
        room = min(PORTION, MOST_QUEUED - queued)
        if campaign.gap is not None:
            room = min(room, max(0, (until - self._next_at) // campaign.gap + 1))
        rows = await self._next(until, room) if room > 0 else []
        if not rows:
            return 0
        addresses = await self._addresses(rows)
        verdicts = await self._ask(rows, addresses)
        templates = await self._templates(rows)
        fates = [
            self._fate(row, addresses.get(row["contact_id"]), verdicts, templates, until) for row in rows
        ]
        await self._store_links(fates)
        await self._enqueue([fate for fate in fates if fate.item is not None])
        await self._conn.execute(
            query("campaign_fed"),
            campaign.id,
            campaign.workspace_id,
            [fate.contact for fate in fates],
            [fate.state for fate in fates],
            [fate.reason for fate in fates],
            [fate.delivery for fate in fates],
            [fate.due_at for fate in fates],
            [fate.variant for fate in fates],
        )
        await self._conn.execute(query("campaign_moved"), campaign.id, campaign.workspace_id, self._next_at)
        return sum(
            fate.state != "waiting" or fate.due_at != row["due_at"]
            for fate, row in zip(fates, rows, strict=True)
        )

    async def _next(self, until: datetime, room: int) -> list[asyncpg.Record]:
        campaign = self._campaign
        found = await self._conn.fetch(
            query("campaign_next"), campaign.id, campaign.workspace_id, until, room, False
        )
        if len(found) < room and campaign.winner is not None:
            found += await self._conn.fetch(
                query("campaign_next"), campaign.id, campaign.workspace_id, until, room - len(found), True
            )
        return found

    async def _addresses(self, rows: Sequence[asyncpg.Record]) -> dict[UUID, str]:
        """Where each is reached, by contact; who is not in it cannot be reached, and with an empty text not now."""
        found: dict[UUID, str] = {}
        for row in rows:
            if row["contact"] is None:
                continue
            address = row["address"]
            if row["sealed"] is not None:
                try:
                    identity = f"{row['address_key']} {row['channel']}"
                    parts = await self._keys.open(
                        self._campaign.workspace_id, "address", identity, row["sealed"]
                    )
                    address = parts[0] or ""
                except CannotOpen:
                    address = ""
            found[row["contact_id"]] = address
        return found

    async def _ask(
        self, rows: Sequence[asyncpg.Record], addresses: Mapping[UUID, str]
    ) -> dict[UUID, Verdict]:
        """What the rules say of each at its time."""
        by_channel: dict[str, list[tuple[UUID, Proposed]]] = defaultdict(list)
        for row in rows:
            if address := addresses.get(row["contact_id"]):
                proposed = Proposed(address, max(row["due_at"], self._campaign.now))
                by_channel[row["channel"]].append((row["contact_id"], proposed))
        found: dict[UUID, Verdict] = {}
        for channel, asked in by_channel.items():
            answers = await simulate(
                self._conn,
                self._config,
                self._campaign.workspace,
                Channel(channel),
                self._campaign.category,
                [proposed for _, proposed in asked],
            )
            found |= {contact: answer.verdict for (contact, _), answer in zip(asked, answers, strict=True)}
        return found

    async def _templates(self, rows: Sequence[asyncpg.Record]) -> dict[str, TemplateVersion]:
        names = {variant.template for variant in self._campaign.variants if variant.template is not None}
        if not names:
            return {}
        return await load_templates(self._conn, self._campaign.workspace_id, names)

    def _fate(
        self,
        row: asyncpg.Record,
        address: str | None,
        verdicts: Mapping[UUID, Verdict],
        templates: Mapping[str, TemplateVersion],
        until: datetime,
    ) -> _Fate:
        campaign, contact = self._campaign, row["contact_id"]
        expires = campaign.expires_at
        if address is None:
            return _Fate(contact, "skipped", row["due_at"], "no_address")
        if not address:
            return _Fate(contact, "waiting", campaign.now + _AGAIN)
        match verdicts[contact].answer:
            case Defer(until=later):
                if expires is not None and later >= expires:
                    return _Fate(contact, "skipped", row["due_at"], "expired")
                return _Fate(contact, "waiting", max(later, campaign.now + timedelta(seconds=1)))
            case Allow():
                pass
            case skip:
                return _Fate(contact, "skipped", row["due_at"], skip.reason.value)
        due = max(row["due_at"], self._next_at)
        if campaign.later:
            due = max(due, campaign.now + BEFORE_SPREADING)
        if expires is not None and due >= expires:
            return _Fate(contact, "skipped", row["due_at"], "expired")
        if due > until:
            return _Fate(contact, "waiting", row["due_at"])
        variant = campaign.variant(row["variant"] or campaign.winner or "")
        item: Item = {
            "source_id": str(campaign.id),
            "source": "campaign",
            "contact": str(contact),
            # Each generation is an occurrence of its own.
            "occurrence": (row["wall_at"] + timedelta(microseconds=row["generation"])).isoformat(),
            "kind": variant.name,
            "style": variant.style,
            "due_at": due.isoformat(),
            "earliest": max(due - campaign.earlier, campaign.now).isoformat(),
            "latest": (due + campaign.later).isoformat(),
            "because": {
                "campaign": campaign.name,
                "variant": variant.name,
                "drawn": row["variant"] is not None and len(campaign.variants) > 1,
            },
        }
        try:
            said = _say(campaign, variant, row, templates, self._config.web.link_base)
        except TemplateProblem as problem:
            item["reason"] = f"template: {problem}"[:200]
            return _Fate(contact, "skipped", due, "template", variant=variant.name, item=item)
        item |= said | {
            "channel": row["channel"],
            "to": address,
            "category": campaign.category,
            "priority": campaign.priority,
            "expires_at": None if expires is None else expires.isoformat(),
        }
        if campaign.gap is not None:
            self._next_at = due + campaign.gap
        return _Fate(contact, "queued", due, variant=variant.name, item=item)

    async def _store_links(self, fates: Sequence[_Fate]) -> None:
        """Those of what is queued next. Whose targets cannot be sealed now waits."""
        campaign = self._campaign
        saying: list[tuple[_Fate, list[NewLink]]] = [
            (fate, links)
            for fate in fates
            if fate.item is not None and (links := fate.item.pop("links", None))
        ]
        try:
            every = [link for _, links in saying for link in links]
            await store_links(self._conn, self._keys, campaign.workspace, campaign.workspace_id, every)
        except CannotOpen:
            for fate, _ in saying:
                fate.state, fate.item, fate.variant = "waiting", None, None
                fate.due_at = campaign.now + _AGAIN

    async def _enqueue(self, fates: Sequence[_Fate]) -> None:
        if not fates:
            return
        rows = await self._conn.fetch(
            query("campaign_enqueue"),
            self._campaign.workspace_id,
            orjson.dumps([fate.item for fate in fates], default=str).decode(),
        )
        for fate, row in zip(fates, rows, strict=True):
            fate.delivery = row["id"]
            if fate.state == "queued" and row["id"] is None:
                fate.state, fate.reason = "skipped", "invalid"


def _say(
    campaign: Campaign,
    variant: Variant,
    row: asyncpg.Record,
    templates: Mapping[str, TemplateVersion],
    link_base: str | None,
) -> dict[str, Any]:
    """What a member is told: the fields of an item, with its `links`. Raises `TemplateProblem`."""
    known = _known(campaign, row)
    if variant.template is None:
        language = {"language": row["locale"]} if row["locale"] else {}
        linked = TextLinks(link_base, _names(variant), known)
        content = _plain(variant, linked.values)
        links = linked.said(content)
        return {
            "body": content.body,
            "metadata": with_links(content.metadata(), links) | language,
            "links": links,
        }
    version = templates.get(variant.template)
    if version is None:
        raise TemplateProblem(f"{variant.template} is no live template of this workspace")
    text = _text(campaign, version, variant, row)
    written = write(version, text, known, channel=row["channel"], locale=row["locale"], link_base=link_base)
    return {
        "body": written.body,
        "template": text.template,
        "text_id": str(text.id),
        "variables": {name: written.values[name] for name in version.variables if name in written.values},
        "metadata": written.metadata,
        "links": written.links,
    }


def _names(variant: Variant) -> frozenset[str]:
    return compiled(variant.body or "").names | compiled(variant.subject or "").names


def _text(campaign: Campaign, version: TemplateVersion, variant: Variant, row: asyncpg.Record) -> Text:
    texts = version.choices(row["channel"], row["locale"], variant.style)
    if not texts:
        wanted = ", ".join(word for word in (row["channel"], row["locale"], variant.style) if word)
        raise TemplateProblem(f"{version.name} has no text for {wanted}")
    return texts[choice(campaign, row["contact_id"], len(texts))]


def _plain(variant: Variant, known: Mapping[str, Any]) -> Content:
    """A text of the campaign's own: its variables are whatever it names."""
    return Content(
        body=_filled(variant.body or "", known),
        subject=None if variant.subject is None else _filled(variant.subject, known),
    )


def _filled(source: str, known: Mapping[str, Any]) -> str:
    text = compiled(source)
    values = {}
    for name in text.names:
        value = look_up(known, name)
        if value is None or isinstance(value, dict | list) or value == "":
            raise TemplateProblem(f"variables.{name}: is missing; the text needs it")
        values[name] = value
    return text.render(values)


def _known(campaign: Campaign, row: asyncpg.Record) -> dict[str, Any]:
    """What a text may name: the campaign's variables, the contact's fields and attributes, and the member's own; what
    comes later goes before.
    """
    person = {
        "FirstName": row["first_name"],
        "Name": row["name"] or row["first_name"],
        "first_name": row["first_name"],
        "name": row["name"],
        "external_id": row["external_id"],
    }
    found = {**campaign.variables, **{name: value for name, value in person.items() if value is not None}}
    for text in (row["attributes"], row["own"]):
        if text is not None and text != "{}":
            found |= read_jsonb(text)
    return found
