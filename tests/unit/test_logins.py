"""Logins as lines of the audit: how few they are, and that nobody who failed is left out."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.store.audit import Act, Note
from daemon.web.logins import Logins


class Desk:
    """Logins with a clock to turn, and what they noted."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.notes: list[Note] = []
        self.logins = Logins(self.notes.append, monotonic=lambda: self.now)

    def fail(self, peer: str = "203.0.113.7", times: int = 1) -> None:
        for _ in range(times):
            self.logins.failed(peer)

    def taken(self) -> list[tuple[str, Any]]:
        """Peers and their failures since the last look."""
        assert all(note.what is Act.LOGIN_FAILED for note in self.notes)
        found = [(note.detail["peer"], note.detail["attempts"]) for note in self.notes]
        self.notes.clear()
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_first_failure_is_told_at_once_and_more_of_a_minute_as_one_number(desk: Desk) -> None:
    desk.fail()
    assert desk.taken() == [("203.0.113.7", 1)]
    desk.fail(times=500)
    desk.now += 59
    desk.logins.flush()
    assert desk.taken() == []
    desk.now += 1
    desk.logins.flush()
    assert desk.taken() == [("203.0.113.7", 500)]


def test_the_number_is_told_without_another_failure_and_only_once(desk: Desk) -> None:
    desk.fail(times=3)
    for _ in range(5):
        desk.now += 60
        desk.logins.flush()
    assert desk.taken() == [("203.0.113.7", 1), ("203.0.113.7", 2)]
    desk.fail()
    assert desk.taken() == [("203.0.113.7", 1)]


def test_at_the_end_everything_is_told(desk: Desk) -> None:
    desk.fail(times=3)
    desk.logins.flush(everything=True)
    desk.logins.flush(everything=True)
    assert desk.taken() == [("203.0.113.7", 1), ("203.0.113.7", 2)]


def test_a_failure_after_the_minute_takes_those_before_it_along(desk: Desk) -> None:
    desk.fail(times=3)
    desk.now += 60
    desk.fail()
    assert desk.taken() == [("203.0.113.7", 1), ("203.0.113.7", 2)]
    desk.now += 60
    desk.logins.flush()
    assert desk.taken() == [("203.0.113.7", 1)]


def test_peers_are_told_apart_until_they_are_too_many(desk: Desk) -> None:
    for number in range(1000):
        desk.fail(f"2001:db8::{number}", times=3)
    first = desk.taken()
    assert first == [*((f"2001:db8::{number}", 1) for number in range(20)), ("others", 1)]
    desk.now += 60
    desk.logins.flush()
    told = desk.taken()
    assert len(told) == 21
    assert sum(attempts for _, attempts in first + told) == 3000


def test_a_minute_of_guessing_from_everywhere_is_a_few_lines(desk: Desk) -> None:
    for second in range(600):
        desk.now += 1
        for number in range(30):
            desk.fail(f"198.51.100.{(second * 30 + number) % 250}")
        desk.logins.flush()
    desk.now += 60
    desk.logins.flush()
    told = desk.taken()
    assert len(told) <= 21 * 12
    assert sum(attempts for _, attempts in told) == 600 * 30


def test_a_success_is_a_line_once_an_hour_for_each_peer_and_name(desk: Desk) -> None:
    for _ in range(100):
        for peer, who in (("203.0.113.7", "duly"), ("203.0.113.8", "duly"), ("203.0.113.7", "nurse")):
            desk.logins.succeeded(peer, who)
    assert [(note.who, note.what, note.detail) for note in desk.notes] == [
        ("duly", Act.LOGIN_SUCCEEDED, {"peer": "203.0.113.7"}),
        ("duly", Act.LOGIN_SUCCEEDED, {"peer": "203.0.113.8"}),
        ("nurse", Act.LOGIN_SUCCEEDED, {"peer": "203.0.113.7"}),
    ]
    desk.now += 3600
    desk.logins.succeeded("203.0.113.7", "duly")
    assert len(desk.notes) == 4


def test_so_many_logins_are_remembered_and_the_oldest_is_forgotten_first(desk: Desk) -> None:
    for number in range(1001):
        desk.logins.succeeded(f"2001:db8::{number}", "duly")
    desk.notes.clear()
    for number in (1000, 1, 0):
        desk.logins.succeeded(f"2001:db8::{number}", "duly")
    assert [note.detail["peer"] for note in desk.notes] == ["2001:db8::0"]
