"""Calls to Twilio: the hot one (send) on a lean aiohttp session, the slow ones by the twilio library.

POST Messages is not idempotent and Twilio offers no key to make it so. Hence the care about what is known
after each kind of failure: only what Twilio surely did not process is `Rejected`; all else is `Unknown`.
"""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiolimiter import AsyncLimiter
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client
from yarl import URL

from daemon.model import (
    Accepted,
    Callback,
    Channel,
    Outcome,
    Problem,
    Reason,
    Rejected,
    Rendered,
    Unknown,
)
from daemon.platforms.base import LEASE_RAN_OUT, CallbackRequest, CannotTell, Found
from daemon.platforms.twilio import callbacks
from daemon.platforms.twilio.errors import reason_for

API_URL = "https://api.twilio.com"
LONGEST_BODY = 1600  # error 21617
MOST_MEDIA = 10  # error 21623
LONGEST_VALIDITY_SECONDS = 36_000

# The slow calls must never eat into the rate that sending needs.
_LOOKUPS_PER_SECOND = 10
_MOST_LISTED = 200
_NO_QUERY = URL("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioAccount:
    """One set of credentials. `sender` is an E.164 number or a messaging service's sid (MG…)."""

    account_sid: str
    auth_token: str
    sender: str
    base_url: str = API_URL
    concurrency: int = 50
    timeout_seconds: float = 15.0

    def __repr__(self) -> str:
        return f"TwilioAccount({self.account_sid})"


class Twilio:
    """A `Platform` for SMS through one Twilio account."""

    channels = frozenset({Channel.SMS})

    def __init__(self, account: TwilioAccount) -> None:
        self._account = account
        base = account.base_url.rstrip("/")
        self._url = URL(f"{base}/2010-04-01/Accounts/{account.account_sid}/Messages.json", encoded=True)
        login = base64.b64encode(f"{account.account_sid}:{account.auth_token}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {login}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "User-Agent": "duly",
        }
        self._session: aiohttp.ClientSession | None = None
        self._lookups = AsyncLimiter(_LOOKUPS_PER_SECOND, 1)
        self._client: Client | None = None

    async def open(self) -> None:
        """Makes the session; the conveniences of aiohttp that are off here would double a call's cost."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(10.0, self._account.timeout_seconds)),
            request_class=_FencedRequest,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept", "Content-Type"),
            auto_decompress=False,
        )
        self._client = Client(
            self._account.account_sid,
            self._account.auth_token,
            http_client=_RedirectedHttpClient(self._account.base_url, self._account.timeout_seconds),
        )

    async def close(self) -> None:
        """Closes both clients."""
        if self._session is not None:
            await self._session.close()
        if self._client is not None:
            await self._client.http_client.close()

    async def send(self, rendered: Rendered) -> Outcome:
        """One POST. What is known afterwards is in the outcome."""
        assert self._session is not None, "open() comes first"
        body = encode(self.form(rendered))
        call = _Call(rendered.may_begin)
        _call.set(call)
        try:
            async with (
                asyncio.timeout(self._account.timeout_seconds),
                self._session.post(
                    self._url, data=body, headers=self._headers, allow_redirects=False
                ) as response,
            ):
                return _outcome(response.status, response.headers, await response.read())
        except _LeaseRanOut:
            return LEASE_RAN_OUT
        except aiohttp.ConnectionTimeoutError:
            return Rejected(Reason.CONNECTION_FAILED, detail="no connection in time", reached=False)
        except aiohttp.ClientConnectorError as error:
            return Rejected(Reason.CONNECTION_FAILED, detail=_words(error), reached=False)
        except TimeoutError:
            if not call.begun:
                call.may_begin = lambda: False  # nor will it
                return Rejected(Reason.CONNECTION_FAILED, detail="no connection in time", reached=False)
            return Unknown(Reason.TIMED_OUT, detail=f"no answer within {self._account.timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Unknown(Reason.CONNECTION_LOST, detail=_words(error))

    def form(self, rendered: Rendered) -> list[tuple[str, str]]:
        """The parameters of the call, in a fixed order."""
        sender = rendered.sender or self._account.sender
        fields = [
            ("To", rendered.delivery.to),
            ("MessagingServiceSid" if sender.startswith("MG") else "From", sender),
        ]
        if rendered.body:
            fields.append(("Body", rendered.body))
        fields += [("MediaUrl", url) for url in rendered.media_urls]
        if rendered.status_callback is not None:
            fields.append(("StatusCallback", rendered.status_callback))
        if rendered.validity_seconds is not None:
            fields.append(
                ("ValidityPeriod", str(max(1, min(rendered.validity_seconds, LONGEST_VALIDITY_SECONDS))))
            )
        return fields

    def validate(self, rendered: Rendered) -> list[Problem]:
        """What Twilio would refuse for certain."""
        problems = []
        if len(rendered.body) > LONGEST_BODY:
            problems.append(
                Problem("body", f"has {len(rendered.body)} characters; Twilio takes {LONGEST_BODY}")
            )
        if not rendered.body and not rendered.media_urls:
            problems.append(Problem("body", "is empty, and there is no media"))
        if len(rendered.media_urls) > MOST_MEDIA:
            problems.append(
                Problem("media_urls", f"are {len(rendered.media_urls)}; Twilio takes {MOST_MEDIA}")
            )
        return problems

    async def find(self, rendered: Rendered, since: datetime) -> Found:
        """Asks the Messages list by To (and From where it is a number), newest first, back to `since`.

        DateSent cannot be asked for: a message that is not sent yet has none.
        """
        sender = rendered.sender or self._account.sender
        query: dict[str, Any] = {"to": rendered.delivery.to, "limit": _MOST_LISTED, "page_size": _MOST_LISTED}
        if not sender.startswith("MG"):
            query["from_"] = sender
        listed = await self._ask(lambda client: client.messages.list_async(**query))
        if isinstance(listed, CannotTell):
            return listed
        recent = [m for m in listed if m.date_created is None or m.date_created.astimezone(UTC) >= since]
        if len(listed) >= _MOST_LISTED and len(recent) == len(listed):
            return CannotTell(f"more than {_MOST_LISTED} messages to this number since then")
        ours = [
            m
            for m in recent
            if m.direction in ("outbound-api", "outbound-reply") and (m.body or "") == rendered.body
        ]
        if any(m.date_created is None or not m.sid for m in ours):
            return CannotTell("a message that may be this one has no date or no sid")
        return [Accepted(str(m.sid), 200) for m in ours]

    async def check(self) -> str | None:
        """Asks for the account itself."""
        answer = await self._ask(
            lambda client: client.api.v2010.accounts(self._account.account_sid).fetch_async()
        )
        if isinstance(answer, CannotTell):
            return answer.detail
        return None if answer.status == "active" else f"the account is {answer.status}"

    def parse_status(self, request: CallbackRequest) -> list[Callback]:
        """Checks and translates a status callback."""
        return [callbacks.status_update(request, self._account.auth_token)]

    def parse_inbound(self, request: CallbackRequest) -> list[Callback]:
        """Checks and translates an inbound message."""
        return [callbacks.inbound_message(request, self._account.auth_token)]

    async def _ask(self, call: Any) -> Any:
        assert self._client is not None, "open() comes first"
        try:
            async with self._lookups, asyncio.timeout(self._account.timeout_seconds * 2):
                return await call(self._client)
        except TwilioRestException as error:
            return CannotTell(f"Twilio answered {error.status}, code {error.code}")
        except (TwilioException, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return CannotTell(_words(error))
        except (AttributeError, TypeError, LookupError) as error:  # the library met JSON of another shape
            return CannotTell(f"Twilio's answer makes no sense: {_words(error)}")


@dataclass(slots=True)
class _Call:
    may_begin: Callable[[], bool]
    begun: bool = False  # whether a byte of it may have left


_call: ContextVar[_Call] = ContextVar("call")


class _LeaseRanOut(aiohttp.ClientError):
    pass


class _FencedRequest(aiohttp.ClientRequest):
    """A request that asks `may_begin` once the connection is there and nothing has been written yet.

    aiohttp keeps the headers back until it writes the body, so this is the last moment it offers.
    """

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        call = _call.get()
        if not call.may_begin():
            assert conn.protocol is not None
            conn.protocol.set_exception(_LeaseRanOut())
            return
        call.begun = True
        await super().write_bytes(writer, conn, content_length)


class _RedirectedHttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]
    """twilio's client, pointed at `base_url`."""

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        super().__init__(pool_connections=True, timeout=timeout_seconds)
        self._base = urlsplit(base_url)

    async def request(
        self, method: str, url: str, *args: Any, auth: Any = None, headers: Any = None, **kwargs: Any
    ) -> Any:
        if auth is not None:  # the way twilio hands it on is deprecated in aiohttp
            headers = {**(headers or {}), "Authorization": aiohttp.encode_basic_auth(*auth)}
        asked = urlsplit(url)
        path = self._base.path.rstrip("/") + asked.path
        there = urlunsplit((self._base.scheme, self._base.netloc, path, asked.query, ""))
        return await super().request(method, there, *args, headers=headers, **kwargs)


def encode(fields: list[tuple[str, str]]) -> bytes:
    """Fields as application/x-www-form-urlencoded. yarl's quoting is C, four times as fast as urllib's."""
    return _NO_QUERY.with_query(fields).raw_query_string.encode()


def _outcome(status: int, headers: Any, body: bytes) -> Outcome:
    answer = _json(body)
    if 200 <= status < 300:
        sid = answer.get("sid")
        if isinstance(sid, str) and len(sid) <= 100 and sid.isascii() and sid.isprintable() and sid:
            return Accepted(sid, status)
        return Unknown(Reason.PROVIDER_ERROR, "an answer without a sid", status)
    code = answer.get("code")
    code = code if type(code) is int else None
    detail = str(answer.get("message") or "")[:300].replace("\0", "")
    if status == 429 or code == 20429:
        return Rejected(
            Reason.RATE_LIMITED, _text(code), detail, _seconds(headers.get("Retry-After")), status
        )
    if code == 20503:
        asked = _seconds(headers.get("Retry-After"))
        return Rejected(Reason.PROVIDER_UNAVAILABLE, _text(code), detail, asked, status)
    if status >= 500 or code == 20500:
        return Unknown(Reason.PROVIDER_ERROR, detail or f"HTTP {status}", status)
    if status in (401, 403) and code is None:
        return Rejected(Reason.BAD_CREDENTIALS, None, detail, http_status=status)
    if status < 400:
        return Rejected(Reason.BAD_REQUEST, None, f"HTTP {status}: is base_url right?", http_status=status)
    return Rejected(reason_for(code), _text(code), detail, http_status=status)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(code: int | None) -> str | None:
    return None if code is None else str(code)


def _seconds(header: str | None) -> float | None:
    """A Retry-After in seconds; its other form, a date, is rare and treated as absent."""
    try:
        seconds = float(header) if header is not None else math.nan
    except ValueError:
        return None
    return min(max(seconds, 0.0), 86_400.0) if math.isfinite(seconds) else None


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
