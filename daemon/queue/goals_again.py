"""Asks the goals again of check-ins that were leased: who has reached theirs since gets the congratulation, not the
reproach, and who wants none gets nothing.

It stands between the lease and the rules. Whatever was not made from a template costs nothing here; of the rest one
statement says which are check-ins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon import metrics
from daemon.model import Delivery, Reason
from daemon.planning.check_ins import (
    Said,
    category_of,
    chosen_style,
    load_goals,
    load_preferences,
    load_wording,
    say,
    wanted,
)
from daemon.planning.goals import Goal, kind_of
from daemon.planning.links import store_links
from daemon.planning.recipients import UNKNOWN_ZONE, Person, Zone, load_people, zone_of
from daemon.planning.sources import Series, series_of
from daemon.planning.writing import Unsaid, load_used
from daemon.queue.holding import Held, held_columns
from daemon.rules.answers import Ruling, Skip
from daemon.rules.judgement import Verdict
from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from daemon.store.sql import query


@dataclass(frozen=True, slots=True)
class _Asked:
    """A check-in that is leased, as it was planned."""

    delivery: Delivery
    contact: UUID
    occurrence: datetime
    kind: str
    text: UUID | None
    because: dict[str, Any]
    person: Person | None
    zone: Zone

    @property
    def on(self) -> date:
        """On which day of their own calendar it is."""
        return self.occurrence.date()


class GoalsAgain:
    """Between the lease and the rules."""

    def __init__(
        self, database: Database, keys: DataKeys, link_base: Callable[[], str | None] = lambda: None
    ) -> None:
        """`link_base`: what the links in texts begin with."""
        self._database = database
        self._keys = keys
        self._link_base = link_base

    async def sift(self, leased: Sequence[Delivery]) -> Sequence[Delivery]:
        """Those that may go on, as they are to be said now. The others are skipped, with the reason.

        Raises `DatabaseDown`; then what is not decided yet is still leased.
        """
        mine = {delivery.id: delivery for delivery in leased if delivery.from_template}
        if not mine:
            return leased
        rows = await self._database.fetch(
            query("check_ins_leased"), list(mine), [d.workspace_id for d in mine.values()]
        )
        if not rows:
            return leased
        changed = await self._asked_again(rows, mine)
        return [now for d in leased if (now := changed.get(d.id, d)) is not None]

    async def _asked_again(
        self, rows: Sequence[asyncpg.Record], deliveries: dict[UUID, Delivery]
    ) -> dict[UUID, Delivery | None]:
        """The deliveries that are no longer as they were: with other words, or None."""
        by_series: dict[UUID, list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            by_series[row["series_id"]].append(row)
        words: list[tuple[Delivery, Said, Series, str]] = []
        held: list[Held] = []
        async with self._database.acquire() as conn:
            for some in by_series.values():
                await self._ask(conn, some, deliveries, words, held)
            changed: dict[UUID, Delivery | None] = {d.id: None for d, *_ in held}
            if held:
                await conn.execute(query("hold_back"), *held_columns(held), "leased")
                metrics.REWORDED.labels("skipped").inc(len(held))
            if words:
                changed |= await _reword(conn, words)
        return changed

    async def _ask(
        self,
        conn: Connection,
        rows: Sequence[asyncpg.Record],
        deliveries: dict[UUID, Delivery],
        words: list[tuple[Delivery, Said, Series, str]],
        held: list[Held],
    ) -> None:
        """One series' check-ins: what is to be said otherwise, and what is not to be said."""
        series = series_of(rows[0])
        contacts = [row["contact_id"] for row in rows]
        people = await load_people(conn, self._keys, series.workspace_id, contacts)
        asked = [_asked(row, deliveries[row["delivery_id"]], people, series) for row in rows]
        preferences = await load_preferences(conn, series, date.min, contacts)
        # Somebody may have several: each is about periods of its own.
        goals: dict[tuple[UUID, date], list[Goal]] = {}
        for on in {each.on for each in asked}:
            found = await load_goals(conn, series.workspace_id, [a for a in asked if a.on == on])
            goals |= {(contact, on): some for contact, some in found.items()}
        other: list[tuple[_Asked, list[Goal]]] = []
        for each in asked:
            now = goals.get((each.contact, each.on), [])
            preference = preferences.get(each.contact)
            if each.person is None or preference is None:
                held.append(_held(each.delivery, Reason.NOT_WANTED, {"planned": each.kind, "now": "unknown"}))
                continue
            try:
                wanted(preference, now)
            except Unsaid as reason:
                held.append(_held(each.delivery, _reason(str(reason)), _because(each, now, str(reason))))
                continue
            if [goal.as_json() for goal in now] != each.because.get("goals"):
                other.append((each, now))
        if not other:
            return
        wording = await load_wording(conn, series)
        used = await load_used(conn, series.workspace_id, [each.contact for each, _ in other], wording.texts)
        for each, now in other:
            assert each.person is not None
            kind = kind_of(now)
            try:
                said = say(
                    kind,
                    each.person,
                    chosen_style(each.because, preferences[each.contact]),
                    now,
                    each.delivery.channel.value,
                    wording,
                    used.get(each.contact, {}),
                    each.text if kind.value == each.kind else None,
                    self._link_base(),
                )
                await store_links(
                    conn, self._keys, series.workspace, series.workspace_id, said.links, each.delivery.id
                )
                if isinstance(each.because.get("style"), dict):
                    said.because["style"] = each.because["style"]
            except (Unsaid, CannotOpen) as reason:
                if kind.value != each.kind:  # else its figures are a little old, and its words still right
                    held.append(_held(each.delivery, _reason(kind.value), _because(each, now, str(reason))))
                continue
            words.append((each.delivery, said, series, each.kind))


def _asked(row: asyncpg.Record, delivery: Delivery, people: dict[UUID, Person], series: Series) -> _Asked:
    person = people.get(row["contact_id"])
    because = orjson.loads(row["because"])
    on = row["occurrence"].date()
    if known := because.get("zone"):  # by the clock that it was planned by, so that the same days count
        zone = Zone(known, "given")
    elif person is not None:
        zone = zone_of(person, on, series.zone)
    else:
        zone = Zone(UNKNOWN_ZONE, "unknown")
    return _Asked(
        delivery,
        row["contact_id"],
        row["occurrence"],
        row["planned_kind"],
        row["text_id"],
        because,
        person,
        zone,
    )


async def _reword(
    conn: Connection, words: Sequence[tuple[Delivery, Said, Series, str]]
) -> dict[UUID, Delivery | None]:
    """The deliveries with their other words; None for one whose lease is lost."""
    items = [
        {
            "id": delivery.id,
            "workspace_id": delivery.workspace_id,
            "lease_token": delivery.lease_token,
            "body": said.body,
            "category": category_of(series, said.kind),
            "template": said.text.template,
            "text_id": said.text.id,
            "variables": said.variables,
            "metadata": said.metadata,
            "kind": said.kind.value,
            "style": said.style,
            "because": said.because,
            "rulings": [
                {
                    "rule": "goals",
                    "answer": "reword",
                    "because": {"planned": before, "now": said.kind.value, **_done(said.because)},
                }
            ],
        }
        for delivery, said, series, before in words
    ]
    rows = await conn.fetch(query("reword"), orjson.dumps(items, default=str).decode())
    found = {row["id"]: row for row in rows}
    metrics.REWORDED.labels("reworded").inc(len(found))
    changed: dict[UUID, Delivery | None] = {}
    for delivery, said, series, _ in words:
        row = found.get(delivery.id)
        changed[delivery.id] = (
            None
            if row is None
            else replace(
                delivery,
                body=row["body"],
                segments=row["segments"],
                category=category_of(series, said.kind),
                metadata=said.metadata,
            )
        )
    return changed


def _held(delivery: Delivery, reason: Reason, because: dict[str, Any]) -> Held:
    ruling = Ruling("goals", Skip(reason), because)
    detail = f"goals: planned as {because['planned']}, now {because['now']}"
    return delivery, Verdict((ruling,), ruling.answer), detail


def _because(asked: _Asked, goals: Sequence[Goal], why: str) -> dict[str, Any]:
    now = kind_of(goals).value if goals else "without goals"
    return {"planned": asked.kind, "now": now, "why": why, **_done({"goals": [g.as_json() for g in goals]})}


def _done(because: dict[str, Any]) -> dict[str, Any]:
    """How far each goal is, without its name: the receipt outlives the person."""
    return {"done": ", ".join(f"{goal['done']} of {goal['target']}" for goal in because["goals"])}


def _reason(why: str) -> Reason:
    return Reason.GOAL_MET if why in ("goal_met", "met") else Reason.NOT_WANTED
