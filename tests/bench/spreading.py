"""spreading: how much more lateness than the optimum, over generated weeks, and how long a day of a million takes.

The optimum is that of a linear model (tests/optimum.py), solved exactly; for long messages that of an integer model,
for messages stay whole. The ratio is the optimum's lateness to ours: 1 is the optimum, and the goal is 1/1.05. It counts
only where as few are beyond tolerance as can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import statistics
import time

from daemon.planning.slot_board import Kind
from daemon.planning.spreading import Wish, beyond, spread
from tests.bench.harness import Result, compared
from tests.optimum import DAY, HOUR, in_segments, opening, optimum, week, whole_optimum

_GOAL = 1 / 1.05
_MANY, _FEW = 150, 8
_MANY_LONG, _FEW_LONG = 40, 3
_MESSAGES = 1_000_000
_CROWD = 300  # of weeks with long messages: what an integer model can solve


async def run(*, quick: bool) -> dict[str, Result]:
    """The line `spreading`."""
    return await asyncio.to_thread(_measure, *((_FEW, _FEW_LONG) if quick else (_MANY, _MANY_LONG)))


def _measure(weeks: int, long_weeks: int) -> dict[str, Result]:
    ratios, worse = [], 0
    for seed in range(weeks):
        given = week(seed)
        found = spread(given.wishes, given.capacity)
        best = optimum(given)
        late, slots = in_segments(given, found.placed)
        worse += late != {priority: round(segments) for priority, segments in best.beyond.items()}
        ratios.append(best.lateness / slots if slots else 1.0)
    long_ratios = []
    for seed in range(long_weeks):
        given = week(seed, long_texts=True, crowd=_CROWD)
        with contextlib.suppress(TimeoutError):
            best = whole_optimum(given)
            _, slots = in_segments(given, spread(given.wishes, given.capacity).placed)
            long_ratios.append(best.lateness / slots if slots else 1.0)
    wishes = day(_MESSAGES)
    begun = time.perf_counter()
    found = spread(wishes, [_MESSAGES * 8 // 100 // HOUR] * (4 * DAY))
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
            long_weeks=len(long_ratios),
            worst_percent_more_of_long=round(100 * (1 / min(long_ratios) - 1), 2),
            mean_percent_more_of_long=round(100 * (1 / statistics.mean(long_ratios) - 1), 3),
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
