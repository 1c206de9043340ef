"""The live view: one loop looks for all who watch, only while somebody watches, and never too often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

import structlog
from aiohttp import web

from daemon import clock
from daemon.store.database import DatabaseDown
from daemon.store.overview import TooSlow
from daemon.web.problems import problem

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_WATCHERS = 100
_TICK_SECONDS = 1.0
_OUTAGE_PAUSE_SECONDS = 2.0
_HEARTBEAT_SECONDS = 15.0
# A watcher that takes nothing for so long is gone.
_WRITE_SECONDS = 10.0
# A page waits so long for a new answer; then it shows the last one.
_PATIENCE_SECONDS = 0.5


class Paced(Generic[T]):
    """A question's last answer, asked again no sooner than its cost allows, however many want it.

    `pause_factor` 40 means that it takes at most 1/40 of the database's time.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        pause_factor: float,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self._ask = ask
        self._pause_factor = pause_factor
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._due = 0.0
        self._answer: T | None = None
        self._problem: str | None = "not asked yet"

    async def get(self) -> T:
        """Raises `DatabaseDown`, also for as long as the last try's failure holds."""
        async with self._lock:
            if self._monotonic() >= self._due:
                await self._renew()
            if self._problem is not None or self._answer is None:
                raise DatabaseDown(self._problem or "no answer")
            return self._answer

    async def _renew(self) -> None:
        began = self._monotonic()
        outage = False
        try:
            self._answer, self._problem = await self._ask(), None
        except DatabaseDown as error:
            self._problem = str(error)
            outage = not isinstance(error, TooSlow)
        finally:  # also where whoever asked has left meanwhile: the database has had the work
            now = self._monotonic()
            pause = max(_TICK_SECONDS, (now - began) * self._pause_factor)
            self._due = now + (_OUTAGE_PAUSE_SECONDS if outage else pause)


class Beside(Generic[T]):
    """A question that takes long, asked beside the page: once at a time, no oftener than it costs."""

    def __init__(self, name: str, ask: Callable[[], Awaitable[T]], *, pause_factor: float) -> None:
        """`name`: of its task; `pause_factor`: see `Paced`."""
        self._name = name
        self._paced = Paced(ask, pause_factor=pause_factor)
        self._asking: asyncio.Task[T] | None = None
        self._last: tuple[T | None, str | None] = (None, None)

    async def look(self) -> tuple[T | None, str | None]:
        """The last answer, after a short wait for a newer one; or None and why the database gave none."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._paced.get(), name=self._name)
        asking = self._asking
        await asyncio.wait([asking], timeout=_PATIENCE_SECONDS)
        if asking.done() and self._asking is asking:
            self._asking = None
            try:
                self._last = asking.result(), None
            except DatabaseDown as error:
                self._last = None, str(error)
        return self._last

    async def close(self) -> None:
        """Ends what is under way."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


class Live:
    """`/live`: what `look` returns, once a second, as server-sent events. A watcher who is slow skips some."""

    def __init__(
        self,
        look: Callable[[], Awaitable[bytes]],
        allows: Callable[[web.Request], bool],
        *,
        max_watchers: int = MAX_WATCHERS,
    ) -> None:
        self._look = look
        self._allows = allows
        self._max_watchers = max_watchers
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None
        self._news: asyncio.Future[bytes | None] | None = None
        self._closed = False

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Serves one watcher until they leave, may no longer see it, or we close."""
        if self._watchers >= self._max_watchers:
            return problem(503, "too many are watching; reload to look once", headers={"Retry-After": "10"})
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        with self._watching(), contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            try:
                await self._serve(request, response)
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
        return response

    async def _serve(self, request: web.Request, response: web.StreamResponse) -> None:
        while self._allows(request):
            event = await self._next()
            if event is None:
                return
            async with asyncio.timeout(_WRITE_SECONDS):
                await response.write(event)

    async def close(self) -> None:
        """Sends every watcher away."""
        self._closed = True
        self._tell(None)
        await self._rest()

    async def _next(self) -> bytes | None:
        """The next event, a sign of life where none comes for long, or None at the end."""
        if self._closed or self._news is None:
            return None
        done, _ = await asyncio.wait([self._news], timeout=_HEARTBEAT_SECONDS)
        return done.pop().result() if done else b": still here\n\n"

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        self._watchers += 1
        if self._looking is None and not self._closed:
            self._news = asyncio.get_running_loop().create_future()
            self._looking = asyncio.create_task(self._keep_looking(), name="live view")
        try:
            yield
        finally:
            self._watchers -= 1
            if self._watchers == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _keep_looking(self) -> None:
        while True:
            try:
                data = await self._look()
            except Exception:
                log.exception("the live view could not look")
            else:
                self._tell(b"data: " + data + b"\n\n")
            await asyncio.sleep(_TICK_SECONDS)

    async def _rest(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def _tell(self, event: bytes | None) -> None:
        told, self._news = self._news, asyncio.get_running_loop().create_future()
        if told is not None and not told.done():
            told.set_result(event)
