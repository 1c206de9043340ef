"""Calls to Twilio over real sockets: what is known when the connection fails, and asking afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from daemon.model import Accepted, Channel, Delivery, Outcome, Reason, Rejected, Rendered, Unknown
from daemon.platforms.base import LEASE_RAN_OUT, CannotTell
from daemon.platforms.twilio import Twilio, TwilioAccount
from daemon.sandbox import Faults, Sandbox
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER, free_port

TO = "+14155550123"
SERVICE = "MG" + "a" * 32
TAKEN = json.dumps({"sid": "SM1", "status": "queued"}).encode()

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def rendered(body: str = "Hello", *, to: str = TO, sender: str | None = None, **rest: Any) -> Rendered:
    delivery = Delivery(
        id=UUID(int=7), workspace_id=1, workspace="clinic", channel=Channel.SMS, to=to, body=body,
        category="transactional", priority=2, attempts=0, segments=1, lease_token=1, leased_at=0.0,
    )  # fmt: skip
    return Rendered(delivery, body, sender, **rest)


@contextlib.asynccontextmanager
async def twilio(
    base_url: str, *, token: str = AUTH_TOKEN, sender: str = SENDER, timeout: float = 3
) -> AsyncIterator[Twilio]:
    account = TwilioAccount(
        account_sid=ACCOUNT_SID, auth_token=token, sender=sender, base_url=base_url, timeout_seconds=timeout
    )
    platform = Twilio(account)
    await platform.open()
    try:
        yield platform
    finally:
        await platform.close()


class Scripted:
    """A server that does to each connection what the script says, and keeps what it read."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Reads one request whole."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        found = head + await reader.readexactly(length)
        self.requests.append(found)
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._script(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(status: int, body: bytes = b"", headers: str = "", *, length: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status} Words\r\nContent-Length: {len(body) if length is None else length}\r\n{headers}\r\n"
    return head.encode() + body


@contextlib.asynccontextmanager
async def answering(raw: bytes, *, then: float | None = 0.0) -> AsyncIterator[Scripted]:
    """A server that reads each request and writes `raw`; after `then` seconds it cuts, None: it keeps alive."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            writer.write(raw)
            await writer.drain()
            if then is not None:
                await asyncio.sleep(then)
                return

    async with (server := Scripted(script)):
        yield server


async def sent(raw: bytes, *, then: float | None = 0.0, timeout: float = 3) -> Outcome:
    async with answering(raw, then=then) as server, twilio(server.url, timeout=timeout) as platform:
        outcome = await platform.send(rendered())
        assert len(server.requests) == 1, "it must never be sent a second time by itself"
        return outcome


def is_unknown(outcome: Outcome, reason: Reason) -> bool:
    return isinstance(outcome, Unknown) and outcome.reason is reason


# What is written.


async def test_one_post_with_the_login_and_the_form() -> None:
    async with answering(answer(201, TAKEN)) as server, twilio(server.url) as platform:
        assert await platform.send(rendered("Café")) == Accepted("SM1", 201)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST /2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json HTTP/1.1"
    headers = {line.split(": ")[0].lower(): line.split(": ", 1)[1] for line in lines[1:]}
    assert headers["authorization"].startswith("Basic ")
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["content-length"] == str(len(body))
    assert b"Body=Caf%C3%A9" in body


async def test_a_connection_is_used_again() -> None:
    async with answering(answer(201, TAKEN), then=None) as server, twilio(server.url) as platform:
        for _ in range(3):
            assert await platform.send(rendered()) == Accepted("SM1", 201)
        assert (server.connections, len(server.requests)) == (1, 3)


async def test_one_that_was_closed_while_idle_is_replaced_without_doubt() -> None:
    async with answering(answer(201, TAKEN)) as server, twilio(server.url) as platform:
        for _ in range(3):
            assert await platform.send(rendered()) == Accepted("SM1", 201)
            await asyncio.sleep(0.02)
        assert (server.connections, len(server.requests)) == (3, 3)


async def test_nothing_is_written_once_the_lease_ran_out() -> None:
    async with answering(answer(201, TAKEN)) as server, twilio(server.url) as platform:
        assert await platform.send(rendered(owns=lambda _: False)) == LEASE_RAN_OUT
        assert await platform.send(rendered()) == Accepted("SM1", 201)
        assert len(server.requests) == 1


# It never got there.


async def test_a_refused_connection_never_reached_twilio() -> None:
    async with twilio(f"http://127.0.0.1:{free_port()}") as platform:
        outcome = await platform.send(rendered())
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.reached) == (Reason.CONNECTION_FAILED, False)


async def test_neither_did_one_whose_tls_failed() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"no TLS here\r\n\r\n")

    async with Scripted(script) as server, twilio(server.url.replace("http:", "https:")) as platform:
        outcome = await platform.send(rendered())
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.reached) == (Reason.CONNECTION_FAILED, False)


async def test_nor_one_that_nobody_answers() -> None:
    """A full backlog: the kernel lets further connections wait."""
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            each = waiting.enter_context(socket.socket())
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(deaf.getsockname())
        await asyncio.sleep(0.02)
        async with twilio(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2) as platform:
            outcome = await platform.send(rendered())
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.reached) == (Reason.CONNECTION_FAILED, False)


# It may have.


async def test_no_answer_in_time_is_unknown() -> None:
    assert is_unknown(await sent(b"", then=5, timeout=0.25), Reason.TIMED_OUT)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 201 Created\r\nContent-Le",
        answer(201, TAKEN[:10], length=len(TAKEN)),
        answer(201, b"", length=100),
    ],
)
async def test_an_answer_that_stops_halfway_is_unknown(raw: bytes) -> None:
    assert is_unknown(await sent(raw, then=5, timeout=0.25), Reason.TIMED_OUT)
    assert is_unknown(await sent(raw), Reason.CONNECTION_LOST)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 9999 Created\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 201 Created\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"\xff" * 100,
        answer(400, b"{", length=50),
    ],
)
async def test_a_cut_or_a_broken_answer_is_unknown(raw: bytes) -> None:
    assert is_unknown(await sent(raw), Reason.CONNECTION_LOST)


async def test_a_reset_after_the_request_is_unknown() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with (server := Scripted(script)), twilio(server.url) as platform:
        assert is_unknown(await platform.send(rendered()), Reason.CONNECTION_LOST)


async def test_a_connection_that_dies_under_its_second_request_is_unknown_and_not_repeated() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(answer(201, TAKEN))
        await server.request(reader)

    async with (server := Scripted(script)), twilio(server.url) as platform:
        assert await platform.send(rendered()) == Accepted("SM1", 201)
        assert is_unknown(await platform.send(rendered()), Reason.CONNECTION_LOST)
        assert (server.connections, len(server.requests)) == (1, 2)


# It answered.

HINT = "HTTP 302: is base_url right?"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (answer(400, b'{"code": 21211, "message": "bad"}'), Rejected(Reason.INVALID_ADDRESS, "21211", "bad", None, 400)),
        (answer(429, b"{}", "retry-after: 2\r\n"), Rejected(Reason.RATE_LIMITED, None, "", 2.0, 429)),
        (answer(302, b"", "Location: /\r\n"), Rejected(Reason.BAD_REQUEST, None, HINT, None, 302)),
        (answer(502, b"<html>"), Unknown(Reason.PROVIDER_ERROR, "HTTP 502", 502)),
        (answer(201, b'{"sid": "SM1", "body": "' + b"x" * 3_000_000 + b'"}'), Accepted("SM1", 201)),
        (answer(201, TAKEN, "Content-Encoding: gzip\r\n"), Accepted("SM1", 201)),
        (b"HTTP/1.0 201 Created\r\n\r\n" + TAKEN, Accepted("SM1", 201)),
    ],
    ids=["400", "429", "302", "502", "huge", "encoded", "http-1.0"],
)  # fmt: skip
async def test_an_answer_is_understood(raw: bytes, expected: Outcome) -> None:
    assert await sent(raw) == expected


# The stand-in's troubles.


@pytest.mark.parametrize(
    ("suffix", "reason", "kind"),
    [
        ("0001", Reason.INVALID_ADDRESS, Rejected),
        ("0002", Reason.OPTED_OUT, Rejected),
        ("0009", Reason.RATE_LIMITED, Rejected),
        ("0010", Reason.PROVIDER_ERROR, Unknown),
        ("0011", Reason.PROVIDER_ERROR, Unknown),
        ("0012", Reason.CONNECTION_LOST, Unknown),
        ("0013", Reason.TIMED_OUT, Unknown),
        ("0014", Reason.PROVIDER_UNAVAILABLE, Rejected),
    ],
)
async def test_the_stand_ins_numbers_come_to_what_they_say(
    sandbox: Sandbox, suffix: str, reason: Reason, kind: type[Outcome]
) -> None:
    async with twilio(sandbox.url, timeout=0.4 if reason is Reason.TIMED_OUT else 5) as platform:
        outcome = await platform.send(rendered(to=f"+1415555{suffix}"))
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Accepted)
    assert outcome.reason is reason


# Asking afterwards.


def before(seconds: float = 5) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest_asyncio.fixture
async def platform(sandbox: Sandbox) -> AsyncIterator[Twilio]:
    async with twilio(sandbox.url) as found:
        yield found


async def test_what_was_taken_is_found(platform: Twilio, sandbox: Sandbox) -> None:
    outcome = await platform.send(rendered("Hé 😀"))
    assert isinstance(outcome, Accepted)
    assert await platform.find(rendered("Hé 😀"), before()) == [Accepted(outcome.provider_id, 200)]


async def test_so_is_what_was_taken_without_an_answer(sandbox: Sandbox) -> None:
    lost = rendered(to="+14155550012")
    async with twilio(sandbox.url) as platform:
        assert is_unknown(await platform.send(lost), Reason.CONNECTION_LOST)
        found = await platform.find(lost, before())
    assert found == [Accepted(sandbox.ledger.messages[0].sid, 200)]


async def test_what_was_not_taken_is_absent(platform: Twilio) -> None:
    await platform.send(rendered("Another text"))
    await platform.send(rendered(to="+14155550124"))
    await platform.send(rendered(sender="+15005550009"))
    assert await platform.find(rendered(), before()) == []


async def test_what_was_taken_earlier_is_not_this_one(platform: Twilio) -> None:
    await platform.send(rendered())
    assert await platform.find(rendered(), datetime.now(UTC) + timedelta(seconds=2)) == []


async def test_equal_ones_are_all_named(platform: Twilio) -> None:
    outcomes = [await platform.send(rendered()) for _ in range(3)]
    found = await platform.find(rendered(), before())
    assert isinstance(found, list)
    assert {each.provider_id for each in found} == {
        o.provider_id for o in outcomes if isinstance(o, Accepted)
    }


async def test_a_person_who_says_the_same_is_not_us(platform: Twilio, sandbox: Sandbox) -> None:
    await platform.send(rendered("Something"))
    sandbox.lifecycle.reply(TO, "Hello")
    async with twilio(sandbox.url, sender=SERVICE) as other:
        assert await other.find(rendered(), before()) == []


async def test_a_messaging_service_is_asked_for_by_the_recipient_alone(sandbox: Sandbox) -> None:
    async with twilio(sandbox.url, sender=SERVICE) as platform:
        outcome = await platform.send(rendered())
        assert isinstance(outcome, Accepted)
        assert await platform.find(rendered(), before()) == [Accepted(outcome.provider_id, 200)]


async def test_media_without_a_text_is_found(platform: Twilio) -> None:
    picture = rendered("", media_urls=("https://example.com/a.png",))
    outcome = await platform.send(picture)
    assert isinstance(outcome, Accepted)
    assert await platform.find(picture, before()) == [Accepted(outcome.provider_id, 200)]


async def test_too_many_to_look_through_is_no_answer(platform: Twilio) -> None:
    await asyncio.gather(*(platform.send(rendered(f"number {n}")) for n in range(205)))
    assert isinstance(await platform.find(rendered(), before(60)), CannotTell)
    assert await platform.find(rendered(), datetime.now(UTC) + timedelta(seconds=2)) == []


async def test_wrong_credentials_cannot_tell(sandbox: Sandbox) -> None:
    async with twilio(sandbox.url, token="wrong") as platform:
        found = await platform.find(rendered(), before())
    assert isinstance(found, CannotTell)
    assert "401" in found.detail
    assert "wrong" not in found.detail


async def test_a_platform_in_trouble_cannot_tell(sandbox: Sandbox) -> None:
    async with twilio(sandbox.url, timeout=0.2) as platform:
        for fault in ("unavailable", "cut_not_taken", "too_many_requests", "hang_taken"):
            sandbox.dice.set(Faults.model_validate({fault: 1.0}))
            assert isinstance(await platform.find(rendered(), before()), CannotTell), fault
            assert await platform.check() is not None, fault
    async with twilio(f"http://127.0.0.1:{free_port()}") as platform:
        assert isinstance(await platform.find(rendered(), before()), CannotTell)
        assert "Error" in (await platform.check() or "")


def page(**message: object) -> bytes:
    record = {
        "sid": "SM1",
        "body": "Hello",
        "direction": "outbound-api",
        "date_created": None,
        "to": TO,
    } | message
    return json.dumps(
        {"messages": [record], "page": 0, "page_size": 50, "next_page_uri": None, "uri": ""}
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"5", b"null", b'"text"', b"{}", b'{"messages": 5}', b'{"messages": null}',
        b'{"messages": [5]}', b'{"messages": "text"}', b'{"a": 1, "b": 2}', b"\xff", page(date_created=5),
    ],
)  # fmt: skip
async def test_a_list_that_makes_no_sense_cannot_tell(body: bytes) -> None:
    async with answering(answer(200, body)) as server, twilio(server.url) as platform:
        assert isinstance(await platform.find(rendered(), before()), CannotTell)


@pytest.mark.parametrize(
    "body", [page(), page(date_created="once upon a time"), page(sid=None, date_created=None)]
)
async def test_a_message_without_a_date_is_not_said_to_be_absent(body: bytes) -> None:
    """It may be ours: what cannot be dated cannot be ruled out."""
    async with answering(answer(200, body)) as server, twilio(server.url) as platform:
        assert isinstance(await platform.find(rendered(), before()), CannotTell)


async def test_an_active_account_is_good(platform: Twilio) -> None:
    assert await platform.check() is None


async def test_a_check_says_what_is_wrong(sandbox: Sandbox) -> None:
    async with twilio(sandbox.url, token="wrong") as platform:
        assert "401" in (await platform.check() or "")
    suspended = json.dumps({"sid": ACCOUNT_SID, "status": "suspended"}).encode()
    async with answering(answer(200, suspended)) as server, twilio(server.url) as platform:
        assert await platform.check() == "the account is suspended"
    async with answering(answer(200, b"[]")) as server, twilio(server.url) as platform:
        assert await platform.check() is not None
