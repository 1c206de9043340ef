"""Quiet hours by examples: the hours themselves, one zone, several, none, and what the receipt says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta, timezone

import pytest

from daemon.model import Channel, Reason
from daemon.rules.answers import Allow, Answer, Defer, Ruling, Skip
from daemon.rules.quiet_hours import DEFAULT_MARKETING, Assume, Fallbacks, QuietHours, quiet_hours
from daemon.rules.zones import Whereabouts, whereabouts

NEW_YORK = Whereabouts(("America/New_York",), "given")
PARIS = Whereabouts(("Europe/Paris",), "inferred")
TENNESSEE = Whereabouts(("America/Chicago", "America/New_York"), "inferred")
AROUND_THE_WORLD = Whereabouts(("America/New_York", "Asia/Tokyo", "Europe/Paris"), "inferred")
NOWHERE = Whereabouts((), "unknown")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def allow(until: str) -> Allow:
    return Allow(at(until))


def defer(until: str) -> Defer:
    return Defer(at(until), Reason.QUIET_HOURS)


@pytest.mark.parametrize(
    ("begins", "ends", "quiet", "loud"),
    [
        (time(21), time(8), ["21:00", "23:59:59.999999", "00:00", "07:59:59.999999"], ["08:00", "20:59:59"]),
        (time(12), time(14), ["12:00", "13:59"], ["11:59", "14:00", "00:00"]),
        (time(21), time(0), ["21:00", "23:59"], ["00:00", "20:59"]),
        (time(0), time(8), ["00:00", "07:59"], ["08:00", "23:59"]),
    ],
)
def test_hours_begin_at_their_begin_and_end_just_before_their_end(
    begins: time, ends: time, quiet: list[str], loud: list[str]
) -> None:
    hours = QuietHours(begins, ends)
    assert all(time.fromisoformat(wall) in hours for wall in quiet)
    assert not any(time.fromisoformat(wall) in hours for wall in loud)


@pytest.mark.parametrize(
    ("begins", "ends", "message"),
    [
        (time(8), time(8), "say when they end"),
        (time(21, tzinfo=UTC), time(8), "name none themselves"),
        (time(21), time(8, tzinfo=UTC), "name none themselves"),
    ],
)
def test_hours_that_could_mean_two_things_are_refused(begins: time, ends: time, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuietHours(begins, ends)


def test_an_assumed_zone_must_exist() -> None:
    with pytest.raises(ValueError, match="'Europe/Atlantis' is no zone"):
        Assume("Europe/Atlantis")


@pytest.mark.parametrize(
    ("hours", "where", "now", "expected"),
    [
        (DEFAULT_MARKETING, NEW_YORK, "2026-01-15T18:00Z", allow("2026-01-16T02:00Z")),
        (DEFAULT_MARKETING, NEW_YORK, "2026-01-16T01:59:59.999999Z", allow("2026-01-16T02:00Z")),
        (DEFAULT_MARKETING, NEW_YORK, "2026-01-16T02:00Z", defer("2026-01-16T13:00Z")),
        (DEFAULT_MARKETING, NEW_YORK, "2026-01-16T12:59:59.999999Z", defer("2026-01-16T13:00Z")),
        (DEFAULT_MARKETING, NEW_YORK, "2026-01-16T13:00Z", allow("2026-01-17T02:00Z")),
        # an hour less of night, and an hour more
        (DEFAULT_MARKETING, NEW_YORK, "2026-03-08T03:00Z", defer("2026-03-08T12:00Z")),
        (DEFAULT_MARKETING, NEW_YORK, "2026-11-01T03:00Z", defer("2026-11-01T13:00Z")),
        # quiet hours that the clocks jump over are none; the next are those of the day after
        (QuietHours(time(2, 10), time(2, 50)), PARIS, "2026-03-28T02:00Z", allow("2026-03-30T00:10Z")),
        # an end within the jump is the jump: the wall shows 03:00 then
        (QuietHours(time(0), time(2, 30)), PARIS, "2026-03-29T00:59Z", defer("2026-03-29T01:00Z")),
        # times that come twice are quiet, or not, twice
        (QuietHours(time(1), time(2, 30)), PARIS, "2026-10-25T00:00Z", defer("2026-10-25T00:30Z")),
        (QuietHours(time(1), time(2, 30)), PARIS, "2026-10-25T00:30Z", allow("2026-10-25T01:00Z")),
        (QuietHours(time(1), time(2, 30)), PARIS, "2026-10-25T01:00Z", defer("2026-10-25T01:30Z")),
        # quiet in one zone is quiet
        (DEFAULT_MARKETING, TENNESSEE, "2026-01-15T13:30Z", defer("2026-01-15T14:00Z")),
        (DEFAULT_MARKETING, TENNESSEE, "2026-01-15T14:00Z", allow("2026-01-16T02:00Z")),
        (QuietHours(time(21), time(4)), AROUND_THE_WORLD, "2026-01-15T00:00Z", defer("2026-01-15T09:00Z")),
        (QuietHours(time(21), time(4)), AROUND_THE_WORLD, "2026-01-15T09:00Z", allow("2026-01-15T12:00Z")),
    ],
)
def test_a_message_waits_for_the_first_instant_that_all_zones_allow(
    hours: QuietHours, where: Whereabouts, now: str, expected: Answer
) -> None:
    assert quiet_hours(hours, where, at(now)).answer == expected


@pytest.mark.parametrize("offset", [-12, -5, 0, 14])
def test_the_moment_may_be_told_in_any_zone(offset: int) -> None:
    now = at("2026-01-16T02:00Z").astimezone(timezone(timedelta(hours=offset)))
    ruling = quiet_hours(DEFAULT_MARKETING, NEW_YORK, now)
    assert ruling == quiet_hours(DEFAULT_MARKETING, NEW_YORK, at("2026-01-16T02:00Z"))
    assert ruling.because["local"] == "2026-01-15 21:00"


def test_without_quiet_hours_all_may_go() -> None:
    assert quiet_hours(None, NOWHERE, at("2026-01-15T03:00Z")) == Ruling(
        "quiet_hours", Allow(), {"hours": None}
    )


@pytest.mark.parametrize(
    ("fallbacks", "expected", "because"),
    [
        (Fallbacks(), Skip(Reason.QUIET_HOURS), {"choice": "skip"}),
        (
            Fallbacks(no_common_hour=Assume("America/New_York")),
            defer("2026-01-15T13:00Z"),
            {"choice": "assume", "assumed": "America/New_York", "local": "2026-01-15 05:00"},
        ),
        (
            Fallbacks(no_common_hour=Assume("Europe/Paris")),
            allow("2026-01-15T20:00Z"),
            {"choice": "assume", "assumed": "Europe/Paris", "local": "2026-01-15 11:00"},
        ),
    ],
)
def test_where_no_hour_suits_all_zones_the_operator_decides(
    fallbacks: Fallbacks, expected: Answer, because: Mapping[str, str]
) -> None:
    ruling = quiet_hours(DEFAULT_MARKETING, AROUND_THE_WORLD, at("2026-01-15T10:00Z"), fallbacks)
    assert ruling.answer == expected
    assert ruling.because == {
        "hours": "21:00 to 08:00",
        "zones": "America/New_York, Asia/Tokyo, Europe/Paris",
        "source": "inferred",
        "why": "no instant within 48 hours is allowed in all of these zones",
        **because,
    }


@pytest.mark.parametrize(
    ("fallbacks", "expected", "because"),
    [
        (Fallbacks(), Skip(Reason.QUIET_HOURS), {"choice": "skip"}),
        (Fallbacks(no_zone="allow"), Allow(), {"choice": "allow"}),
        (
            Fallbacks(no_zone=Assume("Europe/Paris")),
            defer("2026-07-02T06:00Z"),
            {"choice": "assume", "assumed": "Europe/Paris", "local": "2026-07-02 01:30"},
        ),
    ],
)
def test_where_no_zone_is_known_the_operator_decides(
    fallbacks: Fallbacks, expected: Answer, because: Mapping[str, str]
) -> None:
    ruling = quiet_hours(DEFAULT_MARKETING, NOWHERE, at("2026-07-01T23:30Z"), fallbacks)
    assert ruling.answer == expected
    assert ruling.because == {
        "hours": "21:00 to 08:00",
        "zones": None,
        "source": "unknown",
        "why": "nothing tells the zone",
        **because,
    }


def test_the_receipt_says_which_clocks_showed_what() -> None:
    ruling = quiet_hours(QuietHours(time(21, 30, 15), time(8, 0, 30)), NEW_YORK, at("2026-03-08T07:00Z"))
    assert ruling.because == {
        "hours": "21:30:15 to 08:00:30",
        "zones": "America/New_York",
        "source": "given",
        "local": "2026-03-08 03:00",
    }


def test_the_receipt_names_five_zones_and_the_earliest_and_latest_clock_of_all() -> None:
    russia = whereabouts(None, Channel.SMS, "+79161234567")
    ruling = quiet_hours(DEFAULT_MARKETING, russia, at("2026-01-15T06:30Z"))
    named = ", ".join(russia.zones[:5])
    assert ruling.because["zones"] == f"{named} and {len(russia.zones) - 5} more"
    assert ruling.because["local"] == "2026-01-15 08:30 to 2026-01-15 18:30"
    assert ruling.answer == allow("2026-01-15T09:00Z")


def test_the_receipt_follows_a_change_of_offset_within_the_day() -> None:
    shown = [
        quiet_hours(DEFAULT_MARKETING, TENNESSEE, at(now)).because["local"]
        for now in ("2026-03-08T06:59Z", "2026-03-08T07:00Z", "2026-03-08T08:00Z")
    ]
    assert shown == [
        "2026-03-08 00:59 to 2026-03-08 01:59",
        "2026-03-08 01:00 to 2026-03-08 03:00",
        "2026-03-08 03:00 to 2026-03-08 04:00",
    ]
