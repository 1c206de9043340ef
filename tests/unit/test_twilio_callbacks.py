"""Twilio's callbacks: signed as Twilio signs, and what every other one comes to."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict
from twilio.request_validator import RequestValidator

from daemon.model import BadSignature, Channel, InboundMessage, MalformedCallback, Reason, State, StatusUpdate
from daemon.platforms.base import CallbackRequest
from daemon.platforms.twilio.callbacks import inbound_message, status_update
from tests.support import AUTH_TOKEN, SENDER

DELIVERY = UUID("0190f6e2-7b1a-7c3d-8e4f-123456789abc")
HOST = "https://duly.example"
PATH = f"/hooks/twilio/main/status?delivery={DELIVERY}&attempt=2"
URL = HOST + PATH
SID, PERSON = "SM" + "0" * 32, "+14155550123"
STATUS = {
    "AccountSid": "AC1",
    "From": SENDER,
    "To": PERSON,
    "MessageSid": SID,
    "SmsSid": SID,
    "MessageStatus": "delivered",
    "ApiVersion": "2010-04-01",
}
INBOUND = {"MessageSid": SID, "From": PERSON, "To": SENDER, "Body": "Thanks", "NumMedia": "0"}


def sign(url: str, params: Any, token: str = AUTH_TOKEN) -> str:
    found: str = RequestValidator(token).compute_signature(url, params)
    return found


def request(
    body: bytes,
    signature: str | None,
    *,
    url: str = URL,
    urls: tuple[str, ...] | None = None,
    kind: str = "application/x-www-form-urlencoded",
) -> CallbackRequest:
    headers = CIMultiDict[str]() if signature is None else CIMultiDict({"x-twilio-signature": signature})
    query = MultiDict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return CallbackRequest((url,) if urls is None else urls, headers, query, kind, body)


def form(fields: dict[str, str] | list[tuple[str, str]], url: str = URL, **rest: Any) -> CallbackRequest:
    """A form as Twilio would post it to that URL."""
    pairs = list(fields.items()) if isinstance(fields, dict) else fields
    return request(urlencode(pairs).encode(), sign(url, MultiDict(pairs)), url=url, **rest)


def as_json(payload: object, url: str = URL) -> CallbackRequest:
    """A JSON body as Twilio would post it: its hash is in the URL, and the URL is signed."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    url = f"{url}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    return request(body, sign(url, {}), url=url, kind="application/json")


def taken(asked: CallbackRequest) -> StatusUpdate:
    return status_update(asked, AUTH_TOKEN)


# What a signed one says.


def test_a_status_names_the_delivery_the_attempt_and_what_became_of_it() -> None:
    assert taken(form(STATUS)) == StatusUpdate(DELIVERY, 2, SID, "delivered", State.DELIVERED)


@pytest.mark.parametrize(
    ("word", "state", "reason"),
    [
        ("accepted", None, None),
        ("scheduled", None, None),
        ("queued", None, None),
        ("sending", None, None),
        ("sent", State.SENT, None),
        ("delivered", State.DELIVERED, None),
        ("read", State.READ, None),
        ("DELIVERED", State.DELIVERED, None),
        ("failed", State.FAILED, Reason.UNKNOWN_ERROR),
        ("undelivered", State.FAILED, Reason.UNKNOWN_ERROR),
        ("canceled", State.FAILED, Reason.CANCELED),
    ],
)
def test_each_of_twilios_words_has_its_meaning(word: str, state: State | None, reason: Reason | None) -> None:
    found = taken(form({**STATUS, "MessageStatus": word}))
    assert (found.state, found.reason, found.provider_status) == (state, reason, word.lower())


@pytest.mark.parametrize(
    ("code", "reason", "kept"),
    [
        ("30003", Reason.UNREACHABLE_NOW, "30003"),
        ("30006", Reason.NOT_MOBILE, "30006"),
        ("30007", Reason.FILTERED, "30007"),
        ("21610", Reason.OPTED_OUT, "21610"),
        ("99999", Reason.UNKNOWN_ERROR, "99999"),
        ("", Reason.UNKNOWN_ERROR, None),
        ("none", Reason.UNKNOWN_ERROR, "none"),
        ("30003 ", Reason.UNKNOWN_ERROR, "30003 "),
        ("٣٠٠٠٣", Reason.UNKNOWN_ERROR, "٣٠٠٠٣"),
        ("9" * 6000, Reason.UNKNOWN_ERROR, "9" * 20),
        ("300\x0003", Reason.UNREACHABLE_NOW, "30003"),
    ],
)
def test_an_error_code_becomes_a_reason(code: str, reason: Reason, kept: str | None) -> None:
    found = taken(form({**STATUS, "MessageStatus": "undelivered", "ErrorCode": code}))
    assert (found.state, found.reason, found.code) == (State.FAILED, reason, kept)


def test_an_error_of_something_that_went_on_is_no_reason() -> None:
    found = taken(form({**STATUS, "MessageStatus": "sent", "ErrorCode": "30003"}))
    assert (found.state, found.reason, found.code) == (State.SENT, None, "30003")


def test_an_error_message_is_kept_short() -> None:
    assert taken(form({**STATUS, "ErrorMessage": "x" * 5000})).detail == "x" * 500


def test_a_status_of_somebody_elses_message_has_no_delivery() -> None:
    found = taken(form(STATUS, f"{HOST}/hooks/twilio/main/status"))
    assert (found.delivery_id, found.attempt) == (None, None)


def test_an_inbound_message_is_read_whole() -> None:
    fields = {
        **INBOUND, "Body": "Hé 😀 & more", "NumMedia": "2", "MediaUrl0": "https://e.com/0",
        "MediaUrl1": "https://e.com/1", "MediaUrl2": "https://e.com/2", "OptOutType": "stop",
    }  # fmt: skip
    assert inbound_message(form(fields), AUTH_TOKEN) == InboundMessage(
        SID, Channel.SMS, PERSON, SENDER, "Hé 😀 & more", ("https://e.com/0", "https://e.com/1"), "STOP"
    )


@pytest.mark.parametrize(
    ("fields", "media", "opt_out"),
    [
        ({"NumMedia": "0", "OptOutType": "START"}, 0, "START"),
        ({"NumMedia": "1", "OptOutType": "other"}, 0, None),
        ({"NumMedia": "100", "MediaUrl99": "https://e.com/99"}, 1, None),
        ({"OptOutType": ""}, 0, None),
    ],
)
def test_what_twilio_leaves_out_is_no_error(fields: dict[str, str], media: int, opt_out: str | None) -> None:
    rest = {key: value for key, value in INBOUND.items() if key != "NumMedia"}
    found = inbound_message(form({**rest, **fields}), AUTH_TOKEN)
    assert (len(found.media_urls), found.opt_out_type) == (media, opt_out)


def test_an_empty_message_is_a_message() -> None:
    fields = {key: value for key, value in INBOUND.items() if key != "Body"}
    assert inbound_message(form(fields), AUTH_TOKEN).body == ""
    assert inbound_message(form({**INBOUND, "Body": ""}), AUTH_TOKEN).body == ""


def test_a_json_body_says_the_same() -> None:
    assert taken(as_json(STATUS)) == taken(form(STATUS))
    found = taken(as_json({**STATUS, "MessageStatus": "failed", "ErrorCode": 30003, "ErrorMessage": None}))
    assert (found.reason, found.code) == (Reason.UNREACHABLE_NOW, "30003")


# The URL as Twilio saw it.


@pytest.mark.parametrize(
    ("called", "known"),
    [
        ("https://duly.example", "https://duly.example"),
        ("https://duly.example:443", "https://duly.example"),
        ("https://duly.example", "https://duly.example:443"),
        ("http://duly.example:80", "http://duly.example"),
        ("http://duly.example", "http://duly.example:80"),
        ("https://duly.example:8443", "https://duly.example:8443"),
        ("https://duly.example", "https://duly.example:8443"),
        ("https://duly.example/behind/a/proxy", "https://duly.example/behind/a/proxy"),
    ],
)
def test_a_url_is_accepted_with_and_without_its_port(called: str, known: str) -> None:
    pairs = MultiDict(STATUS)
    body = urlencode(STATUS).encode()
    asked = request(body, sign(called + PATH, pairs), urls=(known + PATH,))
    assert taken(asked).delivery_id == DELIVERY


def test_any_of_the_urls_we_may_have_been_called_by_will_do() -> None:
    asked = form(STATUS, urls=("http://wrong.example/", "nonsense", "http://[::1", "http://x:99999999/", URL))
    assert taken(asked).delivery_id == DELIVERY


# What nobody signed.

BODY = urlencode(STATUS).encode()
GOOD = sign(URL, MultiDict(STATUS))
GOOD_JSON = as_json(STATUS)


@pytest.mark.parametrize(
    "asked",
    [
        request(BODY, None),
        request(BODY, ""),
        request(BODY, "x"),
        request(BODY, "A" * 28),
        request(BODY, GOOD[:-1]),
        request(BODY, GOOD[1:]),
        request(BODY, GOOD + "="),
        request(BODY, GOOD.lower()),
        request(BODY, "é" * 28),
        request(BODY, "\udcff" * 28),
        request(BODY, GOOD * 5000),
        request(BODY, sign(URL, MultiDict(STATUS), "another token")),
        request(BODY, sign(URL, {})),
        request(BODY, GOOD, urls=(HOST + "/hooks/twilio/other/status",)),
        request(BODY, GOOD, urls=(URL.replace("attempt=2", "attempt=3"),)),
        request(BODY, GOOD, urls=(URL + "&more=1",)),
        request(BODY, GOOD, urls=("http://duly.example/\udcff",)),
        request(BODY, GOOD, urls=()),
        request(BODY + b"&Extra=1", GOOD),
        request(BODY.replace(b"delivered", b"sent"), GOOD),
        request(b"", GOOD),
        request(b"MessageSid", GOOD),
        request(b"\xff\xfe", GOOD),
        request(b"&".join([b"a=1"] * 10_000), GOOD),
        request(b"x" * 5_000_000, GOOD),
        request(BODY, GOOD, kind="application/json"),
        request(GOOD_JSON.body, GOOD_JSON.headers["X-Twilio-Signature"], kind="application/json"),
        request(b"{}", GOOD_JSON.headers["X-Twilio-Signature"], url=GOOD_JSON.urls[0], kind="application/json"),
        request(b'{"a": "\xff"}', GOOD, kind="application/json"),
    ],
)  # fmt: skip
def test_what_is_not_signed_by_this_token_is_refused(asked: CallbackRequest) -> None:
    for parse in (status_update, inbound_message):
        with pytest.raises(BadSignature) as caught:
            parse(asked, AUTH_TOKEN)
        assert AUTH_TOKEN not in str(caught.value)
        assert GOOD not in str(caught.value)


@given(st.binary(max_size=200), st.text(max_size=40), st.sampled_from(["application/json", "text/plain", ""]))
def test_no_stranger_makes_it_stumble(body: bytes, signature: str, kind: str) -> None:
    with pytest.raises(BadSignature):
        status_update(request(body, signature, kind=kind), AUTH_TOKEN)


# What is signed and makes no sense all the same.


@pytest.mark.parametrize(
    "fields",
    [
        {**STATUS, "MessageStatus": "exploded"},
        {**STATUS, "MessageStatus": ""},
        {key: value for key, value in STATUS.items() if key != "MessageStatus"},
        {key: value for key, value in STATUS.items() if not key.endswith("Sid")},
        {**STATUS, "MessageSid": "x" * 201},
        {**STATUS, "MessageSid": "SM\0"},
        [*STATUS.items(), ("MessageStatus", "failed")],
        [*STATUS.items(), ("MessageSid", "SM2")],
    ],
)
def test_a_status_without_sense_is_refused(fields: Any) -> None:
    with pytest.raises(MalformedCallback):
        taken(form(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {**INBOUND, "NumMedia": "many"},
        {**INBOUND, "NumMedia": "-1"},
        {**INBOUND, "NumMedia": "101"},
        {**INBOUND, "NumMedia": "1" * 6000},
        {**INBOUND, "NumMedia": "²"},
        {**INBOUND, "From": ""},
        {**INBOUND, "To": "x" * 300},
        {**INBOUND, "From": "+1\0"},
        {**INBOUND, "NumMedia": "1", "MediaUrl0": "https://e.com/\0"},
        {**INBOUND, "NumMedia": "1", "MediaUrl0": "https://e.com/" + "x" * 5000},
        [*INBOUND.items(), ("Body", "another")],
    ],
)
def test_an_inbound_message_without_sense_is_refused(fields: Any) -> None:
    with pytest.raises(MalformedCallback):
        inbound_message(form(fields), AUTH_TOKEN)


def test_a_parameter_that_is_there_twice_with_one_value_is_fine() -> None:
    assert taken(form([*STATUS.items(), ("To", PERSON)])).delivery_id == DELIVERY


@pytest.mark.parametrize(
    "query",
    [
        "delivery=7&attempt=1", "delivery=nobody&attempt=1", f"delivery={DELIVERY}x&attempt=1",
        f"delivery={DELIVERY}&attempt=0", f"delivery={DELIVERY}&attempt=-1", f"delivery={DELIVERY}&attempt=x",
        f"delivery={DELIVERY}&attempt=32000", f"delivery={DELIVERY}&attempt=99999999",
        f"delivery={DELIVERY}&attempt=00000199999", f"delivery={DELIVERY}&attempt={'1' * 6000}",
        f"delivery={DELIVERY}&attempt=", f"delivery={DELIVERY}&attempt=%D9%A3", f"delivery={DELIVERY}&attempt=1.5",
    ],
)  # fmt: skip
def test_an_id_or_an_attempt_that_is_not_ours_is_refused(query: str) -> None:
    with pytest.raises(MalformedCallback):
        taken(form(STATUS, f"{HOST}/hooks/twilio/main/status?{query}"))


@pytest.mark.parametrize("attempt", [1, 2, 31_999])
def test_an_attempt_is_a_number_from_1(attempt: int) -> None:
    url = f"{HOST}/hooks/twilio/main/status?delivery={DELIVERY}&attempt={attempt}"
    assert taken(form(STATUS, url)).attempt == attempt


@pytest.mark.parametrize("payload", [[], "text", 5, None, b"{", b"", b'{"a": "\\ud800"}', [STATUS], {}])
def test_json_without_sense_is_refused(payload: object) -> None:
    with pytest.raises(MalformedCallback):
        taken(as_json(payload))


values = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = [
    "MessageSid",
    "SmsSid",
    "MessageStatus",
    "ErrorCode",
    "ErrorMessage",
    "NumMedia",
    "MediaUrl0",
    "From",
    "To",
]


@given(
    st.dictionaries(
        st.sampled_from(NAMES) | values, values | st.sampled_from(["1", "failed", "SM1"]), max_size=9
    )
)
def test_whatever_is_signed_is_understood_or_refused_and_fits_the_database(fields: dict[str, str]) -> None:
    for parse in (status_update, inbound_message):
        try:
            found = parse(form(fields), AUTH_TOKEN)
        except (MalformedCallback, BadSignature):
            continue
        match found:
            case StatusUpdate():
                assert "\0" not in found.provider_id + found.provider_status + (found.code or "")
            case InboundMessage():
                assert "\0" not in found.provider_id + found.from_address + "".join(found.media_urls)
