"""The sandbox's webhooks, phones and control API, and the sandbox as a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from daemon.sandbox import Faults, Sandbox, SandboxSettings

SID, TOKEN = "AC" + "0" * 32, "secret"
SERVICE = "MG" + "a" * 32
SENDER, PERSON = "+15005550006", "+15551110100"
MESSAGES = f"/2010-04-01/Accounts/{SID}/Messages.json"
AUTHORIZATION = {"Authorization": "Basic " + base64.b64encode(f"{SID}:{TOKEN}".encode()).decode()}


class Receiver:
    """What Duly's web would be: it checks signatures, remembers forms, and fails when told to."""

    def __init__(self) -> None:
        self.url = ""
        self.forms: list[dict[str, str]] = []
        self.queries: list[str] = []
        self.answers: list[int] = []  # statuses for the next calls; then 204
        self._validator = RequestValidator(TOKEN)

    @property
    def statuses(self) -> list[str]:
        return [form["MessageStatus"] for form in self.forms]

    async def handle(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        signature = request.headers["X-Twilio-Signature"]
        assert self._validator.validate(str(request.url), form, signature), "bad signature"
        status = self.answers.pop(0) if self.answers else 204
        if status < 400:
            self.forms.append(form)
            self.queries.append(request.query_string)
        return web.Response(status=status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


@pytest.fixture
def speed() -> float:
    """How much faster than life."""
    return 50


@pytest.fixture
async def sandbox(receiver: Receiver, speed: float) -> AsyncIterator[Sandbox]:
    settings = SandboxSettings(
        account_sid=SID,
        auth_token=TOKEN,
        inbound_url=f"{receiver.url}/inbound",
        seed=1,
        speed=speed,
        callback_retry_seconds=(0.01, 0.04),
    )
    async with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def phone(sandbox: Sandbox, receiver: Receiver, session: aiohttp.ClientSession) -> Phone:
    return Phone(sandbox, receiver, session)


class Phone:
    """Sends messages through the sandbox, and uses its control API."""

    def __init__(self, sandbox: Sandbox, receiver: Receiver, session: aiohttp.ClientSession) -> None:
        self.sandbox, self.receiver, self.session = sandbox, receiver, session

    async def send(self, to: str = PERSON, **fields: str) -> tuple[int, Any]:
        callback = f"{self.receiver.url}/status?delivery=d1&attempt=1"
        form = {"To": to, "From": SENDER, "Body": "Hi", "StatusCallback": callback, **fields}
        url = self.sandbox.url + MESSAGES
        async with self.session.post(url, data=form, headers=AUTHORIZATION) as response:
            return response.status, await response.json()

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = f"{self.sandbox.url}/_sandbox/{path}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        async with self.session.request(method, url, data=data) as response:
            raw = await response.read()
            if response.status >= 400:
                assert response.content_type == "application/problem+json"
            return response.status, json.loads(raw) if response.content_type.endswith("json") else raw


@pytest.mark.parametrize(
    ("suffix", "statuses", "error"),
    [
        ("0100", ["sending", "sent", "delivered"], None),
        ("0003", ["sending", "sent", "undelivered"], "30003"),
        ("0004", ["sending", "failed"], "30006"),
        ("0005", ["sending", "sent", "delivered"], None),
        ("0006", ["sending", "sent"], None),
    ],
)
async def test_each_status_but_the_first_is_called_back_in_order_and_signed(
    phone: Phone, receiver: Receiver, sandbox: Sandbox, suffix: str, statuses: list[str], error: str | None
) -> None:
    _, message = await phone.send(f"+1555111{suffix}")
    await sandbox.settled()
    assert receiver.statuses == statuses
    last = receiver.forms[-1]
    assert last.get("ErrorCode") == error
    assert last["MessageSid"] == last["SmsSid"] == message["sid"]
    assert (last["AccountSid"], last["From"], last["To"]) == (SID, SENDER, f"+1555111{suffix}")
    assert set(receiver.queries) == {"delivery=d1&attempt=1"}


async def test_a_message_of_a_service_calls_back_with_the_service_and_its_sender(
    phone: Phone, receiver: Receiver, sandbox: Sandbox
) -> None:
    await phone.send(From=SERVICE)
    await sandbox.settled()
    assert receiver.statuses == ["queued", "sending", "sent", "delivered"]
    assert {(form["MessagingServiceSid"], form["From"]) for form in receiver.forms} == {(SERVICE, SENDER)}


async def test_a_scrambled_number_calls_back_out_of_order_and_repeatedly(
    phone: Phone, receiver: Receiver, sandbox: Sandbox
) -> None:
    await phone.send("+15551110015")
    await sandbox.settled()
    assert receiver.statuses[:3] == ["delivered", "sent", "sending"]
    assert sorted(receiver.statuses[3:]) == ["delivered", "sending", "sent"]


@pytest.mark.parametrize(
    ("answers", "arrived", "sent", "failed"),
    [
        ([503, 500], 3, 3, 0),
        ([503] * 9, 0, 0, 3),
        ([403], 2, 2, 1),
    ],
)
async def test_a_callback_is_tried_three_times_unless_it_is_refused(
    phone: Phone,
    receiver: Receiver,
    sandbox: Sandbox,
    answers: list[int],
    arrived: int,
    sent: int,
    failed: int,
) -> None:
    receiver.answers = answers
    await phone.send()
    await sandbox.settled()
    assert len(receiver.forms) == arrived
    assert (sandbox.ledger.callbacks_sent, sandbox.ledger.callbacks_failed) == (sent, failed)


async def test_callbacks_that_nobody_hears_are_given_up(phone: Phone, sandbox: Sandbox) -> None:
    for url in ("http://127.0.0.1:9/status", f"http://{'a' * 64}.example/status"):
        await phone.send(StatusCallback=url, Body=url)
    await sandbox.settled()
    assert sandbox.ledger.callbacks_failed == 6


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("callback_repeat", ["delivered", "delivered", "sending", "sending", "sent", "sent"]),
        ("callback_reorder", ["delivered", "sending", "sent"]),
        ("callback_drop", ["delivered", "sending", "sent"]),
    ],
)
async def test_faulty_callbacks_repeat_or_come_late_but_come(
    phone: Phone, receiver: Receiver, sandbox: Sandbox, fault: str, expected: list[str]
) -> None:
    sandbox.dice.set(Faults(**{fault: 1.0}))
    await phone.send()
    await sandbox.settled()
    assert sorted(receiver.statuses) == expected


@pytest.mark.parametrize(
    ("suffix", "body", "opt_out"), [("0007", "Thanks, see you then!", None), ("0008", "STOP", "STOP")]
)
async def test_a_number_that_replies_posts_an_inbound_message(
    phone: Phone, receiver: Receiver, sandbox: Sandbox, suffix: str, body: str, opt_out: str | None
) -> None:
    await phone.send(f"+1555111{suffix}")
    await sandbox.settled()
    inbound = receiver.forms[-1]
    assert (inbound["Body"], inbound["From"], inbound["To"]) == (body, f"+1555111{suffix}", SENDER)
    assert (inbound["NumMedia"], inbound["SmsStatus"]) == ("0", "received")
    assert inbound.get("OptOutType") == opt_out
    assert sandbox.ledger.inbound == 1


async def test_after_stop_nothing_is_taken_until_start(phone: Phone, sandbox: Sandbox) -> None:
    await phone.send(From=SERVICE)
    await phone.control("POST", f"phones/{PERSON}/reply", {"body": "Stop"})
    status, error = await phone.send(From=SERVICE, Body="Again")
    assert (status, error["code"]) == (400, 21610)
    assert (await phone.send(Body="From another sender"))[0] == 201
    await phone.send(From=SERVICE)
    sandbox.lifecycle.reply(PERSON, "hello")
    assert (await phone.control("GET", f"phones/{PERSON}"))[1]["opted_out"]


async def test_start_undoes_stop(phone: Phone) -> None:
    await phone.send()
    for body in ("STOP", "START"):
        await phone.control("POST", f"phones/{PERSON}/reply", {"body": body})
    assert (await phone.send(Body="Welcome back"))[0] == 201


async def test_a_reply_from_the_control_api_is_posted_with_its_media(
    phone: Phone, receiver: Receiver, sandbox: Sandbox
) -> None:
    media = ["https://example.com/a.jpg", "https://example.com/b.jpg"]
    status, answer = await phone.control(
        "POST", f"phones/{PERSON}/reply", {"body": "Look é", "media_urls": media}
    )
    assert (status, answer["posted"]) == (201, True)
    await sandbox.settled()
    [form] = receiver.forms
    assert (form["MessageSid"], form["Body"], form["NumMedia"]) == (answer["sid"], "Look é", "2")
    assert [form["MediaUrl0"], form["MediaUrl1"]] == media


async def test_without_an_inbound_url_a_reply_is_only_recorded(
    phone: Phone, receiver: Receiver, sandbox: Sandbox
) -> None:
    assert (await phone.control("PUT", "settings", {"inbound_url": None}))[0] == 200
    status, answer = await phone.control("POST", f"phones/{PERSON}/reply", {"body": "Hi"})
    assert (status, answer["posted"]) == (201, False)
    assert (receiver.forms, sandbox.ledger.inbound) == ([], 1)


async def test_the_phones_and_their_conversations_can_be_looked_at(phone: Phone, sandbox: Sandbox) -> None:
    await phone.send(Body="One")
    await sandbox.settled()
    await phone.send("+15551110101", Body="Two")
    await phone.control("POST", f"phones/{PERSON}/reply", {"body": "Three"})
    _, page = await phone.control("GET", "phones?limit=1")
    assert (page["total"], [item["number"] for item in page["phones"]]) == (2, [PERSON])
    assert (page["phones"][0]["received"], page["phones"][0]["replies"]) == (1, 1)
    _, conversation = await phone.control("GET", f"phones/{PERSON}")
    lines = [(line["direction"], line["body"], line["status"]) for line in conversation["messages"]]
    assert lines == [("outbound", "One", "delivered"), ("inbound", "Three", "received")]


async def test_the_stats_and_the_ledger_agree(phone: Phone, sandbox: Sandbox) -> None:
    for to in (PERSON, PERSON, "+15551110001", "+15551110003"):
        await phone.send(to)
    await sandbox.settled()
    _, stats = await phone.control("GET", "stats")
    assert stats == {
        "received": 4,
        "accepted": 3,
        "rejected": 1,
        "rejected_by_code": {"21211": 1},
        "duplicates": 2,
        "delivered": 2,
        "undelivered": 1,
        "inbound": 0,
        "callbacks_sent": 9,
        "callbacks_failed": 0,
        "by_status": {"delivered": 2, "undelivered": 1},
        "pending": 0,
    }
    _, raw = await phone.control("GET", "ledger")
    rows = [json.loads(line) for line in raw.splitlines()]
    assert [(row["delivery"], row["attempt"], row["status"]) for row in rows] == [
        ("d1", 1, "delivered"),
        ("d1", 1, "delivered"),
        ("d1", 1, "undelivered"),
    ]


@pytest.mark.parametrize("speed", [0.05])  # no webhook is due before the reset, however slow the machine
async def test_a_reset_forgets_messages_and_waiting_webhooks(
    phone: Phone, receiver: Receiver, sandbox: Sandbox
) -> None:
    await phone.send()
    assert (await phone.control("POST", "reset"))[0] == 204
    await sandbox.settled()
    assert (receiver.forms, sandbox.ledger.accepted, sandbox.ledger.phones) == ([], 0, {})


async def test_faults_can_be_read_and_replaced(phone: Phone) -> None:
    assert (await phone.control("PUT", "faults", {"error_not_taken": 1}))[0] == 200
    assert (await phone.control("GET", "faults"))[1]["error_not_taken"] == 1
    assert (await phone.send())[0] == 500
    await phone.control("PUT", "faults", {})
    assert (await phone.send())[0] == 201


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "faults", b"no json", 400),
        ("PUT", "faults", [], 400),
        ("PUT", "faults", {"cut_taken": 2}, 400),
        ("PUT", "faults", {"cut_taken": 0.6, "error_taken": 0.6}, 400),
        ("PUT", "settings", {"inbound_url": "nowhere"}, 400),
        ("PUT", "settings", {}, 400),
        ("POST", f"phones/{PERSON}/reply", {}, 400),
        ("POST", f"phones/{PERSON}/reply", {"body": 1}, 400),
        ("POST", f"phones/{PERSON}/reply", {"body": "a" * 1601}, 400),
        ("POST", f"phones/{PERSON}/reply", {"body": "", "media_urls": ["file:///etc"]}, 400),
        ("GET", "phones?limit=many", None, 400),
        ("GET", "phones?limit=0", None, 400),
        ("GET", f"phones/{PERSON}", None, 404),
        ("GET", "nothing", None, 404),
        ("DELETE", "stats", None, 405),
    ],
)
async def test_bad_input_to_the_control_api_is_a_problem(
    phone: Phone, method: str, path: str, body: Any, status: int
) -> None:
    found, problem = await phone.control(method, path, body)
    assert (found, problem["status"]) == (status, status)
    assert problem["detail"]


async def start(*options: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "daemon.sandbox", "--account-sid", SID, "--auth-token", TOKEN, *options]
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "stdin"])
async def test_the_process_tells_its_url_and_stops_when_told(
    how: signal.Signals | str, session: aiohttp.ClientSession
) -> None:
    process = await start("--exit-with-parent", "--no-callbacks", "--speed", "100", "--seed", "1")
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = json.loads(await process.stdout.readline())["url"]
        async with session.post(
            url + MESSAGES, data={"To": PERSON, "From": SENDER, "Body": "Hi"}, headers=AUTHORIZATION
        ) as response:
            assert response.status == 201
        if isinstance(how, signal.Signals):
            process.send_signal(how)
        else:
            process.stdin.close()
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("options", "status", "error"),
    [
        (("--speed", "0"), 2, "not a number above 0"),
        (("--listen", "here"), 2, "is not HOST:PORT"),
        (("--inbound-url", "here"), 2, "is not an http or https URL"),
        (("--account-sid", "AC1"), 2, "32 hexadecimal digits"),
    ],
)
async def test_a_process_that_is_called_wrongly_says_what_is_wrong(
    options: tuple[str, ...], status: int, error: str
) -> None:
    process = await start(*options)
    _, errors = await process.communicate()
    assert process.returncode == status
    assert error in errors.decode()


async def test_a_process_whose_address_is_taken_fails_in_words(sandbox: Sandbox) -> None:
    process = await start("--listen", sandbox.url.removeprefix("http://"))
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.startswith(b"cannot listen on 127.0.0.1:")
    assert b"Traceback" not in errors
