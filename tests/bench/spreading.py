"""spreading: how much more lateness than the optimum, over generated weeks, and how long a day of a million takes.

The optimum is that of a linear model (tests/optimum.py), solved exactly. The ratio is the optimum's lateness to ours:
1 is the optimum, and the goal is 1/1.05. It counts only where as few are beyond tolerance as can be.
"""

from __future__ import annotations

import asyncio
import random
import resource
import statistics
import time

from daemon.planning.slot_board import Kind
from daemon.planning.spreading import Wish, beyond, spread
from tests.bench.harness import Result, compared
from tests.optimum import DAY, HOUR, in_segments, opening, optimum, week

_GOAL = 1 / 1.05
_MANY, _FEW = 150, 8


async def run(*, quick: bool) -> dict[str, Result]:
    """The line `spreading`."""
    return await asyncio.to_thread(_measure, _FEW if quick else _MANY, 4_000 if quick else 1_000_000)


def _measure(weeks: int, messages: int) -> dict[str, Result]:
    ratios, worse = [], 0
    for seed in range(weeks):
        given = week(seed)
        found = spread(given.wishes, given.capacity)
        best = optimum(given)
        late, slots = in_segments(given, found.placed)
        worse += late != {priority: round(segments) for priority, segments in best.beyond.items()}
        ratios.append(best.lateness / slots if slots else 1.0)
    wishes = day(messages)
    begun = time.perf_counter()
    found = spread(wishes, [messages * 8 // 100 // HOUR] * (4 * DAY))
    seconds = time.perf_counter() - begun
    return {
        "spreading": compared(
            ratios,
            _GOAL,
            "optimum's lateness to ours",
            weeks=weeks,
            worst_percent_more=round(100 * (1 / min(ratios) - 1), 2),
            mean_percent_more=round(100 * (1 / statistics.mean(ratios) - 1), 3),
            weeks_with_more_beyond_tolerance=worse,
            messages_of_a_day=sum(wish.messages for wish in wishes),
            wishes_of_a_day=len(wishes),
            seconds_for_a_day=round(seconds, 1),
            beyond_tolerance=sum(beyond(wishes, found).values()),
            peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        )
    }


def day(messages: int) -> list[Wish]:
    """A day of 200 workspaces in 13 zones, four in ten of them at 18:00."""
    dice = random.Random(1)
    wishes: list[Wish] = []
    total = 0
    while total < messages:
        zone = dice.randint(-6, 6)
        hour = 18 if dice.random() < 0.4 else dice.randint(8, 20)
        slot = (hour - zone) * HOUR + dice.choice([0, 0, 0, 3, 6, 9])
        many = min(messages - total, dice.randint(1, messages // 800))
        earlier, segments = dice.choice([0, 0, HOUR]), dice.choice([1, 1, 2])
        kind = Kind(
            dice.choice([1, 2, 3, 3]),
            slot,
            max(0, slot - earlier),
            slot + 4 * HOUR,
            segments,
            opening(21, 8, zone),
        )
        wishes.append(Wish(f"workspace {dice.randint(1, 200)}", kind, many))
        total += many
    return wishes
