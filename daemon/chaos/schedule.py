"""What is done to whom and when: a plan drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter

Faults = Mapping[str, float]

# Without these a kill rarely meets a call that was taken and not answered yet.
_LATE: Faults = {"late_taken": 0.2}

# What the stand-in does to calls and callbacks, by name; the keys are daemon.sandbox.faults.Faults'.
# Nothing here may put more between a call and its place in the list, or its callback, than PATIENCE_SECONDS.
WEATHER: Mapping[str, Faults] = {
    "fair": {},
    "slow answers": {"latency_ms": 400, "jitter_ms": 400, **_LATE},
    "answers slower than the time-out": {"latency_ms": 1500, "jitter_ms": 800},
    "cut connections": {"cut_taken": 0.12, "cut_not_taken": 0.12, **_LATE},
    "errors 500, some of them taken": {"error_taken": 0.12, "error_not_taken": 0.12, **_LATE},
    "refusals 429 and 503": {"too_many_requests": 0.2, "unavailable": 0.12, **_LATE},
    "no answer although taken": {"hang_taken": 0.12, **_LATE},
    "late answers although taken": {"late_taken": 0.6},
    "cut connections, and taken seconds later": {"cut_taken_later": 0.2, "cut_not_taken": 0.05, **_LATE},
    "callbacks repeated, reordered and dropped": {
        **_LATE,
        "callback_repeat": 0.3,
        "callback_reorder": 0.3,
        "callback_drop": 0.3,
    },
    "dropped callbacks and cut connections": {
        "cut_taken": 0.2,
        "cut_not_taken": 0.1,
        "callback_drop": 1.0,
        **_LATE,
    },
    "everything at once": {
        "latency_ms": 100,
        "jitter_ms": 100,
        "too_many_requests": 0.05,
        "unavailable": 0.05,
        "error_not_taken": 0.05,
        "cut_not_taken": 0.05,
        "error_taken": 0.05,
        "cut_taken": 0.05,
        "hang_taken": 0.03,
        "late_taken": 0.1,
        "cut_taken_later": 0.05,
        "callback_repeat": 0.2,
        "callback_reorder": 0.2,
        "callback_drop": 0.2,
    },
    "nobody answers": {"cut_taken": 0.4, "cut_not_taken": 0.6},
}
_BRIEF = {"nobody answers": 1.2}  # long enough to hurt, too short for every breaker to open for minutes
_WEATHER_SECONDS = (1.5, 4.0)

LEASE_SECONDS = 5.0
PATIENCE_SECONDS = 6.0
# A daemon suspended for so long wakes when others have not only taken over but have sent again.
_SURELY_OVERTAKEN_SECONDS = LEASE_SECONDS * 4 / 3 + PATIENCE_SECONDS + 4
# Until a daemon that starts is at work, at the latest.
_START_SECONDS = 4.0


class Action(StrEnum):
    """What is done."""

    KILL = "kill -9"
    TERMINATE = "SIGTERM"
    STOP = "SIGSTOP"
    RESTART_DATABASE = "restart Postgres"
    CUT_DATABASE = "end the database sessions"
    SWALLOW_ANSWERS = "swallow the database's answers"
    WEATHER = "weather"


@dataclass(frozen=True, slots=True)
class Event:
    """One blow. `seconds`: how long the daemon stays down or suspended, or the answers are swallowed."""

    at: float
    action: Action
    daemon: int | None = None
    seconds: float = 0.0
    detail: str = ""  # the weather's name, or how Postgres is stopped


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's blows in order, and by how many minutes each daemon's wall clock is wrong."""

    events: tuple[Event, ...]
    skew_minutes: tuple[float, ...]

    def count(self, action: Action) -> int:
        """How many blows of a kind."""
        return sum(event.action is action for event in self.events)


def plan(*, seed: int, kills: int, seconds: float, daemons: int) -> Plan:
    """The blows for a run: `kills` times kill -9, and of the others as many as fit. The same seed, the same."""
    rng = random.Random(f"schedule {seed}")
    last = seconds - min(seconds, 0.5)
    blows = [Event(rng.uniform(0, last), Action.KILL, seconds=rng.uniform(0.1, 1.5)) for _ in range(kills)]
    blows += [
        Event(rng.uniform(0, last), Action.TERMINATE, seconds=rng.uniform(0.1, 1.0))
        for _ in range(max(1, kills // 5))
    ]
    placed = _placed(blows + _suspensions(rng, kills, seconds), daemons, rng)
    modes = ["immediate", "fast"]
    rng.shuffle(modes)
    for n in range(max(1, round(seconds / 25))):
        placed.append(Event(rng.uniform(0.1, 0.9) * seconds, Action.RESTART_DATABASE, detail=modes[n % 2]))
    for _ in range(max(1, round(seconds / 8))):
        who = rng.randrange(daemons)
        placed.append(Event(rng.uniform(0, seconds), Action.CUT_DATABASE, who))
    for _ in range(max(1, round(seconds / 4))):
        who = rng.randrange(daemons)
        placed.append(Event(rng.uniform(0, seconds), Action.SWALLOW_ANSWERS, who, rng.uniform(0.02, 0.3)))
    placed += _weather(rng, seconds)
    skew = [0.0] * daemons
    skew[rng.randrange(daemons)] = rng.choice((-1, 1)) * rng.uniform(3, 90)
    return Plan(tuple(sorted(placed, key=attrgetter("at"))), tuple(skew))


def _suspensions(rng: random.Random, kills: int, seconds: float) -> list[Event]:
    """A third as many as kills, as far as they fit one after the other.

    Every other one is long enough that the sleeper's calls have been made again by others when it wakes: that
    takes others who are awake. In a short run there are two all the same, and they overlap.
    """
    lengths: list[float] = []
    for n in range(max(2, kills // 3)):
        overtaken = _SURELY_OVERTAKEN_SECONDS + rng.uniform(0, 3)
        length = min(overtaken if n % 2 == 0 else LEASE_SECONDS * rng.uniform(1.2, 2.0), seconds * 0.9)
        if n >= 2 and sum(lengths) + length > seconds * 0.9:
            break
        lengths.append(length)
    spare = seconds - sum(lengths)
    if seconds < LEASE_SECONDS:
        return []
    if spare < 0:
        return [Event(rng.uniform(0, seconds - length), Action.STOP, seconds=length) for length in lengths]
    gaps = sorted(rng.uniform(0, spare) for _ in lengths)
    return [Event(gap + sum(lengths[:n]), Action.STOP, seconds=lengths[n]) for n, gap in enumerate(gaps)]


def _placed(events: list[Event], daemons: int, rng: random.Random) -> list[Event]:
    """Gives each blow a daemon that is at work then, or the one that is soonest."""
    free_at = [0.0] * daemons
    placed = []
    for event in sorted(events, key=attrgetter("at")):
        up = [n for n in range(daemons) if free_at[n] <= event.at]
        who = rng.choice(up) if up else min(range(daemons), key=lambda n: free_at[n])
        free_at[who] = max(free_at[who], event.at) + event.seconds + _START_SECONDS
        placed.append(replace(event, daemon=who))
    return placed


def _weather(rng: random.Random, seconds: float) -> list[Event]:
    """Each kind once before any comes again, so that a short run meets most of them."""
    events: list[Event] = []
    names: list[str] = []
    at = 0.0
    while at < seconds:
        names = names or rng.sample(list(WEATHER), len(WEATHER))
        name = names.pop()
        events.append(Event(at, Action.WEATHER, detail=name))
        at += _BRIEF.get(name) or rng.uniform(*_WEATHER_SECONDS)
    return events
