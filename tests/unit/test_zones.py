"""Where a recipient may be, by their own word or their number."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from daemon.model import Channel
from daemon.rules.wall_clock import ZONES
from daemon.rules.zones import Whereabouts, country_of_number, whereabouts, zones_of_number

EASTERN, CENTRAL = "America/New_York", "America/Chicago"
SMS = Channel.SMS


@pytest.mark.parametrize(
    ("number", "country", "zones"),
    [
        # a country of one zone
        ("+33612345678", "FR", ("Europe/Paris",)),
        ("+8613812345678", "CN", ("Asia/Shanghai",)),
        # for which libphonenumber's table has a zone of another country
        ("+212612345678", "MA", ("Africa/Casablanca", "Africa/El_Aaiun")),
        ("+213551234567", "DZ", ("Africa/Algiers",)),
        ("+353861234567", "IE", ("Europe/Dublin",)),
        # that has no zone of its own in the IANA database
        ("+38344123456", "XK", ("Europe/Belgrade",)),
        ("+24740123", "AC", ("Atlantic/St_Helena",)),
        # a country of several, of which a mobile does not tell which
        ("+34612345678", "ES", ("Africa/Ceuta", "Atlantic/Canary", "Europe/Madrid")),
        ("+6281234567890", "ID", ("Asia/Jakarta", "Asia/Jayapura", "Asia/Makassar", "Asia/Pontianak")),
        # a fixed line does, and a mobile with an area code
        ("+34928123456", "ES", ("Atlantic/Canary",)),
        ("+74951234567", "RU", ("Europe/Moscow",)),
        ("+5511987654321", "BR", ("America/Sao_Paulo",)),
        ("+5592987654321", "BR", ("America/Manaus",)),
        ("+529981234567", "MX", ("America/Cancun",)),
        # countries that share a country code
        ("+18765551234", "JM", ("America/Jamaica",)),
        ("+262692123456", "RE", ("Indian/Reunion",)),
        ("+447400123456", "GB", ("Europe/London",)),
        # area codes of North America: of one zone, of two, and those laid over them
        ("+14155550100", "US", ("America/Los_Angeles",)),
        ("+18085551234", "US", ("Pacific/Honolulu",)),
        ("+14235551234", "US", (CENTRAL, EASTERN)),
        ("+18505551234", "US", (CENTRAL, EASTERN)),
        ("+14485551234", "US", (CENTRAL, EASTERN)),
        ("+17785551234", "CA", ("America/Edmonton", "America/Vancouver")),
        ("+13065551234", "CA", ("America/Regina",)),
        ("+14745551234", "CA", ("America/Regina",)),
        ("+14165551234", "CA", ("America/Toronto",)),
        # what tells nothing
        ("+18005550100", None, ()),
        ("+80012345678", None, ()),
        ("+881612345678", None, ()),
        ("+3361234567", None, ()),
        ("4155550100", None, ()),
        ("+1", None, ()),
        ("", None, ()),
        ("nobody", None, ()),
    ],
)
def test_a_number_tells_its_country_and_the_zones_of_its_area(
    number: str, country: str | None, zones: tuple[str, ...]
) -> None:
    assert country_of_number(number) == country
    assert zones_of_number(number) == zones


def test_a_mobile_of_a_vast_country_may_be_anywhere_in_it() -> None:
    zones = zones_of_number("+79161234567")
    assert {"Europe/Kaliningrad", "Europe/Moscow", "Asia/Kamchatka"} <= set(zones)
    assert "Asia/Almaty" not in zones


def test_a_zone_of_another_plan_stands_for_all_of_the_country() -> None:
    """libphonenumber has Bucharest for Kaliningrad, whose clocks are not set to summer time."""
    assert zones_of_number("+74012123456") == zones_of_number("+79161234567")


@pytest.mark.parametrize(
    ("new", "old"),
    [
        *((new, "250") for new in ("236", "257", "672", "778")),
        *((new, "418") for new in ("367", "581")),
        *[("364", "270"), ("448", "850"), ("458", "541"), ("474", "306"), ("879", "709"), ("930", "812")],
    ],
)
def test_an_area_code_laid_over_another_has_its_zones(new: str, old: str) -> None:
    zones = zones_of_number(f"+1{new}5551234")
    assert zones
    assert zones == zones_of_number(f"+1{old}5551234")


def test_a_range_that_countries_share_allows_the_zones_of_each() -> None:
    australia = zones_of_number("+61412345678")
    assert {"Australia/Perth", "Australia/Lord_Howe", "Indian/Cocos", "Indian/Christmas"} <= set(australia)
    anywhere = zones_of_number("+15005550006")  # a personal number of North America
    assert {"Pacific/Guam", "Pacific/Honolulu", "America/Jamaica"} <= set(anywhere)


def test_an_example_number_of_every_country_and_kind_has_zones_that_exist() -> None:
    checked = 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE, PhoneNumberType.VOIP):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            zones = zones_of_number(number)
            assert zones, number
            assert zones == tuple(sorted(set(zones)))
            assert ZONES.issuperset(zones)
            assert country_of_number(number) == phonenumbers.region_code_for_number(example)
            checked += 1
    assert checked >= 500


@given(
    st.sampled_from(["208", "270", "364", "423", "605", "701", "850", "867"]),
    st.integers(2_000_000, 9_999_999),
)
def test_the_exchange_of_a_north_american_number_changes_nothing(area: str, rest: int) -> None:
    zones = zones_of_number(f"+1{area}{rest}")
    assert zones == zones_of_number(f"+1{area}5551234")
    assert len(zones) > 1


def test_a_given_zone_is_believed() -> None:
    assert whereabouts("Asia/Tokyo", SMS, "+14155550100") == Whereabouts(("Asia/Tokyo",), "given")
    assert whereabouts("Asia/Tokyo", Channel.EMAIL, "ann@example.org") == Whereabouts(
        ("Asia/Tokyo",), "given"
    )


@pytest.mark.parametrize("given_zone", [None, "", "Europe/Atlantis", "Etc/Unknown"])
def test_without_a_zone_that_exists_the_number_tells(given_zone: str | None) -> None:
    expected = Whereabouts(("America/Los_Angeles",), "inferred")
    assert whereabouts(given_zone, SMS, "+14155550100") == expected


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.WHATSAPP, Channel.RCS])
def test_all_channels_that_go_to_a_number_tell_the_zone(channel: Channel) -> None:
    assert whereabouts(None, channel, "+81312345678") == Whereabouts(("Asia/Tokyo",), "inferred")


@pytest.mark.parametrize(
    ("channel", "to"),
    [
        (Channel.EMAIL, "ann@example.org"),
        (Channel.TELEGRAM, "+81312345678"),
        (Channel.PUSH, "token"),
        (Channel.IN_APP, "17"),
        (Channel.SMS, "+18005550100"),
        (Channel.SMS, "nobody"),
    ],
)
def test_what_tells_no_zone_leaves_it_unknown(channel: Channel, to: str) -> None:
    assert whereabouts(None, channel, to) == Whereabouts((), "unknown")
