"""Recurrence: RFC 5545's own examples, simple rules against counting days, hostile rules, clocks that jump."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.planning.recurrence import Recurrence, recurrence
from daemon.planning.rrule import RuleProblem, parse_rule
from daemon.rules.wall_clock import instant, local
from tests.unit import iana

NEW_YORK = "America/New_York"
DAY = timedelta(days=1)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def on(text: str, hour: int = 9, minute: int = 0) -> list[datetime]:
    """The times on days such as "1997 Sep 2-4,9; Oct 1 | 1998 Jan 1"."""
    found = []
    for year_text in text.split("|"):
        year, _, rest = year_text.strip().partition(" ")
        for month_text in rest.split(";"):
            month, days = month_text.split()
            for span in days.split(","):
                first, _, last = span.partition("-")
                found += [
                    datetime.fromisoformat(
                        f"{year}-{_MONTHS.index(month) + 1:02}-{day:02}T{hour:02}:{minute:02}"
                    )
                    for day in range(int(first), int(last or first) + 1)
                ]
    return found


# RFC 5545, 3.8.5.3: all examples but those by the hour and minute, as days; those without an end as far as it shows them.
_EXAMPLES = [
    ("19970902", "FREQ=DAILY;COUNT=10", "1997 Sep 2-11", True),
    ("19970902", "FREQ=DAILY;UNTIL=19971224T000000Z", "1997 Sep 2-30; Oct 1-31; Nov 1-30; Dec 1-23", True),
    (
        "19970902",
        "FREQ=DAILY;INTERVAL=2",
        "1997 Sep 2,4,6,8,10,12,14,16,18,20,22,24,26,28,30; Oct 2,4,6",
        False,
    ),
    ("19970902", "FREQ=DAILY;INTERVAL=10;COUNT=5", "1997 Sep 2,12,22; Oct 2,12", True),
    (
        "19980101",
        "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA",
        "1998 Jan 1-31 | 1999 Jan 1-31 | 2000 Jan 1-31",
        True,
    ),
    (
        "19980101",
        "FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1",
        "1998 Jan 1-31 | 1999 Jan 1-31 | 2000 Jan 1-31",
        True,
    ),
    ("19970902", "FREQ=WEEKLY;COUNT=10", "1997 Sep 2,9,16,23,30; Oct 7,14,21,28; Nov 4", True),
    (
        "19970902",
        "FREQ=WEEKLY;UNTIL=19971224T000000Z",
        "1997 Sep 2,9,16,23,30; Oct 7,14,21,28; Nov 4,11,18,25; Dec 2,9,16,23",
        True,
    ),
    (
        "19970902",
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU",
        "1997 Sep 2,16,30; Oct 14,28; Nov 11,25; Dec 9,23 | 1998 Jan 6,20; Feb 3",
        False,
    ),
    (
        "19970902",
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        "1997 Sep 2,4,9,11,16,18,23,25,30; Oct 2",
        True,
    ),
    ("19970902", "FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", "1997 Sep 2,4,9,11,16,18,23,25,30; Oct 2", True),
    (
        "19970901",
        "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        "1997 Sep 1,3,5,15,17,19,29; Oct 1,3,13,15,17,27,29,31; Nov 10,12,14,24,26,28; Dec 8,10,12,22",
        True,
    ),
    (
        "19970902",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
        "1997 Sep 2,4,16,18,30; Oct 2,14,16",
        True,
    ),
    (
        "19970905",
        "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
        "1997 Sep 5; Oct 3; Nov 7; Dec 5 | 1998 Jan 2; Feb 6; Mar 6; Apr 3; May 1; Jun 5",
        True,
    ),
    ("19970905", "FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR", "1997 Sep 5; Oct 3; Nov 7; Dec 5", True),
    (
        "19970907",
        "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
        "1997 Sep 7,28; Nov 2,30 | 1998 Jan 4,25; Mar 1,29; May 3,31",
        True,
    ),
    (
        "19970922",
        "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
        "1997 Sep 22; Oct 20; Nov 17; Dec 22 | 1998 Jan 19; Feb 16",
        True,
    ),
    (
        "19970928",
        "FREQ=MONTHLY;BYMONTHDAY=-3",
        "1997 Sep 28; Oct 29; Nov 28; Dec 29 | 1998 Jan 29; Feb 26",
        False,
    ),
    (
        "19970902",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
        "1997 Sep 2,15; Oct 2,15; Nov 2,15; Dec 2,15 | 1998 Jan 2,15",
        True,
    ),
    (
        "19970930",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
        "1997 Sep 30; Oct 1,31; Nov 1,30; Dec 1,31 | 1998 Jan 1,31; Feb 1",
        True,
    ),
    (
        "19970910",
        "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
        "1997 Sep 10-15 | 1999 Mar 10-13",
        True,
    ),
    (
        "19970902",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
        "1997 Sep 2,9,16,23,30; Nov 4,11,18,25 | 1998 Jan 6,13,20,27; Mar 3,10,17,24,31",
        False,
    ),
    (
        "19970610",
        "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        "1997 Jun 10; Jul 10 | 1998 Jun 10; Jul 10 | 1999 Jun 10; Jul 10 | 2000 Jun 10; Jul 10 | 2001 Jun 10; Jul 10",
        True,
    ),
    (
        "19970310",
        "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        "1997 Mar 10 | 1999 Jan 10; Feb 10; Mar 10 | 2001 Jan 10; Feb 10; Mar 10 | 2003 Jan 10; Feb 10; Mar 10",
        True,
    ),
    (
        "19970101",
        "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
        "1997 Jan 1; Apr 10; Jul 19 | 2000 Jan 1; Apr 9; Jul 18 | 2003 Jan 1; Apr 10; Jul 19 | 2006 Jan 1",
        True,
    ),
    ("19970519", "FREQ=YEARLY;BYDAY=20MO", "1997 May 19 | 1998 May 18 | 1999 May 17", False),
    ("19970512", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "1997 May 12 | 1998 May 11 | 1999 May 17", False),
    (
        "19970313",
        "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
        "1997 Mar 13,20,27 | 1998 Mar 5,12,19,26 | 1999 Mar 4",
        False,
    ),
    (
        "19970605",
        "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8",
        "1997 Jun 5,12,19,26; Jul 3,10,17,24,31; Aug 7,14,21,28 | 1998 Jun 4,11,18,25; Jul 2",
        False,
    ),
    (
        "19970903",
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "1998 Feb 13; Mar 13; Nov 13 | 1999 Aug 13 | 2000 Oct 13",
        False,
    ),
    (
        "19970913",
        "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
        "1997 Sep 13; Oct 11; Nov 8; Dec 13 | 1998 Jan 10; Feb 7; Mar 7; Apr 11; May 9; Jun 13",
        False,
    ),
    (
        "19961105",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "1996 Nov 5 | 2000 Nov 7 | 2004 Nov 2",
        False,
    ),
    ("19970904", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "1997 Sep 4; Oct 7; Nov 6", True),
    (
        "19970929",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
        "1997 Sep 29; Oct 30; Nov 27; Dec 30 | 1998 Jan 29; Feb 26; Mar 30",
        False,
    ),
    ("19970805", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "1997 Aug 5,10,19,24", True),
    ("19970805", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "1997 Aug 5,17,19,31", True),
    ("20070115", "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "2007 Jan 15,30; Feb 15; Mar 15,30", True),
]


@pytest.mark.parametrize(("begins", "rule", "days", "ends"), _EXAMPLES, ids=[e[1] for e in _EXAMPLES])
def test_rfc_5545s_examples_come_out_as_it_says(begins: str, rule: str, days: str, *, ends: bool) -> None:
    expected = on(days)
    found = recurrence(at(begins + "T090000"), rule).first(
        len(expected) + 1, at(begins + "T000000"), NEW_YORK
    )
    assert found[: len(expected)] == expected
    assert (len(found) == len(expected)) is ends


def test_rfc_5545s_times_within_a_day_come_out_as_it_says() -> None:
    every_20_minutes = recurrence(
        at("1997-09-02T09:00"), "FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40"
    )
    found = every_20_minutes.between(at("1997-09-02"), at("1997-09-03"))
    assert found == [at("1997-09-02T09:00") + n * timedelta(minutes=20) for n in range(24)]


WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
begins = st.datetimes(at("1999-01-01"), at("2032-12-31")).map(lambda t: t.replace(second=0, microsecond=0))


def joined(numbers: set[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def months_after(first: date, day: date) -> int:
    return (day.year - first.year) * 12 + day.month - first.month


def days_in_month(day: date) -> int:
    return ((day.replace(day=28) + 4 * DAY).replace(day=1) - day.replace(day=1)).days


def by_brute_force(rule: str, begin: datetime, day: date) -> bool:
    """Whether a simple rule has this day, by what RFC 5545 says of it and by nothing of the code under test."""
    parts = dict(part.split("=") for part in rule.split(";"))
    numbers = {
        k: {int(n) for n in v.split(",")} for k, v in parts.items() if k not in ("FREQ", "BYDAY", "WKST")
    }
    first, every = begin.date(), int(parts.get("INTERVAL", "1"))
    length = days_in_month(day)
    match parts["FREQ"]:
        case "DAILY":
            in_turn = (day - first).days % every == 0
        case "WEEKLY":
            start = WEEKDAYS.index(parts.get("WKST", "MO"))
            week, first_week = (d - ((d.weekday() - start) % 7) * DAY for d in (day, first))
            in_turn = (week - first_week).days // 7 % every == 0
        case "MONTHLY":
            in_turn = months_after(first, day) % every == 0
        case _:
            in_turn = (day.year - first.year) % every == 0
    if not in_turn or day < first:
        return False
    if "BYMONTH" in parts and day.month not in numbers["BYMONTH"]:
        return False
    if "BYMONTHDAY" in parts and not {day.day, day.day - length - 1} & numbers["BYMONTHDAY"]:
        return False
    if "BYWEEKNO" in parts:
        iso = day.isocalendar()
        weeks = date(iso.year, 12, 28).isocalendar().week
        if not {iso.week, iso.week - weeks - 1} & numbers["BYWEEKNO"]:
            return False
    if "BYDAY" in parts:
        nth, nth_last = (day.day - 1) // 7 + 1, -((length - day.day) // 7 + 1)
        name = WEEKDAYS[day.weekday()]
        return bool({name, f"{nth}{name}", f"{nth_last}{name}"} & set(parts["BYDAY"].split(",")))
    if "BYMONTHDAY" in parts or parts["FREQ"] == "DAILY":
        return True
    if parts["FREQ"] == "WEEKLY" or "BYWEEKNO" in parts:
        return day.weekday() == first.weekday()
    same_month = parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts or day.month == first.month
    return day.day == first.day and same_month


@st.composite
def simple_rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(("DAILY", "WEEKLY", "MONTHLY", "YEARLY")))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, 9))}"]
    some = st.booleans()
    by_month = draw(some)
    if by_month:
        parts.append(f"BYMONTH={joined(draw(st.sets(st.integers(1, 12), min_size=1, max_size=4)))}")
    if frequency != "WEEKLY" and draw(some):
        days = st.integers(-31, 31).filter(bool)
        parts.append(f"BYMONTHDAY={joined(draw(st.sets(days, min_size=1, max_size=6)))}")
    by_week = frequency == "YEARLY" and draw(some)
    if by_week:
        parts[1] = "INTERVAL=1"  # a week may belong to two years
        weeks = st.sampled_from((-53, -52, -40, -1, 1, 2, 20, 52, 53))
        parts.append(f"BYWEEKNO={joined(draw(st.sets(weeks, min_size=1, max_size=4)))}")
    if draw(some):
        names = draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1, max_size=4))
        if frequency == "MONTHLY" or (frequency == "YEARLY" and by_month and not by_week):
            signs = st.sampled_from(("", "1", "2", "5", "-1", "-4", "-5"))
            names = {draw(signs) + name for name in names}
        parts.append(f"BYDAY={','.join(sorted(names))}")
    if frequency == "WEEKLY":
        parts.append(f"WKST={draw(st.sampled_from(WEEKDAYS))}")
    return ";".join(parts)


@settings(max_examples=200, deadline=None)
@given(rule=simple_rules(), begin=begins, later=st.integers(0, 3000))
def test_simple_rules_have_the_days_that_counting_gives(rule: str, begin: datetime, later: int) -> None:
    first = begin.date() + later * DAY
    days = [first + n * DAY for n in range(370)]
    expected = [datetime.combine(day, begin.time()) for day in days if by_brute_force(rule, begin, day)]
    midnight = datetime.combine(first, datetime.min.time())
    assert recurrence(begin, rule).between(midnight, midnight + 370 * DAY) == expected


@settings(max_examples=100, deadline=None)
@given(
    rule=simple_rules(),
    begin=begins,
    count=st.integers(1, 40),
    cuts=st.lists(st.integers(1, 900), max_size=6),
)
def test_an_interval_has_the_same_times_however_it_is_cut(
    rule: str, begin: datetime, count: int, cuts: list[int]
) -> None:
    for each in (recurrence(begin, rule), recurrence(begin, f"{rule};COUNT={count}")):
        whole = each.between(begin, begin + 1000 * DAY)
        edges = [begin, *(begin + cut * DAY for cut in sorted(cuts)), begin + 1000 * DAY]
        pieces = [each.between(a, b) for a, b in pairwise(edges)]
        assert [at for piece in pieces for at in piece] == whole
        assert len(whole) <= count or each.rule is None or each.rule.count is None


def test_positions_are_those_of_whole_weeks_also_in_the_first() -> None:
    """python-dateutil counts them from the day that the rule begins on."""
    found = recurrence(at("2026-01-07T09:00"), "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1")  # a Wednesday
    assert found.first(2, at("2026-01-01")) == on("2026 Jan 12,19")


def test_the_29th_of_february_and_the_31st_come_only_where_they_are() -> None:
    leap = recurrence(at("2020-02-29T09:00"), "FREQ=YEARLY")
    assert leap.first(3, at("2021-01-01")) == on("2024 Feb 29 | 2028 Feb 29 | 2032 Feb 29")
    assert recurrence(at("2020-02-29T09:00"), "FREQ=YEARLY;INTERVAL=3").first(1, at("2021-01-01")) == on(
        "2032 Feb 29"
    )
    last = recurrence(at("2026-01-31T09:00"), "FREQ=MONTHLY")
    assert last.first(4, at("2026-01-01")) == on("2026 Jan 31; Mar 31; May 31; Jul 31")
    ends = recurrence(at("2026-01-31T09:00"), "FREQ=MONTHLY;BYMONTHDAY=-1")
    assert ends.first(4, at("2026-01-01")) == on("2026 Jan 31; Feb 28; Mar 31; Apr 30")


def test_once_comes_once() -> None:
    once = recurrence(at("2026-03-01T09:00"))
    assert once.between(at("2026-03-01"), at("2026-03-02")) == [at("2026-03-01T09:00")]
    assert once.between(at("2026-03-01T09:01"), at("2027-03-02")) == []
    assert once.between(at("2026-02-01"), at("2026-03-01T09:00")) == []
    assert once.first(5, at("2020-01-01")) == [at("2026-03-01T09:00")]


def test_exceptions_take_away_a_time_or_at_midnight_a_day_and_count_all_the_same() -> None:
    rule = "FREQ=DAILY;COUNT=4;BYHOUR=9,18"
    each = recurrence(
        at("2026-03-01T09:00"), rule, [at("2026-03-01T18:00"), at("2026-03-02"), at("2026-03-05")]
    )
    assert each.first(9, at("2026-03-01")) == [at("2026-03-01T09:00")]
    each = recurrence(at("2026-03-01T09:00"), rule, [at("2026-03-01T18:01")])
    assert len(each.first(9, at("2026-03-01"))) == 4


def test_until_is_a_day_with_all_of_it_a_wall_clock_time_or_an_instant() -> None:
    def last(until: str, zone: str = "UTC") -> datetime:
        return recurrence(at("2026-03-01T09:00"), f"FREQ=DAILY;UNTIL={until}").first(
            99, at("2026-03-01"), zone
        )[-1]

    assert last("20260310") == at("2026-03-10T09:00")
    assert last("20260310T090000") == at("2026-03-10T09:00")
    assert last("20260310T085959") == at("2026-03-09T09:00")
    assert last("20260310T000000Z", "Pacific/Kiritimati") == at("2026-03-10T09:00")
    assert last("20260310T000000Z", "Etc/GMT+12") == at("2026-03-09T09:00")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("", "an empty part is none of FREQ"),
        ("BYDAY=MO", "FREQ is missing; write"),
        ("FREQ=HOURLY", "FREQ=HOURLY would flood people; write FREQ=DAILY with BYHOUR"),
        ("FREQ=MINUTELY;INTERVAL=90", "would flood people"),
        ("FREQ=SECONDLY", "would flood people"),
        ("FREQ=FORTNIGHTLY", "FREQ=FORTNIGHTLY is none of YEARLY"),
        ("FREQ=DAILY;FREQ=WEEKLY", "FREQ is there twice"),
        ("FREQ=DAILY;", "an empty part"),
        ("FREQ=DAILY;COUNT", "COUNT has no value"),
        ("FREQ=DAILY;COUNT=0", "COUNT must be a whole number from 1 to 1000; give UNTIL"),
        ("FREQ=DAILY;COUNT=1000000000", "COUNT must be"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20300101", "has COUNT and UNTIL"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be a whole number from 1 to 1000"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL must be"),
        ("FREQ=DAILY;INTERVAL=999999999999", "INTERVAL must be"),
        ("FREQ=DAILY;UNTIL=20260230", "UNTIL must be a day such as"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL must be a day such as"),
        ("FREQ=DAILY;BYEASTER=1", "BYEASTER is none of"),
        ("FREQ=DAILY;BYSECOND=1", "BYSECOND is none of"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR must have numbers from 0 to 23"),
        ("FREQ=DAILY;BYHOUR=9,,10", "BYHOUR must have numbers"),
        ("FREQ=DAILY;BYHOUR=-1", "BYHOUR must have numbers"),
        (
            "FREQ=DAILY;BYHOUR=9,10;BYMINUTE=" + ",".join(map(str, range(60))),
            "give 120 times a day; at most 24",
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY must have numbers from 1 to 31, or -31 to -1"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY does not go with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY does not go with FREQ=MONTHLY"),
        ("FREQ=DAILY;BYWEEKNO=1", "BYWEEKNO does not go with FREQ=DAILY"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY=1MO has a number"),
        ("FREQ=MONTHLY;BYDAY=6MO", "BYDAY=6MO is in no such period"),
        ("FREQ=YEARLY;BYDAY=54MO", "BYDAY=54MO is in no such period"),
        ("FREQ=MONTHLY;BYDAY=MONDAY", "BYDAY must have days such as MO,TH"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS chooses among times"),
        ("FREQ=DAILY;BYDAY=MO;BYSETPOS=2", "BYSETPOS goes beyond the 1 times"),
        ("FREQ=WEEKLY;BYDAY=MO,TU;BYSETPOS=-3", "BYSETPOS goes beyond the 2 times"),
        ("FREQ=WEEKLY;BYDAY=MO,TU;BYMONTH=1;BYSETPOS=1", "BYSETPOS does not go with BYMONTH"),
        ("FREQ=YEARLY;BYDAY=MO;BYWEEKNO=1;BYSETPOS=1", "BYSETPOS does not go with BYWEEKNO"),
        ("FREQ=WEEKLY;WKST=XX", "WKST=XX is none of"),
        ("FREQ=DAILY;DTSTART=20260101", "has DTSTART; give begins_at"),
        ("DTSTART:20260101T090000\nRRULE:FREQ=DAILY", "must be one line"),
        ("FREQ=DAILY\r\nRDATE:20260101", "must be one line"),
        ("FREQ= DAILY", "must be one line"),
        ("FREQ=DAILY\x00", "must be one line"),
        ("FREQ=DAILY;BYHOUR=１", "must be one line"),
        ("FREQ=DAILY;BYHOUR=" + ",".join(["9"] * 600), "has 1217 characters; it may have 1000"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_the_remedy(rule: str, says: str) -> None:
    with pytest.raises(RuleProblem) as refused:
        parse_rule(rule)
    assert str(refused.value).startswith("rrule: ")
    assert says in str(refused.value)


PARTS = (
    *("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH"),
    *("BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS", "BYHOUR"),
)
VALUES = (
    *("DAILY", "WEEKLY", "MONTHLY", "YEARLY", "MO", "-1SU", "53FR"),
    *("1,2,3", "-366", "30", "19970101T000000Z"),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.builds(
                "{}={}".format,
                st.sampled_from(PARTS),
                st.one_of(st.text("0123456789-+,TZ", max_size=9), st.sampled_from(VALUES)),
            ),
        ),
        max_size=7,
    ).map(";".join)
)
def test_any_text_is_refused_or_answers(text: str) -> None:
    try:
        found = recurrence(at("2024-02-29T09:00"), text)
    except RuleProblem:
        return
    times = found.first(3, at("2024-01-01"))
    assert times == sorted(set(times))
    assert all(time >= found.begins_at for time in times)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTHDAY=31;INTERVAL=12;BYMONTH=2",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1000",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=WEEKLY;INTERVAL=1000;BYMONTH=2",
        "FREQ=YEARLY;BYYEARDAY=366;INTERVAL=1;BYWEEKNO=20",
        "FREQ=YEARLY;INTERVAL=999",
        "FREQ=YEARLY;BYYEARDAY=1;BYSETPOS=" + ",".join(map(str, range(2, 250))),
    ],
)
def test_a_rule_that_never_comes_true_answers_at_once(rule: str) -> None:
    """dateutil alone takes up to ten seconds for one of these."""
    each = recurrence(at("1970-02-02T09:00"), rule)
    began = time.process_time()
    assert each.first(2, at("1971-01-01")) == []
    for n in range(50):
        assert each.between(at("2026-01-01") + n * DAY, at("2026-01-02") + n * DAY) == []
    assert time.process_time() - began < 2


def test_an_old_rule_is_not_counted_from_its_beginning() -> None:
    old, new = (recurrence(at(begin), "FREQ=DAILY") for begin in ("1970-01-01T09:00", "2026-01-01T09:00"))

    def cost(each: Recurrence) -> float:
        began = time.process_time()
        for n in range(300):
            assert len(each.between(at("2026-06-01") + n * DAY, at("2026-06-02") + n * DAY)) == 1
        return time.process_time() - began

    assert min(cost(old) for _ in range(3)) < 5 * min(cost(new) for _ in range(3))


@pytest.mark.parametrize(
    ("begins_at", "exceptions", "says"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), [], "begins_at: has a zone"),
        (at("1969-12-31"), [], "begins_at: must be in the years 1970 to 2199"),
        (at("2026-01-01T09:00:01"), [], "begins_at: must be a whole minute"),
        (at("2026-01-01"), [at("2026-01-01")] * 1001, "exceptions: are more than 1000"),
        (at("2026-01-01"), [datetime(2026, 1, 1, tzinfo=UTC)], "exceptions: has a time with a zone"),
    ],
)
def test_what_it_begins_at_and_leaves_out_is_checked(
    begins_at: datetime, exceptions: list[datetime], says: str
) -> None:
    with pytest.raises(RuleProblem, match=says):
        recurrence(begins_at, "FREQ=DAILY", exceptions)


@pytest.mark.parametrize("year", [2024, 2029])
def test_a_daily_time_comes_once_a_day_in_every_zone_and_never_early(year: int) -> None:
    """02:30 around each change of the clocks: in a gap it is the first instant after it, twice it is the first."""
    nightly = recurrence(at("2020-01-01T02:30"), "FREQ=DAILY")
    for zone in iana.different_clocks():
        for change in (each for each in iana.changes(zone) if each.year == year):
            around = local(change, zone)
            walls = nightly.between(around - 2 * DAY, around + 2 * DAY)
            instants = [instant(wall, zone) for wall in walls]
            assert [wall.date() for wall in walls] == sorted({wall.date() for wall in walls})
            assert instants == sorted(set(instants))
            for wall, moment in zip(walls, instants, strict=True):
                shown = local(moment, zone)
                assert shown >= wall
                assert shown == wall or moment == change, (zone, wall, moment)
