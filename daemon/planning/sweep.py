"""A sweep over the slots in order of time, which serves in each whoever should go then. Pure.

For segments that may go at any time after their release it makes the least lateness there can be: lateness in all is the
sum of the slots that are used after the wished times, whoever is in them, so that it is enough never to leave one unused
while somebody waits. Then the order is free to be fair. What must not be missed (the end of a tolerance, then the
beginning of a night) is looked ahead for: needs.py says how much must be served now.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from daemon.planning.needs import Needs
from daemon.planning.slot_board import Kind

# In a slot of more messages than this, of the longest, it does not matter what its last segments are used for.
_LARGE = 100


@dataclass(slots=True, eq=False)
class Job:
    """Messages of a wish that may go from `since` to `until`, both included. `placed`: slot → messages."""

    workspace: str
    kind: Kind
    left: int
    since: int
    until: int
    placed: dict[int, int] = field(default_factory=dict)
    begin: int = 0  # of the stretch that is open, or the next
    end: int = -1  # its last slot

    @property
    def within(self) -> bool:
        """Whether it must not go beyond its tolerance; else it has gone."""
        return self.since <= self.kind.latest

    @property
    def last(self) -> int:
        """The last slot in which it may go."""
        found = self.until if self.kind.opening is None else self.kind.opening.previous(self.until)
        return -1 if found is None else found

    @property
    def presses(self) -> bool:
        """Whether it is late, or later, if it misses the end of this stretch."""
        return self.end >= self.kind.wished

    def advance(self, slot: int) -> bool:
        """To the stretch that is open in the slot, or the next; False where there is none."""
        begin: int | None = max(slot, self.since)
        end = self.until
        opening = self.kind.opening
        if opening is not None:
            begin = opening.next(max(slot, self.since))
            if begin is None:
                return False
            end = min(end, opening.last(begin))
        assert begin is not None
        self.begin, self.end = begin, end
        return begin <= end

    def may_go(self, slot: int) -> bool:
        """Whether anything of it is left to go then."""
        return self.left > 0 and self.begin <= slot <= self.end


def sweep(jobs: Sequence[Job], capacity: Sequence[int]) -> None:
    """Places the jobs as far as there is room."""
    _Sweep([job for job in jobs if job.left and job.advance(0)], capacity).run()


class _Sweep:
    def __init__(self, jobs: Sequence[Job], capacity: Sequence[int]) -> None:
        self._capacity = capacity
        self._releases: dict[int, list[Job]] = defaultdict(list)
        self._by_end: dict[int, list[Job]] = defaultdict(list)
        self._by_last: dict[int, list[Job]] = defaultdict(list)
        self._early: list[tuple[int, bool, int, int, Job]] = []
        self._late: dict[int, dict[str, list[tuple[int, int, Job]]]] = {1: {}, 2: {}, 3: {}}
        self._turns: dict[tuple[int, str], int] = defaultdict(int)  # segments had, by priority and workspace
        self._now = {1: 0, 2: 0, 3: 0}  # what those whose turn it is have had
        self._pushed = 0
        self._longest = max((job.kind.segments for job in jobs), default=1)
        self._first = 0  # the length that goes first, so that shorter ones are left to fill with; 0: any
        for job in jobs:
            self._releases[job.begin].append(job)
        self._within = {
            priority: Needs(
                [
                    (job.begin, job.last, _segments(job))
                    for job in jobs
                    if job.within and job.kind.priority <= priority
                ],
                capacity,
            )
            for priority in sorted({job.kind.priority for job in jobs if job.within})
        }
        self._tonight = Needs(
            [(job.begin, job.end, _segments(job)) for job in jobs if job.presses], capacity, also=_ends(jobs)
        )

    def run(self) -> None:
        for slot, room in enumerate(self._capacity):
            for job in self._releases.pop(slot, ()):
                self._open(job, slot)
            while self._early and self._early[0][0] <= slot:
                self._wait(heapq.heappop(self._early)[-1])
            if room:
                tight = self._longest > 1 and room < _LARGE * self._longest
                self._first = self._goes_first(slot) if tight else 0
                for priority, needs in self._within.items():
                    room = self._serve_needs(slot, room, needs, self._by_last, partial(_up_to, priority))
                room = self._serve_needs(slot, room, self._tonight, self._by_end, _presses)
                room = self._serve_late(slot, room)
                if tight:
                    room = self._use_rest(slot, room)
                self._serve_early(slot, room)
            self._close(slot)

    def _open(self, job: Job, slot: int) -> None:
        """A stretch of it begins."""
        if job.within:
            self._by_last[job.last].append(job)
        self._by_end[job.end].append(job)
        self._count(job, _segments(job))
        if job.kind.wished <= slot:
            self._wait(job)
        else:
            # Longer ones first: early costs nothing, and the shorter ones fill what is left. But coaches do not wait.
            self._pushed += 1
            order = job.kind.wished, job.kind.priority > 1, -job.kind.segments, self._pushed
            heapq.heappush(self._early, (*order, job))

    def _wait(self, job: Job) -> None:
        self._pushed += 1
        queue = self._late[job.kind.priority].setdefault(job.workspace, [])
        heapq.heappush(queue, (job.kind.wished, self._pushed, job))

    def _close(self, slot: int) -> None:
        """The stretches that end with the slot."""
        for job in self._by_end.pop(slot, ()):
            if job.left:
                self._count(job, -_segments(job))
                if job.within:
                    self._by_last[job.last].remove(job)
                if job.advance(slot + 1):
                    self._releases[job.begin].append(job)
        self._by_last.pop(slot, None)

    def _count(self, job: Job, segments: int) -> None:
        """So many more of it wait to be served, or less."""
        if job.presses:
            self._tonight.change(job.end, segments)
        if job.within:
            for priority, needs in self._within.items():
                if priority >= job.kind.priority:
                    needs.change(job.last, segments)

    def _put(self, job: Job, slot: int, messages: int) -> int:
        """Places so many, or takes them back where negative; returns their segments."""
        segments = messages * job.kind.segments
        job.left -= messages
        job.placed[slot] = job.placed.get(slot, 0) + messages
        if not job.placed[slot]:
            del job.placed[slot]
        self._count(job, -segments)
        turn = job.kind.priority, job.workspace
        self._turns[turn] = max(self._turns[turn], self._now[job.kind.priority]) + segments
        return segments

    def _serve_needs(
        self, slot: int, room: int, needs: Needs, by: dict[int, list[Job]], of: Callable[[Job], bool]
    ) -> int:
        """What must be served now, by its ends; returns the room that is left, as all of these do."""
        found = needs.now(slot) if room else []
        if not found:
            return room
        jobs: list[Job] = []
        ends = iter(sorted(end for end in by if end <= found[-1][0]))
        end = next(ends, None)
        whole = room
        for until, segments in found:
            while end is not None and end <= until:
                jobs += [job for job in by[end] if job.may_go(slot) and of(job)]
                end = next(ends, None)
            room = self._serve(jobs, slot, room, segments - (whole - room))
        return room

    def _serve(self, jobs: Sequence[Job], slot: int, room: int, segments: int) -> int:
        """So many segments of some jobs: of who is late before who is early, priority by priority, in turns."""

        def order(nth: int, job: Job) -> tuple[bool, int, bool, int, int, int]:
            early, priority = job.kind.wished > slot, job.kind.priority
            short = bool(self._first) and job.kind.segments != self._first
            return early, priority, short, self._turns[priority, job.workspace], job.kind.wished * early, nth

        heap = [order(nth, job) for nth, job in enumerate(jobs) if job.left]
        heapq.heapify(heap)
        turn = max(1, min(room, segments) // max(1, len(heap)))
        while heap and room and segments > 0:
            nth = heapq.heappop(heap)[-1]
            job = jobs[nth]
            many = min(job.left, room // job.kind.segments, turn, -(-segments // job.kind.segments))
            if many:
                served = self._put(job, slot, many)
                room, segments = room - served, segments - served
                if job.left:
                    heapq.heappush(heap, order(nth, job))
        return room

    def _serve_late(self, slot: int, room: int) -> int:
        if self._first:
            # A coach does not wait for the sake of a slot's last segments.
            for priority, length in ((1, 0), (2, self._first), (3, self._first), (2, 0), (3, 0)):
                room = self._take_turns(slot, room, priority, length)
            return room
        for priority in self._late:
            room = self._take_turns(slot, room, priority, 0)
        return room

    def _take_turns(self, slot: int, room: int, priority: int, length: int) -> int:
        """The workspaces in turn: whoever has had least. `length`: only messages of so many segments; 0: of any."""
        queues = self._late[priority]
        heap = (
            [(max(self._turns[priority, name], self._now[priority]), name) for name in queues] if room else []
        )
        heapq.heapify(heap)
        turn = max(1, room // max(1, len(heap)))
        while heap and room:
            had, name = heapq.heappop(heap)
            self._now[priority] = max(self._now[priority], had)
            aside: list[tuple[int, int, Job]] = []
            queue = queues[name]
            while queue:
                job = queue[0][-1]
                if not job.may_go(slot):
                    heapq.heappop(queue)
                    continue
                many = min(job.left, room // job.kind.segments, turn)
                if not many or length not in (0, job.kind.segments):
                    aside.append(heapq.heappop(queue))
                    continue
                room -= self._put(job, slot, many)
                heapq.heappush(heap, (self._turns[priority, name], name))
                break
            for each in aside:
                heapq.heappush(queue, each)
            if not queue:
                del queues[name]
        return room

    def _serve_early(self, slot: int, room: int) -> None:
        """Who is wanted soonest."""
        aside = []
        while self._early and room:
            job = self._early[0][-1]
            many = min(job.left, room // job.kind.segments)
            if job.may_go(slot) and many:
                room -= self._put(job, slot, many)
            if job.may_go(slot):
                aside.append(heapq.heappop(self._early))
            else:
                heapq.heappop(self._early)
        for each in aside:
            heapq.heappush(self._early, each)

    # Long messages.

    def _goes_first(self, slot: int) -> int:
        """The longest waiting length, where what is shorter is only just enough to fill what it leaves of the slots."""
        waiting: dict[int, int] = defaultdict(int)
        for jobs in self._by_end.values():
            for job in jobs:
                if job.kind.priority > 1 and job.may_go(slot):
                    waiting[job.kind.segments] += _segments(job)
        if len(waiting) < 2:
            return 0
        longest, room = max(waiting), self._capacity[slot]
        rest = room % longest
        slots = -(-waiting[longest] // max(1, room - rest))
        shorter = sum(waiting.values()) - waiting[longest]
        return longest if shorter <= slots * max(rest, 1) + room else 0

    def _use_rest(self, slot: int, room: int) -> int:
        """Where nothing that waits fits into the rest: one or two of a job go back for some of another that fill it."""
        if not room:
            return 0
        late = [
            job
            for queues in self._late.values()
            for queue in queues.values()
            for _, _, job in queue
            if job.may_go(slot)
        ]
        for job in self._served(slot):
            for back in range(1, min(2, job.placed[slot]) + 1):
                for other in late:
                    many, rest = divmod(back * job.kind.segments + room, other.kind.segments)
                    if (
                        not rest
                        and 1 <= many <= min(3, other.left)
                        and other.kind.segments != job.kind.segments
                    ):
                        self._put(job, slot, -back)
                        self._wait(job)
                        self._put(other, slot, many)
                        return 0
        return room

    def _served(self, slot: int) -> Iterator[Job]:
        """Who is late and has been served in the slot, the lowest priorities first."""
        jobs = [job for jobs in self._by_end.values() for job in jobs]
        for job in sorted(jobs, key=lambda job: -job.kind.priority):
            if slot in job.placed and job.kind.wished <= slot:
                yield job


def _segments(job: Job) -> int:
    return job.left * job.kind.segments


def _up_to(priority: int, job: Job) -> bool:
    return job.kind.priority <= priority


def _presses(job: Job) -> bool:
    return job.presses


def _ends(jobs: Sequence[Job]) -> set[int]:
    """Of all their stretches."""
    ends: set[int] = set()
    for job in jobs:
        begin = job.begin
        ends.add(job.end)
        while job.advance(job.end + 1):
            ends.add(job.end)
        job.advance(begin)
    return ends
