"""The slow loop that removes what is old: first texts, later everything about a delivery.

It walks the deliveries by id, which begins with the time, in small portions: what ended long enough ago, in a
workspace that says for how long it keeps things, and is under no legal hold. Daemons take turns. A pass looks only
at what has come of age since the last; the first pass of a daemon, the first after a reload and one a day look at
everything, for what was not yet at its end when its time came.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

import structlog

from daemon import clock
from daemon.actor import at_most, either
from daemon.config import Config
from daemon.store.database import Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_TURN_SECONDS = 3600.0
_LOOK_SECONDS = 60.0
_WHOLE_SECONDS = 86_400.0
_PORTION = 500
# Between portions others have the database to themselves.
_PAUSE_SECONDS = 0.05
_NOBODY = 0  # the workspace of what came to nobody's number


class Retention:
    """The actor that forgets."""

    name = "retention"

    def __init__(
        self,
        database: Database,
        config: Callable[[], Config],
        after: asyncio.Event,
        *,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`after`: set when the schema fits."""
        self._database = database
        self._config = config
        self._after = after
        self._monotonic = monotonic
        self._whole_at = -math.inf  # when everything is to be looked at
        self._stopping = asyncio.Event()

    def reload(self) -> None:
        """Other days may hold now: the next pass looks at everything."""
        self._whole_at = -math.inf

    async def run(self) -> None:
        """A pass an hour, whichever daemon makes it, until `stop()`."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            with contextlib.suppress(DatabaseDown):
                turn = await self._database.fetchrow(query("retention_turn"), _TURN_SECONDS)
                if turn is not None:
                    await self._pass(turn["since"])
            await at_most(_LOOK_SECONDS, self._stopping)

    async def stop(self) -> None:
        """Ends after the portion under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """It needs nothing of its own."""
        return None

    async def once(self, since: datetime | None = None) -> Counter[str]:
        """Removes what is old, of what came of age after `since` or of everything; how much of each kind.

        Raises `DatabaseDown`; what was done until then is done.
        """
        done: Counter[str] = Counter()
        ids = {row["name"]: row["id"] for row in await self._database.fetch(query("workspaces"))}
        config = self._config()
        for remove, days_of in ((False, config.keep_bodies_days), (True, config.keep_facts_days)):
            for days, workspaces in _by_days(ids, days_of).items():
                done["deliveries" if remove else "texts"] += await self._walk(remove, workspaces, days, since)
                done["campaigns"] += await self._ask("empty_campaigns", workspaces, days, remove)
                done["members"] += await self._all("remove_old_members", workspaces, days, remove, _PORTION)
                if remove:
                    done["plans"] += await self._all("remove_old_plans", workspaces, days, _PORTION)
                done["inbound"] += await self._all("empty_inbound", workspaces, days, since, _PORTION, remove)
        done["erased"] += await self._ask("erase_again")
        return done

    async def _pass(self, since: datetime | None) -> None:
        whole = self._monotonic() >= self._whole_at
        done = await self.once(None if whole else since)
        if whole:
            self._whole_at = self._monotonic() + _WHOLE_SECONDS
        if done.total():
            log.info("removed what is old", **{kind: count for kind, count in done.items() if count})

    async def _walk(self, remove: bool, workspaces: list[int], days: int, since: datetime | None) -> int:
        statement = query("remove_old" if remove else "empty_old")
        done = 0
        reached: UUID | None = None
        while not self._stopping.is_set():
            row = await self._database.fetchrow(statement, workspaces, days, reached, _PORTION, since)
            if row is None or row["reached"] is None:
                break
            done += row["done"]
            reached = row["reached"]
            await at_most(_PAUSE_SECONDS, self._stopping)
        return done

    async def _all(self, name: str, *arguments: object) -> int:
        done, portion = 0, _PORTION
        while portion >= _PORTION and not self._stopping.is_set():
            portion = await self._ask(name, *arguments)
            done += portion
            await at_most(_PAUSE_SECONDS, self._stopping)
        return done

    async def _ask(self, name: str, *arguments: object) -> int:
        row = await self._database.fetchrow(query(name), *arguments)
        return int(row[0]) if row is not None else 0


def _by_days(ids: Mapping[str, int], days_of: Callable[[str | None], int]) -> dict[int, list[int]]:
    """Days → the workspaces whose things are kept so long; those kept for good are left out."""
    found: dict[int, list[int]] = defaultdict(list)
    for name, workspace_id in [*ids.items(), (None, _NOBODY)]:
        if days := days_of(name):
            found[days].append(workspace_id)
    return found
