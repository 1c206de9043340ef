"""The handlers of Twilio's 2010-04-01 API that Duly calls, over the ledger."""

from __future__ import annotations

import asyncio
import base64
import hmac
import random

import orjson
from aiohttp import web

from daemon.rules.segments import segments
from daemon.sandbox.behaviours import ORDINARY, Behaviour, behaviour_of
from daemon.sandbox.drafts import Draft, Form, carried, draft, first, parse_form
from daemon.sandbox.errors import TwilioError
from daemon.sandbox.faults import Dice, Trouble
from daemon.sandbox.ledger import Ledger
from daemon.sandbox.lifecycle import Lifecycle
from daemon.sandbox.listing import list_messages
from daemon.sandbox.messages import API_VERSION, Message, Status, resource, rfc2822
from daemon.sandbox.settings import SandboxSettings

_CODES = {
    Trouble.TOO_MANY_REQUESTS: 20429,
    Trouble.UNAVAILABLE: 20503,
    Trouble.ERROR_NOT_TAKEN: 20500,
    Trouble.ERROR_TAKEN: 20500,
}
_CUT = 0  # the code of a rejection that was no answer at all


class Twilio:
    """One account's API."""

    def __init__(
        self,
        settings: SandboxSettings,
        ledger: Ledger,
        lifecycle: Lifecycle,
        dice: Dice,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._dice = dice
        self._rng = rng
        self._started = ledger.wall()
        self._closing = asyncio.Event()
        self._met: set[str | tuple[str | None, ...]] = set()  # whose first call already had its trouble
        credentials = f"{settings.account_sid}:{settings.auth_token}".encode()
        self._authorization = b"Basic " + base64.b64encode(credentials)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers are served."""
        account = f"/{API_VERSION}/Accounts/{{account}}"
        return [
            web.post(f"{account}/Messages.json", self.create),
            web.get(f"{account}/Messages.json", self.list),
            web.get(f"{account}/Messages/{{sid}}.json", self.fetch),
            web.post(f"{account}/Messages/{{sid}}.json", self.update),
            web.get(f"{account}.json", self.account),
        ]

    def reset(self) -> None:
        """Forget who has called before."""
        self._met.clear()

    def close(self) -> None:
        """Release the calls that hang."""
        self._closing.set()

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST Messages.json: take a message, refuse it, or leave the caller in doubt."""
        form = parse_form(await request.read())
        self._ledger.received += 1
        await self._hold()
        try:
            self._authenticate(request)
            wanted = draft(form, self._ledger.wall(), self._settings.schedule_least_seconds)
            behaviour = behaviour_of(wanted.to) if self._settings.behaviours else ORDINARY
            self._check_recipient(wanted, behaviour)
        except TwilioError as error:
            self._reject(form, error.code)
            raise
        trouble = self._dice.crowd() or self._dice.call() or self._first_trouble(wanted, behaviour)
        if trouble is not None and not trouble.taken:
            self._reject(form, _CODES.get(trouble, _CUT))
            return await self._suffer(request, trouble)
        if trouble is Trouble.CUT_TAKEN_LATER:
            asyncio.get_running_loop().call_later(self._dice.taken_later_seconds(), self._take_later, wanted)
            return await self._suffer(request, trouble)
        message = self._take(wanted)
        answer = _json(resource(message, self._settings.account_sid), 201)
        self._lifecycle.start(message)
        trouble = await self._unless_late(trouble)
        return answer if trouble is None else await self._suffer(request, trouble)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET Messages.json: a page of messages, newest first."""
        if interrupted := await self._precede(request):
            return interrupted
        return _json(list_messages(self._ledger, self._settings.account_sid, request.query))

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """GET one message."""
        if interrupted := await self._precede(request):
            return interrupted
        return _json(resource(self._find(request), self._settings.account_sid))

    async def update(self, request: web.Request) -> web.StreamResponse:
        """POST one message: Status=canceled cancels a scheduled one, an empty Body redacts its text."""
        await self._hold()
        self._authenticate(request)
        trouble = await self._unless_late(self._dice.call())
        if trouble is not None and not trouble.taken:
            return await self._suffer(request, trouble)
        form = parse_form(await request.read())
        message = self._find(request)
        status = first(form, "Status")
        if status and status != Status.CANCELED:
            raise TwilioError(20001, "Status")
        if status and not self._lifecycle.cancel(message):
            raise TwilioError(30409)
        if form.get("Body") == [""]:
            message.body = ""
        answer = _json(resource(message, self._settings.account_sid))
        return answer if trouble is None else await self._suffer(request, trouble)

    async def account(self, request: web.Request) -> web.StreamResponse:
        """GET the account."""
        if interrupted := await self._precede(request):
            return interrupted
        sid = self._settings.account_sid
        uri = f"/{API_VERSION}/Accounts/{sid}"
        return _json(
            {
                "auth_token": self._settings.auth_token,
                "date_created": rfc2822(self._started),
                "date_updated": rfc2822(self._started),
                "friendly_name": "Duly's sandbox",
                "owner_account_sid": sid,
                "sid": sid,
                "status": "active",
                "subresource_uris": {"messages": f"{uri}/Messages.json"},
                "type": "Full",
                "uri": f"{uri}.json",
            }
        )

    async def _precede(self, request: web.Request) -> web.StreamResponse | None:
        """What comes before every call but `create`: faults, and the credentials."""
        await self._hold()
        self._authenticate(request)
        trouble = await self._unless_late(self._dice.call())
        return None if trouble is None else await self._suffer(request, trouble)

    async def _unless_late(self, trouble: Trouble | None) -> Trouble | None:
        """The trouble, unless it is only that the answer comes late: then that is over when this returns."""
        if trouble is not Trouble.LATE_TAKEN:
            return trouble
        await asyncio.sleep(self._dice.late_seconds())
        return None

    async def _hold(self) -> None:
        seconds = self._dice.latency_seconds()
        if seconds:
            await asyncio.sleep(seconds)

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._authorization):
            raise TwilioError(20003)
        if request.match_info["account"] != self._settings.account_sid:
            raise TwilioError(20404, request.path)

    def _find(self, request: web.Request) -> Message:
        message = self._ledger.by_sid.get(request.match_info["sid"])
        if message is None:
            raise TwilioError(20404, request.path)
        return message

    def _check_recipient(self, wanted: Draft, behaviour: Behaviour) -> None:
        if behaviour.reject is not None:
            raise TwilioError(behaviour.reject, wanted.to)
        phone = self._ledger.phones.get(wanted.to)
        opted_out = phone is not None and (wanted.service or wanted.sender) in phone.opted_out
        if opted_out and self._settings.blocks_opted_out:
            raise TwilioError(21610)

    def _first_trouble(self, wanted: Draft, behaviour: Behaviour) -> Trouble | None:
        """What goes wrong with the first call for a delivery; without its id, for the same words."""
        if behaviour.first is None:
            return None
        key = wanted.delivery or (wanted.to, wanted.sender, wanted.service, wanted.body)
        if key in self._met:
            return None
        self._met.add(key)
        return behaviour.first

    def _reject(self, form: Form, code: int) -> None:
        delivery, attempt = carried(first(form, "StatusCallback"))
        self._ledger.reject(code, first(form, "To"), delivery, attempt)

    def _take(self, wanted: Draft) -> Message:
        status = Status.ACCEPTED if wanted.service else Status.QUEUED
        kind = "MM" if wanted.media else "SM"
        now = self._ledger.wall()
        message = Message(
            sid=f"{kind}{self._rng.getrandbits(128):032x}",
            to=wanted.to,
            sender=wanted.sender,
            service=wanted.service,
            body=wanted.body,
            media=wanted.media,
            status=status if wanted.send_at is None else Status.SCHEDULED,
            segments=1 if wanted.media else segments(wanted.body).count,
            created=now,
            accepted_monotonic=self._ledger.monotonic(),
            updated=now,
            send_at=wanted.send_at,
            callback_url=wanted.callback_url,
            delivery=wanted.delivery,
            attempt=wanted.attempt,
        )
        self._ledger.accept(message)
        return message

    def _take_later(self, wanted: Draft) -> None:
        if not self._closing.is_set():
            self._lifecycle.start(self._take(wanted))

    async def _suffer(self, request: web.Request, trouble: Trouble) -> web.StreamResponse:
        """Answer with an error, or leave the client without an answer."""
        if trouble in _CODES:
            raise TwilioError(_CODES[trouble])
        if trouble is Trouble.HANG_TAKEN:  # canceled when the client gives up
            await self._closing.wait()
        if request.transport is not None:
            request.transport.close()
        return web.Response()


def _json(payload: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(payload), status=status, content_type="application/json")
