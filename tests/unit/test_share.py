"""Sharing a batch among lanes: what each may get, and that none is left out for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import Channel, Lane, Priority
from daemon.queue.share import Ask, LaneBoard, share

HIGH, NORMAL, BULK = Priority
CHANNELS = [Channel.SMS, Channel.WHATSAPP, Channel.RCS, Channel.EMAIL]
ACCOUNTS = {Channel.SMS: "main", Channel.WHATSAPP: "main", Channel.RCS: "main", Channel.EMAIL: "mail"}

lanes = st.lists(
    st.builds(Lane, st.integers(1, 12), st.sampled_from(CHANNELS), st.sampled_from(Priority)),
    unique=True,
    max_size=60,
)
rooms = st.fixed_dictionaries({"main": st.integers(0, 300), "mail": st.integers(0, 300)})
allowances = st.dictionaries(st.integers(1, 12), st.floats(-20, 400) | st.just(float("inf")))


def account_of(_workspace: int, channel: Channel) -> str | None:
    return ACCOUNTS.get(channel)


def allowing(allowed: dict[int, float]) -> Callable[[int], float]:
    return lambda workspace: allowed.get(workspace, 1e6)


def unlimited(_workspace: int) -> float:
    return float("inf")


def alike(_lane: Lane) -> float:
    return 1.0


def lane(workspace: int, priority: int = NORMAL, channel: Channel = Channel.SMS) -> Lane:
    return Lane(workspace, channel, priority)


def rows(asks: list[Ask]) -> dict[Lane, int]:
    return {ask.lane: ask.rows for ask in asks}


# One batch.


@given(lanes, rooms, allowances, st.integers(1, 200))
def test_a_batch_stays_within_room_batch_and_allowance(
    due: list[Lane], room: dict[str, int], allowed: dict[int, float], batch: int
) -> None:
    asks = share(
        due, room=room, account_of=account_of, allowance=allowing(allowed), size_of=alike, batch=batch
    )
    assert all(ask.rows >= 1 for ask in asks)
    assert len({ask.lane for ask in asks}) == len(asks)
    assert {ask.lane for ask in asks} <= set(due)
    per_account, per_workspace = Counter[str](), Counter[int]()
    for ask in asks:
        assert ask.account == ACCOUNTS[ask.lane.channel]
        per_account[ask.account] += ask.rows
        per_workspace[ask.lane.workspace_id] += ask.rows
    for account, total in per_account.items():
        assert total <= min(room[account], batch)
    for workspace, total in per_workspace.items():
        assert total <= allowing(allowed)(workspace)


@given(lanes, st.sampled_from(Priority), st.integers(1, 200))
def test_with_room_for_all_each_lane_of_a_priority_gets_its_part(
    due: list[Lane], priority: Priority, batch: int
) -> None:
    due = list(dict.fromkeys(lane(each.workspace_id, priority, each.channel) for each in due))
    asks = rows(
        share(
            due,
            room={"main": 1000, "mail": 1000},
            account_of=account_of,
            allowance=unlimited,
            size_of=alike,
            batch=batch,
        )
    )
    for account in ("main", "mail"):
        mine = [each for each in due if ACCOUNTS[each.channel] == account]
        if len(mine) <= batch:
            assert all(asks[each] >= 1 for each in mine)
            alone = [each for each in mine if sum(x.workspace_id == each.workspace_id for x in mine) == 1]
            assert all(asks[each] - batch // len(mine) in (0, 1) for each in alone)
        else:
            assert {each for each in mine if each in asks} == set(mine[:batch])


def together(due: list[Lane], room: int, size_of: Callable[[Lane], float] = alike) -> dict[Lane, int]:
    return rows(
        share(
            due,
            room={"main": room},
            account_of=account_of,
            allowance=unlimited,
            size_of=size_of,
            batch=room,
        )
    )


def test_an_account_takes_higher_priorities_first_and_keeps_an_eighth_for_lower_ones() -> None:
    assert together([lane(1, BULK), lane(2, NORMAL)], 160) == {lane(2, NORMAL): 140, lane(1, BULK): 20}
    assert together([lane(1, BULK), lane(2, NORMAL), lane(3, HIGH)], 160) == {
        lane(3, HIGH): 140,
        lane(2, NORMAL): 10,
        lane(1, BULK): 10,
    }
    assert together([lane(1, BULK)], 160) == {lane(1, BULK): 160}
    assert together([lane(1, BULK), lane(2, NORMAL)], 2) == {lane(2, NORMAL): 1, lane(1, BULK): 1}


def test_what_one_may_not_have_the_others_of_its_priority_have_then_the_lower_ones() -> None:
    """A workspace that may send two a second, urgent as they are, does not make all others equal."""
    due = [lane(1, HIGH), lane(2, NORMAL), lane(3, NORMAL), lane(4, BULK), lane(5, BULK)]
    allowed = {1: 2.0, 3: 10.0, 5: 1.0}
    asks = rows(
        share(
            due,
            room={"main": 160},
            account_of=account_of,
            allowance=allowing(allowed),
            size_of=alike,
            batch=160,
        )
    )
    assert asks == {due[0]: 2, due[1]: 160 - 2 - 10 - 10, due[2]: 10, due[3]: 9, due[4]: 1}


def test_lanes_get_as_many_segments_each_not_as_many_rows() -> None:
    sizes = {lane(1): 3.0, lane(2): 1.0}
    assert together(list(sizes), 402, sizes.__getitem__) == {lane(1): 101, lane(2): 301}


@given(st.lists(st.floats(1, 10), min_size=1, max_size=40), st.integers(1, 300))
def test_by_size_or_not_a_batch_stays_within_its_room(sizes: list[float], room: int) -> None:
    asks = together([lane(n) for n in range(len(sizes))], room, lambda of: sizes[of.workspace_id])
    assert sum(asks.values()) <= room
    assert len(asks) == min(room, len(sizes))
    for one in asks:
        for other in asks:
            if sizes[one.workspace_id] >= sizes[other.workspace_id]:
                assert asks[one] <= asks[other] + 1
    assert room < len(sizes) or sum(asks.values()) == room


@given(lanes, st.integers(1, 300), st.floats(1, 300))
def test_a_higher_priority_of_a_workspace_gets_at_least_as_much(
    due: list[Lane], batch: int, allowed: float
) -> None:
    asks = rows(
        share(
            sorted(due, key=lambda each: each.priority),
            room={"main": 1000, "mail": 1000},
            account_of=account_of,
            allowance=lambda _: allowed,
            batch=batch,
            size_of=alike,
        )
    )
    for each in due:
        for other in due:
            same = (each.workspace_id, ACCOUNTS[each.channel]) == (
                other.workspace_id,
                ACCOUNTS[other.channel],
            )
            if same and each.priority == HIGH < other.priority and each.channel is other.channel and asks:
                peers = [x for x in due if x.workspace_id == each.workspace_id and x.priority == HIGH]
                if len(peers) == 1 and len(due) <= batch:
                    assert asks.get(each, 0) >= asks.get(other, 0)


def test_high_goes_first_and_the_lower_ones_keep_a_tenth() -> None:
    due = [lane(1, BULK), lane(1, HIGH), lane(1, NORMAL)]
    asks = rows(
        share(
            due, room={"main": 300}, account_of=account_of, allowance=lambda _: 100, size_of=alike, batch=300
        )
    )
    assert asks == {lane(1, HIGH): 80, lane(1, NORMAL): 18, lane(1, BULK): 2}


def test_a_workspace_with_many_lanes_still_serves_its_highest() -> None:
    due = [Lane(1, channel, p) for channel in (Channel.SMS, Channel.WHATSAPP, Channel.RCS) for p in Priority]
    for allowed in range(len(due), 40):
        asks = rows(
            share(
                due,
                room={"main": 300},
                account_of=account_of,
                allowance=dict.fromkeys([1], float(allowed)).__getitem__,
                size_of=alike,
                batch=300,
            )
        )
        served = due if allowed >= 10 else [each for each in due if each.priority == HIGH]  # no whole tenth
        assert set(asks) == set(served), allowed
        assert sum(asks.values()) <= allowed


@pytest.mark.parametrize("allowed", [1, 2, 3, 10, 25])
def test_two_accounts_share_what_a_workspace_may_send(allowed: int) -> None:
    due = [lane(1), lane(1, channel=Channel.EMAIL), lane(1, BULK, Channel.EMAIL)]
    asks = rows(
        share(
            due,
            room={"main": 50, "mail": 50},
            account_of=account_of,
            allowance=lambda _: allowed,
            batch=50,
            size_of=alike,
        )
    )
    assert sum(asks.values()) <= allowed
    assert len(asks) == (
        3 if allowed >= 10 else min(2, allowed)
    )  # under ten, bulk has its tenth another time


def test_a_million_rows_of_one_leave_room_for_anothers_one() -> None:
    due = [lane(n) for n in range(1, 101)]
    asks = rows(
        share(due, room={"main": 100}, account_of=account_of, allowance=unlimited, size_of=alike, batch=500)
    )
    assert asks == dict.fromkeys(due, 1)


@pytest.mark.parametrize(
    ("room", "allowed", "account"),
    [(0, 5.0, "main"), (5, 0.99, "main"), (5, -3.0, "main"), (5, 5.0, None), (5, 5.0, "unknown")],
)
def test_what_cannot_go_is_not_asked_for(room: int, allowed: float, account: str | None) -> None:
    found = share(
        [lane(1)],
        room={"main": room},
        account_of=lambda *_: account,
        allowance=lambda _: allowed,
        batch=9,
        size_of=alike,
    )
    assert found == []


# Round after round.


class World:
    """Lanes that always have more, and a fetcher's rounds over them."""

    def __init__(self, due: list[Lane], room: int, allowed: float, batch: int) -> None:
        self.board = LaneBoard()
        self.board.replace(dict.fromkeys(due, 0.0))
        self.room, self.allowed, self.batch = room, allowed, batch
        self.served: Counter[Lane] = Counter()

    def round(self) -> None:
        asks = share(
            self.board.due(1.0),
            room={"main": self.room, "mail": self.room},
            account_of=account_of,
            allowance=lambda _: self.allowed,
            batch=self.batch,
            size_of=alike,
        )
        for ask in asks:
            self.served[ask.lane] += ask.rows
            self.board.leased(ask.lane, ask.rows, ask.rows, ask.rows)
        self.board.served(rows(asks))


@given(lanes.filter(bool), st.integers(1, 20), st.integers(1, 20), st.floats(1, 40))
def test_no_lane_is_left_out_for_good(due: list[Lane], room: int, batch: int, allowed: float) -> None:
    world = World(due, room, allowed, batch)
    for _ in range(25 * len(due)):
        world.round()
    assert set(world.served) == set(due)


@given(st.integers(2, 40), st.integers(1, 10))
def test_lanes_left_out_are_first_next_time(count: int, room: int) -> None:
    due = [lane(n) for n in range(count)]
    world = World(due, room, 1e6, 500)
    for _ in range(-(-count // room)):
        world.round()
    assert set(world.served) == set(due)


@pytest.mark.parametrize("allowed", [1.0, 2.0, 3.0, 10.0])
def test_under_a_tight_limit_bulk_moves_and_high_has_most(allowed: float) -> None:
    """A workspace of one a second that always has something urgent still sends its newsletter, one in ten."""
    world = World([lane(1, HIGH), lane(1, BULK)], 100, allowed, 100)
    for _ in range(200):
        world.round()
    total = sum(world.served.values())
    assert world.served[lane(1, BULK)] == pytest.approx(0.1 * total, rel=0.25)
    assert world.served[lane(1, HIGH)] == total - world.served[lane(1, BULK)]


# The board.


def test_the_board_knows_what_is_due_when() -> None:
    board = LaneBoard()
    board.replace({lane(1): 5.0, lane(2): 1.0})
    assert board.due(0.5) == []
    assert board.next_due(0.5) == 1.0
    assert board.due(1.0) == [lane(2)]
    assert board.next_due(1.0) == 5.0
    assert set(board.due(9)) == {lane(1), lane(2)}
    assert board.next_due(9) is None


def test_news_only_ever_brings_a_lane_forward() -> None:
    board = LaneBoard()
    board.hint(lane(1), 5)
    board.hint(lane(1), 9)
    assert board.next_due(0) == 5
    board.hint(lane(1), 2)
    assert (board.next_due(0), board.due(2)) == (2, [lane(1)])


def test_a_lane_that_gave_less_than_asked_is_empty_until_the_next_news() -> None:
    board = LaneBoard()
    board.replace({lane(1): 0.0, lane(2): 0.0})
    board.leased(lane(1), 10, 10, 10)
    board.leased(lane(2), 10, 9, 9)
    assert board.due(1) == [lane(1)]
    board.leased(lane(2), 10, 0, 0)  # again, when it is already gone
    board.hint(lane(2), 1)
    assert board.due(1) == [lane(1), lane(2)]


def test_what_cannot_be_divided_goes_to_each_in_turn() -> None:
    world = World([lane(n) for n in range(3)], room=4, allowed=1e6, batch=4)
    for _ in range(6):
        world.round()
    assert world.served == {lane(n): 8 for n in range(3)}


def test_the_board_learns_how_large_a_lanes_messages_are() -> None:
    board = LaneBoard()
    board.replace({lane(1): 0.0})
    assert board.size(lane(1)) == 1
    board.leased(lane(1), 10, 10, 30)
    assert board.size(lane(1)) == 3
    board.leased(lane(1), 10, 0, 0)
    assert board.size(lane(1)) == 3
    for _ in range(20):
        board.leased(lane(1), 10, 10, 10)
    assert board.size(lane(1)) == pytest.approx(1, abs=0.01)
    board.replace({})
    assert board.size(lane(1)) == 1


def test_a_full_look_is_the_truth() -> None:
    board = LaneBoard()
    board.replace({lane(1): 0.0, lane(2): 0.0})
    board.served(dict.fromkeys([lane(1)], 1))
    board.replace({lane(1): 0.0, lane(3): 0.0})
    assert board.due(0) == [lane(1), lane(3)]
    board.served(dict.fromkeys([lane(2)], 1))  # gone meanwhile
    assert board.due(0) == [lane(1), lane(3)]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("replace"), st.dictionaries(st.integers(1, 6), st.integers(0, 9))),
        st.tuples(st.just("hint"), st.tuples(st.integers(1, 6), st.integers(0, 9))),
        st.tuples(st.just("leased"), st.tuples(st.integers(1, 6), st.booleans())),
        st.tuples(st.just("served"), st.lists(st.integers(1, 6))),
    ),
    max_size=40,
)


@given(operations)
def test_the_board_agrees_with_a_simple_model(steps: list[tuple[str, object]]) -> None:
    board, model = LaneBoard(), dict[Lane, float]()
    for what, value in steps:
        match what, value:
            case "replace", dict():
                model = {lane(n): float(at) for n, at in value.items()}
                board.replace(model)
            case "hint", (int(n), int(at)):
                model[lane(n)] = min(model.get(lane(n), 99.0), float(at))
                board.hint(lane(n), float(at))
            case "leased", (int(n), bool(all_of_it)):
                if not all_of_it:
                    model.pop(lane(n), None)
                board.leased(lane(n), 5, *((5, 5) if all_of_it else (2, 2)))
            case "served", list():
                board.served({lane(n): 1 for n in value})
        for now in (0, 4, 9):
            due = board.due(now)
            assert sorted(due) == sorted(each for each, at in model.items() if at <= now)
            assert board.next_due(now) == min((at for at in model.values() if at > now), default=None)
