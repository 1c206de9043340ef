"""Zones, numbers, quiet hours and caps in SQL: the same answers as those of daemon/rules/, case by case."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Literal

import orjson
import phonenumbers
import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneNumberFormat, PhoneNumberType

from daemon.queue.publisher import publish_almanac
from daemon.rules import almanac, wall_clock
from daemon.rules.caps import Cap, cap, window_in_words
from daemon.rules.judgement import as_json
from daemon.rules.number_plans import number_areas
from daemon.rules.quiet_hours import Assume, Fallbacks, QuietHours, quiet_hours
from daemon.rules.zones import Whereabouts, country_of_number, zones_of_number
from daemon.store.database import Connection, Database

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
DIALLED = ("0", "1", "8", "06", "015", "15", "80", "90", "180020", "0014", "1831", "003768", "04411", "02204")
KINDS = [getattr(PhoneNumberType, name) for name in dir(PhoneNumberType) if name.isupper()]
SHARED = ["+15005550006", "+61412345678", "+79161234567", "+34612345678", "+14235551234", "+6281234567890"]
ZONES = sorted(wall_clock.ZONES)
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=max(0, count)))


def examples(rng: random.Random) -> Iterator[str]:
    """Of every country and kind: the example, others that begin like it, and what one dials within the country."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in KINDS:
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            number = phonenumbers.format_number(example, PhoneNumberFormat.E164)
            yield number
            for _ in range(20):
                kept = rng.randint(rng.choice((3, len(number) - 4)), len(number))
                yield number[:kept] + digits(rng, len(number) - kept + rng.choice((0, 0, 0, 0, 1, -1)))
            code = len(str(example.country_code)) + 1
            yield from (number[:code] + prefix + number[code:] for prefix in DIALLED)


def beginnings(rng: random.Random) -> Iterator[str]:
    """Random numbers of every code, also of those of no country, of which some begin with what is only dialled,
    and of every area.
    """
    for code in [*COUNTRY_CODE_TO_REGION_CODE, "21", "99"]:
        yield from (f"+{code}{digits(rng, rng.randint(5, 12))}" for _ in range(60))
        yield from (
            f"+{code}{prefix}{digits(rng, rng.randint(4, 9))}" for prefix in DIALLED for _ in range(8)
        )
    yield "+559000839691"  # what begins like a national prefix here is part of the number
    for area in number_areas():
        yield from (f"+{area['prefix']}{digits(rng, rng.randint(4, 8))}" for _ in range(3))


async def test_a_number_s_country_and_zones_are_the_same_in_sql(conn: Connection) -> None:
    rng = random.Random(20)
    numbers = sorted({n for n in (*examples(rng), *beginnings(rng)) if E164.fullmatch(n)})
    rows = await conn.fetch(
        "select number, o.country, o.zones from unnest($1::text[]) number, duly.origin(number) o", numbers
    )
    found = {row["number"]: (row["country"], tuple(row["zones"] or ())) for row in rows}
    assert {n: (country_of_number(n), zones_of_number(n)) for n in numbers} == found
    assert len(numbers) > 50_000
    assert sum(country is not None for country, _ in found.values()) > 15_000


@pytest.mark.parametrize(
    "text", ["", "nobody", "4155550123", "+1", "+1415555012a", "+141555501234567890", "+01234567"]
)
async def test_what_is_no_number_tells_nothing_in_either(conn: Connection, text: str) -> None:
    row = await conn.fetchrow("select country, zones from duly.origin($1)", text)
    assert row is not None
    assert tuple(row) == (country_of_number(text), None) == (None, None)
    assert zones_of_number(text) == ()


def changes(rng: random.Random, zone: str) -> datetime:
    """One of the changes of a zone's offset, or if it has none any moment."""
    year = datetime(rng.randint(2020, 2039), 1, 1, tzinfo=UTC)
    found = wall_clock.offsets(zone, year, year + timedelta(days=366))[1:]
    return rng.choice(found)[0] if found else year + rng.random() * timedelta(days=365)


def near(rng: random.Random, at: datetime) -> datetime:
    """The same instant, just before it, or within some days around it; to the second or not."""
    away = rng.choice((timedelta(), MICROSECOND, SECOND, timedelta(hours=1), timedelta(days=3)))
    found = at + away * rng.choice((-1, 1)) * rng.choice((1, rng.random()))
    return found if rng.random() < 0.3 else found.replace(microsecond=0)


def hours(rng: random.Random) -> QuietHours:
    """Any hours; often those at which clocks change, or nearly all of the day."""
    match rng.randrange(3):
        case 0:
            begins, ends = rng.randrange(0, 240, 5), rng.randrange(0, 240, 5)
        case 1:
            begins = rng.randrange(rng.choice((240, 1440)))
            ends = begins - rng.choice((1, 15, 60, 300))
        case _:
            begins, ends = rng.randrange(1440), rng.randrange(1440)
    begins, ends = begins % 1440, (ends if ends != begins else begins + 1) % 1440
    return QuietHours(time(begins // 60, begins % 60), time(ends // 60, ends % 60))


def people(rng: random.Random) -> Whereabouts:
    """Who may be in one zone, in a few that have nothing to do with each other, in a country's, or anywhere."""
    match rng.randrange(8):
        case 0:
            return Whereabouts((), "unknown")
        case 1 | 2:
            return Whereabouts(zones_of_number(rng.choice(SHARED)), "inferred")
        case 3 | 4:
            return Whereabouts(tuple(sorted(set(rng.choices(ZONES, k=rng.randint(2, 7))))), "inferred")
        case _:
            return Whereabouts((rng.choice(ZONES),), "given")


def narrow(rng: random.Random) -> tuple[Whereabouts, QuietHours, datetime]:
    """Nearly always quiet: but for minutes over which clocks jump the next day, or that two zones share after it."""
    zone = rng.choice(("America/New_York", "Europe/Paris", "Australia/Sydney", "America/Santiago"))
    at = changes(rng, zone)
    wall = (wall_clock.local(at - SECOND, zone) + SECOND).time()
    until = (datetime.combine(at, wall) + timedelta(minutes=rng.randint(1, 59))).time()
    if rng.random() < 0.5:
        who = Whereabouts((zone,), "given")
    else:
        like = next(
            z for z in ZONES if z.startswith("Etc/") and wall_clock.local(at, z) == wall_clock.local(at, zone)
        )
        who = Whereabouts((zone, like), "inferred")
    return who, QuietHours(until, wall), at - timedelta(hours=rng.uniform(0, 60))


def ordinary(rng: random.Random) -> tuple[Whereabouts, QuietHours, datetime]:
    """Any people, hours and moment."""
    who = people(rng)
    return who, hours(rng), near(rng, changes(rng, rng.choice(who.zones or ZONES)))


def case(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """What SQL is asked, as JSON, and what Python answers."""
    who, when, at = rng.choice((narrow, ordinary, ordinary, ordinary))(rng)
    assume = Assume(rng.choice(ZONES))
    fallbacks = Fallbacks(rng.choice(("skip", assume)), rng.choice(("skip", "allow", assume)))
    asked = {
        "rules": {
            name: choice.zone if isinstance(choice, Assume) else choice
            for name, choice in (("no_zone", fallbacks.no_zone), ("no_common_hour", fallbacks.no_common_hour))
        },
        "hours": f"{when.begins:%H:%M}-{when.ends:%H:%M}",
        "zones": who.zones or None,
        "source": who.source,
        "at": at.replace(tzinfo=None).isoformat(),
    }
    return orjson.dumps(asked).decode(), as_json(quiet_hours(when, who, at, fallbacks))


async def test_quiet_hours_are_the_same_in_sql(conn: Connection) -> None:
    rng = random.Random(21)
    asked, expected = zip(*(case(rng) for _ in range(5_000)), strict=True)
    rows = await conn.fetch(
        """select duly.quiet_hours_ruling(c.rules, c.hours, c.zones, c.source, c.at)::text as ruling
           from unnest($1::text[]) with ordinality a (json, n),
                jsonb_to_record(a.json::jsonb) c (rules jsonb, hours text, zones text[], source text, at timestamp)
           order by a.n""",
        asked,
    )
    wrong = [
        (ask, answer, row["ruling"])
        for ask, answer, row in zip(asked, expected, rows, strict=True)
        if json.loads(row["ruling"]) != answer
    ]
    assert wrong == []
    assert {answer["answer"] for answer in expected} == {"allow", "defer", "skip"}


async def test_a_wall_clock_s_times_are_the_same_in_sql(conn: Connection) -> None:
    rng = random.Random(22)
    cases = [(zone, near(rng, changes(rng, zone))) for zone in rng.choices(ZONES, k=5_000)]
    walls = [
        at.replace(tzinfo=None) + rng.choice((-1, 0, 1)) * rng.random() * timedelta(hours=14)
        for _, at in cases
    ]
    rows = await conn.fetch(
        """select duly.wall_clock(c.at, c.zone) as wall, duly.wall_instant(c.wall, c.zone) as at
           from unnest($1::text[], $2::timestamp[], $3::timestamp[]) with ordinality c (zone, at, wall, n)
           order by c.n""",
        [zone for zone, _ in cases],
        [at.replace(tzinfo=None) for _, at in cases],
        walls,
    )
    expected = [
        (wall_clock.local(at, zone), wall_clock.instant(wall, zone).replace(tzinfo=None))
        for (zone, at), wall in zip(cases, walls, strict=True)
    ]
    assert [tuple(row) for row in rows] == expected


async def test_caps_are_the_same_in_sql(conn: Connection) -> None:
    rng = random.Random(23)
    asked, expected = [], []
    calendars: tuple[Literal["day", "week", "month"] | None, ...] = (None, "day", "week", "month")
    for _ in range(3_000):
        zone = rng.choice(ZONES)
        at = near(rng, changes(rng, zone))
        calendar = rng.choice(calendars)
        window = None if calendar else timedelta(days=rng.choice((1.0, 7.0, 30.0, rng.random() * 10)))
        each = Cap(
            "some",
            rng.choice((0, 1, 2, 5)) if calendar else rng.choice((1, 2, 5)),
            window,
            calendar,
            rng.random() < 0.3,
        )
        marks = [near(rng, at - rng.choice((1, 7, 30)) * timedelta(days=1)) for _ in range(rng.randrange(7))]
        written = {
            "cap": "some",
            "limit": each.limit,
            "seconds": window.total_seconds() if window else None,
            "calendar": calendar,
            "per": window_in_words(each),
            "skips": each.skips,
        }
        given = {"cap": written, "used": marks, "at": at.replace(tzinfo=None).isoformat(), "zone": zone}
        asked.append(orjson.dumps(given).decode())
        expected.append(as_json(cap(each, marks, at, zone)[0]))
    rows = await conn.fetch(
        """select duly.cap_ruling(c.cap, c.used, c.at, c.zone)::text as ruling
           from unnest($1::text[]) with ordinality a (json, n),
                jsonb_to_record(a.json::jsonb) c (cap jsonb, used timestamptz[], at timestamp, zone text)
           order by a.n""",
        asked,
    )
    assert [json.loads(row["ruling"]) for row in rows] == expected
    assert {answer["answer"] for answer in expected} == {"allow", "defer", "skip"}


async def test_the_almanac_is_written_once_and_again_for_another_version(
    conn: Connection, database: Database
) -> None:
    version = "select version, registered_at from duly.almanac"
    first = await conn.fetchrow(version)
    await publish_almanac(database)
    assert await conn.fetchrow(version) == first
    await conn.execute(
        "update duly.almanac set version = 'older'; delete from duly.zone_offset where zone like 'A%'"
    )
    await publish_almanac(database)
    assert await conn.fetchval("select version from duly.almanac") == almanac.VERSION
    assert await conn.fetchval("select count(distinct zone) from duly.zone_offset") == len(ZONES)


async def test_daemons_that_write_the_almanac_together_take_turns(
    conn: Connection, database: Database
) -> None:
    await conn.execute("delete from duly.almanac")
    await asyncio.gather(*(publish_almanac(database) for _ in range(2)))
    assert await conn.fetchval("select count(*) from duly.almanac") == 1
    assert await conn.fetchval("select count(distinct zone) from duly.zone_offset") == len(ZONES)


def test_the_offsets_cover_all_moments_that_can_be_answered_for() -> None:
    rows = json.loads(almanac.almanac().offsets)
    spans: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        spans.setdefault(row["zone"], []).append((row["since"], row["until"]))
    assert spans.keys() == wall_clock.ZONES
    assert len(rows) < 20_000
    for found in spans.values():
        assert found[0][0] < almanac.FIRST.timestamp() - 35 * 86_400
        assert found[-1][1] > almanac.LAST.timestamp() + 35 * 86_400
        assert all(until == since for (_, until), (since, _) in pairwise(found))
