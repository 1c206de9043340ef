"""The almanac: zones and numbers as Duly knows them, as tables for the database's own answers.

Postgres has its own rules of zones, of another version than the `tzdata` package or the host's, and knows nothing
of numbers. What answers in SQL as the rules do here must reckon with the same tables.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from importlib.resources import files
from itertools import pairwise
from typing import Any

import orjson

from daemon import __version__
from daemon.rules import wall_clock
from daemon.rules.number_plans import number_areas, number_plans, number_regions

FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2041, 1, 1, tzinfo=UTC)
"""The moments that can be answered for: from `FIRST` until just before `LAST`."""

VERSION = f"{__version__}, tzdata {version('tzdata')}, phonenumbers {version('phonenumbers')}"
"""What the tables were made from."""

_MARGIN = timedelta(days=40)  # a calendar month begins so long before a moment, and ends so long after it


@dataclass(frozen=True, slots=True)
class Almanac:
    """The tables as JSON: arrays of objects."""

    offsets: str  # of each zone: its offset in seconds from `since` until `until`, in Unix time
    plans: str
    regions: str
    areas: str


def almanac() -> Almanac:
    """Makes the tables, in about a second of one processor."""
    tables = _offsets(), number_plans(), number_regions(), number_areas()
    return Almanac(*(orjson.dumps(rows).decode() for rows in tables))


def _offsets() -> list[dict[str, Any]]:
    begin, end = FIRST - _MARGIN, LAST + _MARGIN
    rows = []
    for zones in _zones_by_rules():
        changes = [*wall_clock.offsets(zones[0], begin, end), (end, timedelta())]
        for (since, offset), (until, _) in pairwise(changes):
            span = {
                "since": since.timestamp(),
                "until": until.timestamp(),
                "seconds": offset.total_seconds(),
            }
            rows += [{"zone": zone, **span} for zone in zones]
    return rows


def _zones_by_rules() -> list[list[str]]:
    """All zones, together where they are but names for the same rules."""
    found = defaultdict[bytes, list[str]](list)
    for zone in sorted(wall_clock.ZONES):
        found[files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()].append(zone)
    return list(found.values())
