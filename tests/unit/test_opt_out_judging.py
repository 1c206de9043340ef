"""The race's verdict on made-up evidence: it must catch every broken promise and accuse nobody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from daemon.chaos.opt_out.figures import hollow, tally
from daemon.chaos.opt_out.judging import IN_FLIGHT_SECONDS, Evidence, Fault, Judge, Row, Stopped
from daemon.chaos.opt_out.plan import Part, Planned, Stop
from daemon.chaos.opt_out.rules import Limit
from daemon.chaos.verdict import Arrival

DUE = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
MARKED = DUE + timedelta(milliseconds=20)
JUST = timedelta(microseconds=1)
ARRIVED = MARKED + timedelta(milliseconds=50)
ANNE, BERT = "+14155561001", "+14155561002"

PLANNED = Planned(1, Part.PAIR, 0.0, 1.0, "harbour", ANNE, "transactional", 2, stop=Stop.CONSENT)
ROW = Row(
    id=UUID(int=1),
    number=1,
    category="transactional",
    to=ANNE,
    state="delivered",
    reason=None,
    due_at=DUE,
    marked_at=MARKED,
    node=1,
)
SKIPPED = replace(ROW, state="skipped", reason="opted_out", marked_at=None, node=None)
STOP = Stopped(Stop.CONSENT, 1, ANNE, MARKED + timedelta(milliseconds=1))
BEFORE = replace(STOP, answered_at=MARKED - JUST)


def arrival(row: Row = ROW, at: datetime = ARRIVED, sid: str = "SM1") -> Arrival:
    return Arrival(
        delivery=str(row.id),
        attempt=1,
        sid=sid,
        to=row.to,
        status="delivered",
        accepted_at=at.timestamp(),
        duplicate=False,
    )


def evidence(
    rows: list[Row] | None = None,
    arrivals: list[Arrival] | None = None,
    stopped: list[Stopped] | None = None,
    planned: list[Planned] | None = None,
    charges: dict[tuple[str, UUID], datetime] | None = None,
) -> Evidence:
    rows = [ROW] if rows is None else rows
    plan = [replace(PLANNED, number=row.number, to=row.to) for row in rows if row.number is not None]
    return Evidence(
        planned=plan if planned is None else planned,
        stopped=stopped or [],
        rows=rows,
        arrivals=[arrival()] if arrivals is None else arrivals,
        charges=charges or {},
        caps={"crowd": Limit(2), "paced": Limit(2, 3.0)},
        quiet={"night": (MARKED, MARKED + timedelta(seconds=20))},
    )


def faults(found: Evidence) -> list[Fault]:
    return [bad.fault for bad in Judge(found).bad()]


def test_what_nothing_stopped_and_arrived_is_good() -> None:
    assert faults(evidence()) == []


# After an opt-out.


@pytest.mark.parametrize("kind", Stop)
def test_a_mark_a_microsecond_after_the_stop_was_answered_is_too_late(kind: Stop) -> None:
    assert faults(evidence(stopped=[replace(BEFORE, kind=kind)])) == [Fault.SENT_AFTER_OPT_OUT]


def test_a_mark_after_the_stop_is_one_too_many_even_if_nothing_has_arrived() -> None:
    late = replace(ROW, state="uncertain")
    assert Fault.SENT_AFTER_OPT_OUT in faults(evidence([late], [], [BEFORE]))


def test_a_mark_before_the_stop_was_answered_is_in_flight_and_counted() -> None:
    found = evidence(stopped=[STOP])
    assert faults(found) == []
    assert tally(found).in_flight == 1


def test_what_is_in_flight_does_not_stay_there() -> None:
    late = STOP.answered_at + timedelta(seconds=IN_FLIGHT_SECONDS) + timedelta(milliseconds=1)
    assert faults(evidence(arrivals=[arrival(at=late)], stopped=[STOP])) == [Fault.SENT_AFTER_OPT_OUT]


def test_what_was_stopped_and_never_marked_must_not_arrive() -> None:
    assert set(faults(evidence([SKIPPED], [arrival()], [STOP]))) == {
        Fault.SENT_AFTER_OPT_OUT,
        Fault.CONTRADICTED,
    }


def test_a_stop_holds_for_everything_to_the_person_and_for_nobody_else() -> None:
    second = replace(ROW, id=UUID(int=2), number=2)
    other = replace(ROW, id=UUID(int=3), number=3, to=BERT)
    rows = [SKIPPED, second, other]
    assert faults(evidence(rows, [arrival(second), arrival(other)], [BEFORE])) == [Fault.SENT_AFTER_OPT_OUT]


def test_a_cancellation_holds_for_its_own_delivery_only() -> None:
    second = replace(ROW, id=UUID(int=2), number=2)
    canceled = replace(SKIPPED, state="canceled", reason="canceled")
    assert faults(evidence([canceled, second], [arrival(second)], [replace(BEFORE, kind=Stop.CANCEL)])) == []


# Caps.


def crowd(category: str, *seconds: float) -> Evidence:
    """So many of one category to one person, charged and arriving so many seconds apart from each other."""
    rows = [replace(ROW, id=UUID(int=10 + n), number=10 + n, category=category) for n in range(len(seconds))]
    at = [MARKED + timedelta(seconds=each) for each in seconds]
    return evidence(
        rows,
        [arrival(row, when, f"SM{row.number}") for row, when in zip(rows, at, strict=True)],
        charges={(category, row.id): when for row, when in zip(rows, at, strict=True)},
    )


def test_one_more_than_the_cap_of_the_run_is_over_it() -> None:
    assert faults(crowd("crowd", 0, 0)) == []
    assert faults(crowd("crowd", 0, 0, 100)) == [Fault.OVER_CAP]


def test_one_more_within_the_window_is_over_the_cap_and_at_its_end_is_not() -> None:
    assert faults(crowd("paced", 0, 1, 3.0, 4.0)) == []
    assert faults(crowd("paced", 0, 1, 2.99)) == [Fault.OVER_CAP]


def test_what_was_charged_in_time_may_arrive_late() -> None:
    found = crowd("paced", 0, 1, 3.0)
    slow = replace(found.arrivals[0], accepted_at=found.arrivals[2].accepted_at - 0.1)
    assert faults(replace(found, arrivals=[slow, *found.arrivals[1:]])) == []


@pytest.mark.parametrize("category", ["crowd", "paced"])
def test_what_arrived_without_a_charge_is_over_the_cap(category: str) -> None:
    assert faults(replace(crowd(category, 0), charges={})) == [Fault.OVER_CAP]


def test_room_that_nobody_got_is_a_loss() -> None:
    given_up = [
        replace(SKIPPED, id=UUID(int=n), number=n, category="crowd", reason="cap_reached") for n in (1, 2)
    ]
    sent = replace(ROW, id=UUID(int=3), number=3, category="crowd")
    charges = {("crowd", sent.id): MARKED}
    assert faults(evidence([*given_up, sent], [arrival(sent)], charges=charges)) == [Fault.LOST]
    stopped = evidence([*given_up, sent], [arrival(sent)], [STOP], charges=charges)
    assert faults(stopped) == []


# Quiet hours and due times.


def test_a_mark_within_quiet_hours_is_forbidden_from_their_first_to_before_their_last_moment() -> None:
    night = replace(ROW, category="night")
    begins, ends = evidence().quiet["night"]
    for at, found in (
        (begins - JUST, []),
        (begins, [Fault.IN_QUIET_HOURS]),
        (ends - JUST, [Fault.IN_QUIET_HOURS]),
        (ends, []),
    ):
        row = replace(night, marked_at=at)
        assert faults(evidence([row], [arrival(row, at + JUST)])) == found


def test_what_was_marked_before_quiet_hours_arrives_soon_or_not_at_all() -> None:
    begins, ends = evidence().quiet["night"]
    row = replace(ROW, category="night", marked_at=begins - JUST)
    for after, found in ((1.0, []), (IN_FLIGHT_SECONDS + 0.1, [Fault.IN_QUIET_HOURS])):
        assert faults(evidence([row], [arrival(row, begins + timedelta(seconds=after))])) == found
    assert faults(evidence([row], [arrival(row, ends)])) == []


def test_a_mark_before_the_due_time_is_early_however_long_the_call_takes() -> None:
    assert faults(evidence([replace(ROW, marked_at=DUE - JUST)])) == [Fault.EARLY]
    assert faults(evidence([replace(ROW, marked_at=DUE)])) == []


def test_a_microsecond_too_soon_is_early() -> None:
    assert faults(evidence(arrivals=[arrival(at=DUE - JUST)])) == [Fault.EARLY]
    assert faults(evidence(arrivals=[arrival(at=DUE)])) == []


# What the database says, and what the stand-in knows.


@pytest.mark.parametrize("state", ["skipped", "canceled", "expired"])
def test_what_the_database_calls_ended_must_not_have_arrived(state: str) -> None:
    ended = replace(ROW, state=state, reason="cap_reached", category="crowd")
    assert Fault.CONTRADICTED in faults(evidence([ended], charges={("crowd", ROW.id): MARKED}))


def test_what_arrived_and_was_never_marked_is_a_contradiction() -> None:
    assert faults(evidence([replace(ROW, marked_at=None)])) == [Fault.CONTRADICTED]


def test_what_arrived_and_the_database_knows_nothing_of_is_a_contradiction() -> None:
    stray = arrival(replace(ROW, id=UUID(int=9)))
    assert faults(evidence(arrivals=[arrival(), stray])) == [Fault.CONTRADICTED]


def test_an_answer_of_dulys_own_is_neither_a_stray_nor_judged() -> None:
    answer = replace(ROW, id=UUID(int=9), number=None, category="opt_out_reply")
    assert faults(evidence([SKIPPED, answer], [arrival(answer)], [BEFORE])) == []


def test_what_arrived_twice_is_a_duplicate() -> None:
    assert faults(evidence(arrivals=[arrival(), replace(arrival(), sid="SM2", duplicate=True)])) == [
        Fault.DUPLICATE
    ]


@pytest.mark.parametrize("state", ["queued", "leased", "sending", "uncertain", "failed", "expired"])
def test_what_nothing_stopped_and_was_not_sent_is_lost(state: str) -> None:
    assert faults(evidence([replace(ROW, state=state)], [])) == [Fault.LOST]


@pytest.mark.parametrize("state", ["sent", "delivered", "read"])
def test_what_the_database_calls_sent_and_the_stand_in_has_never_seen_is_lost(state: str) -> None:
    assert faults(evidence([replace(ROW, state=state)], [])) == [Fault.LOST]


def test_what_was_queued_and_has_no_row_is_lost() -> None:
    assert faults(evidence([], [], planned=[PLANNED])) == [Fault.LOST]


def test_what_was_skipped_needs_a_stop_and_the_reason_of_that_stop() -> None:
    assert faults(evidence([SKIPPED], [], [STOP])) == []
    assert faults(evidence([SKIPPED], [])) == [Fault.LOST]
    assert faults(evidence([SKIPPED], [], [replace(STOP, to=BERT)])) == [Fault.LOST]
    assert faults(evidence([SKIPPED], [], [replace(STOP, kind=Stop.LISTED)])) == [Fault.LOST]
    assert faults(evidence([replace(SKIPPED, reason="quiet_hours")], [], [STOP])) == [Fault.LOST]
    assert faults(evidence([replace(SKIPPED, reason="cap_reached")], [], [STOP])) == [Fault.LOST]


# What a run proves.


def run(sent: int, stopped: int, *, capped: int = 1, before: int = 1, after: int = 1) -> list[str]:
    found = tally(evidence([], []))
    found.pairs, found.sent, found.stopped = sent + stopped, sent, stopped
    found.capped, found.before_quiet, found.after_quiet = capped, before, after
    return list(hollow(found))


def test_a_race_needs_two_sides_quiet_hours_and_a_cap() -> None:
    assert run(50, 50) == run(34, 66) == run(80, 20) == []
    for proves_nothing in (
        run(33, 67),
        run(84, 16),
        run(50, 50, capped=0),
        run(50, 50, before=0),
        run(50, 50, after=0),
    ):
        assert len(proves_nothing) == 1


def test_the_tally_counts_what_happened() -> None:
    begins, ends = evidence().quiet["night"]
    nights = [
        replace(ROW, id=UUID(int=20 + n), number=20 + n, category="night", to=BERT, marked_at=at)
        for n, at in enumerate((begins - JUST, ends))
    ]
    capped = replace(SKIPPED, id=UUID(int=30), number=30, category="crowd", to=BERT, reason="cap_reached")
    crowd = [replace(capped, id=UUID(int=31 + n), number=31 + n, state="sent", node=n) for n in range(2)]
    rows = [ROW, replace(SKIPPED, id=UUID(int=2), number=2), *nights, capped, *crowd]
    parts = {20: Part.NIGHT, 21: Part.NIGHT, 30: Part.CROWD, 31: Part.CROWD, 32: Part.CROWD}
    planned = [
        replace(PLANNED, number=row.number or 0, to=row.to, part=parts.get(row.number or 0, Part.PAIR))
        for row in rows
    ]
    arrivals = [
        arrival(),
        *(arrival(night, night.marked_at or DUE) for night in nights),
        *(arrival(each) for each in crowd),
    ]
    found = tally(evidence(rows, arrivals, [STOP], planned))
    assert (found.pairs, found.sent, found.stopped, found.in_flight) == (2, 1, 1, 1)
    assert (found.capped, found.shared, found.before_quiet, found.after_quiet) == (1, 1, 1, 1)
    assert (found.asked["record_consent"], found.won["record_consent"]) == (2, 1)
