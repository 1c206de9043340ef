"""So many in any window of a minute, exactly, however many daemons run.

Time is kept in slots of a 64th of the window, numbered by the database's clock. What `duly.take_quota` gives
counts for the slot in which it is given, may be used only within it, and counts until all of that slot has left
the window: so the limit is never exceeded, and at worst a 64th of the window is given away. What was not used
goes back with the next question; a daemon that dies loses what it had, a 32nd at most.

Pure: the time is passed in, and what is asked for is fetched by `daemon.queue.allowances`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_SLOTS = 64
_LARGEST_PART = 32


@dataclass(frozen=True, slots=True)
class QuotaAsk:
    """A question to `duly.take_quota`."""

    most: float
    slot_seconds: float
    least: int
    wanted: int
    back_slot: int
    back: int


class Quota:
    """One limit's segments, as one daemon has them, by its monotonic clock."""

    __slots__ = (
        "_again",
        "_ask",
        "_asked",
        "_back",
        "_ends",
        "_least",
        "_left",
        "_seen_used",
        "_slot",
        "_wanted",
        "most",
        "seconds",
    )

    def __init__(self, most: float, ask: Callable[[float], None], seconds: float = 60.0) -> None:
        """At most `most` in any window of `seconds`; where that is less than one, one in a longer window.

        `ask(due)`: segments are wanted; fetch them by then, and tell `granted`.
        """
        self.most = max(1.0, most)
        self.seconds = seconds / min(1.0, most)
        self._ask = ask
        self._asked = False
        self._least = 1
        self._wanted = 1
        self._slot = 0
        self._ends = -math.inf  # of the slot
        self._left = 0  # to use within it
        self._back = (0, 0)  # a slot that has ended, and what was not used of it
        self._again = -math.inf  # before then there is nothing to be had for `_least`
        self._seen_used = 0

    def available(self, now: float) -> float:
        """Segments that could go now, as far as known here."""
        if now < self._again:
            return float(self._left_now(now))
        return max(1.0, self.most - self._seen_used) + self._left_now(now)

    def foresee(self, segments: int, now: float) -> float:
        """Seconds until so many may probably go. Asks for nothing."""
        return 0.0 if self._left_now(now) >= segments else max(0.0, self._again - now)

    def delay(self, segments: int, now: float) -> float:
        """Seconds until so many may go: 0 for now; infinite until what was asked for has been answered."""
        if self._left_now(now) >= segments:
            return 0.0
        if now < self._again and segments >= self._least:
            return self._again - now
        self._want(segments, now)
        return math.inf

    def take(self, segments: int, now: float) -> None:
        """Charges them."""
        self._left -= segments

    def ask(self, now: float) -> QuotaAsk:
        """What to ask for now. What it gives back is gone from here."""
        self._left_now(now)
        back, self._back = self._back, (0, 0)
        wanted = max(self._least, self._wanted)
        return QuotaAsk(self.most, self.seconds / _SLOTS, self._least, wanted, *back)

    def granted(self, given: int, slot: int, ends: float, used: int, again: float, now: float) -> None:
        """The answer: so many for this slot, which ends then; what is used in all, and when the next leaves."""
        self._asked = False
        self._left_now(now)
        if slot != self._slot:
            self._put_back()
            self._slot = slot
        self._left += given
        self._ends = ends
        self._seen_used = used
        self._again = -math.inf if given else again
        self._left_now(now)

    def _want(self, segments: int, now: float) -> None:
        self._least = max(self._least, segments) if self._asked else segments
        if self._asked:
            return
        self._asked = True
        most = max(1, int(self.most / _LARGEST_PART))
        self._wanted = 1 if self._back[1] else min(self._wanted * 2, most)
        self._ask(now)

    def _left_now(self, now: float) -> int:
        if now >= self._ends and self._left > 0:
            self._put_back()
        return self._left

    def _put_back(self) -> None:
        slot, count = self._back
        self._back = (self._slot, self._left + (count if slot == self._slot else 0))
        self._left = 0
