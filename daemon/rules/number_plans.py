"""The numbering plans as rows, by which the database reads a number as `daemon.rules.zones` does.

libphonenumber tells a number's country and kind by patterns, which mean the same in Postgres; duly.origin of
sql/migrations/0010_simulate.sql takes its steps: `parse`, `region_code_for_number`, `number_type`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from phonenumbers.phonemetadata import PhoneMetadata, PhoneNumberDesc

from daemon.rules.zones import MOBILES_WITH_AREA, WORLD, areas, zones_of_countries, zones_of_prefix

_LENGTHS = range(1, 18)  # of a national number


def number_plans() -> list[dict[str, Any]]:
    """A row for each country code: `code`, and what parses its numbers.

    `prefix` is the pattern of what is dialled within the country only, `transform` what its match becomes,
    `viable` and `lengths` say what a number is that may be left of it.
    """
    return [_plan(code, plan) for code, plan in _plans()]


def number_regions() -> list[dict[str, Any]]:
    """A row for each `country` of each `code`, of which the first by `rank` that has a number counts.

    Its `leading_digits`, a pattern, decide that; without them, whether the number is of any of its `kinds`. A kind
    is a pattern with the lengths of what it fits; what does not fit the `general` one is of none. It `tells`
    "area", "country" or "nothing".
    """
    return [_region(code, plan, rank) for code, plan in _plans() for rank in range(len(plan))]


def number_areas() -> list[dict[str, Any]]:
    """A row for each beginning of numbers that tells an area: `prefix` with the country code, `zones`, and the
    `country` if its zones differ among those of the plan, else an empty text.
    """
    found = []
    for code, plan in _plans():
        for prefix in areas(code):
            zones = {country: zones_of_prefix(prefix, code, country) for country in plan}
            if len(set(zones.values())) == 1:
                zones = {"": zones[plan[0]]}
            found += [{"prefix": prefix, "country": country, "zones": zones[country]} for country in zones]
    return found


def _plans() -> Iterator[tuple[int, tuple[str, ...]]]:
    return ((code, plan) for code, plan in COUNTRY_CODE_TO_REGION_CODE.items() if WORLD not in plan)


def _plan(code: int, plan: tuple[str, ...]) -> dict[str, Any]:
    main = _metadata(plan[0])
    general = main.general_desc
    assert general is not None
    possible, local = general.possible_length, general.possible_length_local_only
    return {
        "code": str(code),
        "prefix": main.national_prefix_for_parsing,
        "transform": main.national_prefix_transform_rule,
        "viable": general.national_number_pattern,
        # One that is too long is taken as well: libphonenumber refuses it later, by its kind.
        "lengths": [n for n in _LENGTHS if (n in possible or n > max(possible)) and n not in local],
    }


def _region(code: int, plan: tuple[str, ...], rank: int) -> dict[str, Any]:
    country = plan[rank]
    metadata = _metadata(country)
    mobile = "area" if code in MOBILES_WITH_AREA else "country"
    # In the order in which libphonenumber asks: the first that fits is the number's kind.
    kinds = (
        (metadata.premium_rate, "country"),
        (metadata.toll_free, "nothing"),
        (metadata.shared_cost, "country"),
        (metadata.voip, "country"),
        (metadata.personal_number, "country"),
        (metadata.pager, "country"),
        (metadata.uan, "country"),
        (metadata.voicemail, "country"),
        (metadata.fixed_line, "area"),
        (None if metadata.same_mobile_and_fixed_line_pattern else metadata.mobile, mobile),
    )
    return {
        "code": str(code),
        "rank": rank,
        "country": country,
        "zones": zones_of_countries((country,)),
        "leading_digits": metadata.leading_digits if len(plan) > 1 else None,
        "general": _described(metadata.general_desc),
        "kinds": [
            {"tells": tells, **_described(kind)}
            for kind, tells in kinds
            if kind and kind.national_number_pattern
        ],
    }


def _metadata(country: str) -> PhoneMetadata:
    found = PhoneMetadata.metadata_for_region(country)
    assert found is not None, country
    return found


def _described(kind: PhoneNumberDesc | None) -> dict[str, Any]:
    assert kind is not None
    return {"pattern": kind.national_number_pattern, "lengths": kind.possible_length or tuple(_LENGTHS)}
