"""The sandbox's own API under /_sandbox: look at the ledger and the phones, reply, set faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Annotated, Any, TypeVar

import orjson
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from daemon.sandbox.backlog import Backlog
from daemon.sandbox.behaviours import behaviours
from daemon.sandbox.drafts import MAX_BODY_CHARACTERS, MAX_MEDIA, is_url
from daemon.sandbox.faults import Dice, Faults
from daemon.sandbox.ledger import Ledger, Phone
from daemon.sandbox.lifecycle import Lifecycle
from daemon.sandbox.messages import Message

PREFIX = "/_sandbox"
_EXPORT_BATCH = 1000
_Model = TypeVar("_Model", bound=BaseModel)


def _checked_url(value: str) -> str:
    if not is_url(value):
        raise ValueError("it is not an http or https URL")
    return value


Url = Annotated[str, AfterValidator(_checked_url)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reply(_Strict):
    """What a person answers."""

    body: str = Field(default="", max_length=MAX_BODY_CHARACTERS)
    media_urls: list[Url] = Field(default_factory=list, max_length=MAX_MEDIA)


class Changeable(_Strict):
    """The settings that can change while it runs."""

    inbound_url: Url | None


class PhonesQuery(_Strict):
    """Which phones to list: those whose number contains `q`."""

    limit: int = Field(default=50, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)
    q: str = ""


class InputError(Exception):
    """What was asked makes no sense; the text says why and is shown."""


class Control:
    """The handlers of the control API."""

    def __init__(
        self,
        ledger: Ledger,
        lifecycle: Lifecycle,
        dice: Dice,
        backlog: Backlog,
        reset: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._dice = dice
        self._backlog = backlog
        self._reset = reset

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers are served."""
        return [
            web.get(f"{PREFIX}/stats", self.stats),
            web.get(f"{PREFIX}/behaviours", self.behaviours),
            web.get(f"{PREFIX}/ledger", self.export),
            web.get(f"{PREFIX}/phones", self.phones),
            web.get(f"{PREFIX}/phones/{{number}}", self.phone),
            web.post(f"{PREFIX}/phones/{{number}}/reply", self.reply),
            web.get(f"{PREFIX}/faults", self.faults),
            web.put(f"{PREFIX}/faults", self.set_faults),
            web.put(f"{PREFIX}/settings", self.set_settings),
            web.post(f"{PREFIX}/reset", self.reset),
        ]

    async def stats(self, request: web.Request) -> web.StreamResponse:
        """The ledger's numbers; `pending` are status changes and webhooks still to come."""
        return _json({**self._ledger.stats(), "pending": self._backlog.count})

    async def behaviours(self, request: web.Request) -> web.StreamResponse:
        """What the last four digits of a number make happen."""
        return _json([{"suffix": item.suffix, "summary": item.summary} for item in behaviours()])

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Every accepted message as JSON lines."""
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        records = self._ledger.export()
        while batch := list(islice(records, _EXPORT_BATCH)):
            await response.write(b"".join(orjson.dumps(record) + b"\n" for record in batch))
        await response.write_eof()
        return response

    async def phones(self, request: web.Request) -> web.StreamResponse:
        """A page of phones, the one that moved last first."""
        query = _checked(PhonesQuery, dict(request.query))
        page = self._ledger.page(query.q, query.limit, query.offset)
        total = sum(1 for _ in self._ledger.conversations(query.q))
        return _json({"total": total, "phones": [_summary(phone) for phone in page]})

    async def phone(self, request: web.Request) -> web.StreamResponse:
        """One phone's conversation, oldest first."""
        number = request.match_info["number"]
        phone = self._ledger.phones.get(number)
        if phone is None:
            raise web.HTTPNotFound(text=f"no message was ever sent to or from {number}")
        return _json({**_summary(phone), "messages": [_line(message) for message in phone.messages]})

    async def reply(self, request: web.Request) -> web.StreamResponse:
        """Let the person answer; `posted` says whether there is an inbound URL to post it to."""
        reply = _checked(Reply, await _body(request))
        if not (reply.body or reply.media_urls):
            raise InputError("body: a reply needs a text or media")
        number = request.match_info["number"]
        message = self._lifecycle.reply(number, reply.body, tuple(reply.media_urls))
        return _json({"sid": message.sid, "posted": self._lifecycle.inbound_url is not None}, 201)

    async def faults(self, request: web.Request) -> web.StreamResponse:
        """The faults in force."""
        return _json(self._dice.faults.model_dump())

    async def set_faults(self, request: web.Request) -> web.StreamResponse:
        """Replace the faults; what is left out is off."""
        self._dice.set(_checked(Faults, await _body(request)))
        return _json(self._dice.faults.model_dump())

    async def set_settings(self, request: web.Request) -> web.StreamResponse:
        """Change where inbound messages are posted; null: nowhere."""
        changed = _checked(Changeable, await _body(request))
        self._lifecycle.inbound_url = changed.inbound_url
        return _json(changed.model_dump())

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """Forget every message, phone, number and waiting webhook. Faults and settings stay."""
        self._reset()
        return web.Response(status=204)


def problem(status: int, title: str, detail: str) -> web.Response:
    """An error as RFC 9457 has it."""
    payload = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return web.Response(body=orjson.dumps(payload), status=status, content_type="application/problem+json")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call a control handler and turn what it refuses into a problem."""
    try:
        return await handler(request)
    except InputError as error:
        return problem(400, "Bad Request", str(error))
    except web.HTTPException as error:
        return problem(error.status, error.reason, error.text or error.reason)


async def _body(request: web.Request) -> Any:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON: {error}") from None


def _checked(model: type[_Model], value: Any) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        faults = (f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in details)
        raise InputError("; ".join(faults)) from None


def _summary(phone: Phone) -> dict[str, Any]:
    return {
        "number": phone.number,
        "received": phone.received,
        "replies": phone.replies,
        "opted_out": bool(phone.opted_out),
        "last": _line(phone.messages[-1]),
    }


def _line(message: Message) -> dict[str, Any]:
    return {
        "sid": message.sid,
        "direction": "inbound" if message.inbound else "outbound",
        "body": message.body,
        "media_urls": list(message.media),
        "at": message.created,
        "status": message.status.value,
        "error": message.error,
        "delivery": message.delivery,
    }


def _json(payload: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(payload), status=status, content_type="application/json")
