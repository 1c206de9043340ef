"""What the first page shows: the database's numbers and what this process knows of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from daemon.config import Config
from daemon.planning.campaign_outlook import current
from daemon.planning.forecast import Forecast, Outlook
from daemon.queue.adaptive import Speed
from daemon.queue.dispatcher import Dispatcher
from daemon.store import overview
from daemon.store.database import Database, DatabaseDown
from daemon.store.overview import Counts, Day, Item
from daemon.web.dashboard.future import Future, Futures
from daemon.web.dashboard.rush import Rush, Rushes
from daemon.web.live import Paced

NEWEST = 20
# More workspaces than this nobody compares; the busiest are shown and the rest only in the totals.
MAX_WORKSPACES = 50
MAX_CAMPAIGNS = 10
# There are five paced questions: together they take at most a tenth of the database's time.
_PAUSE_FACTOR = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A workspace's line."""

    workspace: str
    counts: Counts
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account of this daemon."""

    name: str
    kind: str
    state: str  # "ok", or in a few words what is the matter
    waiting: int
    in_flight: int
    concurrency: int
    speed: Speed | None  # None where it is off


@dataclass(frozen=True, slots=True)
class Board:
    """Everything at one moment. Without the database's answer `problem` says why, and the counts are empty."""

    rows: Sequence[Row]
    others: int  # workspaces that are not among the rows
    total: Counts
    newest: Sequence[Item]
    accounts: Sequence[AccountView]
    parts: Mapping[str, str | None]
    problem: str | None = None  # nothing could be counted
    day_problem: str | None = None  # the last 24 hours could not
    campaigns: Sequence[Mapping[str, Any]] = ()  # those under way, as `campaign_outlook.progress` has them
    rush: Rush | None = None  # the busiest moment that is planned for
    future: Forecast | None = None
    future_problem: str | None = None  # nothing could be foretold

    @property
    def workspaces(self) -> list[str]:
        """The names shown."""
        return [row.workspace for row in self.rows]

    @property
    def healthy(self) -> bool:
        """Whether every part is fit and every account goes."""
        return (
            self.problem is None
            and not any(self.parts.values())
            and all(account.state in ("ok", "off") for account in self.accounts)
        )


class Boards:
    """Makes them. However many ask, the database is asked as seldom as `Paced` says."""

    def __init__(
        self,
        database: Database,
        config: Callable[[], Config],
        parts: Callable[[], Mapping[str, str | None]],
        dispatcher: Dispatcher,
    ) -> None:
        self._config = config
        self._parts = parts
        self._dispatcher = dispatcher

        async def present() -> tuple[dict[str, Counts], list[Item]]:
            return await overview.under_way(database), await overview.newest(database, NEWEST)

        async def under_way() -> list[dict[str, Any]]:
            async with database.acquire() as conn:
                return await current(conn, config(), MAX_CAMPAIGNS)

        self._present = Paced(present, pause_factor=_PAUSE_FACTOR)
        self._campaigns = Paced(under_way, pause_factor=_PAUSE_FACTOR)
        self._last_day = Paced(lambda: overview.last_day(database), pause_factor=_PAUSE_FACTOR)
        self._rushes = Rushes(database, config, _PAUSE_FACTOR)
        self._futures = Futures(database, config, dispatcher, _PAUSE_FACTOR)

    async def look(self) -> Board:
        """A board as of now. Never raises `DatabaseDown`: what cannot be had is said on it."""
        counts: dict[str, Counts] = {}
        newest: list[Item] = []
        campaigns: list[dict[str, Any]] = []
        day, future = Day(), Future()
        rush: Rush | None = None
        problem = day_problem = None
        try:
            counts, newest = await self._present.get()
        except DatabaseDown as error:
            problem = str(error)
        else:
            try:
                day = await self._last_day.get()
            except DatabaseDown as error:
                day_problem = str(error)
            counts = {name: of + day.counts.get(name, Counts()) for name, of in counts.items()}
            future = await self._futures.look(day.sent)
            with contextlib.suppress(DatabaseDown):
                campaigns = await self._campaigns.get()
            rush = await self._rushes.look()
        outlooks = future.forecast.workspaces if future.forecast else {}
        rows = sorted(
            (Row(name, of, outlooks.get(name, Outlook())) for name, of in counts.items()),
            key=lambda row: -row.counts.all,
        )
        return Board(
            rows=sorted(rows[:MAX_WORKSPACES], key=lambda row: row.workspace),  # so that none jumps about
            others=max(0, len(rows) - MAX_WORKSPACES),
            total=reduce(add, counts.values(), Counts()),
            newest=newest,
            accounts=self._accounts(),
            parts=self._parts(),
            problem=problem,
            day_problem=day_problem,
            campaigns=campaigns,
            rush=rush,
            future=future.forecast,
            future_problem=future.problem,
        )

    async def close(self) -> None:
        """Ends what is being worked out."""
        await self._rushes.close()
        await self._futures.close()

    def _accounts(self) -> list[AccountView]:
        states = self._dispatcher.accounts()
        found = []
        for name, platform in self._config().platforms.items():
            line = self._dispatcher.lines.get(name)
            found.append(
                AccountView(
                    name=name,
                    kind=platform.kind,
                    state=states.get(name, "off"),
                    waiting=line.waiting if line else 0,
                    in_flight=line.in_flight if line else 0,
                    concurrency=platform.concurrency,
                    speed=line.speed() if line else None,
                )
            )
        return found
