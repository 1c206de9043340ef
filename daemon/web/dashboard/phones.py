"""/sandbox: the phones of the stand-in, and what was said on them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from daemon.web.dashboard.rendering import page
from daemon.web.dashboard.standin import StandIn, StandInDown, is_number

_PAGE_LENGTH = 30
_MAX_REPLY_CHARACTERS = 1600
QUICK_REPLIES = ("STOP", "START", "HELP")


class Phones:
    """Handlers. They never ask the database."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.get("/sandbox", self.index),
            web.get("/sandbox/{number}", self.conversation),
            web.post("/sandbox/{number}", self.reply),
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        """The phones, the one that moved last first."""
        if not self._stand_in.configured:
            return page("sandbox_none")
        search = "".join(c for c in request.query.get("q", "")[:40] if c.isdigit())
        number = _page_number(request.query.get("page", "1"))
        try:
            found = await self._stand_in.phones(search, _PAGE_LENGTH, (number - 1) * _PAGE_LENGTH)
        except StandInDown as error:
            return _down(error)
        return page(
            "phones",
            phones=[_dated_phone(phone) for phone in found["phones"]],
            total=found["total"],
            search=search,
            number=number,
            pages=max(1, -(-found["total"] // _PAGE_LENGTH)),
        )

    async def conversation(self, request: web.Request) -> web.StreamResponse:
        """One phone's messages and a form to answer."""
        number = self._number(request)
        try:
            phone = await self._stand_in.phone(number)
        except StandInDown as error:
            return _down(error)
        if phone is None:
            raise web.HTTPNotFound(text="No message was ever sent to or from this number.")
        return page(
            "phone",
            phone=phone,
            messages=[_dated(message) for message in phone["messages"]],
            unposted="unposted" in request.query,
            quick_replies=QUICK_REPLIES,
            longest=_MAX_REPLY_CHARACTERS,
        )

    async def reply(self, request: web.Request) -> web.StreamResponse:
        """Lets the person answer, then shows the conversation again."""
        number = self._number(request)
        form = await request.post()
        body = str(form.get("body", "")).strip()
        if not body or len(body) > _MAX_REPLY_CHARACTERS:
            raise web.HTTPBadRequest(text=f"A reply has 1 to {_MAX_REPLY_CHARACTERS} characters.")
        try:
            posted = await self._stand_in.reply(number, body)
        except StandInDown as error:
            return _down(error)
        raise web.HTTPSeeOther(f"/sandbox/{number}" + ("" if posted else "?unposted"))

    def _number(self, request: web.Request) -> str:
        if not self._stand_in.configured:
            raise web.HTTPNotFound(text="There is no stand-in: sandbox.url is not set.")
        number = request.match_info["number"]
        if not is_number(number):
            raise web.HTTPBadRequest(text="That is not a number such as +14155550123.")
        return number


def _page_number(text: str) -> int:
    return min(max(1, int(text)), 100_000) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _down(error: StandInDown) -> web.Response:
    return page("sandbox_down", status=502, why=str(error))


def _dated(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "at": datetime.fromtimestamp(message["at"], UTC)}


def _dated_phone(phone: dict[str, Any]) -> dict[str, Any]:
    return {**phone, "last": _dated(phone["last"])}
