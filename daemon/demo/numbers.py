"""Mobile numbers of many countries that are valid by their numbering plans, for the stand-in only."""

from __future__ import annotations

import random
from functools import cache

import phonenumbers

# What a person there probably reads; see texts.py.
LANGUAGES = {
    "US": "en", "CA": "en", "GB": "en", "IE": "en", "AU": "en", "NZ": "en", "ZA": "en", "KE": "en", "IN": "en",
    "PH": "en", "SG": "en", "DE": "de", "AT": "de", "CH": "de", "FR": "fr", "BE": "fr", "MA": "fr", "ES": "es",
    "CO": "es", "PE": "es", "PT": "pt", "BR": "pt", "IT": "it", "PL": "pl", "TR": "tr", "UA": "uk", "VN": "vi",
    "JP": "ja", "EG": "ar", "SA": "ar", "AE": "ar", "GR": "el", "IL": "he", "KR": "ko",
}  # fmt: skip

_TRIES = 200


class Numbers:
    """Gives every number once."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._given: set[str] = set()

    def mobile(self, region: str, suffix: str | None = None) -> str:
        """A valid mobile number of `region` in E.164, that ends in `suffix` or in no suffix with a meaning.

        Only the last digits differ from the region's example number. Raises `ValueError` where none is left.
        """
        for _ in range(_TRIES):
            last = suffix or f"{self._rng.randrange(1000, 10_000)}"
            number = _number(region, f"{self._rng.randrange(100):02}{last}")
            if number is not None and number not in self._given:
                self._given.add(number)
                return number
        raise ValueError(f"no valid mobile number of {region} is left that ends in {suffix or 'any digits'}")


def _number(region: str, ending: str) -> str | None:
    """The region's example with its last digits replaced; None where that is no valid number."""
    example = _example(region)
    national = str(example.national_number)
    number = phonenumbers.PhoneNumber(
        country_code=example.country_code,
        national_number=int(national[: -len(ending)] + ending),
        italian_leading_zero=example.italian_leading_zero,
    )
    if not phonenumbers.is_valid_number_for_region(number, region):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@cache
def _example(region: str) -> phonenumbers.PhoneNumber:
    found = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert found is not None, region
    return found
