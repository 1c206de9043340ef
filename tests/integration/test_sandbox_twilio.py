"""The sandbox speaks Twilio's protocol: against the published OpenAPI, and driven by Twilio's own client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from daemon.sandbox import Faults, Sandbox, SandboxSettings

SID, TOKEN = "AC" + "0" * 32, "secret"
SERVICE = "MG" + "a" * 32
ACCOUNT = f"/2010-04-01/Accounts/{SID}"
MESSAGES = f"{ACCOUNT}/Messages.json"
SENDER, PERSON = "+15005550006", "+15551110100"
OPENAPI = json.loads((Path(__file__).parent.parent / "data/twilio_messages_openapi.json").read_text())

formats = FormatChecker(())


@formats.checks("date-time-rfc-2822", raises=ValueError)
def _is_rfc2822(value: object) -> bool:
    return not isinstance(value, str) or parsedate_to_datetime(value).utcoffset() is not None


def json_schema(node: Any) -> Any:
    """OpenAPI 3.0's schema as JSON Schema: `nullable` becomes a type, unknown properties are refused."""
    if isinstance(node, list):
        return [json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: json_schema(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable") and "type" in node:
        schema["type"] = [node["type"], "null"]
    if isinstance(node.get("properties"), dict):
        schema["additionalProperties"] = False
    return schema


SCHEMAS = json_schema(OPENAPI["components"])


def check(schema: Any, instance: Any) -> None:
    root = {**json_schema(schema), "components": SCHEMAS}
    Draft202012Validator(root, format_checker=formats).validate(instance)


def operation(method: str, path: str) -> dict[str, Any]:
    """The description of the operation that a request calls."""
    for template, methods in OPENAPI["paths"].items():
        ours, theirs = urlsplit(path).path.split("/"), template.split("/")
        named = zip(ours, theirs, strict=False)
        if len(ours) == len(theirs) and all(a == b or _fits(a, b) for a, b in named):
            found: dict[str, Any] = methods[method.lower()]
            return found
    raise AssertionError(f"{method} {path} is not in the OpenAPI description")


def _fits(part: str, template: str) -> bool:
    suffix = template.rpartition("}")[2]
    return template.startswith("{") and part.endswith(suffix)


def check_request(method: str, path: str, form: list[tuple[str, str]]) -> None:
    described = operation(method, path)
    query = [parameter for parameter in described.get("parameters", []) if parameter["in"] == "query"]
    for name, value in parse_qsl(urlsplit(path).query):
        [parameter] = [item for item in query if item["name"] == name]
        check(parameter["schema"], _typed(parameter["schema"], value))
    if method == "POST":
        schema = described["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
        fields: dict[str, Any] = {}
        for name, value in form:
            kind = schema["properties"][name]
            if kind.get("type") == "array":
                fields.setdefault(name, []).append(value)
            else:
                fields[name] = _typed(kind, value)
        check(schema, fields)


def _typed(schema: dict[str, Any], value: str) -> Any:
    return int(value) if schema.get("type") == "integer" else value


def check_answer(method: str, path: str, status: int, answer: Any) -> None:
    described = operation(method, path)["responses"]
    check(described[str(status)]["content"]["application/json"]["schema"], answer)


@dataclass
class Answer:
    status: int
    headers: Any
    json: Any


class Caller:
    """A client that checks every good exchange against the OpenAPI, in both directions."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def __call__(
        self,
        method: str,
        path: str,
        form: list[tuple[str, str]] | None = None,
        *,
        token: str = TOKEN,
        timeout: float = 10,
    ) -> Answer:
        credentials = base64.b64encode(f"{SID}:{token}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        request = self.session.request(
            method,
            self.url + path,
            data=None if form is None else urlencode(form),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout),
        )
        async with request as response:
            answer = await response.json()
            if response.status < 400:
                check_request(method, path, form or [])
                check_answer(method, path, response.status, answer)
            else:
                assert set(answer) == {"code", "message", "more_info", "status"}
                assert answer["status"] == response.status
            return Answer(response.status, response.headers, answer)

    async def send(self, to: str = PERSON, **fields: str) -> Answer:
        form = {"To": to, "From": SENDER, "Body": "Hi", **fields}
        return await self("POST", MESSAGES, [(name, value) for name, value in form.items() if value])


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(account_sid=SID, auth_token=TOKEN, seed=1, speed=50)) as sandbox:
        yield sandbox


@pytest.fixture
async def call(sandbox: Sandbox) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(session, sandbox.url)


async def test_a_message_from_a_number_is_queued_and_has_not_been_sent(call: Caller) -> None:
    answer = await call.send(Body="Hello! 👍")
    assert answer.status == 201
    expected = {
        "status": "queued",
        "from": SENDER,
        "to": PERSON,
        "date_sent": None,
        "price": None,
        "num_segments": "1",
        "num_media": "0",
        "messaging_service_sid": None,
        "direction": "outbound-api",
        "uri": f"{ACCOUNT}/Messages/{answer.json['sid']}.json",
    }
    assert {name: answer.json[name] for name in expected} == expected


async def test_a_message_from_a_service_is_accepted_and_gets_its_sender_later(
    call: Caller, sandbox: Sandbox
) -> None:
    answer = await call.send(From="", MessagingServiceSid=SERVICE)
    assert (answer.json["status"], answer.json["from"]) == ("accepted", None)
    await sandbox.settled()
    answer = await call("GET", answer.json["uri"])
    assert (answer.json["status"], answer.json["from"]) == ("delivered", SENDER)
    assert answer.json["date_sent"] is not None


async def test_a_long_message_with_media_says_so(call: Caller) -> None:
    form = [("To", PERSON), ("From", SENDER), ("Body", "a" * 161)]
    assert (await call("POST", MESSAGES, form)).json["num_segments"] == "2"
    answer = await call("POST", MESSAGES, [*form, *[("MediaUrl", "https://example.com/a.png")] * 2])
    assert (answer.json["sid"][:2], answer.json["num_media"]) == ("MM", "2")


@pytest.mark.parametrize(
    ("method", "path", "form", "token", "status", "code"),
    [
        ("POST", MESSAGES, [("To", PERSON)], "wrong", 401, 20003),
        ("GET", MESSAGES, None, "wrong", 401, 20003),
        ("POST", MESSAGES, [], TOKEN, 400, 21604),
        ("POST", MESSAGES, [("To", PERSON), ("From", SENDER)], TOKEN, 400, 21602),
        ("GET", f"{ACCOUNT}/Messages/SM{'f' * 32}.json", None, TOKEN, 404, 20404),
        ("GET", MESSAGES.replace(SID, "AC" + "1" * 32), None, TOKEN, 404, 20404),
        ("GET", "/2010-04-01/Nothing.json", None, TOKEN, 404, 20404),
        ("DELETE", MESSAGES, None, TOKEN, 405, 20004),
        ("GET", f"{MESSAGES}?PageSize=0", None, TOKEN, 400, 20001),
        ("GET", f"{MESSAGES}?PageToken=nonsense", None, TOKEN, 400, 20001),
        ("GET", f"{MESSAGES}?DateSent=someday", None, TOKEN, 400, 20001),
    ],
)
async def test_a_wrong_call_gets_twilios_error(
    call: Caller,
    method: str,
    path: str,
    form: list[tuple[str, str]] | None,
    token: str,
    status: int,
    code: int,
) -> None:
    answer = await call(method, path, form, token=token)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)


async def test_the_account_is_shown(call: Caller) -> None:
    answer = await call("GET", f"{ACCOUNT}.json")
    assert (answer.status, answer.json["sid"], answer.json["status"]) == (200, SID, "active")


async def test_the_list_is_paged_newest_first_and_stays_put_while_messages_arrive(call: Caller) -> None:
    sids = [(await call.send(Body=f"{number}")).json["sid"] for number in range(5)]
    await call.send(to="+15551110101")
    path: str | None = f"{MESSAGES}?{urlencode({'To': PERSON, 'From': SENDER, 'PageSize': 2})}"
    seen, pages = [], []
    while path is not None:
        answer = await call("GET", path)
        seen += [message["sid"] for message in answer.json["messages"]]
        pages.append(answer.json)
        await call.send()  # newer ones do not push the pages along
        path = answer.json["next_page_uri"]
    assert seen == sids[::-1]
    assert [page["page"] for page in pages] == [0, 1, 2]
    back = await call("GET", pages[2]["previous_page_uri"])
    assert [message["sid"] for message in back.json["messages"]] == seen[2:4]


async def test_the_list_is_filtered_by_the_date_of_sending(call: Caller, sandbox: Sandbox) -> None:
    await call.send()
    today, tomorrow = datetime.now(UTC), datetime.now(UTC) + timedelta(days=1)

    async def count(**query: str) -> int:
        answer = await call("GET", f"{MESSAGES}?{urlencode(query)}")
        return len(answer.json["messages"])

    day = today.date().isoformat()
    assert await count(DateSent=day) == 0  # it has no date until it is sent
    await sandbox.settled()
    assert await count(DateSent=day) == 1
    assert await count(**{"DateSent>": day, "DateSent<": day}) == 1
    assert await count(**{"DateSent>": tomorrow.date().isoformat()}) == 0
    assert await count(**{"DateSent<": f"{tomorrow:%Y-%m-%dT%H:%M:%SZ}"}) == 1
    assert await count(**{"DateSent>": f"{tomorrow:%a, %d %b %Y %H:%M:%S} -0000"}) == 0


async def test_a_scheduled_message_can_be_canceled_and_another_cannot(call: Caller) -> None:
    send_at = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    scheduled = await call.send(From="", MessagingServiceSid=SERVICE, ScheduleType="fixed", SendAt=send_at)
    assert scheduled.json["status"] == "scheduled"
    canceled = await call("POST", scheduled.json["uri"], [("Status", "canceled")])
    assert (canceled.status, canceled.json["status"]) == (200, "canceled")
    queued = await call.send()
    assert (await call("POST", queued.json["uri"], [("Status", "canceled")])).json["code"] == 30409


async def test_an_empty_body_redacts_the_text(call: Caller) -> None:
    sent = await call.send()
    assert (await call("POST", sent.json["uri"], [("Body", "")])).json["body"] == ""


@pytest.mark.parametrize(
    ("suffix", "status", "code", "taken"),
    [
        ("0001", 400, 21211, 0),
        ("0002", 400, 21610, 0),
        ("0009", 429, 20429, 0),
        ("0010", 500, 20500, 0),
        ("0011", 500, 20500, 1),
        ("0014", 503, 20503, 0),
    ],
)
async def test_a_number_that_refuses_its_first_call_says_whether_it_took_it(
    call: Caller, sandbox: Sandbox, suffix: str, status: int, code: int, taken: int
) -> None:
    callback = "http://127.0.0.1:9/h?delivery=d1&attempt=1"
    answer = await call.send(to=f"+1555111{suffix}", StatusCallback=callback)
    assert (answer.status, answer.json["code"], sandbox.ledger.accepted) == (status, code, taken)
    assert answer.headers.get("Retry-After") == ("1" if status == 429 else None)
    if not taken:
        [rejection] = sandbox.ledger.rejections
        assert (rejection.code, rejection.delivery, rejection.attempt) == (code, "d1", 1)


@pytest.mark.parametrize("suffix", ["0009", "0010", "0011", "0014"])
async def test_the_second_call_for_the_same_delivery_is_taken(
    call: Caller, sandbox: Sandbox, suffix: str
) -> None:
    callback = "http://127.0.0.1:9/h?delivery=d1&attempt=1"
    answers = [await call.send(to=f"+1555111{suffix}", StatusCallback=callback) for _ in range(2)]
    assert answers[1].status == 201
    assert sandbox.ledger.duplicates == (1 if suffix == "0011" else 0)


async def test_a_number_that_cuts_the_connection_has_taken_the_message(
    call: Caller, sandbox: Sandbox
) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await call.send(to="+15551110012")
    answer = await call("GET", f"{MESSAGES}?{urlencode({'To': '+15551110012'})}")
    assert len(answer.json["messages"]) == sandbox.ledger.accepted == 1


async def test_a_number_that_hangs_has_taken_the_message(call: Caller, sandbox: Sandbox) -> None:
    form = [("To", "+15551110013"), ("From", SENDER), ("Body", "Hi")]
    with pytest.raises(TimeoutError):
        await call("POST", MESSAGES, form, timeout=0.1)
    assert sandbox.ledger.accepted == 1


@pytest.mark.parametrize(
    ("fault", "outcome", "accepted"),
    [
        ("too_many_requests", 429, 0),
        ("unavailable", 503, 0),
        ("error_not_taken", 500, 0),
        ("error_taken", 500, 1),
        ("cut_not_taken", None, 0),
        ("cut_taken", None, 1),
    ],
)
async def test_a_fault_strikes_any_number(
    call: Caller, sandbox: Sandbox, fault: str, outcome: int | None, accepted: int
) -> None:
    sandbox.dice.set(Faults(**{fault: 1.0}))
    status = None
    with contextlib.suppress(aiohttp.ClientConnectionError):
        status = (await call.send()).status
    assert (status, sandbox.ledger.accepted) == (outcome, accepted)
    assert len(sandbox.ledger.rejections) == 1 - accepted


async def test_bytes_that_are_no_form_do_not_disturb_it(call: Caller, sandbox: Sandbox) -> None:
    async with call.session.post(sandbox.url + MESSAGES, data=b"\xff\x00%zz&&==") as response:
        assert response.status == 401
    assert (await call.send()).status == 201


class LocalHttpClient(TwilioHttpClient):  # type: ignore[misc]
    """Twilio's own HTTP client, pointed at the sandbox."""

    def __init__(self, url: str) -> None:
        super().__init__(pool_connections=False)
        self.url = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self.url), *args, **kwargs)


async def test_twilios_own_client_sends_lists_fetches_and_cancels(sandbox: Sandbox) -> None:
    client = Client(SID, TOKEN, http_client=LocalHttpClient(sandbox.url))

    def drive() -> None:
        sent = client.messages.create(to=PERSON, from_=SENDER, body="Hi")
        assert (sent.status, sent.date_sent, sent.num_segments) == ("queued", None, "1")
        for number in range(4):
            client.messages.create(to=PERSON, messaging_service_sid=SERVICE, body=f"{number}")
        assert [item.body for item in client.messages.list(to=PERSON, page_size=2)] == [*"3210", "Hi"]
        assert client.messages(sent.sid).fetch().date_created == sent.date_created
        scheduled = client.messages.create(
            to=PERSON,
            messaging_service_sid=SERVICE,
            body="Later",
            schedule_type="fixed",
            send_at=datetime.now(UTC) + timedelta(hours=1),
        )
        assert scheduled.update(status="canceled").status == "canceled"
        assert client.api.v2010.accounts(SID).fetch().status == "active"
        with pytest.raises(TwilioRestException) as refused:
            client.messages.create(to="+15551110002", from_=SENDER, body="Hi")
        assert (refused.value.code, refused.value.status) == (21610, 400)

    await asyncio.to_thread(drive)
