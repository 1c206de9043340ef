"""Calls to Twilio: the hot one (send) on a lean aiohttp session, the slow ones by the twilio library.

POST Messages is not idempotent and Twilio offers no key to make it so. Hence the care about what is known
after each kind of failure: only what Twilio surely did not process is `Rejected`; all else is `Unknown`.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiolimiter import AsyncLimiter
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from daemon.model import (
    Accepted,
    Callback,
    Channel,
    MalformedCallback,
    Outcome,
    Problem,
    Reason,
    Rejected,
    Rendered,
    StatusUpdate,
    Unknown,
)
from daemon.platforms.base import LEASE_RAN_OUT, CallbackRequest, CannotTell, Found, Gone, Standing
from daemon.platforms.http import HeldBack, NoAnswer, NoAnswerInTime, NotMade, PostClient
from daemon.platforms.twilio import callbacks
from daemon.platforms.twilio.answers import outcome_of, same_text
from daemon.platforms.twilio.wire import RedirectedHttpClient, encode

API_URL = "https://api.twilio.com"
LONGEST_BODY = 1600  # error 21617
MOST_MEDIA = 10  # error 21623
LONGEST_VALIDITY_SECONDS = 36_000

# The slow calls must never eat into the rate that sending needs.
_LOOKUPS_PER_SECOND = 10
_CANCELS_PER_SECOND = 30
_MOST_LISTED = 200
_NOT_FOUND = 20404


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
        self.url = f"{account.base_url.rstrip('/')}/2010-04-01/Accounts/{account.account_sid}/Messages.json"
        self._posts: PostClient | None = None
        self._lookups = AsyncLimiter(_LOOKUPS_PER_SECOND, 1)
        self._cancels = AsyncLimiter(_CANCELS_PER_SECOND, 1)
        self._client: Client | None = None

    async def open(self) -> None:
        """Makes the client for sending and twilio's own for all else."""
        account = self._account
        login = base64.b64encode(f"{account.account_sid}:{account.auth_token}".encode()).decode()
        self._posts = PostClient(
            self.url,
            {
                "Authorization": f"Basic {login}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "User-Agent": "duly",
            },
            timeout_seconds=account.timeout_seconds,
        )
        self._client = Client(
            account.account_sid,
            account.auth_token,
            http_client=RedirectedHttpClient(account.base_url, account.timeout_seconds),
        )

    async def close(self) -> None:
        """Closes both clients."""
        if self._posts is not None:
            await self._posts.close()
        if self._client is not None:
            await self._client.http_client.close()

    async def send(self, rendered: Rendered) -> Outcome:
        """One POST. What is known afterwards is in the outcome."""
        assert self._posts is not None, "open() comes first"
        if rendered.delivery.send_at is not None and not self._account.sender.startswith("MG"):
            # Twilio would drop the time without a word, and send at once.
            return Rejected(
                Reason.NOT_SCHEDULED, detail="the account has no messaging service", reached=False
            )
        try:
            answer = await self._posts.post(encode(self.form(rendered)), rendered.may_begin)
        except HeldBack:
            return LEASE_RAN_OUT
        except NotMade as error:
            return Rejected(Reason.CONNECTION_FAILED, detail=str(error), reached=False)
        except NoAnswerInTime:
            return Unknown(Reason.TIMED_OUT, detail=f"no answer within {self._account.timeout_seconds:g} s")
        except NoAnswer as error:
            return Unknown(Reason.CONNECTION_LOST, detail=str(error))
        return outcome_of(answer.status, answer.headers, answer.body)

    def form(self, rendered: Rendered) -> list[tuple[str, str]]:
        """The parameters of the call, in a fixed order."""
        sender, send_at = rendered.sender or self._account.sender, rendered.delivery.send_at
        fields = [
            ("To", rendered.delivery.to),
            ("MessagingServiceSid" if sender.startswith("MG") else "From", sender),
        ]
        if send_at is not None:
            if not sender.startswith("MG"):
                fields.append(("MessagingServiceSid", self._account.sender))
            fields += [("ScheduleType", "fixed"), ("SendAt", f"{send_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")]
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
            if m.direction in ("outbound-api", "outbound-reply") and same_text(m.body or "", rendered.body)
        ]
        if any(m.date_created is None or not m.sid for m in ours):
            return CannotTell("a message that may be this one has no date or no sid")
        return [Accepted(str(m.sid), 200) for m in ours]

    async def withdraw(self, provider_id: str) -> Standing:
        """Cancels a scheduled message. Where Twilio does not say that it has, asks where the message stands."""
        async with self._cancels:
            found = await self._message(
                lambda client: client.messages(provider_id).update_async(status="canceled")
            )
        return found if isinstance(found, StatusUpdate) else await self.look(provider_id)

    async def look(self, provider_id: str) -> Standing:
        """Fetches a message's status."""
        async with self._lookups:
            return await self._message(lambda client: client.messages(provider_id).fetch_async())

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

    async def _message(self, call: Any) -> Standing:
        found = await self._call(call)
        if isinstance(found, TwilioRestException):
            return Gone() if found.code == _NOT_FOUND else _refused(found)
        if isinstance(found, CannotTell):
            return found
        try:
            return callbacks.standing(
                str(found.sid), str(found.status), str(found.error_code or ""), str(found.error_message or "")
            )
        except MalformedCallback as error:
            return CannotTell(str(error))

    async def _ask(self, call: Any) -> Any:
        async with self._lookups:
            found = await self._call(call)
        return _refused(found) if isinstance(found, TwilioRestException) else found

    async def _call(self, call: Any) -> Any:
        """The answer of a slow call, Twilio's refusal, or `CannotTell`."""
        assert self._client is not None, "open() comes first"
        try:
            async with asyncio.timeout(self._account.timeout_seconds * 2):
                return await call(self._client)
        except TwilioRestException as error:
            return error
        except (TwilioException, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return CannotTell(_words(error))
        except (AttributeError, TypeError, LookupError) as error:  # the library met JSON of another shape
            return CannotTell(f"Twilio's answer makes no sense: {_words(error)}")


def _refused(error: TwilioRestException) -> CannotTell:
    return CannotTell(f"Twilio answered {error.status}, code {error.code}")


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
