"""The sandbox put together: the application, and the server that runs it."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Self

import orjson
from aiohttp import web

from daemon.sandbox import control
from daemon.sandbox.backlog import Backlog
from daemon.sandbox.callbacks import Callbacks
from daemon.sandbox.control import Control, Handler
from daemon.sandbox.errors import TwilioError
from daemon.sandbox.faults import Dice
from daemon.sandbox.ledger import Ledger
from daemon.sandbox.lifecycle import Lifecycle
from daemon.sandbox.settings import SandboxSettings
from daemon.sandbox.twilio import Twilio

_GRACE_SECONDS = 0.5


class Sandbox:
    """A stand-in for Twilio on a real socket: `async with Sandbox(settings) as sandbox: sandbox.url`.

    Everything runs in the loop that entered it. `ledger` and `dice` may be used directly from there.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.ledger = Ledger()
        rng = random.Random(settings.seed)
        self.dice = Dice(random.Random(rng.random()))
        self.backlog = Backlog()
        self.callbacks = Callbacks(settings, self.ledger, self.dice, self.backlog)
        self.lifecycle = Lifecycle(settings, self.ledger, self.callbacks, self.backlog, rng)
        self.twilio = Twilio(settings, self.ledger, self.lifecycle, self.dice, rng)
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError` where the address is taken."""
        runner = web.AppRunner(
            self.build_app(), access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE_SECONDS
        )
        await runner.setup()
        site = web.TCPSite(runner, self.settings.host, self.settings.port)
        try:
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self.callbacks.start()
        self.url = _url(self.settings.host, runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening and drop what was still to come."""
        self.lifecycle.close()
        self.twilio.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self.callbacks.close()

    async def settled(self, timeout_seconds: float = 30.0) -> None:
        """Wait until every message has ended and every webhook is settled. Raises `TimeoutError`."""
        await asyncio.wait_for(self.backlog.settled(), timeout_seconds)

    def reset(self) -> None:
        """Forget every message, phone, number and waiting webhook. Faults and settings stay."""
        self.ledger.reset()
        self.twilio.reset()
        self.callbacks.forget()

    def build_app(self) -> web.Application:
        """The application, for a server of one's own."""
        app = web.Application(middlewares=[_errors])
        app.add_routes(self.twilio.routes())
        app.add_routes(Control(self.ledger, self.lifecycle, self.dice, self.backlog, self.reset).routes())
        return app

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give errors the shape of the API they come from."""
    if request.path.startswith(control.PREFIX):
        return await control.guarded(request, handler)
    try:
        return await handler(request)
    except TwilioError as error:
        return _refusal(error)
    except web.HTTPMethodNotAllowed:
        return _refusal(TwilioError(20004))
    except web.HTTPNotFound:
        return _refusal(TwilioError(20404, request.path))
    except web.HTTPRequestEntityTooLarge:
        return _refusal(TwilioError(20001, "the body is too large"))


def _refusal(error: TwilioError) -> web.Response:
    return web.Response(
        body=orjson.dumps(error.payload()),
        status=error.status,
        headers=error.headers(),
        content_type="application/json",
    )
