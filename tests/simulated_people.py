"""People whose habits are known, to learn from: what a learned send time gains over a fixed one.

One message a week, on Sunday. Of each person the chance of an answer in each hour of the day is known: a base, and a peak
around an hour of their own, which is their cohort type's with a shift. What they do by themselves comes around that peak
too, with noise. Nothing here knows how the learning works.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from random import Random

from daemon.planning.send_time import Habit, learned

_SUNDAY = 6
_DECAY = 0.5 ** (7 / 56)  # a week's, as duly.learn_habits forgets
FIXED = time(18)
ALLOWED = range(8, 22)


@dataclass(frozen=True, slots=True)
class World:
    """How people are: peaks by type with their shares, and how much by chance."""

    peaks: Sequence[tuple[float, float]] = ((8.5, 0.3), (13.0, 0.2), (20.5, 0.5))
    shift_hours: float = 1.2
    base: float = 0.06
    height: float = 0.34
    width_hours: float = 1.8
    acts_a_week: float = 2.0
    act_noise: float = 0.25  # the share of what they do that comes at any hour


@dataclass(frozen=True, slots=True)
class Run:
    """Answers expected over a span of weeks: of all at the fixed time, as learned, and at everybody's best."""

    fixed: float
    learned: float
    oracle: float

    @property
    def gain(self) -> float:
        """How many times as many answers as at the fixed time, less one."""
        return self.learned / self.fixed - 1

    @property
    def share(self) -> float:
        """How much of what the oracle gains."""
        possible = self.oracle - self.fixed
        return (self.learned - self.fixed) / possible if possible else 0.0


class _Person:
    def __init__(self, world: World, rng: Random) -> None:
        peak = rng.choices([p for p, _ in world.peaks], [s for _, s in world.peaks])[0]
        self.peak = peak + rng.gauss(0, world.shift_hours)
        self.chance = [
            world.base + world.height * math.exp(-(((h + 0.5 - self.peak) / world.width_hours) ** 2) / 2)
            for h in range(24)
        ]
        self.active: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()

    def habit(self) -> Habit:
        return Habit(self.active, self.sent, self.answered)


def simulate(world: World, *, people: int, weeks: int, seed: int) -> list[Run]:
    """What each week gives."""
    rng = Random(seed)
    everybody = [_Person(world, rng) for _ in range(people)]
    cohort = _Person(world, rng)
    runs = []
    for _ in range(weeks):
        known = cohort.habit()
        total = 0.0
        news: list[tuple[Counter[int], int]] = []
        for person in everybody:
            at, _ = learned(FIXED, _SUNDAY, person.habit(), known, ALLOWED, rng)
            total += person.chance[at.hour]
            slot = _SUNDAY * 24 + at.hour
            answers = rng.random() < person.chance[at.hour]
            news += [(who.sent, slot) for who in (person, cohort)]
            if answers:
                news += [(who.answered, slot) for who in (person, cohort)]
            for slot in _acts(world, person, rng):
                news += [(who.active, slot) for who in (person, cohort)]
        for one in (*everybody, cohort):
            for weights in (one.active, one.sent, one.answered):
                for hour in weights:
                    weights[hour] *= _DECAY  # type: ignore[assignment]
        for weights, slot in news:
            weights[slot] += 1
        runs.append(
            Run(
                sum(p.chance[FIXED.hour] for p in everybody),
                total,
                sum(max(p.chance[h] for h in ALLOWED) for p in everybody),
            )
        )
    return runs


def over(runs: Sequence[Run]) -> Run:
    """All of these weeks together."""
    return Run(sum(r.fixed for r in runs), sum(r.learned for r in runs), sum(r.oracle for r in runs))


def _acts(world: World, person: _Person, rng: Random) -> list[int]:
    """The hours of the week in which somebody does something by themselves."""
    found = []
    left = rng.expovariate(1)
    while left < world.acts_a_week:
        left += rng.expovariate(1)
        hour = rng.uniform(0, 24) if rng.random() < world.act_noise else rng.gauss(person.peak, 2)
        found.append(rng.randrange(7) * 24 + int(hour) % 24)
    return found
