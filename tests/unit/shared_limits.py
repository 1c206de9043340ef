"""A small world for the limits: the database's side of them in Python, and daemons that come, go and are late.

`take_pace` and `take_quota` here say what the SQL functions of the same names do; an integration test compares
them.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from daemon.queue.pace import SLICE_SECONDS, Pace, PaceAsk
from daemon.queue.quota import Quota, QuotaAsk

SETTLE_SECONDS = 0.01
HORIZON_SECONDS = 0.2
STEP_SECONDS = 0.001
_SLOTS = 65

Passed = list[tuple[float, int]]  # when, segments


def worst(passed: Passed, allowed_at_once: float, per_second: float) -> float:
    """By how much any window has more than `allowed_at_once + per_second * its length`; negative: never."""
    totals = [0, *accumulate(segments for _, segments in passed)]
    # For a window from i to j the excess is (T[j+1] - rate * t[j]) - (T[i] - rate * t[i]): one pass will do.
    excess, lowest = -math.inf, math.inf
    for n, (at, _) in enumerate(passed):
        lowest = min(lowest, totals[n] - per_second * at)
        excess = max(excess, totals[n + 1] - per_second * at - lowest)
    return excess - allowed_at_once


def fullest(passed: Passed, seconds: float) -> int:
    """The most in any window of that length: all that end with something are looked at."""
    best = held = first = 0
    for at, segments in passed:
        held += segments
        while passed[first][0] <= at - seconds:
            held -= passed[first][1]
            first += 1
        best = max(best, held)
    return best


class PaceLine:
    """A row of duly.pace."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.taken_until = -math.inf

    def take(
        self, ask: PaceAsk, at: float, slice_seconds: float = SLICE_SECONDS, settle: float = SETTLE_SECONDS
    ) -> tuple[float, float, float]:
        """From, until, and where the line has got to."""
        before = at
        if self.taken_until >= at:
            before = at + (self.taken_until - at) * (self.rate / ask.rate_per_second)
        starts = max(at + settle, before)
        seconds = 0.0
        if starts + ask.least - ask.reach <= at + HORIZON_SECONDS:
            most = min(ask.wanted, max(slice_seconds, at + ask.reach - starts))
            seconds = ask.least * max(1, math.floor(most / ask.least + 1e-6))
        self.rate = ask.rate_per_second
        self.taken_until = starts + seconds if seconds else before
        return starts, starts + seconds, self.taken_until


class QuotaRow:
    """A row of duly.quota."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slot = 0
        self.used: list[int] = []

    def take(self, ask: QuotaAsk, at: float) -> tuple[int, int, float, int, float]:
        """Given, slot, when it ends, what is used in all, when the next of it leaves."""
        slot = math.floor(at / ask.slot_seconds)
        if not self.used or self.seconds == ask.slot_seconds:
            slot = max(slot, self.slot) if self.used else slot
            self.used = ([0] * min(slot - self.slot, _SLOTS) + self.used)[:_SLOTS]
            back = slot - ask.back_slot
            if 0 <= back < len(self.used):
                self.used[back] -= min(ask.back, self.used[back])
        else:
            self.used = [sum(self.used)]
        total = sum(self.used)
        given = 0
        if total + min(ask.least, ask.most) <= ask.most:
            given = max(ask.least, min(ask.wanted, math.floor(ask.most - total)))
        oldest = max((place for place, count in enumerate(self.used) if count), default=0)
        self.used = [(self.used[0] if self.used else 0) + given, *self.used[1:]]
        self.slot, self.seconds = slot, ask.slot_seconds
        ends = (slot + 1) * ask.slot_seconds
        return given, slot, ends, total + given, (slot - oldest + 1 + 64) * ask.slot_seconds


@dataclass
class Member:
    """A daemon: when it lives, what it has to send, and how slow it is."""

    sizes: list[int]  # of its messages, again and again
    joins: float = 0.0
    dies: float = math.inf
    pauses: tuple[float, float] = (math.inf, math.inf)  # between these it has nothing to send
    way_seconds: float = 0.001  # from it to the database
    late_seconds: float = 0.001  # at most: how late it looks

    def at_work(self, now: float) -> bool:
        return self.joins <= now < self.dies and not self.pauses[0] <= now < self.pauses[1]


class World:
    """Runs members on one limit in steps of a millisecond."""

    def __init__(self, members: list[Member], seed: int) -> None:
        self.members = members
        self.rng = random.Random(seed)

    def run_pace(self, rate: float, burst: float | None, seconds: float) -> Passed:
        line = PaceLine()

        def make(desk: _Desk) -> Pace:
            pace = Pace(rate, burst, desk.ask)

            def question(at: float) -> Callable[[float], None]:
                given = line.take(pace.ask(), at, SLICE_SECONDS / len(self.members))
                return lambda now: pace.granted(*given, now)

            desk.question = question
            return pace

        return self._run(make, seconds)

    def run_quota(self, most: float, window: float, seconds: float) -> Passed:
        row = QuotaRow()

        def make(desk: _Desk) -> Quota:
            quota = Quota(most, desk.ask, window)

            def question(at: float) -> Callable[[float], None]:
                given = row.take(quota.ask(at), at)
                return lambda now: quota.granted(*given, now)

            desk.question = question
            return quota

        return self._run(make, seconds)

    def _run(self, make: Callable[[_Desk], Pace | Quota], seconds: float) -> Passed:
        desks = [_Desk(member, self.rng) for member in self.members]
        limits = [make(desk) for desk in desks]
        passed: Passed = []
        for step in range(int(seconds / STEP_SECONDS)):
            now = step * STEP_SECONDS
            turns = list(zip(desks, limits, strict=True))
            self.rng.shuffle(turns)
            for desk, limit in turns:
                passed += desk.turn(limit, now)
        return sorted(passed)


class _Desk:
    """What lies between a member and the database: questions and answers on their way."""

    def __init__(self, member: Member, rng: random.Random) -> None:
        self.member = member
        self.question: Callable[[float], Callable[[float], None]]
        self._rng = rng
        self._due = math.inf
        self._asked_at = math.inf
        self._answer: Callable[[float], None] | None = None
        self._sizes = deque(member.sizes)
        self._looks_at = 0.0

    def ask(self, due: float) -> None:
        self._due = min(self._due, due)

    def turn(self, limit: Pace | Quota, now: float) -> Passed:
        """One step: it asks, hears, and sends what it may."""
        way = self.member.way_seconds
        if now >= self.member.dies:
            return []
        if self._due <= now and self._asked_at == math.inf:
            self._asked_at, self._due = now + way, math.inf
        if self._answer is None and self._asked_at <= now:
            self._answer = self.question(now)  # the database's clock is everybody's
        if self._answer is not None and self._asked_at + way <= now:
            self._answer(now)
            self._answer, self._asked_at = None, math.inf
            self._looks_at = now
        if now < self._looks_at or not self.member.at_work(now):
            return []
        passed: Passed = []
        while limit.delay(self._sizes[0], now) == 0:
            limit.take(self._sizes[0], now)
            passed.append((now, self._sizes[0]))
            self._sizes.rotate(-1)
        self._looks_at = now + self._rng.uniform(0, self.member.late_seconds)
        return passed
