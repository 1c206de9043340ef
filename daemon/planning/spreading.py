"""Spreading: who goes when, where more is wanted at a moment than an account can send. Pure.

What is equal is counted, not listed: a day of a million messages is some thousand wishes. The objective, in this order:

1. The fewest messages beyond their tolerance, of priority 1 before 2 before 3.
2. The least lateness: how long after its wished time each goes. Early within the tolerance is not late, but nobody goes
   earlier than it takes to keep somebody on time, nor is anybody moved for nothing.
3. Among those, the higher priorities wait least, and within a priority the workspaces take turns: one with a few
   messages does not wait behind another's thousands.

Turns are taken in the order of priorities; whoever finds their tolerance full has others move within theirs (see
slot_board.py). What has no room within its tolerance comes after all that has, as early as there is room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.planning.slot_board import LOWEST, Board, Kind

# So many turns in all, about: with more messages, each turn places several.
_TURNS = 5_000


@dataclass(frozen=True, slots=True)
class Wish:
    """Messages of one workspace that are equal in all that counts here."""

    workspace: str
    kind: Kind
    messages: int


@dataclass(frozen=True, slots=True)
class Spread:
    """For each wish, in their order: slot → messages; and how many found no place before they expire or time ends."""

    placed: Sequence[dict[int, int]]
    unplaced: Sequence[int]


def spread(wishes: Sequence[Wish], capacity: Sequence[int]) -> Spread:
    """`capacity`: segments by slot, from slot 0, which is the first in which anything may go."""
    kinds = list(dict.fromkeys(wish.kind for wish in wishes))
    number = {kind: nth for nth, kind in enumerate(kinds)}
    board = Board(list(capacity), kinds)
    turn = max(1, sum(wish.messages for wish in wishes) // _TURNS)
    left = [wish.messages for wish in wishes]
    for beyond_too in (False, True):
        over = [0] * len(wishes)
        for priority in sorted({kind.priority for kind in kinds}):
            pushing = beyond_too and priority < LOWEST
            for nth in _turns(wishes, left, priority):
                many = min(turn, left[nth])
                without = board.admit(number[wishes[nth].kind], nth, many, beyond=beyond_too, pushing=pushing)
                left[nth] -= many
                if without:  # nor will the others of it find room
                    over[nth], left[nth] = without + left[nth], 0
        left = over
    board.improve()
    placed: list[dict[int, int]] = [{} for _ in wishes]
    for slot, nth, messages in board.placed():
        placed[nth][slot] = placed[nth].get(slot, 0) + messages
    return Spread(placed, left)


def _turns(wishes: Sequence[Wish], left: Sequence[int], priority: int) -> _Turns:
    queues: dict[str, deque[int]] = {}
    for nth in sorted(range(len(wishes)), key=lambda nth: (wishes[nth].kind.wished, wishes[nth].kind.latest)):
        if wishes[nth].kind.priority == priority and left[nth]:
            queues.setdefault(wishes[nth].workspace, deque()).append(nth)
    return _Turns(deque(queues.values()), left)


@dataclass(slots=True)
class _Turns:
    """The workspaces in turn, and of each its wishes in turn, for as long as something of them is left."""

    queues: deque[deque[int]]
    left: Sequence[int]

    def __iter__(self) -> _Turns:
        return self

    def __next__(self) -> int:
        while self.queues:
            queue = self.queues[0]
            self.queues.rotate(-1)
            while queue and not self.left[queue[0]]:
                queue.popleft()
            if queue:
                queue.rotate(-1)
                return queue[-1]
            self.queues.pop()
        raise StopIteration


def lateness(wishes: Sequence[Wish], placed: Sequence[dict[int, int]]) -> int:
    """Slots of lateness, of all messages together."""
    return sum(
        wish.kind.late(slot) * messages
        for wish, slots in zip(wishes, placed, strict=True)
        for slot, messages in slots.items()
    )


def beyond(wishes: Sequence[Wish], found: Spread) -> dict[int, int]:
    """Priority → messages beyond their tolerance, or without any place."""
    counts = {wish.kind.priority: 0 for wish in wishes}
    for wish, slots, without in zip(wishes, found.placed, found.unplaced, strict=True):
        late = sum(messages for slot, messages in slots.items() if slot > wish.kind.latest)
        counts[wish.kind.priority] += late + without
    return counts
