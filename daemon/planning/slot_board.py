"""The slots of one account, and what is placed in them: whoever finds their time full may have others move. Pure.

Times are numbers of slots. What is placed within its tolerance may be moved within it for somebody else's sake, over
any number of others; nobody is ever moved beyond it. So it does not matter in which order messages come for how many
are placed within their tolerance (they are the independent sets of a transversal matroid), and the order is free to
be fair.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

# What a slot of lateness weighs for the choice of who moves: all about the same, and among these the higher
# priorities more, so that they stay where they wanted to be.
_WEIGHTS = {1: 1100, 2: 1010, 3: 1001}
# What it weighs to be beyond tolerance: more than any lateness, and than any number of lower priorities in a chain.
_BEYOND = {1: 10**20, 2: 10**16, 3: 10**12}
LOWEST = max(_WEIGHTS)
# Who has looked in vain for others to move looks again when the first slot with room is so much later.
_AGAIN = 6
# So many slots are looked at to make less lateness, about; and as many in the end. It bounds the time that huge days
# take; for room within the tolerance everything is looked at.
_LOOKS = 300_000


@dataclass(frozen=True, slots=True)
class Opening:
    """The slots that quiet hours leave open: stretches `[from, until)`, in order and apart."""

    begins: tuple[int, ...]
    ends: tuple[int, ...]

    def next(self, slot: int) -> int | None:
        """The first open slot that is not before this one."""
        nth = bisect_right(self.ends, slot)
        return None if nth == len(self.ends) else max(slot, self.begins[nth])

    def previous(self, slot: int) -> int | None:
        """The last open slot that is not after this one."""
        nth = bisect_right(self.begins, slot) - 1
        return None if nth < 0 else min(slot, self.ends[nth] - 1)


@dataclass(frozen=True, slots=True)
class Kind:
    """Messages of which one is as good as another: when they are wanted, and may go. All three slots are included.

    `opening` None: at any time; `expires`: the first slot in which it is too late for them.
    """

    priority: int
    wished: int  # negative: in the past
    earliest: int
    latest: int
    segments: int = 1
    opening: Opening | None = None
    expires: int | None = None

    def late(self, slot: int) -> int:
        """By how many slots that is late; early is not late."""
        return max(0, slot - self.wished)

    def cost(self, slot: int) -> int:
        """What it weighs to be placed there; no less the later it is."""
        return self.late(slot) * _WEIGHTS[self.priority] + (
            _BEYOND[self.priority] if slot > self.latest else 0
        )

    def last(self, slots: int, *, beyond: bool) -> int:
        """The last of so many slots that it may go in: within its tolerance, or until it expires."""
        until = slots if self.expires is None else min(slots, self.expires)
        return until - 1 if beyond else min(self.latest, until - 1)

    def slots(self, since: int, until: int) -> Iterator[int]:
        """The open slots from `since` to `until`, both included."""
        if self.opening is None:
            yield from range(since, until + 1)
            return
        slot = self.opening.next(since)
        while slot is not None and slot <= until:
            yield slot
            slot = self.opening.next(slot + 1)


@dataclass(slots=True)
class _Step:
    """One of a chain of moves: so many of a kind go from the slot before to `slot`."""

    slot: int
    kind: int
    units: int


@dataclass(slots=True)
class _Reached:
    """How the search has come to a slot, and how many segments must find room there."""

    cost: int
    needs: int
    kind: int
    units: int
    since: int | None = None


@dataclass(slots=True)
class Board:
    """`free`: the segments that each slot has left. Whoever is placed is known by a number, the holder's."""

    free: list[int]
    kinds: Sequence[Kind]
    _held: list[dict[int, dict[int, int]]] = field(init=False)  # slot → kind → holder → messages
    _after: dict[int, list[int]] = field(init=False, default_factory=dict)  # by segments: see _find
    _before: dict[int, list[int]] = field(init=False, default_factory=dict)
    _dead: dict[int, bytearray] = field(init=False, default_factory=dict)
    _in_vain: dict[int, int] = field(init=False, default_factory=dict)  # kind → first slot with room
    _looked: int = field(init=False, default=0)
    _early: bool = field(init=False)  # whether anybody may go early
    _alike: bool = field(init=False)  # whether all are equally long

    def __post_init__(self) -> None:
        self._held = [{} for _ in self.free]
        self._alike = len({kind.segments for kind in self.kinds}) == 1
        self._close()
        self._early = any(kind.earliest < kind.wished for kind in self.kinds)

    def _close(self) -> None:
        """Takes away the slots in which nobody may go."""
        of_use = bytearray(len(self.free))
        for kind in self.kinds:
            begin, end = max(0, kind.earliest), kind.last(len(self.free), beyond=True)
            begins = (begin,) if kind.opening is None else kind.opening.begins
            ends = (end + 1,) if kind.opening is None else kind.opening.ends
            for since, until in zip(begins, ends, strict=True):
                since, until = max(since, begin), min(until, end + 1)
                of_use[since:until] = b"\1" * max(0, until - since)
        self.free = [room if use else 0 for room, use in zip(self.free, of_use, strict=True)]

    def placed(self) -> Iterator[tuple[int, int, int]]:
        """Slot, holder, messages; of a holder in a slot perhaps twice."""
        for slot, held in enumerate(self._held):
            for holders in held.values():
                for holder, messages in holders.items():
                    yield slot, holder, messages

    def admit(
        self, number: int, holder: int, messages: int, *, beyond: bool = False, pushing: bool = False
    ) -> int:
        """Places messages of a kind within their tolerance, each as little late as can be. Returns for how many there
        is no room, whoever moves. `beyond`: after it, too, until they expire or the slots end. `pushing`: lower
        priorities move for it although as much lateness comes of it.
        """
        kind = self.kinds[number]
        last = kind.last(len(self.free), beyond=beyond)
        while messages:
            slot = self._on_time(kind)
            if slot is None:
                slot = self._first(kind, max(0, kind.earliest, kind.wished + 1), last)
                if slot is None or self._worth_a_search(number, slot, pushing):
                    limit = None if slot is None else kind.cost(slot)
                    chain = self._search(number, limit, beyond=beyond)
                    if chain is not None:
                        messages -= self._follow(chain, holder, messages)
                        continue
                    if slot is not None:
                        self._in_vain[number] = slot
            if slot is None:
                return messages
            messages -= self._put(number, holder, slot, messages)
        return 0

    def improve(self) -> None:
        """Looks for each that is late whether less lateness comes of another slot, now that all have one; the latest
        first, and as long as something is found. Without quiet hours and early tolerances there is nothing to find.
        """
        if not (self._early or any(kind.opening for kind in self.kinds)):
            return
        # Until this slot somebody early might change places with somebody late.
        swaps = max((kind.wished for kind in self.kinds if kind.earliest < kind.wished), default=-1)
        found = True
        while found:
            found = False
            in_vain: set[int] = set()  # nor is there anything for what is less late
            for slot in range(len(self.free) - 1, -1, -1):
                for number, holder in [(n, h) for n, held in self._held[slot].items() for h in held]:
                    kind = self.kinds[number]
                    if self._looked > 2 * _LOOKS or not kind.late(slot):
                        continue
                    if (slot > swaps and number in in_vain) or not (
                        swaps >= 0 or self._room_before(kind, slot)
                    ):
                        continue
                    if self._better(number, holder, slot):
                        found = True
                    elif slot > swaps:
                        in_vain.add(number)

    def _room_before(self, kind: Kind, slot: int) -> bool:
        """Whether there is a slot with room that would be less late."""
        return any(self.free[at] for at in range(max(0, kind.earliest), slot))

    def _better(self, number: int, holder: int, slot: int) -> bool:
        kind = self.kinds[number]
        holders = self._held[slot].get(number, {})
        many = holders.get(holder, 0) if self._alike else min(1, holders.get(holder, 0))
        if not many:
            return True  # it has moved for others meanwhile
        self._take(number, holder, slot, many)
        chain = self._search(number, kind.cost(slot), beyond=True)
        moved = 0 if chain is None else self._follow(chain, holder, many)
        if moved < many:
            self._put(number, holder, slot, many - moved)
        return moved > 0

    def _take(self, number: int, holder: int, slot: int, messages: int) -> None:
        holders = self._held[slot][number]
        holders[holder] -= messages
        if not holders[holder]:
            del holders[holder]
        if not holders:
            del self._held[slot][number]
        self.free[slot] += messages * self.kinds[number].segments

    def _put(self, number: int, holder: int, slot: int, messages: int) -> int:
        many = min(messages, self.free[slot] // self.kinds[number].segments)
        holders = self._held[slot].setdefault(number, {})
        holders[holder] = holders.get(holder, 0) + many
        self.free[slot] -= many * self.kinds[number].segments
        return many

    # Where there is room.

    def _on_time(self, kind: Kind) -> int | None:
        """The last slot with room until the wished one."""
        slot: int | None = min(kind.wished, kind.latest, len(self.free) - 1)
        while slot is not None and slot >= max(0, kind.earliest):
            found = self._find(self._before, slot, kind.segments, -1)
            slot = found if kind.opening is None else kind.opening.previous(found)
            if slot == found:
                return slot if slot >= max(0, kind.earliest) else None
        return None

    def _first(self, kind: Kind, slot: int | None, until: int) -> int | None:
        """The first slot with room, from `slot` to `until`."""
        until = min(until, len(self.free) - 1)
        while slot is not None and slot <= until:
            found = self._find(self._after, slot, kind.segments, 1)
            slot = found if kind.opening is None else kind.opening.next(found)
            if slot == found:
                return slot if slot <= until else None
        return None

    def _find(self, links: dict[int, list[int]], slot: int, segments: int, step: int) -> int:
        """The next slot with room for so many, -1 or the number of slots where there is none: each slot has a link
        to one that is not beyond it, which is shortened whenever it is followed. What becomes free again, when longer
        messages move, may be overlooked.
        """
        link = links.setdefault(segments, list(range(len(self.free) + 2)))  # by slot + 1
        at = slot + 1
        while True:
            while link[at] != at:
                link[at] = link[link[at]]
                at = link[at]
            if at == 0 or at == len(self.free) + 1 or self.free[at - 1] >= segments:
                return at - 1
            link[at] = at + step

    # Who moves.

    def _worth_a_search(self, number: int, slot: int, pushing: bool) -> bool:
        """Whether somebody's moving could make less lateness than placing it here, the first slot with room."""
        kind = self.kinds[number]
        if self._looked > _LOOKS or slot <= self._in_vain.get(number, -_AGAIN) + _AGAIN:
            return False
        if pushing or (self._early and slot <= kind.latest):
            return True
        return self._find(self._after, max(0, kind.wished, kind.earliest), kind.segments, 1) < slot

    def _search(self, number: int, limit: int | None, *, beyond: bool) -> list[_Step] | None:
        """The chain of moves that makes room for one message of a kind, with the least lateness in all, as weighed, and
        less than `limit`; None where there is none. `beyond`: also to slots beyond their tolerance.
        """
        kind = self.kinds[number]
        reached: dict[int, _Reached] = {}
        heap: list[tuple[int, int]] = []
        dead = [slots for segments, slots in self._dead.items() if segments <= kind.segments and not beyond]

        def reach(to: Kind, found: _Reached, now: int) -> None:
            for slot in to.slots(max(0, to.earliest), to.last(len(self.free), beyond=beyond)):
                cost = found.cost + max(0, to.cost(slot) - now) * found.units
                if limit is not None and cost >= limit:
                    break  # and those after it are later
                self._looked += 1
                known = reached.get(slot)
                if (known is None or cost < known.cost) and not any(slots[slot] for slots in dead):
                    reached[slot] = _Reached(cost, found.needs, found.kind, found.units, found.since)
                    heapq.heappush(heap, (cost, slot))

        reach(kind, _Reached(0, kind.segments, number, 1), 0)
        seen: set[int] = set()
        moved: set[tuple[int, bool]] = set()  # by whether they are beyond their tolerance already
        while heap:
            cost, slot = heapq.heappop(heap)
            here = reached[slot]
            if slot in seen or cost > here.cost:
                continue
            seen.add(slot)
            if self.free[slot] >= here.needs:
                return _chain(reached, slot)
            for mover, holders in self._held[slot].items():
                other = self.kinds[mover]
                units = -(-(here.needs - self.free[slot]) // other.segments)
                mover_at = mover, slot > other.latest
                if mover_at not in moved and sum(holders.values()) >= units:
                    moved.add(mover_at)
                    reach(other, _Reached(cost, units * other.segments, mover, units, slot), other.cost(slot))
        if limit is None and not beyond:
            # Nobody leaves these slots any more: nothing becomes free again.
            for slot in seen:
                self._dead.setdefault(kind.segments, bytearray(len(self.free)))[slot] = 1
        return None

    def _follow(self, chain: Sequence[_Step], holder: int, messages: int) -> int:
        """Moves along it and places as many as one walk does, at least one. Returns how many."""
        first = chain[0]
        many = 1
        sizes = [step.units * self.kinds[step.kind].segments for step in chain]
        if sizes == sorted(sizes):  # each that moves makes as much room as it is asked for
            moving = [
                sum(self._held[before.slot][step.kind].values()) // step.units
                for before, step in pairwise(chain)
            ]
            many = max(1, min([messages, self.free[chain[-1].slot] // sizes[-1], *moving]))
        for before, step in reversed(list(pairwise(chain))):
            self._move(step.kind, before.slot, step.slot, step.units * many)
        self._put(first.kind, holder, first.slot, many)
        return many

    def _move(self, number: int, since: int, to: int, messages: int) -> None:
        """Of the holders with the most in that slot first."""
        holders = self._held[since][number]
        while messages:
            holder = max(holders, key=lambda each: holders[each])
            below = max((n for each, n in holders.items() if each != holder), default=0)
            many = min(messages, holders[holder], max(1, holders[holder] - below))
            self._take(number, holder, since, many)
            self._put(number, holder, to, many)
            messages -= many


def _chain(reached: dict[int, _Reached], end: int) -> list[_Step]:
    steps: list[_Step] = []
    slot: int | None = end
    while slot is not None:
        here = reached[slot]
        steps.append(_Step(slot, here.kind, here.units))
        slot = here.since
    return steps[::-1]
