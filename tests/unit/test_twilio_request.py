"""What we ask of Twilio: valid by its OpenAPI, and the same as its own library asks for the same content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client

from daemon.model import Channel, Delivery, Problem, Reason, Rejected, Rendered
from daemon.platforms.twilio import Twilio, TwilioAccount
from daemon.platforms.twilio.wire import encode
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER

SERVICE = "MG" + "a" * 32
TO = "+14155550123"
CALLBACK = "https://duly.example/hooks/twilio/main/status?delivery=0190-7&attempt=1"
PATH = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
OPENAPI = json.loads((Path(__file__).parent.parent / "data/twilio_messages_openapi.json").read_text())
SCHEMA = OPENAPI["paths"][PATH]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"][
    "schema"
]


def twilio(sender: str = SENDER) -> Twilio:
    return Twilio(TwilioAccount(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, sender=sender))


def rendered(
    body: str = "Hello",
    *,
    to: str = TO,
    sender: str | None = None,
    media: tuple[str, ...] = (),
    callback: str | None = CALLBACK,
    validity: int | None = None,
    send_at: datetime | None = None,
) -> Rendered:
    delivery = Delivery(
        id=UUID(int=7), workspace_id=1, workspace="clinic", channel=Channel.SMS, to=to, body=body,
        category="transactional", priority=2, attempts=0, segments=1, lease_token=1, leased_at=0.0,
        send_at=send_at,
    )  # fmt: skip
    return Rendered(delivery, body, sender, media, callback, validity)


class Recording(HttpClient):  # type: ignore[misc]
    """The library's transport, which only remembers."""

    def __init__(self) -> None:
        super().__init__(None, False, None)
        self.asked: dict[str, Any] = {}

    def request(
        self, method: str, url: str, params: Any = None, data: Any = None, headers: Any = None, auth: Any = None,
        timeout: Any = None, allow_redirects: bool = False,
    ) -> Response:  # fmt: skip
        self.asked = {"method": method, "url": url, "params": params, "data": data, "auth": auth}
        return Response(201, '{"sid": "SM1"}')


def by_the_library(given_: Rendered, sender: str) -> tuple[str, Mapping[str, list[str]]]:
    """The URL and the form that twilio.rest.Client would send."""
    transport = Recording()
    chosen = given_.sender or sender
    arguments: dict[str, Any] = {"messaging_service_sid" if chosen.startswith("MG") else "from_": chosen}
    at = given_.delivery.send_at
    if at is not None:
        arguments |= {"schedule_type": "fixed", "send_at": at, "messaging_service_sid": sender}
    optional = {
        "body": given_.body or None,
        "media_url": list(given_.media_urls) or None,
        "status_callback": given_.status_callback,
        "validity_period": given_.validity_seconds,
    }
    arguments |= {name: value for name, value in optional.items() if value is not None}
    Client(ACCOUNT_SID, AUTH_TOKEN, http_client=transport).messages.create(to=given_.delivery.to, **arguments)
    assert transport.asked["method"] == "POST"
    assert transport.asked["auth"] == (ACCOUNT_SID, AUTH_TOKEN)
    data = transport.asked["data"].items()
    return transport.asked["url"], {
        k: [str(x) for x in v] if isinstance(v, list) else [str(v)] for k, v in data if v is not None
    }


def ours(given_: Rendered, sender: str) -> dict[str, list[str]]:
    return parse_qs(
        encode(twilio(sender).form(given_)).decode("ascii"), strict_parsing=True, encoding="utf-8"
    )


def check(form: Mapping[str, list[str]]) -> None:
    """By the published schema: known fields only, each of its type, what is required there."""
    typed: dict[str, Any] = {}
    for name, values in form.items():
        kind = SCHEMA["properties"][name].get("type")  # KeyError: Twilio knows no such field
        assert kind == "array" or len(values) == 1, name
        typed[name] = values if kind == "array" else int(values[0]) if kind == "integer" else values[0]
    Draft202012Validator({**SCHEMA, "components": OPENAPI["components"]}).validate(typed)


CASES = [
    (SENDER, rendered()),
    (SERVICE, rendered()),
    (SENDER, rendered(sender="+15005550009")),
    (SENDER, rendered(sender=SERVICE)),
    (SERVICE, rendered(sender="+15005550009")),
    ("12345", rendered()),
    ("Clinic", rendered("From a name")),
    (SENDER, rendered("Café 😀 — 5 € & more = 100%+1?\n\tsecond line #2; 'quoted' \"twice\" <b>")),
    (SENDER, rendered("مرحبا 你好 👩‍👩‍👧‍👦")),
    (SENDER, rendered("x" * 1600)),
    (SENDER, rendered("", media=("https://example.com/a.png",))),
    (SENDER, rendered("Look", media=tuple(f"https://example.com/{n}.png?a=1&b=2" for n in range(10)))),
    (SENDER, rendered(callback=None)),
    (SERVICE, rendered(validity=1)),
    (SERVICE, rendered(validity=36_000)),
    (SERVICE, rendered(validity=600, send_at=datetime(2026, 11, 29, 18, 0, 30, tzinfo=UTC))),
    (
        SERVICE,
        rendered(sender="+15005550009", send_at=datetime(2026, 11, 29, 18, 0, tzinfo=UTC)),
    ),
]


@pytest.mark.parametrize(("sender", "given_"), CASES)
def test_a_request_is_valid_and_the_same_as_the_librarys(sender: str, given_: Rendered) -> None:
    form = ours(given_, sender)
    check(form)
    url, expected = by_the_library(given_, sender)
    assert form == expected
    assert str(twilio(sender).url) == url


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300))
def test_any_text_arrives_as_it_was_written(body: str) -> None:
    assert ours(rendered(body), SENDER)["Body"] == [body]
    assert ours(rendered(body), SENDER) == by_the_library(rendered(body), SENDER)[1]


@pytest.mark.parametrize(("given_", "sent"), [(36_001, 36_000), (10**7, 36_000), (0, 1), (-5, 1), (60, 60)])
def test_the_validity_stays_within_what_twilio_takes(given_: int, sent: int) -> None:
    form = ours(rendered(validity=given_), SENDER)
    check(form)
    assert form["ValidityPeriod"] == [str(sent)]


def test_the_fields_come_in_a_fixed_order() -> None:
    given_ = rendered("Hello", media=("https://e.com/1", "https://e.com/2"), validity=60)
    names = [name for name, _ in parse_qsl(encode(twilio().form(given_)).decode())]
    assert names == ["To", "From", "Body", "MediaUrl", "MediaUrl", "StatusCallback", "ValidityPeriod"]


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.twilio.com", "https://api.twilio.com/2010-04-01"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/2010-04-01"),
        ("http://proxy/twilio/", "http://proxy/twilio/2010-04-01"),
    ],
)
def test_the_base_url_is_kept_whole(base_url: str, expected: str) -> None:
    account = TwilioAccount(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, sender=SENDER, base_url=base_url)
    assert str(Twilio(account).url) == f"{expected}/Accounts/{ACCOUNT_SID}/Messages.json"


def test_an_account_shows_no_token() -> None:
    account = TwilioAccount(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, sender=SENDER)
    assert AUTH_TOKEN not in f"{account!r} {account}"


@pytest.mark.parametrize(
    ("given_", "fields"),
    [
        (rendered(), []),
        (rendered("x" * 1600), []),
        (rendered("x" * 1601), ["body"]),
        (rendered(""), ["body"]),
        (rendered("", media=("https://e.com/1",)), []),
        (rendered(media=("https://e.com/1",) * 11), ["media_urls"]),
        (rendered("x" * 1601, media=("https://e.com/1",) * 11), ["body", "media_urls"]),
    ],
)
def test_what_twilio_would_refuse_for_certain_is_said_before(given_: Rendered, fields: list[str]) -> None:
    problems = twilio().validate(given_)
    assert [problem.field for problem in problems] == fields
    assert all(isinstance(problem, Problem) and problem.message for problem in problems)


def test_it_carries_sms() -> None:
    assert twilio().channels == {Channel.SMS}


async def test_without_a_messaging_service_nothing_is_handed_over() -> None:
    """Twilio would drop the time without a word, and send at once."""
    platform = twilio(SENDER)
    await platform.open()
    try:
        outcome = await platform.send(rendered(send_at=datetime(2026, 11, 29, 18, 0, tzinfo=UTC)))
    finally:
        await platform.close()
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.reached) == (Reason.NOT_SCHEDULED, False)
