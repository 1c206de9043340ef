"""The people of the demo's Sunday: how each wants to be asked, and how far each has come. None of them exists."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.demo.numbers import Numbers
from daemon.demo.texts import NAMES
from daemon.rules.wall_clock import ZONES

_GOALS = (
    ("Runs", 3, "runs"),
    ("Workouts", 4, "workouts"),
    ("Pages written", 20, "pages"),
    ("Walks", 5, "walks"),
)
# When they want it: most at the same time, as people do.
_TIMES = {"18:00": 0.84, "17:30": 0.04, "18:30": 0.06, "19:00": 0.06}
_STYLES = ("supportive", "snarky", "chaotic")
_COACHES = 0.02
_MET, _PARTIAL = 0.3, 0.4
_NO_CONGRATULATION = 0.1


@dataclass(frozen=True, slots=True)
class Somebody:
    """One of them."""

    name: str  # the contact's external_id
    first_name: str
    number: str
    time: str
    style: str
    coach: bool
    on_goal_met: bool
    goal: str
    target: int
    unit: str
    done: int

    def contact(self, zone: str) -> dict[str, Any]:
        """As duly.put_contacts takes it."""
        return {
            "external_id": self.name,
            "first_name": self.first_name,
            "locale": "en",
            "time_zone": zone,
            "addresses": [{"channel": "sms", "address": self.number}],
        }


def people(how_many: int) -> list[Somebody]:
    """The same ones each time, and each time as many."""
    rng = random.Random("sunday")
    numbers = Numbers(rng)
    found = []
    for nth in range(how_many):
        goal, target, unit = rng.choice(_GOALS)
        luck = rng.random()
        done = target if luck < _MET else rng.randrange(1, target) if luck < _MET + _PARTIAL else 0
        found.append(
            Somebody(
                name=f"user-{nth + 1:04}",
                first_name=rng.choice(NAMES["en"]),
                number=numbers.mobile(rng.choice(("US", "CA", "GB", "IE", "AU", "ZA", "IN"))),
                time=rng.choices(list(_TIMES), list(_TIMES.values()))[0],
                style=rng.choice(_STYLES),
                coach=rng.random() < _COACHES,
                on_goal_met=rng.random() >= _NO_CONGRATULATION,
                goal=goal,
                target=target,
                unit=unit,
                done=done,
            )
        )
    return found


def own_zone() -> str:
    """This machine's zone, else UTC: so that it is 18:00 for who looks."""
    try:
        path = Path("/etc/localtime").resolve().as_posix()
    except OSError:
        return "UTC"
    zone = path.partition("/zoneinfo/")[2]
    return zone if zone in ZONES else "UTC"
