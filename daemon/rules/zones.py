"""Where a recipient may be: the time zones that their own word or their number allows, and the country.

A number tells its country, and where mobiles have area codes also its area. Sources:

* Areas: libphonenumber's table. It names one zone for several whose clocks agreed for a time, even across
  borders: Morocco is "Atlantic/Canary" and Algeria "Europe/Paris", an hour off for half of the year. So a zone
  that belongs to no country of the numbering plan is replaced by all zones of the number's country.
* North America: the same table, but of an area code all zones that any of its exchanges is in. The table
  knows an exchange's town from its fixed lines; a mobile's or a ported number's exchange tells no town.
* Countries: the IANA database (zone.tab).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

import phonenumbers
from phonenumbers.phonenumberutil import (
    NumberParseException,
    PhoneNumberType,
    region_codes_for_country_code,
)
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

from daemon.model import Channel
from daemon.rules.wall_clock import ZONES

WORLD = "001"
"""libphonenumber's region of satellite phones and other numbers without a country."""

_BY_NUMBER = frozenset({Channel.SMS, Channel.WHATSAPP, Channel.RCS})
_FIXED = frozenset({PhoneNumberType.FIXED_LINE, PhoneNumberType.FIXED_LINE_OR_MOBILE})
_NOWHERE = frozenset({PhoneNumberType.UNKNOWN, PhoneNumberType.TOLL_FREE})
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_REMEMBERED_NUMBERS = 16_384  # about 4 MB

_NORTH_AMERICA = 1  # the country code of a plan of 25 countries
MOBILES_WITH_AREA = frozenset({52, 54, 55, 86})
"""The country codes of Mexico, Argentina, Brazil, and of China, which has one legal time."""

_OVERLAID = {
    "236": "250", "257": "250", "672": "250", "778": "250",  # British Columbia
    "364": "270", "367": "418", "581": "418", "448": "850", "458": "541", "474": "306",
    "879": "709", "930": "812",
}  # fmt: skip
"""Area codes laid over an older one's area that has several zones, or others than the table says (NANPA)."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The IANA zones that a recipient may be in, sorted, and how they are known. No zone if nothing is known."""

    zones: tuple[str, ...]
    source: Literal["given", "inferred", "unknown"]


_UNKNOWN = Whereabouts((), "unknown")


def whereabouts(given: str | None, channel: Channel, to: str) -> Whereabouts:
    """Where the recipient at `to` may be: the zone that was given for them, else those that their number allows.

    A given name that is no IANA zone counts as not given.
    """
    if given is not None and given in ZONES:
        return Whereabouts((given,), "given")
    zones = zones_of_number(to) if channel in _BY_NUMBER else ()
    return Whereabouts(zones, "inferred") if zones else _UNKNOWN


def zones_of_number(number: str) -> tuple[str, ...]:
    """All IANA zones that the country and area code of an E.164 number allow, sorted.

    Empty if they tell nothing: for a toll-free, satellite or invalid number.
    """
    return _origin(number)[1]


def country_of_number(number: str) -> str | None:
    """The ISO 3166-1 code of the country of an E.164 number; None where `zones_of_number` knows nothing.

    Where countries share a range it is the plan's main one: "AU" for a mobile of the Cocos Islands.
    """
    return _origin(number)[0]


@lru_cache(maxsize=_REMEMBERED_NUMBERS)
def _origin(number: str) -> tuple[str | None, tuple[str, ...]]:
    if not _E164.fullmatch(number):
        return None, ()
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException:
        return None, ()
    code, country = parsed.country_code, phonenumbers.region_code_for_number(parsed)
    kind = phonenumbers.number_type(parsed)
    if code is None or country is None or country == WORLD or kind in _NOWHERE:
        return None, ()
    if kind in _FIXED or (kind == PhoneNumberType.MOBILE and code in MOBILES_WITH_AREA):
        zones = zones_of_prefix(number.removeprefix("+"), code, country)
    else:
        zones = ()
    return country, zones or zones_of_countries(_countries(parsed, code))


def _area(digits: str, code: int) -> str:
    """The part of a number, with its country code, that tells its area; empty if the table knows none."""
    if code == _NORTH_AMERICA:
        return "1" + _OVERLAID.get(digits[1:4], digits[1:4])
    lengths = range(TIMEZONE_LONGEST_PREFIX, len(str(code)), -1)
    return next((digits[:length] for length in lengths if digits[:length] in TIMEZONE_DATA), "")


def _countries(number: phonenumbers.PhoneNumber, code: int) -> tuple[str, ...]:
    """The countries that may have given out `number`: several where they share a range."""
    plan = region_codes_for_country_code(code)
    if len(plan) == 1:
        return plan
    return tuple(country for country in plan if phonenumbers.is_valid_number_for_region(number, country))


def areas(code: int) -> Iterator[str]:
    """The beginnings of numbers, with their country code, by which `code` tells areas; the longest one counts."""
    prefixes = {prefix for prefix in TIMEZONE_DATA if prefix.startswith(str(code))} - {str(code)}
    if code != _NORTH_AMERICA:
        yield from sorted(prefixes)
    else:
        yield from sorted({prefix[:4] for prefix in prefixes} | {f"1{new}" for new in _OVERLAID})


def zones_of_prefix(digits: str, code: int, country: str) -> tuple[str, ...]:
    """The zones of the area that `digits`, a number of `country` or what it begins with, tells, if it tells one."""
    return _zones_of_area(_area(digits, code), code, country)


@cache
def _zones_of_area(area: str, code: int, country: str) -> tuple[str, ...]:
    """The zones of an area in `country`, one of the countries of `code`; none if the table does not know it."""
    zones = _zones_in_table(area, code)
    plan = zones_of_countries(region_codes_for_country_code(code))
    if not zones.issubset(plan):
        zones = zones.intersection(plan).union(zones_of_countries((country,)))
    return tuple(sorted(zones))


@cache
def _zones_in_table(area: str, code: int) -> frozenset[str]:
    if code != _NORTH_AMERICA:
        return frozenset(TIMEZONE_DATA.get(area, ()))
    return frozenset(
        zone for prefix in TIMEZONE_DATA if prefix.startswith(area) for zone in TIMEZONE_DATA[prefix]
    )


@cache
def zones_of_countries(countries: tuple[str, ...]) -> tuple[str, ...]:
    """All zones of these countries, sorted."""
    return tuple(sorted({zone for country in countries for zone in _zones_of_country(country)}))


def _zones_of_country(country: str) -> tuple[str, ...]:
    """The zones of a country; those of its country code for the few that zone.tab does not list, like Kosovo."""
    zones = _zones_by_country().get(country)
    if zones is None:
        code = str(phonenumbers.country_code_for_region(country))
        zones = tuple(ZONES.intersection(TIMEZONE_DATA.get(code, ())))
    return zones


@cache
def _zones_by_country() -> Mapping[str, tuple[str, ...]]:
    found = defaultdict[str, list[str]](list)
    for line in files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            country, _coordinates, zone, *_comments = line.split("\t")
            found[country].append(zone)
    return {country: tuple(zones) for country, zones in found.items()}
