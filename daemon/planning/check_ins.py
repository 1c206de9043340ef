"""Check-ins on goals: who is asked today, how far they have come, and so what is said to them, in which words and when.

A check-in is due on the day and at the time that the person has chosen, by their own clock; where the workspace asks for
it, at the hour of that day and in the style that was learned of them (`lessons`). Whatever is learned, its occurrence is
at the time that they chose: there is one for a person and a day. What is decided about it
says why, for the receipt (`because`); what is not sent has a `reason`:

* `no_goals`; `goal_met`, and they want no congratulation; `not_wanted`: met in part, and they want no word about that;
* `late`: nobody planned until after the latest moment that it may go;
* `no_address`, `cannot_open`, `no_account`, or why the address must not be written to, such as `opted_out`;
* `no_text`: the templates have none for the channel; or what is wrong with the values for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from daemon.config import Config
from daemon.content.library import load_templates
from daemon.content.rotation import pick
from daemon.content.templates import TemplateProblem, TemplateVersion, Text
from daemon.content.values import Type
from daemon.planning.goals import Goal, Kind, foremost, kind_of, plain, spans
from daemon.planning.item_links import keep_links
from daemon.planning.lessons import Lessons, Place, load_lessons
from daemon.planning.links import NewLink
from daemon.planning.recipients import (
    Address,
    Person,
    Zone,
    load_people,
    variables_of,
    zone_of,
)
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
from daemon.rules.wall_clock import instant
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

USUAL_STYLE = "supportive"

_USUAL = {Kind.MET: "congratulatory", Kind.PARTIAL: "partial", Kind.MISSED: "accountability"}
_CONGRATULATORY, _ACCOUNTABILITY = "congratulatory", "accountability"
_PRIORITIES = {_CONGRATULATORY: 2, _ACCOUNTABILITY: 3}
# A check-in is no longer the latest one when the next is due.
_LATEST_FOR = timedelta(days=7)


class Preference(NamedTuple):
    """How somebody wants to be written to."""

    contact: UUID
    enabled: bool
    send_day: int
    send_time: time
    on_goal_met: bool
    on_partial_goal: bool
    style: str
    channels: Sequence[str]
    priority: int | None
    decided: bool  # whether there is a check-in on the day that was asked about


class Said(NamedTuple):
    """A check-in in words."""

    kind: Kind
    text: Text
    style: str
    body: str
    metadata: dict[str, Any]
    variables: dict[str, Any]
    links: list[NewLink]  # to be stored
    because: dict[str, Any]


def wanted(preference: Preference, goals: Sequence[Goal]) -> Kind:
    """What is to be said about these goals. Raises `Unsaid`."""
    if not preference.enabled:
        raise Unsaid("not_wanted")
    if not goals:
        raise Unsaid("no_goals")
    kind = kind_of(goals)
    if kind is Kind.MET and not preference.on_goal_met:
        raise Unsaid("goal_met")
    if kind is Kind.PARTIAL and not preference.on_partial_goal:
        raise Unsaid("not_wanted")
    return kind


def category_of(series: Series, kind: Kind) -> str:
    """Which rules apply."""
    return series.category or (_CONGRATULATORY if kind is Kind.MET else _ACCOUNTABILITY)


def priority_of(series: Series, preference: Preference, kind: Kind) -> int:
    """Coaches, whose preference says 1, before congratulations before the rest."""
    usual = _PRIORITIES[_CONGRATULATORY if kind is Kind.MET else _ACCOUNTABILITY]
    return preference.priority or series.priority or usual


def template_names(series: Series) -> set[str]:
    """All templates that a series may use."""
    return {_name(series, kind) for kind in Kind}


class Wording:
    """The texts of a series."""

    def __init__(self, series: Series, templates: Mapping[str, TemplateVersion]) -> None:
        self.texts = [text.id for version in templates.values() for text in version.texts]
        self._series = series
        self._templates = templates
        self._found: dict[
            tuple[Kind, str, str | None, str], tuple[TemplateVersion, Sequence[Text]] | None
        ] = {}

    def choices(
        self, kind: Kind, channel: str, locale: str | None, style: str
    ) -> tuple[TemplateVersion, Sequence[Text]] | None:
        """The texts of a kind in somebody's style, else in the supportive one; for who has done a part, where the series
        has no words of that kind, those for a missed goal. None: there are none.
        """
        asked = kind, channel, locale, style
        if asked not in self._found:
            self._found[asked] = self._look(*asked)
        return self._found[asked]

    def styles(self, kind: Kind, channel: str, locale: str | None) -> list[str]:
        """In which styles there are texts of a kind that fit the person's language as well as any."""
        for version in self._versions(kind):
            fitting = {
                style: text
                for style in {text.style for text in version.texts} - {""}
                for text in version.choices(channel, locale, style)[:1]
                if text.style == style
            }
            if fitting:
                best = max(_fit(text) for text in fitting.values())
                return sorted(style for style, text in fitting.items() if _fit(text) == best)
        return []

    def _versions(self, kind: Kind) -> list[TemplateVersion]:
        names = [
            _name(self._series, each) for each in ((kind, Kind.MISSED) if kind is Kind.PARTIAL else (kind,))
        ]
        return [version for name in names if (version := self._templates.get(name)) is not None]

    def _look(
        self, kind: Kind, channel: str, locale: str | None, style: str
    ) -> tuple[TemplateVersion, Sequence[Text]] | None:
        for version in self._versions(kind):
            found = version.choices(channel, locale, style) or version.choices(channel, locale, USUAL_STYLE)
            if found:
                return version, found
        return None


async def load_wording(conn: Connection, series: Series) -> Wording:
    """The newest texts of a series."""
    return Wording(series, await load_templates(conn, series.workspace_id, template_names(series)))


def say(
    kind: Kind,
    person: Person,
    style: str,
    goals: Sequence[Goal],
    channel: str,
    wording: Wording,
    used: Used,
    text: UUID | None = None,
    link_base: str | None = None,
) -> Said:
    """The words. `text`: the one to take if it fits; `link_base`: what links begin with. Raises `Unsaid`."""
    found = wording.choices(kind, channel, person.locale, style)
    if found is None:
        raise Unsaid("no_text")
    version, choices = found
    same = next((choice for choice in choices if choice.id == text), None)
    chosen = same or pick(choices, used, person.id)
    given = variables_of(person) | goal_variables(foremost(goals), version)
    try:
        written = write(version, chosen, given, channel=channel, locale=person.locale, link_base=link_base)
    except TemplateProblem as problem:
        raise Unsaid(str(problem)[:200]) from None
    return Said(
        kind=kind,
        text=chosen,
        style=chosen.style or style,
        body=written.body,
        metadata=written.metadata,
        variables={name: written.values[name] for name in version.variables if name in written.values},
        links=written.links,
        because={
            "kind": kind.value,
            "goals": [goal.as_json() for goal in goals],
            "style": style,
            "template": version.pinned,
            "text": chosen.number,
        },
    )


def goal_variables(goal: Goal, version: TemplateVersion) -> dict[str, Any]:
    """What a text may say of a goal, its figures as texts where the template takes texts. A unit that has no name is
    left to the template's default.
    """
    figures = {"done": plain(goal.done), "target": plain(goal.target), "percent": goal.percent}
    found: dict[str, Any] = {"goal": goal.name} | {
        name: str(figure) if _takes_text(version, name) else figure for name, figure in figures.items()
    }
    return found | ({"unit": goal.unit} if goal.unit else {})


def _takes_text(version: TemplateVersion, name: str) -> bool:
    declared = version.variables.get(name)
    return declared is not None and declared.type is Type.TEXT


class Moment(Protocol):
    """When one person is asked: what loading their goals needs to know."""

    @property
    def contact(self) -> UUID:
        """Whom."""

    @property
    def on(self) -> date:
        """On which day of their own calendar."""

    @property
    def zone(self) -> Zone:
        """By which clock."""


class Case(NamedTuple):
    """One person's check-in before it is decided."""

    person: Person
    preference: Preference
    on: date
    zone: Zone

    @property
    def contact(self) -> UUID:
        """Whose it is."""
        return self.person.id

    @property
    def occurrence(self) -> datetime:
        """When, by their clock."""
        return datetime.combine(self.on, self.preference.send_time)


async def load_goals(
    conn: Connection, workspace_id: int, moments: Sequence[Moment]
) -> dict[UUID, list[Goal]]:
    """The goals of people with what they have done, in the periods that are asked about; none: no entry."""
    clocks: dict[tuple[date, str], int] = {}
    places = [clocks.setdefault((m.on, m.zone.name), len(clocks) + 1) for m in moments]
    columns = zip(*((*spans(on, zone), on) for on, zone in clocks), strict=True) if clocks else [()] * 7
    rows = await conn.fetch(
        query("goal_progress"), workspace_id, [m.contact for m in moments], places, *map(list, columns)
    )
    found: dict[UUID, list[Goal]] = {}
    for contact, name, unit, target, period, done in rows:
        found.setdefault(contact, []).append(Goal(name, unit, target, period, done))
    return found


async def load_preferences(
    conn: Connection, series: Series, on: date, contacts: Sequence[UUID]
) -> dict[UUID, Preference]:
    """How these people want to be written to; who has never said has no entry."""
    rows = await conn.fetch(query("check_in_preferences"), series.workspace_id, contacts, series.id, on)
    return {row["contact_id"]: Preference(*row.values()) for row in rows}


class CheckIns:
    """The source of check-ins. See `sources.Source`."""

    def __init__(
        self,
        keys: DataKeys,
        account_of: AccountOf | None = None,
        config: Callable[[], Config] | None = None,
    ) -> None:
        """`account_of`: which account carries a channel for a workspace; None: not asked. `config`: what is learned, the
        rules that hold then, and what links begin with; None: nothing is learned, and there are no links.
        """
        self._keys = keys
        self._account_of = account_of
        self._config = config

    async def members(
        self, conn: Connection, series: Series, on_date: date, after: UUID | None, limit: int
    ) -> Sequence[UUID]:
        """Who wants to be written to on that day of the week."""
        rows = await conn.fetch(
            query("check_in_members"), series.workspace_id, on_date.isoweekday(), after, limit
        )
        return [row[0] for row in rows]

    async def decide(
        self, conn: Connection, series: Series, on_date: date, contacts: Sequence[UUID], now: datetime
    ) -> list[Item]:
        """An item for each of them whose day it is, and who has no check-in on it yet."""
        preferences = {
            contact: each
            for contact, each in (await load_preferences(conn, series, on_date, contacts)).items()
            if each.enabled and each.send_day == on_date.isoweekday() and not each.decided
        }
        people = await load_people(conn, self._keys, series.workspace_id, list(preferences))
        cases = [
            Case(person, preferences[contact], on_date, zone_of(person, on_date, series.zone))
            for contact, person in people.items()
        ]
        goals = await load_goals(conn, series.workspace_id, cases)
        wording = await load_wording(conn, series)
        used = await load_used(conn, series.workspace_id, list(people), wording.texts)
        channels = carried(self._account_of, series.workspace)
        config = None if self._config is None else self._config()
        lessons = await load_lessons(conn, config, series, list(people), now)
        return [
            self._item(
                series,
                case,
                goals.get(case.contact, ()),
                wording,
                used.get(case.contact, {}),
                channels,
                lessons,
            )
            for case in cases
        ]

    async def keep(self, conn: Connection, series: Series, items: Sequence[Item]) -> None:
        """Stores the links of what is queued next."""
        await keep_links(conn, self._keys, series, items)

    def _item(
        self,
        series: Series,
        case: Case,
        goals: Sequence[Goal],
        wording: Wording,
        used: Used,
        channels: frozenset[str] | None,
        lessons: Lessons,
    ) -> Item:
        wished = instant(case.occurrence, case.zone.name)
        item: Item = {
            "source_id": series.id,
            "source": "check_in",
            "contact": case.contact,
            "occurrence": case.occurrence,
            "style": case.preference.style,
            "wished_at": wished,
            "earliest": wished - series.earlier,
            "latest": wished + series.later,
            "because": {
                "wished": case.occurrence.isoformat(sep=" ", timespec="minutes"),
                "zone": case.zone.name,
                "zone_source": case.zone.source,
            },
        }
        try:
            kind = wanted(case.preference, goals)
            item["kind"] = kind.value
            item |= _due(series, wished, lessons.now)
            order = case.preference.channels or series.channels
            address = address_of(case.person, order, category_of(series, kind), channels)
            if lessons.habits is not None and lessons.now <= wished + series.later:
                item |= _at_learned_hour(item, series, case, category_of(series, kind), address, lessons)
            style, why = _style(case, kind, address, wording, lessons)
            base = None if lessons.config is None else lessons.config.web.link_base
            said = say(kind, case.person, style, goals, address.channel, wording, used, link_base=base)
        except Unsaid as reason:
            item["reason"] = str(reason)
            if goals:
                item.setdefault("kind", kind_of(goals).value)
                item["because"] |= {"goals": [goal.as_json() for goal in goals]}
            return item
        item["because"] |= said.because | why
        return item | {
            "style": said.style,
            "text_id": said.text.id,
            "channel": address.channel.value,
            "to": address.to,
            "address_key": address.key,
            "body": said.body,
            "category": category_of(series, kind),
            "priority": priority_of(series, case.preference, kind),
            "template": said.text.template,
            "variables": said.variables,
            "metadata": said.metadata,
            "links": said.links,
        }


def _at_learned_hour(
    item: Item, series: Series, case: Case, category: str, address: Address, lessons: Lessons
) -> Item:
    """The fields of an item that goes at the hour that was learned, with the reason."""
    place = Place(address.channel, address.to or "", case.person.time_zone, category, case.zone.name)
    found = lessons.hour(case.contact, case.occurrence, place)
    if found is None:
        return {}
    at, why = found
    because = {"because": item["because"] | {"learned": why}}
    if at == case.preference.send_time:
        return because
    wished = instant(datetime.combine(case.on, at), case.zone.name)
    moved = {"wished_at": wished, "earliest": wished - series.earlier, "latest": wished + series.later}
    return because | moved | _due(series, wished, lessons.now)


def _style(
    case: Case, kind: Kind, address: Address, wording: Wording, lessons: Lessons
) -> tuple[str, dict[str, Any]]:
    """In which style it is said, and why, where that was learned. A style that has no texts is not chosen, also if it is
    the person's own: as without learning, the supportive one stands in for it.
    """
    own = case.preference.style
    if lessons.tastes is None:
        return own, {}
    allowed = wording.styles(kind, address.channel, case.person.locale)
    found = lessons.style(case.contact, case.occurrence, own if own in allowed else USUAL_STYLE, allowed)
    return (own, {}) if found is None else (found[0], {"style": found[1] | {"preferred": own}})


def chosen_style(because: Mapping[str, Any], preference: Preference) -> str:
    """In which style a check-in is said that was planned for this reason: the one that was chosen for it, else the
    person's own.
    """
    style = because.get("style")
    return str(style["chosen"]) if isinstance(style, Mapping) else preference.style


def _due(series: Series, wished: datetime, now: datetime) -> Item:
    """When it is due and from when to when it may be moved. What nobody planned in time is caught up as the series says.
    Raises `Unsaid`.
    """
    latest = wished + series.later
    if now <= latest:
        return {"due_at": max(wished, now), "expires_at": latest + EXPIRES_AFTER}
    if series.catch_up == "skip" or (series.catch_up == "latest" and now > wished + _LATEST_FOR):
        raise Unsaid("late")
    latest = now + series.later
    return {"due_at": now, "earliest": now, "latest": latest, "expires_at": latest + EXPIRES_AFTER}


def _fit(text: Text) -> tuple[bool, int]:
    return text.channel != "", len(text.language)


def _name(series: Series, kind: Kind) -> str:
    return series.templates.get(kind.value, _USUAL[kind])
