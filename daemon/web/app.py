"""The actor that serves HTTP: health, hooks, and the page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web

from daemon.config import Config
from daemon.queue.dispatcher import Dispatcher
from daemon.sealing.keys import DataKeys
from daemon.store.database import Database
from daemon.web.access import Access, add_headers
from daemon.web.api import Api
from daemon.web.campaigns import Campaigns
from daemon.web.dashboard import Dashboard
from daemon.web.health import Health
from daemon.web.hooks import Hooks, Inbox
from daemon.web.links import Links
from daemon.web.logins import Logins
from daemon.web.people import People
from daemon.web.plans import Plans
from daemon.web.problems import problems
from daemon.web.request_ids import add_request_id, request_ids
from daemon.web.responses import Responses
from daemon.web.series import SeriesRoutes
from daemon.web.texts import Texts

log = structlog.get_logger(__name__)


class Web:
    """One aiohttp server for everything that comes in over HTTP."""

    name = "web"

    def __init__(
        self,
        config: Callable[[], Config],
        database: Database,
        inbox: Inbox,
        parts: Callable[[], Mapping[str, str | None]],
        dispatcher: Dispatcher,
        logins: Logins,
        keys: DataKeys,
        sealing: Callable[[], Mapping[str, str]],
        plan_soon: Callable[[], None],
    ) -> None:
        """`sealing`: what cannot be sealed or opened, and why; `plan_soon`: has the planner look at once."""
        self._config = config().web  # what is read once, at start; the page asks anew
        self.hooks = Hooks(inbox)
        self._health = Health(parts, dispatcher.accounts, dispatcher.speeds, sealing, dispatcher.observe)
        access = Access(lambda: config().web, logins)
        self._api = Api(access, database)
        self._people = People(access, database)
        self._texts = Texts(access, database)
        self._plans = Plans(access, database, plan_soon)
        self._series = SeriesRoutes(access, database)
        self._responses = Responses(access, database, lambda: config().web.link_base, keys)
        self._links = Links(database, keys)
        self._campaigns = Campaigns(access, database, config)
        self._dashboard = Dashboard(config, database, parts, dispatcher, access, keys)
        self._stopping = asyncio.Event()
        self.listening = asyncio.Event()
        self.port = self._config.port

    @property
    def url(self) -> str:
        """Where the page is, seen from this machine."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"http://{host}:{self.port}"

    async def run(self) -> None:
        """Serves until `stop()`."""
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=5, handle_signals=False)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._config.host, self.port, reuse_address=True)
            await site.start()
            self.port = runner.addresses[0][1]
            self.listening.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def stop(self) -> None:
        """Finishes the requests under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """It answers, so it is fit."""
        return None

    def _app(self) -> web.Application:
        app = web.Application(
            middlewares=[request_ids, problems, self._dashboard.guard],
            client_max_size=self._config.max_body_bytes,
        )
        app.on_response_prepare.append(add_headers)
        app.on_response_prepare.append(add_request_id)
        app.add_routes(self._health.routes())
        app.add_routes(self.hooks.routes())
        app.add_routes(self._api.routes())
        app.add_routes(self._people.routes())
        app.add_routes(self._texts.routes())
        app.add_routes(self._plans.routes())
        app.add_routes(self._series.routes())
        app.add_routes(self._responses.routes())
        app.add_routes(self._links.routes())
        app.add_routes(self._campaigns.routes())
        self._dashboard.add_to(app)
        return app
