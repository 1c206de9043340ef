"""Generated weeks of wishes, and the optimum of their spreading as a linear model, to compare with."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from daemon.planning.slot_board import Kind, Opening
from daemon.planning.spreading import Wish

HOUR = 12  # slots of five minutes
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Week:
    """Some days of wishes around a rush, and the segments that each slot takes."""

    wishes: list[Wish]
    capacity: list[int]


@dataclass(frozen=True, slots=True)
class Optimum:
    """What no spreading can better: segments beyond tolerance by priority, then slots of lateness of all segments."""

    beyond: dict[int, float]
    lateness: float


def week(seed: int, *, long_texts: bool = False, crowd: int = 1500) -> Week:
    """A rush at one moment of several zones and smaller ones around it, in several workspaces, with tolerances,
    quiet hours, all priorities, and some capacity that others have taken. `long_texts`: of up to three segments.
    """
    dice = random.Random(seed)
    per_hour = dice.choice([50, 100, 200, 400]) * (3 if long_texts else 1)
    zones = dice.sample(range(-2, 3), dice.randint(1, 3))
    night = dice.choice([None, (21, 8), (22, 7)])
    tolerances = [
        (dice.choice([0, 0, 6, 12, 24]), dice.choice([6, 12, 24, 48])) for _ in range(dice.randint(1, 3))
    ]
    wishes = []
    for nth in range(dice.randint(4, 18)):
        zone = dice.choice(zones)
        at = (
            (18 - zone) * HOUR
            if dice.random() < 0.6
            else (dice.randint(9, 20) - zone) * HOUR + dice.randint(0, 11)
        )
        at = max(0, at)
        earlier, later = dice.choice(tolerances)
        share = crowd if dice.random() < 0.25 else crowd // 12
        wishes.append(
            Wish(
                f"workspace {nth % dice.randint(1, 5)}",
                Kind(
                    dice.choice([1, 2, 2, 3, 3, 3]),
                    at,
                    max(0, at - earlier),
                    at + later,
                    dice.choice([1, 1, 2, 3]) if long_texts else 1,
                    night and opening(*night, zone),
                ),
                dice.randint(1, share * per_hour // 300 + 1),
            )
        )
    # As much time as all of it needs, beside the nights.
    total = sum(wish.messages * wish.kind.segments for wish in wishes)
    slots = (total * HOUR // per_hour) * 3 + 2 * DAY
    taken = [dice.randint(0, per_hour // HOUR // 2) if dice.random() < 0.2 else 0 for _ in range(slots)]
    whole = [(nth + 1) * per_hour // HOUR - nth * per_hour // HOUR for nth in range(slots)]
    return Week(wishes, [all_ - part for all_, part in zip(whole, taken, strict=True)])


def opening(begins: int, ends: int, zone: int = 0, days: int = 30) -> Opening:
    """What quiet hours from one hour to another of the next day leave open, at so many hours from UTC."""
    nights = [(day * 24 + begins - zone, day * 24 + 24 + ends - zone) for day in range(-2, days)]
    stretches = [
        (max(0, before * HOUR), after * HOUR) for (_, before), (after, _) in pairwise(nights) if after > 0
    ]
    return Opening(tuple(since for since, _ in stretches), tuple(until for _, until in stretches))


def optimum(of: Week) -> Optimum:
    """Solves it exactly for segments that may be parted, as a flow from wishes to slots: first the fewest beyond
    tolerance, priority by priority, then the least lateness with these.
    """
    found = _solve(of, whole=False)
    assert found is not None
    return found


def whole_optimum(of: Week, seconds: float = 20.0) -> Optimum:
    """The same for messages that stay whole, as an integer model. Raises `TimeoutError` if a step takes longer."""
    found = _solve(of, whole=True, seconds=seconds)
    if found is None:
        raise TimeoutError("the integer model takes too long")
    return found


def _solve(of: Week, *, whole: bool, seconds: float = math.inf) -> Optimum | None:
    kinds = [wish.kind for wish in of.wishes]
    pairs = [
        (nth, slot)
        for nth, kind in enumerate(kinds)
        for slot in kind.slots(max(0, kind.earliest), len(of.capacity) - 1)
    ]
    rows, columns = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    nths, ones = np.arange(len(pairs)), np.ones(len(pairs))
    lengths = np.array([kinds[nth].segments for nth, _ in pairs], dtype=float)
    messages = np.array([wish.messages for wish in of.wishes], dtype=float)
    all_placed = csr_array((ones, (rows, nths)), shape=(len(kinds), len(pairs)))
    room = csr_array((lengths, (columns, nths)), shape=(len(of.capacity), len(pairs)))
    limits = [
        LinearConstraint(all_placed, messages, messages),
        LinearConstraint(room, -np.inf, np.array(of.capacity, dtype=float)),
    ]
    late = lengths * np.array([kinds[nth].late(slot) for nth, slot in pairs])
    over = lengths * np.array([slot > kinds[nth].latest for nth, slot in pairs])
    priority = np.array([kinds[nth].priority for nth, _ in pairs])

    def least(cost: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
        found = milp(
            cost,
            constraints=limits,
            integrality=int(whole),
            bounds=Bounds(0, np.inf),
            options={"time_limit": seconds, "mip_rel_gap": 0.002},
        )
        return float(found.fun) if found.status == 0 else None

    beyond = {}
    for each in sorted({kind.priority for kind in kinds}):
        cost = over * (priority == each)
        fewest = least(cost)
        if fewest is None:
            return None
        beyond[each] = round(fewest, 6)
        limits.append(LinearConstraint(csr_array(cost.reshape(1, -1)), -np.inf, beyond[each] + 1e-6))
    lateness = least(late)
    return None if lateness is None else Optimum(beyond, lateness)


def in_segments(of: Week, placed: Sequence[dict[int, int]]) -> tuple[dict[int, int], int]:
    """The same two figures of a spreading that has placed all."""
    beyond = {wish.kind.priority: 0 for wish in of.wishes}
    late = 0
    for wish, slots in zip(of.wishes, placed, strict=True):
        for slot, messages in slots.items():
            segments = messages * wish.kind.segments
            late += wish.kind.late(slot) * segments
            beyond[wish.kind.priority] += segments if slot > wish.kind.latest else 0
    return beyond, late
