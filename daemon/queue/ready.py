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


class ReadyQueue:
    """Leased deliveries in the order in which they should be sent.

    Within a priority each lane gets its turn by start-time fair queueing: a delivery's tag is the later of
    the queue's and its lane's virtual time, and its segments move its lane's time on. A lane that has just
    come is served next, however many another lane had waiting before it.
    """

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[float, int, Delivery]]] = {p: [] for p in Priority}
        self._virtual: dict[int, float] = dict.fromkeys(Priority, 0.0)
        self._lane_time: dict[Lane, float] = {}
        self._waiting: dict[int, int] = {}  # per workspace
        self._order = count()
        self._returned = count(-(1 << 62))  # what was put back goes before what was pushed
        self._last: tuple[float, int, Delivery] | None = None  # as popped
        self._turn = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def waiting(self, workspace_id: int) -> int:
        """How many deliveries of a workspace are here."""
        return self._waiting.get(workspace_id, 0)

    def of_priority(self, priority: int) -> int:
        """How many deliveries of a priority are here."""
        return len(self._heaps[priority])

    def push(self, delivery: Delivery) -> None:
        """Adds one."""
        lane = delivery.lane
        start = max(self._virtual[lane.priority], self._lane_time.get(lane, 0.0))
        self._lane_time[lane] = start + delivery.segments
        heapq.heappush(self._heaps[lane.priority], (start, next(self._order), delivery))
        self._count += 1
        self._waiting[lane.workspace_id] = self._waiting.get(lane.workspace_id, 0) + 1

    def pop(self) -> Delivery:
        """Removes and returns the next. Raises `IndexError` if there is none."""
        priority = self._next_priority()
        self._last = start, _, delivery = heapq.heappop(self._heaps[priority])
        self._count -= 1
        self._virtual[priority] = max(self._virtual[priority], start)
        self._turn = (self._turn + 1) % _CYCLE
        left = self._waiting[delivery.workspace_id] - 1
        if left:
            self._waiting[delivery.workspace_id] = left
        else:
            del self._waiting[delivery.workspace_id]
        if not self._heaps[priority]:
            self._lane_time = {k: v for k, v in self._lane_time.items() if k.priority != priority}
        return delivery

    def put_back(self, delivery: Delivery) -> None:
        """Returns a popped delivery to the head of its priority, for when its turn could not be used.

        The turn is given back too: else a limit that lets one pass at a time would use up every turn of the
        lower priorities. The one popped last gets its own place again, others come in the order they return.
        """
        entry = self._last
        if entry is None or entry[2] is not delivery:
            entry = (self._virtual[delivery.priority], next(self._returned), delivery)
        heapq.heappush(self._heaps[delivery.priority], entry)
        self._turn = (self._turn - 1) % _CYCLE
        self._count += 1
        self._waiting[delivery.workspace_id] = self._waiting.get(delivery.workspace_id, 0) + 1

    def ids(self) -> set[UUID]:
        """The ids of all that wait."""
        return {entry[2].id for heap in self._heaps.values() for entry in heap}

    def clear(self) -> list[Delivery]:
        """Removes and returns all, in no particular order."""
        everything = [entry[2] for heap in self._heaps.values() for entry in heap]
        self.__init__()  # type: ignore[misc]
        return everything

    def extend(self, deliveries: Iterable[Delivery]) -> None:
        """Adds many."""
        for delivery in deliveries:
            self.push(delivery)

    def _next_priority(self) -> int:
        present = [p for p in Priority if self._heaps[p]]
        if not present:
            raise IndexError("nothing is ready")
        if self._turn == _BULK_TURN:
            return present[-1]
        if self._turn == _NORMAL_TURN and len(present) > 1:
            return present[1]
        return present[0]
