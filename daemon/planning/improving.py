"""Less lateness, by moves on a board, with as many beyond tolerance as there were: what a sweep cannot see. Pure.

Most of it is nothing to do: a sweep is optimal but for quiet hours, for who of several is beyond tolerance, and for
long messages. All is bounded by `LOOKS`, so that no day takes longer than some seconds.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from daemon.planning.slot_board import Board, Kind, Opening

LOOKS = 1_500_000

_Node = tuple[int, int]
"""A slot, and the priority of which one more is beyond tolerance by the chain until there; negative: one less; or 0."""


def improve(board: Board) -> None:
    """All of it; at the end nobody is earlier than it takes."""
    improver = _Improver(board)
    improver.exchange()
    improver.fill()
    settle(board)


def settle(board: Board) -> None:
    """Moves who is early towards the wished time, where there is room."""
    rooms = [slot for slot, room in enumerate(board.free) if room]
    for slot in range(len(board.free) - 1, -1, -1):
        for nth, many in list(board.at[slot].items()):
            kind = board.kinds[nth]
            for to in reversed(rooms[bisect_right(rooms, slot) : bisect_right(rooms, kind.wished)]):
                fits = min(many, board.free[to] // kind.segments)
                if fits and kind.may_go(to):
                    board.take(nth, slot, fits)
                    board.put(nth, to, fits)
                    many -= fits
                    if not board.free[to]:
                        del rooms[bisect_left(rooms, to)]
                if not many:
                    break
        if board.free[slot] and (not rooms or rooms[bisect_left(rooms, slot) :][:1] != [slot]):
            insort(rooms, slot)


@dataclass(slots=True)
class _Improver:
    board: Board
    _looked: int = 0
    _groups: list[tuple[Opening | None, list[int]]] = field(
        init=False
    )  # the wishes by opening, in order of wished

    def __post_init__(self) -> None:
        groups: dict[Opening | None, list[int]] = defaultdict(list)
        for nth in sorted(range(len(self.board.kinds)), key=lambda nth: self.board.kinds[nth].wished):
            groups[self.board.kinds[nth].opening].append(nth)
        self._groups = list(groups.items())

    def exchange(self) -> None:
        """Who would go early to stay within tolerance changes places with somebody of the same priority and length who is
        beyond: one is as much beyond as the other, but being early has saved nothing.
        """
        board = self.board
        beyond: dict[tuple[int, int], list[int]] = defaultdict(list)
        for nth, kind in enumerate(board.kinds):
            if any(slot > kind.latest for slot in board.placed[nth]):
                beyond[kind.priority, kind.segments].append(nth)
        early = [
            (slot - kind.wished, slot, nth)
            for nth, kind in enumerate(board.kinds)
            for slot in board.placed[nth]
            if slot < kind.wished
        ]
        for _, slot, nth in sorted(early):
            kind = board.kinds[nth]
            for other in beyond[kind.priority, kind.segments]:
                self._looked += 1
                if self._looked > LOOKS or slot not in board.placed[nth]:
                    break
                to = board.kinds[other]
                if to.wished < kind.wished and slot <= to.latest and to.may_go(slot):
                    self._change_places(nth, slot, other)

    def _change_places(self, nth: int, slot: int, other: int) -> None:
        board, kind = self.board, self.board.kinds[nth]
        since = max(kind.latest, board.kinds[other].latest)
        for there in sorted((at for at in board.placed[other] if at > since), reverse=True):
            self._looked += 1
            many = min(board.placed[nth].get(slot, 0), board.placed[other][there])
            if many and kind.may_go(there):
                board.take(nth, slot, many)
                board.take(other, there, many)
                board.put(nth, there, many)
                board.put(other, slot, many)

    def fill(self) -> None:
        """Fills the slots that have room with who is later: first without anybody who would be early there."""
        board = self.board
        late = (s for nth, of in enumerate(board.placed) for s in of if s > board.kinds[nth].wished)
        last = max(late, default=-1)
        wished = {kind.wished for kind in board.kinds}
        for early in (False, True):
            for segments in sorted({kind.segments for kind in board.kinds}, reverse=True):
                in_vain: list[bool] | None = None  # which openings were open when nothing was found
                for slot in range(last):
                    if slot in wished or early:
                        in_vain = None
                    if board.free[slot] < segments:
                        continue
                    opened = [opening is None or opening.next(slot) == slot for opening, _ in self._groups]
                    if opened == in_vain:
                        continue
                    while self._pull(slot, segments, early=early):
                        pass
                    if board.free[slot] >= segments:
                        in_vain = opened

    def _pull(self, slot: int, segments: int, *, early: bool) -> bool:
        """Follows the chain of moves into a slot with room that makes least lateness, of messages so long.

        In a chain of messages that are all late each slot back saves one: it is worth as much as its end is later than
        its beginning, less what somebody early in it does not gain.
        """
        board = self.board
        if board.free[slot] < segments or self._looked > LOOKS:
            return False
        start = slot, 0
        costs: dict[_Node, int] = {start: 0}
        came: dict[_Node, tuple[_Node, int]] = {}
        heap = [(0, start)]
        rest: dict[tuple[int, int], list[int]] = {}
        beyond = {
            kind.priority
            for nth, kind in enumerate(board.kinds)
            if board.placed[nth] and max(board.placed[nth]) > kind.latest
        }
        best, end = 0, start
        while heap:
            cost, here = heapq.heappop(heap)
            if cost > costs[here]:
                continue
            to, debt = here
            if not debt and to - slot - cost > best:
                best, end = to - slot - cost, here
            for nth, extra in self._movers(to, debt, segments, rest, beyond, early=early):
                for node in self._origins(board.kinds[nth], nth, to, debt):
                    if cost + extra < costs.get(node, cost + extra + 1):
                        costs[node] = cost + extra
                        came[node] = here, nth
                        heapq.heappush(heap, (cost + extra, node))
        return best > 0 and self._follow(start, end, came, segments)

    def _movers(
        self,
        to: int,
        debt: int,
        segments: int,
        rest: dict[tuple[int, int], list[int]],
        beyond: set[int],
        *,
        early: bool,
    ) -> Iterator[tuple[int, int]]:
        """Who may go there, and by how much they would be early. `rest`: by group and debt, who may lead on."""
        kinds = self.board.kinds
        for group, (opening, members) in enumerate(self._groups):
            if opening is not None and opening.next(to) != to:
                continue
            key = group, debt
            if key not in rest:
                rest[key] = [
                    nth for nth in members if kinds[nth].segments == segments and self.board.placed[nth]
                ]
            keep: list[int] = []
            for place, nth in enumerate(rest[key]):
                kind = kinds[nth]
                self._looked += 1
                if kind.wished > to and not early:
                    keep += rest[key][place:]
                    break
                if kind.wished > to or to > kind.latest or kind.priority in beyond:
                    keep.append(nth)
                if kind.earliest > to or (kind.expires is not None and to >= kind.expires):
                    continue
                if to <= kind.latest or kind.priority in beyond:
                    yield nth, max(0, kind.wished - to)
            rest[key] = keep

    def _origins(self, kind: Kind, nth: int, to: int, debt: int) -> Iterator[_Node]:
        """From where, if one more or less beyond tolerance can be made up for by another of the same priority."""
        becomes = to > kind.latest
        for at in self.board.placed[nth]:
            self._looked += 1
            change = kind.priority * (becomes - (at > kind.latest))
            if not change or not debt:
                yield at, debt + change
            elif debt == -change:
                yield at, 0

    def _follow(self, start: _Node, end: _Node, came: dict[_Node, tuple[_Node, int]], segments: int) -> bool:
        board = self.board
        moves: list[tuple[int, int, int]] = []
        leaving: dict[tuple[int, int], int] = defaultdict(int)
        while end != start:
            before, nth = came[end]
            moves.append((nth, end[0], before[0]))
            leaving[nth, end[0]] += 1
            end = before
        many = min(
            board.free[start[0]] // segments, *(board.at[at][nth] // n for (nth, at), n in leaving.items())
        )
        if not many:
            return False
        for nth, at, _ in moves:
            board.take(nth, at, many)
        for nth, _, to in moves:
            board.put(nth, to, many)
        return True
