"""Whom a run plans for: people with goals, preferences and clocks, drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.chaos.campaign.making import Wanted
from daemon.chaos.messages import WORKSPACES
from daemon.rules import wall_clock

QUIET_ZONE = "America/Los_Angeles"
"""Whose people have quiet hours within the run."""

QUIET_SECONDS = 4
QUIET_CATEGORY = "accountability"

GOALS = ("Runs", "Pages")
TARGET = 4

_ZONES = (
    "UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Kiritimati", "Pacific/Pago_Pago",
    QUIET_ZONE, QUIET_ZONE,
)  # fmt: skip
_STYLES = ("supportive", "snarky", "chaotic")
_DISABLED, _ANOTHER_DAY, _NO_GOALS, _NO_ADDRESS, _STOPPED, _COACH = 0.04, 0.06, 0.04, 0.03, 0.03, 0.1
_LATE = 0.35
CAMPAIGN, CAMPAIGN_WORKSPACE = "rush", "harbour"
"""What is sent to some of one workspace's people while their day is planned."""
_IN_CAMPAIGN = 0.7
_AROUND_SECONDS = (-2.5, 0.3)
_FIRST_ORDINARY = 1000  # last four digits from here on mean nothing to the stand-in


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, and what becomes of their goals. Times are seconds since the run's start."""

    number: int
    workspace: str
    zone: str
    to: str | None
    send_at: float
    other_day: bool  # their day of the week is another
    enabled: bool
    style: str
    on_goal_met: bool
    on_partial_goal: bool
    priority: int | None
    stopped: bool  # their address must not be written to
    done: Sequence[int]  # of each goal when the planning begins
    reaches_at: float | None  # when they reach all goals, after they were planned; None: they do not
    in_campaign: bool

    @property
    def name(self) -> str:
        """The contact's external_id."""
        return f"p{self.number}"

    def wished(self, start: datetime) -> datetime:
        """When they want to be asked, to the second."""
        return (start + timedelta(seconds=self.send_at)).replace(microsecond=0)

    def contact(self) -> dict[str, Any]:
        """For duly.put_contacts."""
        addresses = [{"channel": "sms", "address": self.to}] if self.to else []
        attributes = {"campaign": CAMPAIGN} if self.in_campaign else {}
        return {
            "external_id": self.name,
            "time_zone": self.zone,
            "addresses": addresses,
            "attributes": attributes,
        }

    def goals(self) -> list[dict[str, Any]]:
        """For chaos_goals.sql."""
        return [{"contact": self.name, "goal": GOALS[n], "target": TARGET} for n in range(len(self.done))]

    def progress(self, start: datetime, *, rest: bool = False) -> list[dict[str, Any]]:
        """For duly.add_progress_batch: what is done at first, or what is left to do."""
        at = self.wished(start).isoformat()
        return [
            {"contact": self.name, "goal": GOALS[n], "amount": TARGET - done if rest else done, "at": at}
            for n, done in enumerate(self.done)
        ]

    def preference(self, start: datetime) -> dict[str, Any]:
        """For chaos_preferences.sql."""
        local = wall_clock.local(self.wished(start), self.zone)
        day = local + timedelta(days=4) if self.other_day else local
        return {
            "contact": self.name,
            "enabled": self.enabled,
            "day": str(day.isoweekday()),
            "time": f"{local:%H:%M:%S}",
            "style": self.style,
            "on_goal_met": self.on_goal_met,
            "on_partial_goal": self.on_partial_goal,
            "priority": self.priority,
        }


def people(*, seed: int, users: int, first: float, last: float) -> list[Person]:
    """A run's people, who are asked from `first` to `last`. The same seed draws the same."""
    rng = random.Random(f"planner {seed}")
    return [_person(rng, number, first, last) for number in range(users)]


def _person(rng: random.Random, number: int, first: float, last: float) -> Person:
    done = [rng.choice((0, 0, 1, TARGET)) for _ in range(rng.choice((1, 1, 2)))]
    send_at = rng.uniform(first, last)
    reaches = not all(each == TARGET for each in done) and rng.random() < _LATE
    to = f"+1415{557 + number // 9000:03d}{_FIRST_ORDINARY + number % 9000:04d}"
    workspace = rng.choices(list(WORKSPACES), list(WORKSPACES.values()))[0]
    return Person(
        number=number,
        workspace=workspace,
        zone=rng.choice(_ZONES),
        to=None if rng.random() < _NO_ADDRESS else to,
        send_at=send_at,
        other_day=rng.random() < _ANOTHER_DAY,
        enabled=rng.random() >= _DISABLED,
        style=rng.choice(_STYLES),
        on_goal_met=rng.random() < 0.6,
        on_partial_goal=rng.random() < 0.8,
        priority=1 if rng.random() < _COACH else None,
        stopped=rng.random() < _STOPPED,
        done=[] if rng.random() < _NO_GOALS else done,
        reaches_at=send_at + rng.uniform(*_AROUND_SECONDS) if reaches else None,
        in_campaign=workspace == CAMPAIGN_WORKSPACE and rng.random() < _IN_CAMPAIGN,
    )


def campaign(everyone: Sequence[Person]) -> Wanted:
    """Whom the campaign must reach."""
    members = [person for person in everyone if person.in_campaign and person.to is not None]
    return Wanted(
        CAMPAIGN_WORKSPACE,
        CAMPAIGN,
        frozenset(person.to for person in members if person.to and not person.stopped),
        frozenset(person.to for person in members if person.to and person.stopped),
    )


def quiet(start: datetime, first: float, last: float) -> tuple[datetime, datetime]:
    """From when until before when it is quiet: in the middle of the run."""
    begins = (start + timedelta(seconds=(first + last) / 2)).replace(microsecond=0).astimezone(UTC)
    return begins, begins + timedelta(seconds=QUIET_SECONDS)


def quiet_hours(begins: datetime, ends: datetime) -> str:
    """The same as the TOML has it."""
    return "-".join(f"{wall_clock.local(at, QUIET_ZONE):%H:%M:%S}" for at in (begins, ends))
