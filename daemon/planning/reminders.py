"""The source of reminders: series with a rule of their own, for the people who were added to them.

Their times are the series': nothing of them is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import structlog

from daemon.config import Config
from daemon.content.library import load_templates
from daemon.content.rotation import pick
from daemon.content.templates import TemplateProblem, TemplateVersion
from daemon.jsonb import read_jsonb
from daemon.planning.catching_up import Slot, slots
from daemon.planning.item_links import keep_links
from daemon.planning.recipients import (
    Person,
    Zone,
    load_people,
    variables_of,
    zone_of,
)
from daemon.planning.recurrence import Recurrence, recurrence
from daemon.planning.rrule import RuleProblem, parse_rule
from daemon.planning.sources import Item, Series
from daemon.planning.writing import (
    EXPIRES_AFTER,
    AccountOf,
    Unsaid,
    Used,
    address_of,
    carried,
    load_used,
    write,
)
from daemon.rules.wall_clock import instant, local
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

log = structlog.get_logger(__name__)

KIND = "reminder"
_DAY = timedelta(days=1)
_LOOKS_AHEAD = 366 * _DAY
"""Up to how many days later a newer missed occurrence is looked for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a series has for one person."""

    contact: UUID
    variables: Mapping[str, Any]
    begins_at: datetime | None  # instead of the series'
    ends_on: date | None
    since: datetime  # aware: what was before it is not caught up


class Calendar:
    """When a series comes for its people. Many begin together, so that an answer is remembered."""

    def __init__(self, series: Series) -> None:
        """Raises `RuleProblem`."""
        self._series = series
        until = parse_rule(series.rrule).until if series.rrule is not None else None
        self.by_zone = until is not None and until.tzinfo is not None
        self._known: dict[tuple[object, ...], list[datetime]] = {}
        if series.begins_at is not None:
            recurrence(series.begins_at, series.rrule, series.exceptions)

    def times(self, terms: Terms, begin: date, end: date, zone: str = "UTC") -> list[datetime]:
        """The wall-clock times on the days from `begin`, before `end`. `zone` matters where `by_zone`."""
        begins_at = terms.begins_at or self._series.begins_at
        if terms.ends_on is not None and terms.ends_on < end:
            end = terms.ends_on + _DAY
        if begins_at is None or begin >= end:
            return []
        key = (begins_at, begin, end, zone if self.by_zone else None)
        if key not in self._known:
            self._known[key] = self._of(begins_at).between(_midnight(begin), _midnight(end), zone)
        return self._known[key]

    def may_come(self, terms: Terms, on_date: date) -> bool:
        """Whether there may be a time on a day, before the person's zone is known."""
        return self.by_zone or bool(self.times(terms, on_date, on_date + _DAY))

    def slots(self, terms: Terms, on_date: date, zone: str, now: datetime) -> list[Slot]:
        """What becomes of the times on a day."""
        series, end = self._series, on_date + _DAY
        if series.catch_up == "latest":  # a newer one may have been missed on a later day
            end = max(end, min(local(now, zone).date() + _DAY, on_date + _LOOKS_AHEAD))
        times = [(wall, instant(wall, zone)) for wall in self.times(terms, on_date, end, zone)]
        mine = [(wall, at) for wall, at in times if at >= terms.since]
        found = slots(mine, series.catch_up, series.earlier, series.later, now)
        return [slot for slot in found if slot.wall.date() == on_date]

    def _of(self, begins_at: datetime) -> Recurrence:
        return recurrence(begins_at, self._series.rrule, self._series.exceptions)


class Reminders:
    """The source of reminders. See `sources.Source`."""

    def __init__(
        self,
        keys: DataKeys,
        account_of: AccountOf | None = None,
        config: Callable[[], Config] | None = None,
    ) -> None:
        """`account_of`: which account carries a channel for a workspace; None: not asked. `config`: what links begin
        with; None: there are none.
        """
        self._keys = keys
        self._account_of = account_of
        self._config = config

    async def members(
        self, conn: Connection, series: Series, on_date: date, after: UUID | None, limit: int
    ) -> Sequence[UUID]:
        """Who is in the series. Nobody, where its rule cannot be read: that is noted with the series."""
        try:
            Calendar(series)
        except RuleProblem as problem:
            log.error(
                "a series cannot be planned", workspace=series.workspace, series=series.name, why=str(problem)
            )
            await conn.execute(query("series_problem"), series.id, series.workspace_id, str(problem)[:1000])
            return []
        rows = await conn.fetch(
            query("reminder_members"), series.id, series.workspace_id, after, on_date, limit
        )
        return [row["contact_id"] for row in rows]

    async def decide(
        self, conn: Connection, series: Series, on_date: date, contacts: Sequence[UUID], now: datetime
    ) -> list[Item]:
        """An item for each time that the series has for each of them on that day."""
        if not contacts:
            return []
        calendar = Calendar(series)
        rows = await conn.fetch(query("reminder_terms"), series.id, series.workspace_id, contacts)
        wanted = [terms for row in rows if calendar.may_come(terms := _terms(row), on_date)]
        if not wanted:
            return []
        ids = [terms.contact for terms in wanted]
        people = await load_people(conn, self._keys, series.workspace_id, ids)
        name = series.templates.get(KIND, "")
        version = (await load_templates(conn, series.workspace_id, [name])).get(name)
        base = None if self._config is None else self._config().web.link_base
        writer = Writer(series, version, carried(self._account_of, series.workspace), base)
        used = await _load_used(conn, series.workspace_id, ids, version)
        items = []
        for terms in (each for each in wanted if each.contact in people):
            person = people[terms.contact]
            zone = zone_of(person, on_date, series.zone)
            items += [
                writer.item(person, terms, zone, slot, used.get(person.id, {}))
                for slot in calendar.slots(terms, on_date, zone.name, now)
            ]
        return items

    async def keep(self, conn: Connection, series: Series, items: Sequence[Item]) -> None:
        """Stores the links of what is queued next."""
        await keep_links(conn, self._keys, series, items)


class Writer:
    """Writes what one series says to one person."""

    def __init__(
        self,
        series: Series,
        version: TemplateVersion | None,
        channels: frozenset[str] | None,
        link_base: str | None = None,
    ) -> None:
        """`channels`: those that are carried (None: any). `link_base`: what links begin with."""
        self._series = series
        self._version = version
        self._channels = channels
        self._link_base = link_base
        self._category = series.category or "transactional"

    def item(self, person: Person, terms: Terms, zone: Zone, slot: Slot, used: Used) -> Item:
        """What is queued for a slot; with `reason` where nothing is."""
        item: Item = {
            "source_id": str(self._series.id),
            "source": KIND,
            "contact": str(person.id),
            "occurrence": slot.wall,
            "kind": KIND,
            "wished_at": slot.wished,
            "due_at": slot.due,
            "earliest": slot.earliest,
            "latest": slot.latest,
            "because": self._because(zone, slot),
        }
        try:
            if slot.reason is not None:
                raise Unsaid(slot.reason)
            return item | self._said(person, terms, used) | {"expires_at": slot.latest + EXPIRES_AFTER}
        except Unsaid as reason:
            return item | {"reason": str(reason)[:200]}

    def _because(self, zone: Zone, slot: Slot) -> dict[str, Any]:
        found = {
            "series": self._series.name,
            "wished": slot.wall.isoformat(sep=" ", timespec="minutes"),
            "zone": zone.name,
            "zone_source": zone.source,
        }
        if self._series.rrule is not None:
            found["rrule"] = self._series.rrule
        if slot.caught_up or slot.reason is not None:
            found["catch_up"] = self._series.catch_up
        return found

    def _said(self, person: Person, terms: Terms, used: Used) -> Item:
        """Where to and in which words. Raises `Unsaid`."""
        if self._version is None:
            raise Unsaid(f"template: {self._series.templates.get(KIND, '')} is no live template with a text")
        address = address_of(person, self._series.channels, self._category, self._channels)
        choices = self._version.choices(address.channel, person.locale)
        if not choices:
            raise Unsaid(f"template: {self._version.name} has no text for {address.channel}")
        text = pick(choices, used, person.id)
        given = {**variables_of(person), **terms.variables}
        try:
            written = write(
                self._version,
                text,
                given,
                channel=address.channel,
                locale=person.locale,
                link_base=self._link_base,
            )
        except TemplateProblem as problem:
            raise Unsaid(str(problem)) from None
        return {
            "channel": address.channel.value,
            "to": address.to,
            "body": written.body,
            "category": self._category,
            "priority": self._series.priority or 2,
            "template": text.template,
            "text_id": str(text.id),
            "variables": _declared(self._version, written.values),
            "metadata": written.metadata,
            "links": written.links,
        }


def _declared(version: TemplateVersion, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is known only that which the template asks for: the rest is not the message's."""
    names = {part for name in version.variables for part in (name, name.partition(".")[0])}
    return {name: value for name, value in given.items() if name in names}


async def _load_used(
    conn: Connection, workspace_id: int, contacts: Sequence[UUID], version: TemplateVersion | None
) -> dict[UUID, dict[UUID, tuple[int, datetime | None]]]:
    """Contact → text → how often it was said to them, and when last. Not asked where there is one text for each."""
    places = [(text.channel, text.language, text.style) for text in version.texts] if version else []
    if version is None or len(set(places)) == len(places):
        return {}
    return await load_used(conn, workspace_id, contacts, [text.id for text in version.texts])


def _terms(row: Any) -> Terms:
    return Terms(
        row["contact_id"], read_jsonb(row["variables"]), row["begins_at"], row["ends_on"], row["since"]
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())
