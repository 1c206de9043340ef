"""What an account can carry in each slot, and which slots quiet hours leave."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from daemon.config import parse_config
from daemon.model import Channel
from daemon.planning.openings import Slots, opening, planned_per_hour, slot_seconds
from daemon.rules.judgement import Rules
from daemon.rules.quiet_hours import QuietHours
from tests.support import toml

NOW = datetime(2026, 11, 29, 17, 58, tzinfo=UTC)


def test_capacity_is_that_of_an_hour_and_what_others_take_goes_over_into_the_next_slots() -> None:
    slots = Slots(NOW, 300, 25)
    capacity = slots.capacity(100, {})
    assert sum(capacity[1:13]) == sum(capacity[13:25]) == 100
    assert capacity[0] <= 3  # two of five minutes are left of it
    taken = slots.capacity(100, {1: 20})
    assert taken[1:4] == [0, 0, sum(capacity[1:4]) - 20]
    assert taken[4:] == capacity[4:]


def test_slots_are_as_long_as_the_longest_message_needs() -> None:
    assert [slot_seconds(100, n) for n in (1, 8, 9, 24)] == [300, 300, 600, 900]
    assert slot_seconds(1, 24) == 86_400


def test_the_limits_go_before_what_is_planned() -> None:
    def per_hour(account: str, extra: str = "", *workspaces: str) -> float:
        text = toml("postgresql://h/x", "http://127.0.0.1:1", 8080, account=account, extra=extra)
        return planned_per_hour(parse_config(text), "main", workspaces or ("clinic",))

    assert per_hour("") == 100
    assert per_hour("planned_per_hour = 5000\n") == 5000
    assert per_hour("planned_per_hour = 5000\nrate_per_second = 1\n") == 3600
    assert per_hour("planned_per_hour = 5000\nrate_per_minute = 10\n") == 600
    slow = "[workspaces.a]\nper_minute = 2\n[workspaces.b]\nper_minute = 3\n"
    assert per_hour("planned_per_hour = 5000\n", slow, "a", "b") == 300


def test_quiet_hours_leave_whole_slots_by_the_recipients_clock() -> None:
    slots = Slots(NOW, 300, 24 * 12)
    rules = Rules(hours=QuietHours(time(20, 59, 30), time(8)))
    found = opening(rules, Channel.SMS, "", "Europe/Lisbon", slots)
    assert found is not None
    assert [
        (slots.begin(since), slots.begin(until))
        for since, until in zip(found.begins, found.ends, strict=True)
    ] == [
        (slots.begin(0), NOW.replace(hour=20, minute=55)),
        ((NOW + timedelta(days=1)).replace(hour=8, minute=0), slots.begin(slots.count)),
    ]
    assert opening(Rules(), Channel.SMS, "", None, slots) is None
