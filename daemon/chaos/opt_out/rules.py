"""The rules that a race runs under: caps, and quiet hours that begin and end in the middle of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.chaos.messages import WORKSPACES
from daemon.chaos.settings import DEFAULT, Tuning
from daemon.rules import wall_clock

PLAIN = "transactional"
"""Of these nothing is asked but what the mark asks of all."""

AMPLE = "ample"
"""These are charged to a cap that is never used up: marked in the caps' transaction, not in one statement."""

CROWD = "crowd"
PACED = "paced"

QUIET_SECONDS = 4

NARROW = replace(
    DEFAULT,
    platforms={name: {"concurrency": 6, **account} for name, account in DEFAULT.platforms.items()},
    daemon={"batch": 2},
)
"""A run's tuning where the operator has none: deliveries are stopped while they wait for a call, leased or marked, and
what is due for one person at one moment is taken by several daemons."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` to one recipient: in the whole run, or within any `seconds`."""

    most: int
    seconds: float | None = None


CAPS: Mapping[str, Limit] = {CROWD: Limit(3), PACED: Limit(2, 3.0)}
"""Category → its cap. What is over the first is given up, over the second it waits."""


@dataclass(frozen=True, slots=True)
class Night:
    """A category with quiet hours, and where its recipients are: their contact says so, or their number does."""

    category: str
    zone: str
    prefix: str  # of the recipients' numbers
    given: bool


NIGHTS: Mapping[str, Night] = {
    night.category: night
    for night in (
        Night("night_coast", "America/Los_Angeles", "+1415", given=False),
        Night("night_britain", "Europe/London", "+44740", given=False),
        Night("night_india", "Asia/Kolkata", "+1415", given=True),
    )
}

_DAY = 86_400
_LONGER_THAN_ANY_RUN_DAYS = 30
# Every other workspace has a number of its own, to which people answer; of the others it must be found out whom
# they answer.
_SENDERS = {name: f"+1500555100{n}" for n, name in enumerate(WORKSPACES) if n % 2 == 0}


def tuned(tuning: Tuning, quiet_at: datetime) -> Tuning:
    """A run's tuning: the operator's, with the rules of the race. `quiet_at`: when the quiet hours begin, in UTC."""
    return replace(tuning, rules=_table(quiet_at), senders=_SENDERS)


def quiet(quiet_at: datetime) -> dict[str, tuple[datetime, datetime]]:
    """Category → from when until just before when it must not be sent."""
    return {category: (quiet_at, quiet_at + timedelta(seconds=QUIET_SECONDS)) for category in NIGHTS}


def _table(quiet_at: datetime) -> dict[str, Any]:
    hours = {
        night.category: _hours(night.zone, *quiet(quiet_at)[night.category]) for night in NIGHTS.values()
    }
    caps: dict[str, dict[str, Any]] = {
        CROWD: {"limit": CAPS[CROWD].most, "days": _LONGER_THAN_ANY_RUN_DAYS, "on_reached": "skip"},
        PACED: {"limit": CAPS[PACED].most, "days": (CAPS[PACED].seconds or 0) / _DAY, "on_reached": "defer"},
        AMPLE: {"limit": 1000, "days": _LONGER_THAN_ANY_RUN_DAYS},
    }
    return {
        "quiet_hours": hours,
        "caps": {category: {**cap, "categories": [category]} for category, cap in caps.items()},
    }


def _hours(zone: str, begins: datetime, ends: datetime) -> str:
    shown = [wall_clock.local(at.astimezone(UTC), zone) for at in (begins, ends)]
    return "-".join(f"{at:%H:%M:%S}" for at in shown)
