"""When a person answers: a send time learned from what they do, with the cohort's habits as the beginning.

Two kinds of evidence, each by the hour of the week on the person's own wall clock:

* what they did by themselves (progress on goals): it comes whenever they are there, so it says which hours are theirs;
* messages sent, and which of them were answered by a reply, a click or a word of feedback. An answer is counted for the
  hour in which the message went, never for the hour in which it came: else whoever is always written to at 18:00 would
  seem to be there at 18:00 only.

The chance of an answer in hour h is Beta-distributed. Its prior is the cohort's (a hierarchical, empirical Bayes prior:
Gelman et al., Bayesian Data Analysis, 3rd ed., ch. 5), leaned towards the hours of the person's own doing, which are
Dirichlet-distributed around the cohort's; what was sent and answered is added to it. An hour is chosen by Thompson
sampling (Thompson 1933; Chapelle and Li, An Empirical Evaluation of Thompson Sampling, NIPS 2011, section 4: a posterior
drawn `_CALM` times narrower explores less and loses less where there are few rounds). Another hour than the person's own
is taken only if what is known of it promises `_LEAST_LIFT` times as many answers.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from functools import cached_property, lru_cache
from random import Random
from typing import Any

HOURS_A_WEEK = 168

_KIN = 0.5  # what another day of the same kind (Monday to Friday; weekend) tells of a day
_STRANGE = 0.2  # and a day of the other kind
_NEAR = (1.0, 0.6, 0.2)  # what an hour tells of itself, of the next and of the one after that
_EVEN = 0.02  # no hour is impossible: this share of the cohort's doing is spread over all hours
_OWN_EVENTS = 12.0  # what a person has done weighs as much as the cohort's hours from here on
_PRIOR_TRIALS = 8.0  # messages that the prior is worth
_COHORT_TRIALS = 20.0  # messages of one hour that outweigh the cohort's overall rate
_LEAN = 0.7  # how far hours of much doing move the chance of an answer, as a power of their share
_CALM = 20.0
_LEAST_LIFT = 1.4

Weights = Mapping[int, float]
"""Hour of the week, from Monday's first (0), → weight."""


@dataclass(frozen=True)
class Habit:
    """What is known of the hours of a person, or of all people of a workspace together."""

    active: Weights = field(default_factory=dict)
    sent: Weights = field(default_factory=dict)
    answered: Weights = field(default_factory=dict)

    @property
    def events(self) -> float:
        """How much it is made of."""
        return sum(self.active.values()) + sum(self.sent.values())

    @cached_property
    def _cohort(self) -> tuple[_Prior, ...]:
        return tuple(_prior(self, weekday) for weekday in range(7))


@dataclass(frozen=True, slots=True)
class _Prior:
    """The cohort on one day of the week: the share of each hour in its doing, and the chance of an answer in it."""

    share: Sequence[float]
    chance: Sequence[float]


def learned(
    preferred: time, weekday: int, person: Habit, cohort: Habit, allowed: Collection[int], rng: Random
) -> tuple[time, dict[str, Any]]:
    """The time to write at on a day (0 is Monday), and why, for the receipt as `because.learned`.

    It is the person's own time or one whole hours from it, on the same day and in one of the `allowed` hours of the day
    (0 to 23); without any allowed hour it is the person's own. With the same `rng` it is the same.
    """
    own = preferred.hour
    prior = cohort._cohort[weekday]
    active = _near(_on_day(person.active, weekday))
    sent, answered = _near(_on_day(person.sent, weekday)), _near(_on_day(person.answered, weekday))
    done = sum(active)
    best, best_drawn = own, -1.0
    mean = [0.0] * 24
    for hour in {own, *allowed}:
        share = prior.share[hour]
        towards = (_OWN_EVENTS * share + active[hour]) / (_OWN_EVENTS + done)
        expected = min(0.9, prior.chance[hour] * (towards / share) ** _LEAN)
        yes = _PRIOR_TRIALS * expected + answered[hour]
        no = _PRIOR_TRIALS * (1 - expected) + max(0.0, sent[hour] - answered[hour])
        mean[hour] = yes / (yes + no)
        drawn = rng.betavariate(_CALM * yes, _CALM * no)
        if drawn > best_drawn and (hour in allowed or hour == own):
            best, best_drawn = hour, drawn
    if best != own and mean[best] < _LEAST_LIFT * mean[own]:
        best = own
    return preferred.replace(hour=best), {
        "fixed": f"{preferred:%H:%M}",
        "learned": f"{preferred.replace(hour=best):%H:%M}",
        "from": round(person.events),
        "cohort": round(cohort.events),
        "chance": round(mean[best], 3),
        "chance_fixed": round(mean[own], 3),
    }


def _prior(cohort: Habit, weekday: int) -> _Prior:
    active = _near(_on_day(cohort.active, weekday))
    done = sum(active)
    share = [_EVEN / 24 + (1 - _EVEN) * (each / done if done else 1 / 24) for each in active]
    tried, got = _near(_on_day(cohort.sent, weekday)), _near(_on_day(cohort.answered, weekday))
    overall = (sum(got) + 1) / (sum(tried) + 5)
    usual = (sum(map(operator.mul, tried, share)) + 1 / 24) / (sum(tried) + 1)
    chance = [
        (_COHORT_TRIALS * min(0.9, overall * (each / usual) ** _LEAN) + each_got)
        / (_COHORT_TRIALS + each_tried)
        for each, each_tried, each_got in zip(share, tried, got, strict=True)
    ]
    return _Prior(share, chance)


def _on_day(weights: Weights, weekday: int) -> list[float]:
    """By the hour of the day, for one day: what other days tell counts less."""
    found = [0.0] * 24
    for hour, weight in weights.items():
        found[hour % 24] += weight * _alike(hour // 24, weekday)
    return found


@lru_cache(maxsize=49)
def _alike(one: int, other: int) -> float:
    if one == other:
        return 1.0
    return _KIN if (one >= 5) == (other >= 5) else _STRANGE


def _near(hours: Sequence[float]) -> list[float]:
    """With what each hour tells of those around it."""
    found = [0.0] * 24
    for hour, weight in enumerate(hours):
        if weight:
            for distance, part in enumerate(_NEAR):
                found[(hour + distance) % 24] += part * weight
                if distance:
                    found[(hour - distance) % 24] += part * weight
    return found
