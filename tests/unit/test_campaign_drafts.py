"""A campaign as it is asked for: what is wrong is said by its field, and when each of its people is due."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from daemon.planning.campaign_drafts import CampaignProblem, draft
from daemon.planning.campaigns import Campaign, Variant, draw, when, zone_of


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "News"}, "name: "),
        ({"bodi": "x"}, "bodi: is no field of a campaign"),
        ({"body": "{% for x in y %}{% endfor %}"}, "body: line 1: for is not possible"),
        ({"template": "x"}, "give either template or body"),
        ({"segment": {"age": {"~": 1}}}, "segment: 'age': '~' is none of the operators"),
        ({"segment": {"age": {">": True}}}, "segment: 'age': > takes a number or a text"),
        ({"at": "soon"}, "at: 'soon' is not a time"),
        ({"at": "2030-01-01T09:00Z", "zone": "Asia/Tokyo"}, "zone: at has a zone already"),
        ({"fallback_zone": "Mars"}, "fallback_zone: 'Mars' is not an IANA zone"),
        ({"expires_at": "2030-01-01T09:00"}, "expires_at: has no zone"),
        ({"later": "8 days"}, "later: nothing is moved by more than 7 days"),
        ({"measure": "long"}, "measure: must be a time span"),
        ({"channels": ["pigeon"]}, "channels: 'pigeon' is none of"),
        ({"test_part": 20.0}, "test_part: a test needs two variants or more"),
        ({"per_hour": 0}, "per_hour: "),
    ],
)
def test_what_is_wrong_with_a_campaign_is_said_by_its_field(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(CampaignProblem) as found:
        draft({"name": "news", "body": "Hello"} | fields)
    assert says in str(found.value)


def campaign(**fields: Any) -> Campaign:
    """One that began on a Wednesday at noon in UTC."""
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    given: dict[str, Any] = dict.fromkeys(Campaign.__dataclass_fields__)
    given |= {
        "id": UUID(int=7), "started_at": now, "now": now, "passed": "next_day", "later": timedelta(),
        "holdout": 0.0, "test_part": 100.0, "variants": [Variant("a", 1, None, "", None, "A")],
    }  # fmt: skip
    return Campaign(**(given | fields))


NINE = datetime.fromisoformat("2026-07-01T09:00")


@pytest.mark.parametrize(
    ("zone", "fields", "due"),
    [
        ("America/New_York", {}, "2026-07-01T13:00"),  # in an hour
        ("Asia/Tokyo", {}, "2026-07-02T00:00"),  # passed: the next day's
        ("Europe/London", {}, "2026-07-02T08:00"),
        ("Europe/London", {"later": timedelta(hours=4)}, "2026-07-01T08:00"),  # within its tolerance
        ("Europe/London", {"passed": "now"}, "2026-07-01T12:00"),
        ("Europe/London", {"passed": "skip"}, None),
        ("Europe/London", {"wall_at": datetime.fromisoformat("2026-03-01T09:00")}, "2026-07-02T08:00"),
        (None, {"wall_at": None, "sends_at": datetime(2026, 8, 1, 9, tzinfo=UTC)}, "2026-08-01T09:00"),
        (None, {"wall_at": None}, "2026-07-01T12:00"),
    ],
)
def test_each_is_due_by_their_own_clock(zone: str | None, fields: dict[str, Any], due: str | None) -> None:
    moment = when(campaign(**({"wall_at": NINE} | fields)), zone)
    assert (moment and moment[1].strftime("%Y-%m-%dT%H:%M")) == due


def test_a_zone_is_the_persons_own_or_the_only_one_of_their_number_or_the_campaigns() -> None:
    assert zone_of("Asia/Tokyo", ["Europe/Rome"], "UTC") == "Asia/Tokyo"
    assert zone_of("Nowhere", ["Europe/Rome"], "UTC") == "Europe/Rome"
    assert zone_of(None, ["Europe/Rome", "Europe/Paris"], "UTC") == "UTC"


def test_a_draw_is_the_same_each_time_follows_the_weights_and_differs_between_campaigns() -> None:
    variants = [Variant(name, weight, None, "", None, name) for name, weight in (("a", 3), ("b", 1))]
    people = [UUID(int=n) for n in range(8000)]
    one = campaign(variants=variants, holdout=10.0, test_part=50.0)
    first = [draw(one, each) for each in people]
    assert first == [draw(one, each) for each in people]
    counts = Counter(first)
    assert 700 < counts["holdout", False] < 900
    assert 3400 < counts[None, False] < 3800
    assert 2500 < counts["a", True] < 2900
    assert 800 < counts["b", True] < 1000
    other = campaign(id=UUID(int=8), variants=variants, holdout=10.0, test_part=50.0)
    assert sum(a == b for a, b in zip(first, [draw(other, each) for each in people], strict=True)) < 4500
