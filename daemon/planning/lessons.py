"""What check-ins make of what was learned: the hour and the style of one, where its workspace asks for that.

The hour is one of those that the workspace allows, that the rules do not call quiet where the person may be, and that
have not passed; else it is the person's own. The day is always the one they chose.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any
from uuid import UUID

from daemon.config import Config
from daemon.model import Channel
from daemon.planning.learning import Habits, Tastes, chance, load_habits, load_tastes
from daemon.planning.send_time import learned
from daemon.planning.sources import Series
from daemon.planning.styles import choose_style
from daemon.queue.rulebook import rules_of
from daemon.rules.answers import Allow
from daemon.rules.judgement import Rules, hours_for
from daemon.rules.quiet_hours import QuietHours, quiet_hours
from daemon.rules.wall_clock import instant
from daemon.rules.zones import Whereabouts, whereabouts
from daemon.store.database import Connection


@dataclass(frozen=True, slots=True)
class Place:
    """Where a check-in goes: what its quiet hours depend on. `zone`: the clock by which the person's day is reckoned."""

    channel: Channel
    to: str
    time_zone: str | None
    category: str
    zone: str


@dataclass(slots=True)
class Lessons:
    """For one series, and some people. Without habits or tastes, nothing of that kind is learned."""

    series: Series
    now: datetime
    config: Config | None = None
    habits: Habits | None = None
    tastes: Tastes | None = None
    _rules: dict[str, Rules] = field(default_factory=dict)
    _open: dict[tuple[Any, ...], dict[int, datetime]] = field(default_factory=dict)

    def hour(self, contact: UUID, occurrence: datetime, place: Place) -> tuple[time, dict[str, Any]] | None:
        """The time of a check-in that is wanted at `occurrence`, on that day, and why; None: it is not learned."""
        if self.habits is None:
            return None
        return learned(
            occurrence.time(),
            occurrence.weekday(),
            self.habits.person(contact),
            self.habits.cohort,
            self._hours(occurrence, place),
            chance(self.series.id, contact, occurrence),
        )

    def style(
        self, contact: UUID, occurrence: datetime, preferred: str, allowed: Collection[str]
    ) -> tuple[str, dict[str, Any]] | None:
        """The style of a check-in, one of the `allowed`, and why; None: it is not learned."""
        if self.tastes is None or not allowed:
            return None
        rng = chance(self.series.id, contact, occurrence, "style")
        return choose_style(preferred, allowed, self.tastes.person(contact), self.tastes.cohort, rng)

    def _hours(self, occurrence: datetime, place: Place) -> list[int]:
        rules = self._rules_of(place.category)
        where = whereabouts(place.time_zone, place.channel, place.to)
        quiet = hours_for(rules, place.to)
        # Many people have the same: their day's hours are asked about once.
        same = (
            occurrence.date(),
            occurrence.time().replace(hour=0),
            place.zone,
            place.category,
            where,
            quiet,
        )
        if same not in self._open:
            self._open[same] = self._allowed(occurrence, place.zone, rules, where, quiet)
        return [hour for hour, at in self._open[same].items() if at >= self.now]

    def _allowed(
        self, occurrence: datetime, zone: str, rules: Rules, where: Whereabouts, quiet: QuietHours | None
    ) -> dict[int, datetime]:
        assert self.config is not None
        found = {}
        for hour in sorted(self.config.workspaces[self.series.workspace].learnable_hours):
            at = instant(occurrence.replace(hour=hour), zone)
            if isinstance(quiet_hours(quiet, where, at, rules.fallbacks).answer, Allow):
                found[hour] = at
        return found

    def _rules_of(self, category: str) -> Rules:
        if category not in self._rules:
            assert self.config is not None
            self._rules[category] = rules_of(self.config.rules_for(self.series.workspace), category)
        return self._rules[category]


async def load_lessons(
    conn: Connection, config: Config | None, series: Series, contacts: Sequence[UUID], now: datetime
) -> Lessons:
    """What was learned of these people, as far as their workspace asks for it."""
    workspace = None if config is None else config.workspaces.get(series.workspace)
    found = Lessons(series, now, config)
    if workspace is not None and contacts:
        if workspace.learn_send_time:
            found.habits = await load_habits(conn, series.workspace_id, contacts)
        if workspace.learn_style:
            found.tastes = await load_tastes(conn, series.workspace_id, contacts)
    return found
