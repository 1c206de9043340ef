"""The platforms' callbacks: checked, written, and only then answered with 2xx."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import web

from daemon import metrics
from daemon.model import BadSignature, Callback, InboundMessage, MalformedCallback, StatusUpdate
from daemon.platforms.base import CallbackRequest, Platform
from daemon.store.database import DatabaseDown
from daemon.web.problems import problem

log = structlog.get_logger(__name__)

# A platform gives up after about 15 s; better a clear "not now" before.
_COMMIT_SECONDS = 10.0
_BODY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HookAccount:
    """An account as the hooks see it."""

    name: str
    kind: str  # the platform's name in the URL
    platform: Platform


class Inbox(Protocol):
    """Who writes what the hooks have checked. Both return after the commit and raise `DatabaseDown`."""

    async def status(self, account: str, update: StatusUpdate) -> None:
        """A status callback."""

    async def inbound(self, account: str, message: InboundMessage) -> None:
        """A message from a person."""


class Hooks:
    """`/hooks/PLATFORM/ACCOUNT/status` and `…/inbound`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.accounts: Mapping[str, HookAccount] = {}
        self.public_url: str | None = None

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.post("/hooks/{platform}/{account}/status", self.status),
            web.post("/hooks/{platform}/{account}/inbound", self.inbound),
            web.route("*", "/hooks/{platform}/{account}/{kind:status|inbound}", self.no_such_method),
        ]

    async def status(self, request: web.Request) -> web.StreamResponse:
        """204 once the status is committed."""
        return await self._take(request, "status", web.Response(status=204))

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """An empty TwiML answer once the message is committed: no automatic reply."""
        return await self._take(request, "inbound", web.Response(text="<Response/>", content_type="text/xml"))

    async def no_such_method(self, _request: web.Request) -> web.StreamResponse:
        """405: only POST means anything here."""
        return self._refuse("", 405, "a callback is a POST", headers={"Allow": "POST"})

    async def _take(self, request: web.Request, kind: str, answer: web.Response) -> web.StreamResponse:
        account = self.accounts.get(request.match_info["account"])
        if account is None or account.kind != request.match_info["platform"]:
            return self._refuse("", 404, "there is no such account here")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                asked = self._as_callback(request, await request.read())
        except TimeoutError:
            return self._refuse(account.name, 408, "the body did not come in time")
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(account.name, 413, "the body is larger than web.max_body_bytes")
        try:
            parse = account.platform.parse_status if kind == "status" else account.platform.parse_inbound
            found = parse(asked)
        except BadSignature as error:
            return self._refuse(account.name, 403, str(error))
        except MalformedCallback as error:
            return self._refuse(account.name, 400, str(error))
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                for callback in found:
                    await self._write(account.name, callback)
        except (DatabaseDown, TimeoutError):
            return problem(503, "the database is away; please come again", headers={"Retry-After": "5"})
        return answer

    async def _write(self, account: str, callback: Callback) -> None:
        match callback:
            case StatusUpdate():
                delivery = str(callback.delivery_id)
                log.debug(
                    "status callback", account=account, delivery=delivery, status=callback.provider_status
                )
                await self._inbox.status(account, callback)
            case InboundMessage():
                await self._inbox.inbound(account, callback)

    def _as_callback(self, request: web.Request, body: bytes) -> CallbackRequest:
        return CallbackRequest(
            urls=tuple(self._urls(request)),
            headers=request.headers,
            query=request.query,
            content_type=request.content_type.lower(),
            body=body,
        )

    def _urls(self, request: web.Request) -> list[str]:
        """The URLs the platform may have called: as the operator says, else as the request says."""
        path = request.raw_path
        if not path.startswith("/"):
            return []
        if self.public_url is not None:
            return [self.public_url + path]
        return [f"{scheme}://{request.host}{path}" for scheme in ("https", "http")]

    def _refuse(
        self, account: str, status: int, why: str, *, headers: dict[str, str] | None = None
    ) -> web.Response:
        """`account`: empty where there is none, so that strangers make no new labels."""
        metrics.REFUSED_CALLBACKS.labels(account, str(status)).inc()
        log.warning("callback refused", account=account, status=status, why=why)
        return problem(status, why, headers=headers)
