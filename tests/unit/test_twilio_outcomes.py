"""Twilio's answers in our words: only what it surely did not take is `Rejected`; what hides a success is not."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import Accepted, Outcome, Reason, ReasonCategory, Rejected, Unknown
from daemon.platforms.twilio.answers import outcome_of
from daemon.platforms.twilio.errors import REASONS, UNLISTED, reason_for

SID = "SM" + "0" * 32
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def error(code: object, message: object = "no") -> bytes:
    return json.dumps({"code": code, "message": message, "status": 400}).encode()


def rejected(
    reason: Reason, status: int, code: str | None = None, detail: str = "no", after: float | None = None
) -> Rejected:
    return Rejected(reason, code, detail, after, status)


R, U = Reason, Unknown
TABLE: list[tuple[int, dict[str, str], bytes, Outcome]] = [
    # taken
    (201, {}, json.dumps({"sid": SID, "status": "queued"}).encode(), Accepted(SID, 201)),
    (200, {}, json.dumps({"sid": SID}).encode(), Accepted(SID, 200)),
    (201, {}, json.dumps({"sid": SID, "code": 21211}).encode(), Accepted(SID, 201)),
    (201, {}, json.dumps({"sid": SID, "body": "x" * 5_000_000}).encode(), Accepted(SID, 201)),
    # taken, or so it says: without a sid nobody can tell
    (201, {}, b"", U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b"garbage", U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b'{"sid": "SM1', U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, HTML, U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b'{"sid": null}', U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b'{"sid": ""}', U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b'{"sid": 5}', U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b'{"sid": "SM\\u0000"}', U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, json.dumps({"sid": "S" * 300}).encode(), U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b'["SM1"]', U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (201, {}, b"\xff\xfe", U(R.PROVIDER_ERROR, "an answer without a sid", 201)),
    (200, {}, HTML, U(R.PROVIDER_ERROR, "an answer without a sid", 200)),
    (202, {}, b"", U(R.PROVIDER_ERROR, "an answer without a sid", 202)),
    (204, {}, b"", U(R.PROVIDER_ERROR, "an answer without a sid", 204)),
    # not taken
    (400, {}, error(21211), rejected(R.INVALID_ADDRESS, 400, "21211")),
    (400, {}, error(21610), rejected(R.OPTED_OUT, 400, "21610")),
    (400, {}, error(35115), rejected(R.NOT_SCHEDULED, 400, "35115")),
    (400, {}, error(35125), rejected(R.NOT_SCHEDULED, 400, "35125")),
    (400, {}, error(21617), rejected(R.CONTENT_TOO_LONG, 400, "21617")),
    (400, {}, error(21611), rejected(R.QUEUE_FULL, 400, "21611")),
    (400, {}, error(99999), rejected(R.UNKNOWN_ERROR, 400, "99999")),
    (400, {}, b"", rejected(R.UNKNOWN_ERROR, 400, detail="")),
    (400, {}, HTML, rejected(R.UNKNOWN_ERROR, 400, detail="")),
    (400, {}, b"[]", rejected(R.UNKNOWN_ERROR, 400, detail="")),
    (400, {}, error("21211"), rejected(R.UNKNOWN_ERROR, 400)),
    (400, {}, error(None, None), rejected(R.UNKNOWN_ERROR, 400, detail="")),
    (400, {}, error([21211], {"a": 1}), rejected(R.UNKNOWN_ERROR, 400, detail="{'a': 1}")),
    (400, {}, error(21211, "x" * 5000), rejected(R.INVALID_ADDRESS, 400, "21211", "x" * 300)),
    (400, {}, error(21211, "a\0b"), rejected(R.INVALID_ADDRESS, 400, "21211", "ab")),
    (404, {}, error(20404), rejected(R.BAD_CREDENTIALS, 404, "20404")),
    (404, {}, HTML, rejected(R.UNKNOWN_ERROR, 404, detail="")),
    (413, {}, HTML, rejected(R.UNKNOWN_ERROR, 413, detail="")),
    # the credentials
    (401, {}, error(20003), rejected(R.BAD_CREDENTIALS, 401, "20003")),
    (401, {}, HTML, rejected(R.BAD_CREDENTIALS, 401, detail="")),
    (403, {}, HTML, rejected(R.BAD_CREDENTIALS, 403, detail="")),
    (403, {}, error(20005), rejected(R.ACCOUNT_SUSPENDED, 403, "20005")),
    (400, {}, error(30002), rejected(R.ACCOUNT_SUSPENDED, 400, "30002")),
    # slower
    (429, {}, error(20429), rejected(R.RATE_LIMITED, 429, "20429")),
    (429, {}, HTML, rejected(R.RATE_LIMITED, 429, detail="")),
    (429, {"retry-after": "7"}, error(20429), rejected(R.RATE_LIMITED, 429, "20429", after=7.0)),
    (429, {"retry-after": "0.5"}, b"", rejected(R.RATE_LIMITED, 429, detail="", after=0.5)),
    (429, {"retry-after": "-5"}, b"", rejected(R.RATE_LIMITED, 429, detail="", after=0.0)),
    (429, {"retry-after": "1e9"}, b"", rejected(R.RATE_LIMITED, 429, detail="", after=86_400.0)),
    (429, {"retry-after": "inf"}, b"", rejected(R.RATE_LIMITED, 429, detail="")),
    (429, {"retry-after": "nan"}, b"", rejected(R.RATE_LIMITED, 429, detail="")),
    (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"", rejected(R.RATE_LIMITED, 429, detail="")),
    (400, {}, error(20429), rejected(R.RATE_LIMITED, 400, "20429")),
    (400, {}, error(14107), rejected(R.RATE_LIMITED, 400, "14107")),
    # unavailable: its own word that it did not process it
    (503, {}, error(20503), rejected(R.PROVIDER_UNAVAILABLE, 503, "20503")),
    (503, {"retry-after": "3"}, error(20503), rejected(R.PROVIDER_UNAVAILABLE, 503, "20503", after=3.0)),
    # what may hide a success
    (500, {}, error(20500, "oops"), U(R.PROVIDER_ERROR, "oops", 500)),
    (400, {}, error(20500, "oops"), U(R.PROVIDER_ERROR, "oops", 400)),
    (500, {}, b"", U(R.PROVIDER_ERROR, "HTTP 500", 500)),
    (502, {}, HTML, U(R.PROVIDER_ERROR, "HTTP 502", 502)),
    (503, {}, HTML, U(R.PROVIDER_ERROR, "HTTP 503", 503)),
    (504, {}, b"", U(R.PROVIDER_ERROR, "HTTP 504", 504)),
    (599, {}, b"[1]", U(R.PROVIDER_ERROR, "HTTP 599", 599)),
    # somebody else
    (302, {"Location": "https://e.com/"}, b"", rejected(R.BAD_REQUEST, 302, detail="HTTP 302: is base_url right?")),
    (301, {}, HTML, rejected(R.BAD_REQUEST, 301, detail="HTTP 301: is base_url right?")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"), TABLE, ids=[f"{s}-{b[:30]!r}" for s, _, b, _ in TABLE]
)
def test_an_answer_means_what_the_table_says(
    status: int, headers: dict[str, str], body: bytes, expected: Outcome
) -> None:
    assert outcome_of(status, headers, body) == expected


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda sid, code, message: json.dumps({"sid": sid, "code": code, "message": message}).encode(),
              json_values, json_values | st.sampled_from(sorted(REASONS)), json_values),
)  # fmt: skip


@given(st.integers(200, 599), st.dictionaries(st.just("retry-after"), st.text(max_size=12)), bodies)
def test_no_answer_makes_it_stumble(status: int, headers: dict[str, str], body: bytes) -> None:
    """And whatever it makes of one can be written to the database."""
    found = outcome_of(status, headers, body)
    match found:
        case Accepted(provider_id=sid):
            assert 200 <= status < 300
            assert "\0" not in sid
        case Rejected():
            assert status >= 300
            assert found.reason.category is not ReasonCategory.UNCERTAIN
            assert "\0" not in found.detail + (found.code or "")
            assert len(found.detail) <= 300
            assert found.retry_after_seconds is None or math.isfinite(found.retry_after_seconds)
            assert found.reached
        case Unknown():
            assert found.reason.category is ReasonCategory.UNCERTAIN
            assert "\0" not in found.detail


# The table of codes, against the facts in shared/data/README.md, which stand here as they stand there.

PERMANENT = [21211, 21408, 21610, 21614, 21617, 21635, 30005, 30006, 30007, 30034, 63003, 63024, 63016]
RETRY = [20429, 20503, 21611, 30001, 30003, 30008, 30022, 30500, 63017, 63018, 14107]
TOMORROW = [30023, 63038]
OPERATOR = [20003, 30002]
UNCERTAIN = [20500]


@pytest.mark.parametrize("code", PERMANENT + RETRY + TOMORROW + OPERATOR + UNCERTAIN)
def test_every_code_we_know_of_is_in_the_table(code: int) -> None:
    assert code in REASONS


@pytest.mark.parametrize("code", PERMANENT)
def test_the_permanent_ones_are_given_up(code: int) -> None:
    assert reason_for(code).category in (ReasonCategory.PERMANENT, ReasonCategory.OPT_OUT)


@pytest.mark.parametrize("code", RETRY)
def test_the_passing_ones_are_tried_again(code: int) -> None:
    assert reason_for(code).category in (ReasonCategory.TEMPORARY, ReasonCategory.LIMIT)


@pytest.mark.parametrize("code", [20429, 14107, 30022, 63017, 63018])
def test_those_that_ask_for_less_are_limits(code: int) -> None:
    assert reason_for(code).category is ReasonCategory.LIMIT


@pytest.mark.parametrize("code", TOMORROW)
def test_a_daily_limit_waits_for_the_next_day(code: int) -> None:
    assert reason_for(code) is Reason.DAILY_LIMIT


@pytest.mark.parametrize("code", OPERATOR)
def test_what_the_operator_must_mend_is_the_configurations(code: int) -> None:
    assert reason_for(code).category is ReasonCategory.CONFIGURATION


def test_opting_out_is_its_own_word() -> None:
    assert [code for code, reason in REASONS.items() if reason is Reason.OPTED_OUT] == [21610]
    assert Reason.OPTED_OUT.category is ReasonCategory.OPT_OUT


def test_what_is_not_in_the_table_is_tried_again_a_few_times() -> None:
    assert reason_for(None) is reason_for(12345) is UNLISTED
    assert UNLISTED.category is ReasonCategory.TEMPORARY


def test_the_table_has_twilios_codes_and_no_reason_of_our_own() -> None:
    ours = {Reason.EXPIRED, Reason.CANCELED, Reason.DAEMON_LOST, Reason.ATTEMPTS_EXHAUSTED}
    assert all(re.fullmatch(r"[1-6]\d{4}", str(code)) for code in REASONS)
    assert not ours & set(REASONS.values())
