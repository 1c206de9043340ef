"""The slots of one account and what is placed in them. Pure.

Times are numbers of slots. Who finds their tolerance full has others move within theirs, over any number of others;
nobody is moved beyond it but for a higher priority. What fits within the tolerances is an independent set of a
transversal matroid: so it is the most there can be, of priority 1 before 2 before 3, in whichever order it is sought.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# What it weighs to be beyond tolerance: more than any lateness, and than any number of lower priorities.
_BEYOND = {1: 10**20, 2: 10**15, 3: 10**10}


@dataclass(frozen=True, slots=True)
class Opening:
    """The slots that quiet hours leave open: stretches `[from, until)`, in order and apart."""

    begins: tuple[int, ...]
    ends: tuple[int, ...]

    def next(self, slot: int) -> int | None:
        """The first open slot that is not before this one."""
        nth = bisect_right(self.ends, slot)
        return None if nth == len(self.ends) else max(slot, self.begins[nth])

    def last(self, slot: int) -> int:
        """The last slot of the stretch that this open slot is in."""
        return self.ends[bisect_right(self.ends, slot)] - 1

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
        """What it weighs to have one message there: its segments' lateness; beyond tolerance, more than any lateness."""
        return self.segments * (self.late(slot) + (_BEYOND[self.priority] if slot > self.latest else 0))

    def may_go(self, slot: int) -> bool:
        """Whether it is not too early, too late or quiet."""
        return (
            slot >= self.earliest
            and (self.expires is None or slot < self.expires)
            and (self.opening is None or self.opening.next(slot) == slot)
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


@dataclass(frozen=True, slots=True)
class _Step:
    """So many of a wish go from a slot, or from nowhere yet, to another."""

    since: int | None
    to: int
    nth: int
    messages: int


@dataclass(frozen=True, slots=True)
class _Chain:
    """Moves that make room, the last first; at its end is room, or somebody who loses their place."""

    steps: list[_Step]
    loser: int | None = None
    lost: int = 0


@dataclass(slots=True)
class Board:
    """`kinds` and `placed` (slot → messages) of each wish. `without`: its messages that have no place."""

    kinds: Sequence[Kind]
    capacity: Sequence[int]
    placed: list[dict[int, int]]
    without: list[int]
    free: list[int] = field(init=False)
    at: list[dict[int, int]] = field(init=False)  # slot → wish → messages
    _full: dict[tuple[int, int], set[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.free = list(self.capacity)
        self.at = [{} for _ in self.free]
        for nth, of in enumerate(self.placed):
            for slot, messages in of.items():
                self.at[slot][nth] = messages
                self.free[slot] -= messages * self.kinds[nth].segments

    def take(self, nth: int, slot: int, messages: int) -> None:
        """Takes messages of a wish out of a slot."""
        left = self.at[slot][nth] - messages
        if left:
            self.at[slot][nth] = self.placed[nth][slot] = left
        else:
            del self.at[slot][nth], self.placed[nth][slot]
        self.free[slot] += messages * self.kinds[nth].segments

    def put(self, nth: int, slot: int, messages: int) -> None:
        """Places them there."""
        self.at[slot][nth] = self.placed[nth][slot] = self.at[slot].get(nth, 0) + messages
        self.free[slot] -= messages * self.kinds[nth].segments

    def admit(self) -> None:
        """Places within tolerance what is without a place, as far as there is room, whoever moves."""
        for nth in sorted(range(len(self.kinds)), key=lambda nth: self.kinds[nth].priority):
            while self.without[nth]:
                chain = self._search(nth)
                if chain is None:
                    break
                self.without[nth] -= self._follow(chain, self.without[nth])

    def place_after(self) -> None:
        """Places the rest beyond tolerance, as early as there is room."""
        for nth, kind in enumerate(self.kinds):
            if not self.without[nth]:
                continue
            for slot in kind.slots(max(0, kind.latest + 1), kind.last(len(self.free), beyond=True)):
                many = min(self.without[nth], self.free[slot] // kind.segments)
                if many:
                    self.put(nth, slot, many)
                    self.without[nth] -= many
                if not self.without[nth]:
                    break

    def _search(self, nth: int) -> _Chain | None:
        """The shortest chain that makes room for one message within its tolerance."""
        kind = self.kinds[nth]
        reached: dict[int, _Step] = {}
        queue: list[int] = []
        moved: set[tuple[int, bool]] = set()  # by whether they are beyond their tolerance already
        full: set[int] = set()
        for (priority, segments), slots in self._full.items():
            if priority <= kind.priority and segments <= kind.segments:
                full |= slots

        def reach(mover: int, messages: int, since: int | None, *, beyond: bool) -> int | None:
            to = self.kinds[mover]
            begin = max(0, to.latest + 1 if beyond else to.earliest)
            for slot in to.slots(begin, to.last(len(self.free), beyond=beyond)):
                if slot not in reached and slot not in full:
                    reached[slot] = _Step(since, slot, mover, messages)
                    if self.free[slot] >= messages * to.segments:
                        return slot
                    queue.append(slot)
            return None

        end = reach(nth, 1, None, beyond=False)
        for slot in queue:  # which grows meanwhile
            if end is not None:
                break
            for mover, messages in self._makers_of_room(reached[slot]):
                beyond = slot > self.kinds[mover].latest
                if (mover, beyond) not in moved:
                    moved.add((mover, beyond))
                    end = reach(mover, messages, slot, beyond=beyond)
                    if end is not None:
                        break
        if end is not None:
            return _Chain(_steps(reached, end))
        losers = [
            (
                self.kinds[mover].priority,
                -messages * self.kinds[mover].segments,
                self.at[slot][mover],
                slot,
                mover,
            )
            for slot in queue
            for mover, messages in self._makers_of_room(reached[slot])
            if self.kinds[mover].priority > kind.priority and slot <= self.kinds[mover].latest
        ]
        if not losers:
            self._full.setdefault((kind.priority, kind.segments), set()).update(queue)
            return None
        _, segments, _, slot, loser = max(losers)
        return _Chain(_steps(reached, slot), loser, -segments // self.kinds[loser].segments)

    def _makers_of_room(self, step: _Step) -> Iterator[tuple[int, int]]:
        """Who could make the room for it by leaving its slot, and how many of them would have to."""
        needs = step.messages * self.kinds[step.nth].segments - self.free[step.to]
        for mover, there in self.at[step.to].items():
            messages = -(-needs // self.kinds[mover].segments)
            if there >= messages:
                yield mover, messages

    def _follow(self, chain: _Chain, most: int) -> int:
        """Moves along it, and places as many as one walk does, at least one. Returns how many."""
        last = chain.steps[0]
        sizes = {step.messages * self.kinds[step.nth].segments for step in chain.steps}
        if chain.loser is not None:
            sizes.add(chain.lost * self.kinds[chain.loser].segments)
        many = 1
        if len(sizes) == 1:
            many = min(
                most,
                self.free[last.to] // min(sizes)
                if chain.loser is None
                else self.at[last.to][chain.loser] // chain.lost,
                *(
                    self.at[step.since][step.nth] // step.messages
                    for step in chain.steps
                    if step.since is not None
                ),
            )
        if chain.loser is not None:
            self.take(chain.loser, last.to, chain.lost * many)
            self.without[chain.loser] += chain.lost * many
        for step in chain.steps:
            if step.since is not None:
                self.take(step.nth, step.since, step.messages * many)
            self.put(step.nth, step.to, step.messages * many)
        return many


def _steps(reached: dict[int, _Step], end: int) -> list[_Step]:
    steps: list[_Step] = []
    slot: int | None = end
    while slot is not None:
        steps.append(reached[slot])
        slot = reached[slot].since
    return steps
