"""Which of the leased deliveries goes next: by priority, and fairly among workspaces within one.

Pure: a data structure without a clock, tested on its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count
from uuid import UUID

from daemon.model import Delivery, Lane, Priority

# Out of so many deliveries, one comes from the lowest priority that waits and one from the middle one, so
# that bulk still moves while high flows.
_CYCLE = 16
_BULK_TURN, _NORMAL_TURN = 15, 7
LOWER_TURNS = 2 / _CYCLE
"""Of an account's calls, what all priorities together have that are not the highest that waits."""


# (start tag, order of coming, delivery)
_Entry = tuple[float, int, Delivery]


class ReadyQueue:
    """Leased deliveries in the order in which they should be sent.

    Within a priority each lane gets its turn by start-time fair queueing: a delivery's tag is the later of
    the queue's and its lane's virtual time, and its segments move its lane's time on. A lane that has just
    come is served next, however many another lane had waiting before it.

    A lane that a limit of its own holds is taken out of the turns as a whole: a thousand deliveries that wait
    for one sender cost no more than one.
    """

    def __init__(self) -> None:
        self._lanes: dict[Lane, list[_Entry]] = {}  # each a heap
        self._heads: dict[int, list[tuple[float, int, Lane]]] = {p: [] for p in Priority}
        self._unshown: Lane | None = None  # popped from last; its next one is no head yet
        self._held: set[Lane] = set()
        self._virtual: dict[int, float] = dict.fromkeys(Priority, 0.0)
        self._lane_time: dict[Lane, float] = {}
        self._waiting: dict[int, int] = {}  # per workspace
        self._of_priority: dict[int, int] = dict.fromkeys(Priority, 0)
        self._count = 0
        self._order = count()
        self._returned = count(-(1 << 62))  # what was put back goes before what was pushed
        self._last: _Entry | None = None  # as popped
        self._before_last = 0.0  # its priority's virtual time until then
        self._turn = 0

    def __len__(self) -> int:
        return self._count

    def waiting(self, workspace_id: int) -> int:
        """How many deliveries of a workspace are here."""
        return self._waiting.get(workspace_id, 0)

    def of_priority(self, priority: int) -> int:
        """How many deliveries of a priority are here."""
        return self._of_priority[priority]

    def push(self, delivery: Delivery) -> None:
        """Adds one."""
        lane = delivery.lane
        if not self._of_priority[lane.priority]:
            self._lane_time = {k: v for k, v in self._lane_time.items() if k.priority != lane.priority}
        start = max(self._virtual[lane.priority], self._lane_time.get(lane, 0.0))
        self._lane_time[lane] = start + delivery.segments
        self._add((start, next(self._order), delivery))

    def pop(self) -> Delivery:
        """Removes and returns the next that is not held. Raises `IndexError` if there is none."""
        lane, self._unshown = self._unshown, None
        if lane is not None:
            self._show(lane)
        priority = self._next_priority()
        lane = heapq.heappop(self._heads[priority])[2]
        entries = self._lanes[lane]
        self._last = start, _, delivery = heapq.heappop(entries)
        self._unshown = lane
        if not entries:
            del self._lanes[lane]
        self._before_last = self._virtual[priority]
        self._virtual[priority] = max(self._before_last, start)
        self._turn = (self._turn + 1) % _CYCLE
        self._of_priority[priority] -= 1
        self._count -= 1
        left = self._waiting[delivery.workspace_id] - 1
        if left:
            self._waiting[delivery.workspace_id] = left
        else:
            del self._waiting[delivery.workspace_id]
        return delivery

    def put_back(self, delivery: Delivery) -> None:
        """Returns a popped delivery to the head of its priority, for when its turn could not be used.

        The turn is given back too: else a limit that lets one pass at a time would use up every turn of the
        lower priorities. The one popped last gets its own place again, and virtual time stands where it stood;
        others come in the order they return.
        """
        entry, self._last = self._last, None
        if entry is not None and entry[2] is delivery:
            self._virtual[delivery.priority] = self._before_last
        else:
            entry = (self._virtual[delivery.priority], next(self._returned), delivery)
        self._turn = (self._turn - 1) % _CYCLE
        self._add(entry)

    def hold(self, delivery: Delivery) -> Lane:
        """Puts a popped delivery back and takes its lane, which is returned, out of the turns: see `release`."""
        self._held.add(delivery.lane)
        self.put_back(delivery)
        return delivery.lane

    def release(self, lane: Lane) -> None:
        """Lets a held lane take its turns again. Whoever came meanwhile does not go before its place."""
        self._held.discard(lane)
        if lane != self._unshown:
            self._show(lane)

    def ids(self) -> set[UUID]:
        """The ids of all that wait."""
        return {entry[2].id for entries in self._lanes.values() for entry in entries}

    def clear(self) -> list[Delivery]:
        """Removes and returns all, in no particular order."""
        everything = [entry[2] for entries in self._lanes.values() for entry in entries]
        self.__init__()  # type: ignore[misc]
        return everything

    def extend(self, deliveries: Iterable[Delivery]) -> None:
        """Adds many."""
        for delivery in deliveries:
            self.push(delivery)

    def _add(self, entry: _Entry) -> None:
        delivery = entry[2]
        lane = delivery.lane
        entries = self._lanes.setdefault(lane, [])
        heapq.heappush(entries, entry)
        if entries[0] is entry and lane != self._unshown:
            self._show(lane)
        self._of_priority[lane.priority] += 1
        self._count += 1
        self._waiting[lane.workspace_id] = self._waiting.get(lane.workspace_id, 0) + 1

    def _show(self, lane: Lane) -> None:
        """Makes a lane's first one of the heads, unless it is held."""
        entries = self._lanes.get(lane)
        if entries and lane not in self._held:
            start, order, _ = entries[0]
            heapq.heappush(self._heads[lane.priority], (start, order, lane))

    def _has_head(self, priority: int) -> bool:
        """Also forgets heads that are none any more: another came before them, or their lane is held."""
        heads = self._heads[priority]
        while heads:
            _, order, lane = heads[0]
            entries = self._lanes.get(lane)
            if entries and entries[0][1] == order and lane not in self._held:
                return True
            heapq.heappop(heads)
        return False

    def _next_priority(self) -> int:
        present = [priority for priority, heads in self._heads.items() if heads and self._has_head(priority)]
        if not present:
            raise IndexError("nothing is ready")
        if self._turn == _BULK_TURN:
            return present[-1]
        if self._turn == _NORMAL_TURN and len(present) > 1:
            return present[1]
        return present[0]
