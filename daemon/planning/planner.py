"""The actor that plans: what series want said, to whom, when. Daemons share the work without a leader (see plan_runs)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from daemon import clock, metrics
from daemon.actor import at_most, either
from daemon.config import PlanningConfig
from daemon.planning.plan_runs import PlanRuns, Progress
from daemon.planning.sources import Source
from daemon.store.database import Database, DatabaseDown

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 5.0
_OPEN_SECONDS = 30.0


class Planner:
    """Opens the days that come near and plans them, portion by portion."""

    name = "planner"

    def __init__(
        self,
        database: Database,
        config: Callable[[], PlanningConfig],
        sources: Mapping[str, Source],
        after: asyncio.Event,
        *,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`after`: set when the schema fits."""
        self._config = config
        self._after = after
        self._monotonic = monotonic
        self._runs = PlanRuns(database, sources)
        self._open_at = 0.0
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()

    def plan_soon(self) -> None:
        """Looks for new days at once, as when somebody asks over HTTP."""
        self._open_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Plans until `stop()`."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            self._wake.clear()
            if self._config().enabled:
                with contextlib.suppress(DatabaseDown):
                    await self.once()
            if not self._stopping.is_set():
                await at_most(_LOOK_SECONDS, self._wake)

    async def stop(self) -> None:
        """Ends after the portion under way."""
        self._stopping.set()
        self._wake.set()

    def health(self) -> str | None:
        """What it cannot plan is in the log and in `duly plan --status`; messages flow all the same."""
        return None

    async def once(self) -> Progress:
        """Plans whatever there is to plan now. Raises `DatabaseDown`; what was done until then is done."""
        config = self._config()
        self._runs.portion = config.portion
        now = self._monotonic()
        progress = Progress()
        if now >= self._open_at:
            await self._runs.open(config.lead_hours)
            self._open_at = now + _OPEN_SECONDS
        while not self._stopping.is_set() and await self._runs.step(progress):
            pass
        metrics.PLANNING_TROUBLES.set(len(progress.troubles))
        if progress.decided:
            log.info("planned", queued=progress.planned, not_sent=progress.skipped)
        return progress
