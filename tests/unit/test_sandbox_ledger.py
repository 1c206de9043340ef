"""The sandbox's ledger: what it counts, and what it calls a duplicate."""

from __future__ import annotations

import itertools

import pytest

from daemon.sandbox.ledger import Ledger
from daemon.sandbox.messages import Message, Status

_sids = itertools.count()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(monotonic=clock, wall=clock)


def message(
    ledger: Ledger, *, delivery: str | None = None, to: str = "+15551110100", body: str = "Hi"
) -> Message:
    now = ledger.wall()
    return Message(
        sid=f"SM{next(_sids):032x}",
        to=to,
        sender="+15005550006",
        service=None,
        body=body,
        media=(),
        status=Status.QUEUED,
        segments=1,
        created=now,
        accepted_monotonic=ledger.monotonic(),
        updated=now,
        delivery=delivery,
    )


def accept(ledger: Ledger, **wanted: str | None) -> Message:
    accepted = message(ledger, **wanted)  # type: ignore[arg-type]
    ledger.accept(accepted)
    return accepted


def test_a_second_message_for_a_delivery_is_a_duplicate_however_late(ledger: Ledger, clock: Clock) -> None:
    accept(ledger, delivery="d1")
    clock.now += 86_400
    assert accept(ledger, delivery="d1").duplicate
    accept(ledger, delivery="d2")
    assert (ledger.accepted, ledger.duplicates) == (3, 1)


@pytest.mark.parametrize("status", [Status.FAILED, Status.UNDELIVERED, Status.CANCELED])
def test_a_retry_after_a_reported_failure_is_no_duplicate(ledger: Ledger, status: Status) -> None:
    ledger.move(accept(ledger, delivery="d1"), status)
    assert not accept(ledger, delivery="d1").duplicate
    assert accept(ledger, delivery="d1").duplicate


def test_a_retry_is_a_duplicate_when_any_earlier_message_still_lives(ledger: Ledger) -> None:
    accept(ledger, delivery="d1")
    ledger.move(accept(ledger, delivery="d1"), Status.FAILED)
    assert accept(ledger, delivery="d1").duplicate
    assert ledger.duplicates == 2


def test_a_failure_that_comes_after_the_second_message_does_not_excuse_it(ledger: Ledger) -> None:
    earlier = accept(ledger, delivery="d1")
    accept(ledger, delivery="d1")
    ledger.move(earlier, Status.FAILED)
    assert ledger.duplicates == 1


@pytest.mark.parametrize(
    ("seconds", "again", "duplicate"),
    [
        (59.0, {}, True),
        (61.0, {}, False),
        (1.0, {"body": "Hello"}, False),
        (1.0, {"to": "+15551110101"}, False),
    ],
)
def test_without_a_delivery_id_the_same_words_within_a_minute_are_a_duplicate(
    ledger: Ledger, clock: Clock, seconds: float, again: dict[str, str], duplicate: bool
) -> None:
    accept(ledger)
    clock.now += seconds
    assert accept(ledger, **again).duplicate is duplicate


def test_a_message_that_has_ended_does_not_move_again(ledger: Ledger) -> None:
    ended = accept(ledger)
    assert ledger.move(ended, Status.DELIVERED)
    assert not ledger.move(ended, Status.SENT)
    assert ledger.stats()["by_status"] == {"delivered": 1}


def test_a_message_from_before_a_reset_does_not_move(ledger: Ledger) -> None:
    forgotten = accept(ledger)
    ledger.reset()
    assert not ledger.move(forgotten, Status.SENT)
    assert ledger.stats()["by_status"] == {}


def test_the_sent_date_is_set_when_it_is_sent(ledger: Ledger, clock: Clock) -> None:
    sent = accept(ledger)
    clock.now += 5
    ledger.move(sent, Status.SENDING)
    assert sent.sent is None
    ledger.move(sent, Status.SENT)
    assert sent.sent == clock.now


def test_phones_are_listed_with_the_one_that_moved_last_first(ledger: Ledger) -> None:
    for number in ("+15551110100", "+15551110101", "+15551110100"):
        accept(ledger, to=number)
    page = ledger.page("", 10, 0)
    assert [(phone.number, phone.received) for phone in page] == [("+15551110100", 2), ("+15551110101", 1)]
    assert [phone.number for phone in ledger.page("0101", 10, 0)] == ["+15551110101"]
    assert [phone.number for phone in ledger.page("", 1, 1)] == ["+15551110101"]


def test_the_export_names_every_accepted_message_in_order(ledger: Ledger) -> None:
    first, second = accept(ledger, delivery="d1"), accept(ledger, delivery="d1")
    ledger.reject(21211, "+1", "d2", 1)
    assert [(row["sid"], row["delivery"], row["duplicate"]) for row in ledger.export()] == [
        (first.sid, "d1", False),
        (second.sid, "d1", True),
    ]
    assert ledger.stats()["rejected_by_code"] == {"21211": 1}
