"""The page: what flows, one delivery, the sandbox's phones, and what is said when something is wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from uuid import UUID

import orjson
import structlog
from aiohttp import hdrs, web

from daemon.config import Config
from daemon.model import State
from daemon.queue.dispatcher import Dispatcher
from daemon.sealing.keys import DataKeys
from daemon.store import overview
from daemon.store.database import Database, DatabaseDown
from daemon.store.overview import Search
from daemon.web.access import Access, is_open
from daemon.web.dashboard.board import Board, Boards
from daemon.web.dashboard.phones import Phones
from daemon.web.dashboard.rendering import STATIC, fragment, page
from daemon.web.dashboard.standin import StandIn, is_number
from daemon.web.live import Live
from daemon.web.problems import Handler

log = structlog.get_logger(__name__)

# Searches under way at once: the daemon's own work needs the connections more.
_SEARCHES = 2
_KEPT_HEADERS = (hdrs.ALLOW, hdrs.WWW_AUTHENTICATE, hdrs.RETRY_AFTER)
# As the lists know them: leased ones are found with the sending, read ones with the delivered.
_STATES = [state for state in State if state not in (State.LEASED, State.READ)]


class Dashboard:
    """All pages."""

    def __init__(
        self,
        config: Callable[[], Config],
        database: Database,
        parts: Callable[[], Mapping[str, str | None]],
        dispatcher: Dispatcher,
        access: Access,
        keys: DataKeys,
    ) -> None:
        self._database = database
        self._keys = keys
        self._boards = Boards(database, config, parts, dispatcher)
        self._access = access
        self._stand_in = StandIn(lambda: config().sandbox.url)
        self._config = config
        self._searching = asyncio.Semaphore(_SEARCHES)

    def add_to(self, app: web.Application) -> None:
        """Adds the routes, and what they hold open for as long as the application runs."""
        live = Live(self._event, self._access.allows)
        app.add_routes(
            [
                web.get("/", self.index),
                web.get("/live", live.stream),
                web.get("/deliveries/{id}", self.delivery),
                web.static("/static", STATIC),
            ]
        )
        app.add_routes(Phones(self._stand_in).routes())

        async def shutdown(_: web.Application) -> None:
            await live.close()

        async def cleanup(_: web.Application) -> None:
            await self._stand_in.close()
            await self._boards.close()

        app.on_shutdown.append(shutdown)
        app.on_cleanup.append(cleanup)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets in who may see the pages, and says what is wrong as a page, not as JSON."""
        if is_open(request):
            return await handler(request)
        try:
            self._access.check(request)
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            headers = {k: v for k, v in error.headers.items() if k in _KEPT_HEADERS}
            return _trouble(error.status, error.text or error.reason, headers)
        except DatabaseDown as error:
            return _trouble(503, f"The database does not answer: {error}", {hdrs.RETRY_AFTER: "5"})
        except ConnectionResetError:
            raise
        except Exception:
            log.exception("a page failed", path=request.path)
            return _trouble(500, "Something went wrong on our side; it has been logged.", {})

    async def index(self, request: web.Request) -> web.StreamResponse:
        """What flows, and the latest deliveries or those asked for."""
        wanted = _search(request.query)
        board = await self._boards.look()
        found = None
        if wanted and board.problem is None:
            async with self._searching:
                found = await overview.search(self._database, wanted)
        return page(
            "index",
            status=200 if board.problem is None else 503,
            board=board,
            wanted=wanted,
            found=found,
            states=_STATES,
            node=self._config().daemon.node,
        )

    async def delivery(self, request: web.Request) -> web.StreamResponse:
        """What happened to one delivery, and what it said."""
        text = request.match_info["id"]
        try:
            delivery_id = UUID(text)
        except ValueError:
            raise web.HTTPBadRequest(text="That is no delivery's id: it has 32 hexadecimal digits.") from None
        async with self._searching:
            opened = await overview.open_delivery(self._database, delivery_id, self._keys)
        if opened is None:
            raise web.HTTPNotFound(text="There is no delivery with this id.")
        timeline = opened.timeline
        return page(
            "delivery",
            opened=opened,
            timeline=timeline,
            final=State(timeline.state).final,
            on_phone=self._stand_in.configured and is_number(timeline.to),
        )

    async def _event(self) -> bytes:
        """The parts of the first page that move, by their names there."""
        board: Board = await self._boards.look()
        return orjson.dumps(
            {
                "overview": fragment("_overview", board=board),
                "newest": fragment("_list", items=board.newest) if board.problem is None else None,
            }
        )


def _search(query: Mapping[str, str]) -> Search:
    """What is asked for. Raises 400 for a state that there is not."""
    state = query.get("state", "").strip()
    try:
        meant = State(state) if state else None
    except ValueError:
        raise web.HTTPBadRequest(text="There is no such state.") from None
    return Search(
        workspace=query.get("workspace", "").strip().replace("\0", "")[:100] or None,
        state=meant,
        to=_address(query.get("to", "")) or None,
    )


def _address(text: str) -> str:
    """An address as it is stored. A number may be written with spaces, and a + typed into a URL is a space."""
    text = text.strip()[:1000].replace("\0", "")
    digits = re.sub(r"[\s().-]", "", text)
    return "+" + digits.removeprefix("+") if re.fullmatch(r"\+?[0-9]{7,15}", digits) else text


def _trouble(status: int, text: str, headers: dict[str, str]) -> web.Response:
    return page(
        "trouble", status=status, headers=headers, code=status, title=HTTPStatus(status).phrase, text=text
    )
