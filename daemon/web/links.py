"""`/f/TOKEN` and `/l/TOKEN`: the links in texts, open to whoever has one.

A feedback link shows two buttons, and only their POST says anything: programs that look at links before people do (mail
scanners, previews) follow them with GET. A tracked link leads to the one target that is stored for it, and the click is
counted unless a program or a prefetch made it. Nothing of who asked is kept.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import structlog
from aiohttp import hdrs, web
from asyncpg import Record

from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query
from daemon.web.dashboard.rendering import STATIC, page

log = structlog.get_logger(__name__)

_PART = "{token:[1-9A-HJ-NP-Za-km-z]{11}}"
# Look-ups under way at once: whoever tries tokens out must not take the daemon's connections.
_LOOKUPS = 2
_PATIENCE_SECONDS = 5.0
_TEXTS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("feedback_texts.toml").read_text(encoding="utf-8")
)
_LANGUAGE = "en"
# Programs that open links: crawlers, previews of messengers and mail programs, scanners, libraries.
_PROGRAM = re.compile(
    r"bot\b|bot/|crawl|spider|slurp|preview|scan|fetch|monitor|headless|facebookexternalhit|whatsapp|telegram|slack|discord"
    r"|skype|viber|curl|wget|python|java/|okhttp|go-http|libwww|httpclient|axios|node|ruby|perl|php|google-|proofpoint"
    r"|barracuda|mimecast",
    re.IGNORECASE,
)
_PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
_HEADERS = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


class Links:
    """The routes below `/f/` and `/l/`."""

    def __init__(self, database: Database, keys: DataKeys) -> None:
        self._database = database
        self._keys = keys
        self._looking = asyncio.Semaphore(_LOOKUPS)

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.get("/f/duly.css", self.style),
            web.get(f"/f/{_PART}", self.ask),
            web.post(f"/f/{_PART}", self.take),
            web.get(f"/l/{_PART}", self.lead),
            web.get("/f/{token}", self.unknown),
            web.get("/l/{token}", self.unknown),
        ]

    async def style(self, _request: web.Request) -> web.StreamResponse:
        """The page's style sheet, which else only those have who may see the pages."""
        return web.FileResponse(STATIC / "duly.css", headers={hdrs.CACHE_CONTROL: "public, max-age=86400"})

    async def unknown(self, request: web.Request) -> web.StreamResponse:
        """404: what cannot be a token is not looked up."""
        return _gone(request)

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """The two buttons. Changes nothing."""
        try:
            known = await self._say(request, None)
        except DatabaseDown:
            return _away()
        return _asking(request, "question") if known else _gone(request)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Notes which button was pressed."""
        helpful = {"yes": True, "no": False}.get(str((await request.post()).get("helpful")))
        if helpful is None:
            return _asking(request, "question", status=400)
        try:
            known = await self._say(request, helpful)
        except DatabaseDown:
            return _away()
        return _asking(request, "thanks", "change") if known else _gone(request)

    async def lead(self, request: web.Request) -> web.StreamResponse:
        """302 to the stored target."""
        kind = None if request.method == hdrs.METH_HEAD else "preview" if _is_program(request) else "click"
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._looking:
                row = await self._database.fetchrow(query("follow_link"), request.match_info["token"], kind)
                target = None if row is None else await self._target(row, request.match_info["token"])
        except (DatabaseDown, TimeoutError):
            return _away()
        if target is None:
            return _gone(request)
        return web.Response(
            status=302, headers={hdrs.LOCATION: target, hdrs.CACHE_CONTROL: "no-store", **_HEADERS}
        )

    async def _say(self, request: web.Request, helpful: bool | None) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._looking:
                row = await self._database.fetchrow(
                    query("feedback_by_link"), request.match_info["token"], helpful
                )
        except TimeoutError:
            raise DatabaseDown("no answer in time") from None
        return bool(row and row["known"])

    async def _target(self, row: Record, token: str) -> str | None:
        if row["sealed"] is None:
            found: str | None = row["target"]
            return found
        try:
            return (await self._keys.open(row["workspace_id"], "link", token, row["sealed"]))[0]
        except CannotOpen as error:
            log.error("a link cannot be opened", workspace_id=row["workspace_id"], why=str(error))
            return None


def _is_program(request: web.Request) -> bool:
    """Whether nobody pressed this link: as far as the program says what it is."""
    agent = request.headers.get(hdrs.USER_AGENT, "")[:500]
    ahead = any(
        word in request.headers.get(name, "").lower()
        for name in _PURPOSES
        for word in ("prefetch", "prerender", "preview")
    )
    return not agent or ahead or _PROGRAM.search(agent) is not None


def _asking(request: web.Request, title: str, text: str = "", *, status: int = 200) -> web.Response:
    return _page(request, status, title, text, asks=True)


def _gone(request: web.Request) -> web.Response:
    return _page(request, 404, "gone", "", asks=False)


def _page(request: web.Request, status: int, title: str, text: str, *, asks: bool) -> web.Response:
    language, texts = _texts(request.headers.get(hdrs.ACCEPT_LANGUAGE, "")[:200])
    facts = {"language": language, "texts": texts, "title": texts[title], "text": texts.get(text, "")}
    return page("feedback", status=status, headers=_HEADERS, asks=asks, **facts)


def _away() -> web.Response:
    return web.Response(
        status=503,
        text="Please try again in a few seconds.",
        headers={hdrs.RETRY_AFTER: "5", **_HEADERS},
    )


def _texts(accepted: str) -> tuple[str, dict[str, str]]:
    """The first language that the browser asks for and we have; they come in the order of liking."""
    for each in accepted.lower().split(","):
        language = each.partition(";")[0].strip().split("-")[0]
        if language in _TEXTS:
            return language, _TEXTS[language]
    return _LANGUAGE, _TEXTS[_LANGUAGE]
