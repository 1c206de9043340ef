"""All rules together: which answer wins, and what the mark and the receipt are given."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from daemon.config import parse_config
from daemon.model import Channel, Reason
from daemon.queue.rule_sets import rule_sets
from daemon.queue.rulebook import Rulebook, rules_of
from daemon.rules.answers import Allow, Defer, Skip
from daemon.rules.caps import Cap
from daemon.rules.judgement import Known, Rules, judge
from daemon.rules.quiet_hours import Assume, QuietHours

NOON = datetime(2026, 7, 1, 19, 0, tzinfo=UTC)  # in California
NIGHT = datetime(2026, 7, 1, 9, 0, tzinfo=UTC)  # two o'clock there
MORNING = datetime(2026, 7, 1, 15, 0, tzinfo=UTC)
CALIFORNIA = "+14155550123"
HOURS = QuietHours(time(21), time(8))
DAY = timedelta(days=1)


def known(now: datetime = NOON, **more: object) -> Known:
    return replace(Known(now, Channel.SMS, CALIFORNIA), **more)  # type: ignore[arg-type]


def test_what_is_allowed_is_allowed_until_the_first_rule_must_be_asked_again() -> None:
    verdict = judge(Rules(hours=HOURS, caps=(Cap("c", 2, DAY),)), known())
    assert verdict.answer == Allow(datetime(2026, 7, 2, 4, tzinfo=UTC))
    assert verdict.gate.until == datetime(2026, 7, 2, 4, tzinfo=UTC)
    assert [charge.cap for charge in verdict.gate.charges] == ["c"]
    rules = [(each["rule"], each["answer"]) for each in json.loads(verdict.gate.rulings or "")]
    assert rules == [
        ("suppression", "allow"),
        ("consent", "allow"),
        ("quiet_hours", "allow"),
        ("cap", "allow"),
    ]


def test_a_no_goes_before_a_wait_and_the_longest_wait_before_the_others() -> None:
    rules = Rules(hours=HOURS, caps=(Cap("c", 1, DAY),))
    full = {"c": [NIGHT - timedelta(hours=1)]}
    verdict = judge(rules, known(NIGHT, marks=full))
    assert verdict.answer == Defer(NIGHT + timedelta(hours=23), Reason.CAP_REACHED)
    assert verdict.decisive.rule == "cap"
    assert judge(rules, known(NIGHT)).answer == Defer(MORNING, Reason.QUIET_HOURS)
    stopped = judge(rules, known(NIGHT, marks=full, suppressed="do_not_contact"))
    assert stopped.answer == Skip(Reason.DO_NOT_CONTACT)
    assert len(stopped.rulings) == 4  # every rule is asked, for the receipt


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"consent": "given"}, Allow()),
        ({"consent": "requested"}, Skip(Reason.NO_CONSENT)),
        ({"consent": "withdrawn"}, Skip(Reason.NO_CONSENT)),
        ({}, Skip(Reason.NO_CONSENT)),
    ],
)
def test_only_a_yes_is_a_yes(given: dict[str, str], answer: object) -> None:
    assert judge(Rules(consent_required=True), known(NOON, **given)).answer == answer


@pytest.mark.parametrize("which", ["verified", "own_address", "stand_in"])
def test_who_has_not_been_checked_reaches_nobody_else(which: str) -> None:
    rules = Rules(verified_only=True)
    assert judge(rules, known()).answer == Skip(Reason.NOT_VERIFIED)
    assert judge(rules, known(NOON, **{which: True})).answer == Allow()
    assert judge(Rules(), known()).answer == Allow()


def test_a_contact_s_own_zone_and_maximum_go_before_what_the_number_tells() -> None:
    rules = Rules(hours=HOURS, per_week=True)
    assert judge(rules, known(NIGHT, time_zone="Europe/Berlin")).answer == Allow(
        datetime(2026, 7, 1, 19, tzinfo=UTC)
    )
    two = known(max_per_week=2, marks={"per_week": [NOON - timedelta(hours=1)] * 2})
    assert judge(rules, two).answer == Defer(datetime(2026, 7, 6, 7, tzinfo=UTC), Reason.CAP_REACHED)
    assert judge(Rules(hours=HOURS), two).answer == Allow(datetime(2026, 7, 2, 4, tzinfo=UTC))


TABLES = """
[rules]
quiet_hours = { marketing = "21:00-08:00", "*" = "22:00-07:00", urgent = "none" }
quiet_hours_in = { FR = { marketing = "20:00-10:00" } }
zone_unknown = "Europe/Paris"
consent_required = ["marketing"]
[rules.caps.all]
limit = 3
days = 7
exempt = ["urgent"]
[rules.caps.ads]
limit = 1
calendar = "day"
categories = ["marketing"]
on_reached = "skip"
[workspaces.clinic.rules]
consent_required = []
caps = {}
"""


def test_the_tables_become_the_rules_of_each_category() -> None:
    config = parse_config(TABLES, environ={})
    marketing = rules_of(config.rules_for("other"), "marketing")
    assert (marketing.hours, marketing.hours_in) == (HOURS, {"FR": QuietHours(time(20), time(10))})
    assert marketing.fallbacks.no_zone == Assume("Europe/Paris")
    assert marketing.caps == (
        Cap("all", 3, timedelta(days=7)),
        Cap("ads", 1, None, "day", skips=True),
    )
    assert marketing.consent_required
    news = rules_of(config.rules_for("other"), "news")
    assert (news.hours, news.hours_in["FR"]) == (QuietHours(time(22), time(7)), None)
    assert [each.name for each in news.caps] == ["all"]
    own = rules_of(config.rules_for("clinic"), "marketing")
    assert (own.caps, own.consent_required, own.hours) == ((), False, HOURS)


def test_a_category_without_rules_is_asked_nothing() -> None:
    book = Rulebook(parse_config("", environ={}))
    assert book.of("clinic", "transactional") is None
    assert book.of("clinic", "opt_out_reply") is None
    assert book.of("clinic", "marketing") is not None
    assert book.of("clinic", "marketing") is book.of("clinic", "marketing")


def test_the_database_is_told_of_hours_to_the_second() -> None:
    config = parse_config('[rules]\nquiet_hours = { marketing = "21:00:30-08:00" }', environ={})
    assert rule_sets(config)[""]["categories"]["marketing"]["hours"] == "21:00:30-08:00"
