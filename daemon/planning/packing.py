"""Long messages: a slot's last segments are used by changing places, so that none is left where something waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.planning.slot_board import Board

# Slots with more room than this are not full.
_ROOM = 6
_LOOKS = 1_000_000
_MOST = 3  # that leave a slot for one


@dataclass(frozen=True, slots=True)
class _Change:
    """`many` of a wish come from a slot, others leave, each to one of `outs`."""

    incoming: int
    since: int
    many: int
    leaving: int
    outs: list[int]


def pack(board: Board) -> bool:
    """Returns whether anything has changed."""
    packer = _Packer(board)
    changed = False
    for slot in range(len(board.free)):
        while board.at[slot] and board.free[slot] < _ROOM and packer.better(slot):
            changed = True
    return changed


@dataclass(slots=True)
class _Packer:
    board: Board
    looked: int = 0

    def better(self, slot: int) -> bool:
        """Makes the change at a slot that saves most: a message or two come from where they are last, and use what room
        there is and that of few others, which go to where there is room.
        """
        if self.looked > _LOOKS:
            return False
        incoming = self._incoming(slot)
        best, found = 0, None
        for leaving, there in self.board.at[slot].items() if incoming else ():
            for many in range(1, min(_MOST, there) + 1):
                saved, change = self._change(slot, leaving, many, incoming, best)
                if change is not None:
                    best, found = saved, change
        if found is None:
            return False
        board = self.board
        board.take(found.incoming, found.since, found.many)
        board.take(found.leaving, slot, len(found.outs))
        for to in found.outs:
            board.put(found.leaving, to, 1)
        board.put(found.incoming, slot, found.many)
        return True

    def _incoming(self, slot: int) -> dict[int, tuple[int, int, int]]:
        """By length: what the message would save that saves most, whose it is and where it is."""
        found: dict[int, tuple[int, int, int]] = {}
        for nth, kind in enumerate(self.board.kinds):
            self.looked += 1
            if not self.board.placed[nth] or not kind.may_go(slot):
                continue
            at = max(self.board.placed[nth])
            saved = kind.cost(at) - kind.cost(slot)
            if at != slot and saved > found.get(kind.segments, (0,))[0]:
                found[kind.segments] = saved, nth, at
        return found

    def _change(
        self, slot: int, leaving: int, many: int, incoming: dict[int, tuple[int, int, int]], least: int
    ) -> tuple[int, _Change | None]:
        """The best with so many leaving, if it saves more than `least`."""
        room, length = self.board.free[slot], self.board.kinds[leaving].segments
        ways = [
            (number * saved, number, segments)
            for segments, (saved, nth, at) in incoming.items()
            for number in (1, 2)
            if nth != leaving
            and room + (many - 1) * length < number * segments <= room + many * length
            and self.board.placed[nth][at] >= number
        ]
        if not ways or max(ways)[0] <= least:
            return 0, None
        saved, number, segments = max(ways)
        _, nth, at = incoming[segments]
        outs = self._outs(leaving, slot, many, at, number * segments)
        if outs is None:
            return 0, None
        kind = self.board.kinds[leaving]
        saved -= sum(kind.cost(to) - kind.cost(slot) for to in outs)
        return (saved, _Change(nth, at, number, leaving, outs)) if saved > least else (0, None)

    def _outs(self, nth: int, slot: int, many: int, freed: int, segments: int) -> list[int] | None:
        """Where so many could go instead, with the least lateness, when `segments` become free in a slot."""
        kind = self.board.kinds[nth]
        last = kind.last(len(self.board.free), beyond=slot > kind.latest)
        outs: list[int] = []
        on_time = range(min(kind.wished, last), slot, -1)
        for part in (on_time, range(max(kind.wished, slot) + 1, last + 1)):
            for to in part:
                self.looked += 1
                room = self.board.free[to] + (segments if to == freed else 0)
                if room >= kind.segments and kind.may_go(to):
                    outs += [to] * min(many - len(outs), room // kind.segments)
                    if len(outs) == many:
                        return outs
        return None
