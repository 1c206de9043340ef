"""Spreading: who goes when, where more is wanted at a moment than an account can send. Pure.

What is equal is counted, not listed: a day of a million messages is some thousand wishes. The objective, in this order:

1. The fewest messages beyond their tolerance, of priority 1 before 2 before 3.
2. The least lateness: how long after its wished time each segment goes. Early within the tolerance is not late, but
   nobody goes earlier than it takes to keep somebody on time.
3. Among those, the higher priorities wait least, and within a priority the workspaces take turns: one with a few
   messages does not wait behind another's thousands.

A sweep over the slots (sweep.py) finds out how many fit within their tolerances; whoever does not has others move, if
that helps (slot_board.py). A second sweep places these, and the others after their tolerance. Moves for less lateness
follow (improving.py, packing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.planning.improving import improve
from daemon.planning.packing import pack
from daemon.planning.slot_board import Board, Kind
from daemon.planning.sweep import Job, sweep

# Changing places makes room for others, and the other way round; more rounds find next to nothing.
_ROUNDS = 3


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
    board = _swept(wishes, capacity, [0] * len(wishes))
    board.admit()
    if any(board.without):
        board = _swept(wishes, capacity, board.without)
    board.place_after()
    improve(board)
    if len({wish.kind.segments for wish in wishes}) > 1:
        for _ in range(_ROUNDS):
            if not pack(board):
                break
            improve(board)
    return Spread(board.placed, board.without)


def _swept(wishes: Sequence[Wish], capacity: Sequence[int], beyond: Sequence[int]) -> Board:
    """A sweep with so many of each beyond their tolerance, and all others within it, whoever moves."""
    slots = len(capacity)
    within = [
        Job(wish.workspace, kind, wish.messages - many, max(0, kind.earliest), kind.last(slots, beyond=False))
        for wish, many in zip(wishes, beyond, strict=True)
        for kind in (wish.kind,)
    ]
    after = [
        Job(wish.workspace, kind, many, max(0, kind.latest + 1), kind.last(slots, beyond=True))
        for wish, many in zip(wishes, beyond, strict=True)
        for kind in (wish.kind,)
    ]
    sweep(within + after, capacity)
    placed = [early.placed | late.placed for early, late in zip(within, after, strict=True)]
    board = Board([wish.kind for wish in wishes], capacity, placed, [job.left for job in within])
    if any(beyond):
        board.admit()
        board.without = [left + job.left for left, job in zip(board.without, after, strict=True)]
    return board


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
