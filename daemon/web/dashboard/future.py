"""The forecast as the page has it: worked out beside it, so that nobody waits long for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daemon.config import Config
from daemon.planning.forecast import Forecast, Known, forecast
from daemon.planning.looking import look
from daemon.queue.dispatcher import Dispatcher
from daemon.store import overview
from daemon.store.database import Database
from daemon.web.live import Beside


@dataclass(frozen=True, slots=True)
class Future:
    """The last forecast, and why there is no newer one."""

    forecast: Forecast | None = None
    problem: str | None = None


class Futures:
    """Works forecasts out, one at a time and no oftener than they cost; the arithmetic has a thread of its own."""

    def __init__(
        self,
        database: Database,
        config: Callable[[], Config],
        dispatcher: Dispatcher,
        pause_factor: float,
    ) -> None:
        self._database = database
        self._config = config
        self._dispatcher = dispatcher
        self._sent: Mapping[tuple[str, str | None], Sequence[int]] = {}
        self._beside = Beside("forecast", self._ask, pause_factor=pause_factor)

    async def look(self, sent: Mapping[tuple[str, str | None], Sequence[int]]) -> Future:
        """`sent`: see `Known`."""
        self._sent = sent
        return Future(*await self._beside.look())

    async def close(self) -> None:
        """Ends what is under way."""
        await self._beside.close()

    async def _ask(self) -> Forecast:
        async with overview.reading(self._database) as conn:
            seen = await look(conn)
        known = Known(
            seen.alive,
            self._dispatcher.accounts(),
            self._sent,
            seen.call_seconds,
            {account: speed.per_second for account, speed in self._dispatcher.speeds().items()},
        )
        cohorts = [*seen.asked, *seen.busy]
        return await asyncio.to_thread(
            forecast, seen.at, seen.lots, seen.edges, cohorts, self._config(), known
        )
