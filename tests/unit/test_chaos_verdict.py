"""The verdict on made-up evidence: it must catch every broken promise and accuse nobody else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from daemon.chaos.verdict import Arrival, Fault, Row, Told, Verdict, judge

DUE = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
ONE = UUID(int=1)

ROW = Row(
    id=ONE,
    number=1,
    state="delivered",
    reason=None,
    due_at=DUE,
    may_expire=False,
    held=False,
    was_uncertain=False,
    refused=False,
)
ARRIVAL = Arrival(
    delivery=str(ONE),
    attempt=1,
    sid="SM1",
    to="+14155551234",
    status="delivered",
    accepted_at=DUE.timestamp() + 0.2,
    duplicate=False,
)


def verdict(
    rows: list[Row] | None = None, arrivals: list[Arrival] | None = None, *, canceled: bool = False
) -> Verdict:
    rows = [ROW] if rows is None else rows
    return judge([Told(1, {ONE}, canceled)], rows, [ARRIVAL] if arrivals is None else arrivals)


def faults(found: Verdict) -> list[Fault]:
    return [bad.fault for bad in found.bad]


def test_what_arrived_once_and_in_time_is_good() -> None:
    found = verdict()
    assert (found.accepted, found.delivered, found.bad) == (1, 1, ())


@pytest.mark.parametrize("state", ["queued", "leased", "sending", "uncertain", "skipped"])
def test_what_never_arrived_nor_ended_is_lost(state: str) -> None:
    assert faults(verdict([replace(ROW, state=state)], [])) == [Fault.LOST]


@pytest.mark.parametrize("state", ["sent", "delivered", "read"])
def test_what_the_database_calls_sent_and_the_stand_in_has_never_seen_is_lost(state: str) -> None:
    assert faults(verdict([replace(ROW, state=state)], [])) == [Fault.LOST]


def test_a_committed_enqueue_without_a_row_is_lost() -> None:
    found = verdict([], [])
    assert faults(found) == [Fault.LOST]
    assert found.accepted == 1


def test_what_arrived_and_the_database_knows_nothing_of_is_lost_track_of() -> None:
    stray = replace(ARRIVAL, delivery=str(UUID(int=9)))
    assert faults(verdict(arrivals=[ARRIVAL, stray])) == [Fault.LOST]


def test_an_expired_delivery_is_not_lost_if_it_could_expire() -> None:
    assert not verdict([replace(ROW, state="expired", may_expire=True)], []).bad
    assert faults(verdict([replace(ROW, state="expired")], [])) == [Fault.LOST]


def test_a_failed_delivery_is_not_lost_if_the_platform_said_no() -> None:
    assert not verdict([replace(ROW, state="failed", refused=True)], []).bad
    assert faults(verdict([replace(ROW, state="failed", reason="attempts_exhausted")], [])) == [Fault.LOST]


def test_a_held_delivery_is_not_lost_and_counted() -> None:
    found = verdict([replace(ROW, state="uncertain", held=True, was_uncertain=True)], [])
    assert not found.bad
    assert (found.held, found.uncertain, found.uncertain_resolved) == (1, 1, 0)


def test_an_uncertain_delivery_that_was_settled_counts_as_resolved() -> None:
    found = verdict([replace(ROW, was_uncertain=True)])
    assert (found.uncertain, found.uncertain_resolved, found.held) == (1, 1, 0)


def test_what_arrived_twice_is_a_duplicate() -> None:
    again = replace(ARRIVAL, sid="SM2", attempt=2, duplicate=True)
    assert faults(verdict(arrivals=[ARRIVAL, again])) == [Fault.DUPLICATE]


def test_one_message_queued_as_two_deliveries_is_a_duplicate() -> None:
    two = UUID(int=2)
    found = verdict([ROW, replace(ROW, id=two)], [ARRIVAL, replace(ARRIVAL, delivery=str(two), sid="SM2")])
    assert faults(found) == [Fault.DUPLICATE]


def test_a_microsecond_too_soon_is_early() -> None:
    soon = (DUE - timedelta(microseconds=1)).timestamp()
    assert faults(verdict(arrivals=[replace(ARRIVAL, accepted_at=soon)])) == [Fault.EARLY]
    assert not verdict(arrivals=[replace(ARRIVAL, accepted_at=DUE.timestamp())]).bad


def test_what_was_canceled_in_time_and_arrived_all_the_same_is_early() -> None:
    assert faults(verdict(canceled=True)) == [Fault.EARLY]
    assert faults(verdict([replace(ROW, state="canceled")])) == [Fault.EARLY]


def test_what_was_canceled_in_time_is_no_part_of_the_accepted() -> None:
    found = verdict([replace(ROW, state="canceled")], [], canceled=True)
    assert (found.accepted, found.delivered, found.bad) == (0, 0, ())
