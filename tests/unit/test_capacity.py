"""The forecast's flow: what must hold of any queue, and examples that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.planning.capacity import _GROWTH, _MOST_STEPS, _SHORTEST_STEP_SECONDS, Fate, Piece, Supply, flow
from daemon.planning.gates import Limit
from daemon.queue.limiter import Rate

HIGH, NORMAL, BULK = 1, 2, 3


def piece(
    messages: float = 100, workspace: str = "a", *, segments: float | None = None, priority: int = NORMAL,
    due: float = 0.0, expires: float | None = None, account: str = "main", sender: str = "",
) -> Piece:  # fmt: skip
    size = messages if segments is None else segments
    return Piece(workspace, account, sender, priority, messages, size, due, expires)


def account(per_second: float | None = 10, **more: float) -> Supply:
    limit = Limit(
        Rate(per_second, more.get("burst"), more.get("per_minute")), calls_per_second=more.get("calls")
    )
    return Supply(accounts={"main": limit})


def fates(pieces: Sequence[Piece], supply: Supply) -> Sequence[Fate]:
    return flow(pieces, supply).fates


def ends(pieces: Sequence[Piece], supply: Supply) -> list[float]:
    return [fate.ends_seconds for fate in fates(pieces, supply)]


# By hand.


@pytest.mark.parametrize(
    ("pieces", "supply", "expected"),
    [
        pytest.param([piece()], account(burst=1), [9.9], id="one lane by the account's rate"),
        pytest.param([piece(segments=300)], account(burst=1), [29.9], id="in segments"),
        pytest.param([piece()], account(burst=50), [5.0], id="a burst goes at once"),
        pytest.param([piece(due=-60)], account(burst=50), [10.0], id="a burst does not outlast a wait"),
        pytest.param([piece(due=30)], account(burst=1), [39.9], id="what is not due yet waits"),
        pytest.param([piece()], account(None, calls=20), [5.0], id="by the platform's speed"),
        pytest.param([piece(segments=300)], account(None, calls=20), [5.0], id="calls are not segments"),
        pytest.param([piece(50), piece(100, "b")], account(burst=1), [9.9, 14.9], id="equal shares"),
        pytest.param([piece(50), piece(50)], account(burst=1), [4.9, 9.9], id="a lane is first come, first served"),
        pytest.param([piece(10), piece(10, due=60)], account(burst=1), [0.9, 60.0], id="a pause refills the burst"),
        pytest.param([piece(account="x")], account(), [0.0], id="no limit at all"),
    ],
)  # fmt: skip
def test_what_can_be_worked_out_by_hand(pieces: list[Piece], supply: Supply, expected: list[float]) -> None:
    assert ends(pieces, supply) == pytest.approx(expected, rel=0.02, abs=1.0 if len(pieces) > 1 else 0.1)


def test_a_minutes_limit_goes_in_portions() -> None:
    portions = ends([piece(100), piece(100), piece(100)], account(None, per_minute=100))
    assert portions == pytest.approx([0, 61, 122], abs=3)


def test_what_went_in_the_last_minute_counts_towards_its_limit() -> None:
    limit = Limit(Rate(per_minute=100), sent=[0, 0, 0, 100, 0, 0])
    assert ends([piece(50, due=-1)], Supply(accounts={"main": limit})) == pytest.approx([26], abs=3)


def test_a_workspaces_limit_holds_it_and_leaves_the_rest_to_others() -> None:
    supply = Supply(
        accounts={"main": Limit(Rate(100))}, workspaces={"a": Limit(Rate(10, 1)), "b": Limit(Rate(1000))}
    )
    assert ends([piece(100), piece(900, "b")], supply) == pytest.approx([9.9, 10.0], rel=0.03)


def test_a_senders_limit_counts_across_workspaces_and_is_each_numbers_own() -> None:
    supply = Supply(senders={("main", number): Limit(Rate(10, 1)) for number in ("+1", "+2")})
    shared = [piece(50, "a", sender="+1"), piece(50, "b", sender="+1"), piece(50, "c", sender="+2")]
    assert ends(shared, supply) == pytest.approx([9.9, 9.9, 4.9], rel=0.03)


def test_what_is_urgent_goes_first_and_the_rest_still_moves() -> None:
    urgent, bulk = ends([piece(700, priority=HIGH), piece(300, "b", priority=BULK)], account(100))
    assert urgent == pytest.approx(700 / 87.5, rel=0.03)
    assert bulk == pytest.approx(10, rel=0.03)
    (alone,) = ends([piece(100, "b", priority=BULK)], account(100))
    early = ends([piece(10_000, priority=HIGH), piece(100, "b", priority=BULK)], account(100))[1]
    assert early == pytest.approx(8 * alone, rel=0.05)


def test_in_a_workspaces_own_limit_each_lower_lane_keeps_a_tenth() -> None:
    supply = Supply(workspaces={"a": Limit(Rate(100, 1))})
    urgent, bulk = ends([piece(900, priority=HIGH), piece(1100, priority=BULK)], supply)
    assert urgent == pytest.approx(10, rel=0.03)
    assert bulk == pytest.approx(20, rel=0.03)


def test_what_expires_before_its_turn_is_not_sent_and_holds_nobody_up() -> None:
    late, other = fates([piece(100, expires=5), piece(100, due=0.5)], account(burst=1))
    assert late.ends_seconds == 5
    assert late.expired == pytest.approx(49, abs=1)
    assert other.expired == 0
    assert other.ends_seconds == pytest.approx(15, abs=0.3)


def test_what_has_expired_already_is_gone_at_once() -> None:
    assert fates([piece(100, due=-60, expires=-1)], account()) == [Fate(0.0, 100)]


def test_a_call_takes_its_time_after_its_turn() -> None:
    supply = Supply(accounts={"main": Limit(Rate(10, 1), call_seconds=2)})
    assert ends([piece(10)], supply) == pytest.approx([2.9], abs=0.1)


def test_how_fast_an_account_is_at_first_is_told() -> None:
    flowed = flow([piece(1000), piece(5), piece(100, account="x", due=3600)], account())
    assert flowed.early == {"main": pytest.approx(10, rel=0.05)}
    assert flow([piece(50)], account()).early == {"main": pytest.approx(10, rel=0.05)}


def test_a_thousand_workspaces_cost_no_more_than_moments() -> None:
    many = [piece(10 + n % 7, f"w{n}", priority=1 + n % 3, due=60.0 * (n % 5)) for n in range(3000)]
    supply = Supply({"main": Limit(Rate(500))}, {}, {f"w{n}": Limit(Rate(10, 50)) for n in range(3000)})
    last = max(ends(many, supply))
    assert last == pytest.approx(max(240.0, sum(p.segments for p in many) / 500), rel=0.1)


# Of any queue.

_RATES = st.builds(
    Rate,
    per_second=st.none() | st.floats(0.5, 500),
    burst=st.none() | st.floats(1, 100),
    per_minute=st.none() | st.floats(1, 5000),
)
_LIMITS = st.builds(
    Limit,
    rate=_RATES,
    sent=st.lists(st.integers(0, 200), min_size=6, max_size=6),
    calls_per_second=st.none() | st.floats(0.5, 500),
    call_seconds=st.floats(0, 1),
)
_PIECES = st.builds(
    lambda messages, size, due, lasts, **of: Piece(
        messages=messages, segments=messages * size, due_seconds=due,
        expires_seconds=None if lasts is None else due + lasts, **of,
    ),
    messages=st.integers(1, 500),
    size=st.integers(1, 6),
    due=st.floats(-100, 1000),
    lasts=st.none() | st.floats(0.1, 500),
    workspace=st.sampled_from("abc"),
    account=st.sampled_from(["m", "n"]),
    sender=st.sampled_from(["", "+1"]),
    priority=st.sampled_from([HIGH, NORMAL, BULK]),
)  # fmt: skip
_SUPPLIES = st.builds(
    Supply,
    accounts=st.dictionaries(st.sampled_from(["m", "n"]), _LIMITS),
    senders=st.dictionaries(st.sampled_from([("m", ""), ("m", "+1"), ("n", "")]), _LIMITS),
    workspaces=st.dictionaries(st.sampled_from("abc"), _LIMITS),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, min_size=1, max_size=12), _SUPPLIES)
def test_nothing_is_lost_made_or_sent_before_its_time(pieces: list[Piece], supply: Supply) -> None:
    for of, fate in zip(pieces, fates(pieces, supply), strict=True):
        assert 0 <= fate.expired <= of.messages * (1 + 1e-9)
        assert fate.ends_seconds >= max(0.0, min(of.due_seconds, of.expires_seconds or of.due_seconds))
        if of.expires_seconds is None:
            assert fate.expired == 0
        elif fate.expired > 1e-6:
            assert fate.ends_seconds >= max(0.0, of.expires_seconds)


@settings(max_examples=100, deadline=None)
@given(st.lists(_PIECES, min_size=1, max_size=8), st.floats(1, 300), st.floats(1, 50))
def test_no_limit_is_exceeded(pieces: list[Piece], per_second: float, burst: float) -> None:
    """What is gone when a step of the model ends, the limit has let pass by then: so by the end of a piece, no more
    than by the end of the step in which it is. A step is as long as the module says.
    """
    limit = Limit(Rate(per_second, burst))
    shortest = max(_SHORTEST_STEP_SECONDS, sum(p.segments for p in pieces) / per_second / _MOST_STEPS)
    at = fates(pieces, Supply(accounts={"m": limit, "n": limit}))
    for name in ("m", "n"):
        mine = [(f.ends_seconds, p, f) for p, f in zip(pieces, at, strict=True) if p.account == name]
        for end, *_ in mine:
            gone = sum(p.segments * (1 - f.expired / p.messages) for e, p, f in mine if e <= end)
            step_ends = end + max(shortest, _GROWTH * end)
            assert gone <= burst + per_second * step_ends * (1 + 1e-9) + 1e-3


_ONE = st.lists(st.tuples(st.integers(1, 2000), st.floats(0, 600)), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(_ONE, st.floats(0.5, 500))
def test_one_lane_at_a_rate_equals_the_closed_form(parts: list[tuple[int, float]], rate: float) -> None:
    """Each piece ends a time after the later of its due time and the end of the one before it."""
    pieces = [piece(messages, due=due) for messages, due in sorted(parts, key=lambda part: part[1])]
    end, expected = 0.0, []
    for of in pieces:
        end = max(end, of.due_seconds) + of.segments / rate
        expected.append(end)
    burst_seconds = max(1.0, rate * 0.05) / rate
    step = sum(of.segments for of in pieces) / rate / 1000
    for said, true in zip(ends(pieces, account(rate)), expected, strict=True):
        assert true - len(pieces) * burst_seconds - step <= said <= true + len(pieces) * step


@settings(max_examples=100, deadline=None)
@given(_ONE, st.floats(0.5, 500), st.integers(1, 1000), st.floats(1, 10))
def test_more_segments_never_end_sooner_and_a_higher_limit_never_later(
    parts: list[tuple[int, float]], rate: float, more: int, faster: float
) -> None:
    pieces = [piece(messages, due=due) for messages, due in parts]
    longer = [replace(of, segments=of.segments + more) for of in pieces]
    last = max(ends(pieces, account(rate, burst=1)))
    slack = 1.01 * last + 0.01
    assert last <= 1.01 * max(ends(longer, account(rate, burst=1))) + 0.01
    assert max(ends(pieces, account(rate * faster, burst=1))) <= slack


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.sampled_from([1, 2, 3]), st.integers(1, 500)), min_size=1
    ),
    st.floats(5, 200),
)
def test_however_it_is_shared_an_account_is_never_idle_while_something_waits(
    parts: list[tuple[str, int, int]], rate: float
) -> None:
    pieces = [piece(messages, name, priority=priority) for name, priority, messages in parts]
    whole = sum(of.segments for of in pieces) / rate
    assert max(ends(pieces, account(rate))) == pytest.approx(whole, rel=0.02, abs=1 / rate + 0.06)
