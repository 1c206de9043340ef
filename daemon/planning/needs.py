"""How much must be served now so that nothing is missed: by each end, what must go until then against the room. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate


class Needs:
    """What of the demands waits is told by `change`. What is to be released later is known, and counted as far as there
    is room for it: what has none anyway is no reason to serve anybody sooner.
    """

    def __init__(
        self, demands: Iterable[tuple[int, int, int]], capacity: Sequence[int], *, also: Iterable[int] = ()
    ) -> None:
        """`demands`: release, end (both included) and segments; `also`: further ends that `change` may name."""
        demands = list(demands)
        self._ends = sorted({end for _, end, _ in demands} | set(also))
        self._place = {end: nth for nth, end in enumerate(self._ends)}
        self._waiting = [0] * len(self._ends)
        self._sums = list(accumulate(capacity, initial=0))
        self._later = self._released_after(demands, len(capacity))

    def _released_after(self, demands: Iterable[tuple[int, int, int]], slots: int) -> list[list[int]]:
        """By slot and end: the segments released after it that find room until then."""
        released: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for release, end, segments in demands:
            released[release][self._place[end]] += segments
        rows: list[list[int]] = [[]] * slots
        row = [0] * len(self._ends)
        for slot in range(slots - 1, -1, -1):
            rows[slot] = row
            row = row.copy()
            new = released.get(slot, {})
            total, before = 0, self._sums[slot]
            for nth in range(bisect_left(self._ends, slot), len(row)):
                total += new.get(nth, 0)
                row[nth] = min(row[nth] + total, self._sums[self._ends[nth] + 1] - before)
        return rows

    def change(self, end: int, segments: int) -> None:
        """So many more wait with that end, or less."""
        self._waiting[self._place[end]] += segments

    def now(self, slot: int) -> list[tuple[int, int]]:
        """Ends, and how many segments of what ends until then must be served in this slot, at least; both increase."""
        found: list[tuple[int, int]] = []
        most = waiting = 0
        later, before = self._later[slot], self._sums[slot + 1]
        for nth in range(bisect_left(self._ends, slot), len(self._ends)):
            waiting += self._waiting[nth]
            end = self._ends[nth]
            need = min(waiting, waiting + later[nth] - (self._sums[end + 1] - before))
            if need > most:
                most = need
                found.append((end, most))
        return found
