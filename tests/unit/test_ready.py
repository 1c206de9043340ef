"""The ready queue: priority, fairness, and nothing lost or doubled."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.model import Channel, Delivery, Lane, Priority
from daemon.queue.ready import ReadyQueue

HIGH, NORMAL, BULK = Priority


class Maker:
    """Makes deliveries with ids that tell their order."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(
        self, workspace: int = 1, priority: int = NORMAL, *, segments: int = 1, channel: Channel = Channel.SMS
    ) -> Delivery:
        self.made += 1
        return Delivery(
            id=UUID(int=self.made),
            workspace_id=workspace,
            workspace=f"w{workspace}",
            channel=channel,
            to="+14155550123",
            body="Hello",
            category="transactional",
            priority=priority,
            attempts=0,
            segments=segments,
            lease_token=1,
            leased_at=0.0,
        )

    def many(
        self, count: int, workspace: int = 1, priority: int = NORMAL, segments: int = 1
    ) -> list[Delivery]:
        return [self(workspace, priority, segments=segments) for _ in range(count)]


@pytest.fixture
def make() -> Maker:
    return Maker()


def drain(queue: ReadyQueue) -> list[Delivery]:
    return [queue.pop() for _ in range(len(queue))]


def test_nothing_ready_is_an_error() -> None:
    with pytest.raises(IndexError):
        ReadyQueue().pop()


def test_one_lane_keeps_its_order(make: Maker) -> None:
    queue, deliveries = ReadyQueue(), make.many(50)
    queue.extend(deliveries)
    assert drain(queue) == deliveries


def test_what_is_urgent_overtakes(make: Maker) -> None:
    queue = ReadyQueue()
    queue.extend(make.many(5, priority=BULK) + make.many(5))
    urgent = make(9, HIGH)
    queue.push(urgent)
    assert queue.pop() is urgent


lanes = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 8)), min_size=1, max_size=12)


@given(lanes, st.integers(0, 150), st.integers(1, 8))
def test_a_newcomer_waits_for_no_more_than_one_of_each_lane(
    others: list[tuple[int, int]], popped: int, segments: int
) -> None:
    """Whatever the others have waiting, however long it is, and however far the queue has come."""
    make, queue = Maker(), ReadyQueue()
    for workspace, (count, each) in enumerate(others, start=2):
        queue.extend(make.many(count, workspace, segments=each))
    for _ in range(min(popped, len(queue) - 1)):
        queue.pop()
    mine = make(1, segments=segments)
    queue.push(mine)
    before = 0
    while queue.pop() is not mine:
        before += 1
    assert before <= len(others)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=6))
def test_busy_lanes_get_equal_parts_in_segments(widths: list[int]) -> None:
    make, queue = Maker(), ReadyQueue()
    for workspace, segments in enumerate(widths):
        queue.extend(make.many(240 // segments, workspace, segments=segments))
    got: Counter[int] = Counter()
    while sum(got.values()) < 100 * len(widths):
        delivery = queue.pop()
        got[delivery.workspace_id] += delivery.segments
    assert max(got.values()) - min(got.values()) <= 2 * max(widths)


@pytest.mark.parametrize("waiting", [(HIGH, NORMAL, BULK), (HIGH, BULK), (NORMAL, BULK), (HIGH, NORMAL)])
def test_the_lower_priorities_still_move(make: Maker, waiting: tuple[Priority, ...]) -> None:
    queue = ReadyQueue()
    for priority in waiting:
        queue.extend(make.many(400, priority=priority))
    got = Counter(queue.pop().priority for _ in range(160))
    assert all(got[priority] >= 10 for priority in waiting)
    assert got[waiting[0]] >= 140


@pytest.mark.parametrize("tries", [1, 2, 3, 16])
@pytest.mark.parametrize("phase", [0, 1])
def test_they_move_too_where_a_limit_lets_one_pass_at_a_time(make: Maker, tries: int, phase: int) -> None:
    """A line pops, sees that its limit says no, and puts back: that was nobody's turn."""
    queue = ReadyQueue()
    for priority in Priority:
        queue.extend(make.many(400, priority=priority))
    got = Counter(queue.pop().priority for _ in range(phase))
    for _ in range(160 - phase):
        for _ in range(tries):
            queue.put_back(queue.pop())
        got[queue.pop().priority] += 1
    assert (got[HIGH], got[NORMAL], got[BULK]) == (140, 10, 10)


def test_they_move_too_where_a_limit_holds_several(make: Maker) -> None:
    """A workspace's own limit parks what it holds; all of it comes back when one may pass."""
    queue = ReadyQueue()
    for priority in Priority:
        queue.extend(make.many(400, priority=priority))
    got: Counter[int] = Counter()
    for _ in range(160):
        got[queue.pop().priority] += 1
        held = [queue.pop() for _ in range(7)]
        for delivery in held:
            queue.put_back(delivery)
    assert (got[HIGH], got[NORMAL], got[BULK]) == (140, 10, 10)


def test_what_is_put_back_is_next_again(make: Maker) -> None:
    queue = ReadyQueue()
    queue.extend(make.many(5, 1) + make.many(5, 2))
    for _ in range(3):
        first = queue.pop()
        queue.put_back(first)
        assert queue.pop() is first


def test_several_put_back_keep_their_order(make: Maker) -> None:
    """As when a sender's limit held them and lets them pass again, oldest first."""
    queue = ReadyQueue()
    queue.extend(make.many(6))
    held = [queue.pop() for _ in range(3)]
    for delivery in held:
        queue.put_back(delivery)
    assert drain(queue)[:3] == held


def test_who_comes_while_a_lane_is_held_does_not_stand_behind_all_of_it(make: Maker) -> None:
    """Two workspaces share a sender: its limit holds a hundred of the one when the other's only one comes."""
    queue, many, later, single = ReadyQueue(), make.many(100, 1), make.many(3, 1), make(2)
    queue.extend(many)
    assert queue.pop() is many[0]
    held = queue.hold(queue.pop())
    assert (len(queue), queue.waiting(1)) == (99, 99)
    with pytest.raises(IndexError):
        queue.pop()
    queue.push(single)
    queue.extend(later)
    queue.put_back(queue.pop())
    queue.release(held)
    got = drain(queue)
    assert got.index(single) <= 1
    got.remove(single)
    assert got == many[1:] + later


def test_a_lane_that_is_held_keeps_no_other_back(make: Maker) -> None:
    queue = ReadyQueue()
    queue.extend(make.many(3, 1, HIGH) + make.many(3, 2, HIGH) + make.many(3, 1, BULK))
    lane = queue.hold(queue.pop())
    assert lane == Lane(1, Channel.SMS, HIGH)
    got = [queue.pop() for _ in range(6)]
    assert [(d.workspace_id, d.priority) for d in got] == [(2, HIGH)] * 3 + [(1, BULK)] * 3
    with pytest.raises(IndexError):
        queue.pop()
    queue.release(lane)
    assert len(drain(queue)) == 3


def test_clear_hands_over_everything(make: Maker) -> None:
    queue, deliveries = ReadyQueue(), Maker().many(5)
    queue.extend(deliveries)
    assert {d.id for d in queue.clear()} == {d.id for d in deliveries}
    assert (len(queue), queue.ids(), queue.waiting(1)) == (0, set(), 0)
    queue.push(make())
    assert len(queue) == 1


class Queue(RuleBasedStateMachine):
    """Any sequence of pushes, pops and returns: what is in is in once, what came out is out."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = ReadyQueue()
        self.make = Maker()
        self.inside: dict[UUID, Delivery] = {}
        self.outside: list[Delivery] = []

    @rule(
        workspace=st.integers(1, 4),
        priority=st.sampled_from(Priority),
        segments=st.integers(1, 5),
        channel=st.sampled_from([Channel.SMS, Channel.WHATSAPP]),
        count=st.integers(1, 5),
    )
    def push(self, workspace: int, priority: int, segments: int, channel: Channel, count: int) -> None:
        new = [self.make(workspace, priority, segments=segments, channel=channel) for _ in range(count)]
        self.queue.extend(new)
        self.inside |= {d.id: d for d in new}

    @precondition(lambda self: self.inside)
    @rule()
    def pop(self) -> None:
        delivery = self.queue.pop()
        assert self.inside.pop(delivery.id) is delivery
        self.outside.append(delivery)

    @precondition(lambda self: self.outside)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        delivery = self.outside.pop(data.draw(st.integers(0, len(self.outside) - 1)))
        self.queue.put_back(delivery)
        self.inside[delivery.id] = delivery

    @rule()
    def clear(self) -> None:
        assert {d.id for d in self.queue.clear()} == set(self.inside)
        self.outside += self.inside.values()
        self.inside.clear()

    @invariant()
    def the_books_agree(self) -> None:
        assert self.queue.ids() == set(self.inside)
        assert len(self.queue) == len(self.inside)
        for workspace in range(1, 5):
            held = sum(d.workspace_id == workspace for d in self.inside.values())
            assert self.queue.waiting(workspace) == held

    def teardown(self) -> None:
        assert {d.id for d in drain(self.queue)} == set(self.inside)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_a_lane_is_named_by_workspace_channel_and_priority(make: Maker) -> None:
    assert make(3, HIGH, channel=Channel.EMAIL).lane == Lane(3, Channel.EMAIL, HIGH)
