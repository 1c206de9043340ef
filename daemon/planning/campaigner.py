"""The actor that runs campaigns: it gathers their audiences, queues their members and decides between their variants.

Any daemon does it: a campaign's row is locked for a portion, and who finds it locked goes on to the next. Each portion is
one transaction, so that a kill anywhere leaves what the next one goes on from.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import structlog

from daemon import clock
from daemon.actor import at_most, either
from daemon.config import Config
from daemon.planning.campaigns import Campaign, campaign_of
from daemon.planning.experiments import Arm, Verdict, judge, leader
from daemon.planning.feeding import Feeder
from daemon.planning.gathering import gather
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database, DatabaseDown
from daemon.store.sql import query

log = structlog.get_logger(__name__)

_BUSY_SECONDS = 0.5  # until the next look, while a campaign is under way
_IDLE_SECONDS = 3.0
_HEAR_SECONDS = 15.0
_SETTLE_SECONDS = 60.0
_DECIDE_SECONDS = 5.0
_EXPIRED_AT_ONCE = 5000


class Campaigner:
    """Works on all campaigns that are open, a portion of each in turn."""

    name = "campaigner"

    def __init__(
        self,
        database: Database,
        config: Callable[[], Config],
        keys: DataKeys,
        after: asyncio.Event,
        *,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`after`: set when the schema fits."""
        self._database = database
        self._config = config
        self._keys = keys
        self._after = after
        self._monotonic = monotonic
        self._stopping = asyncio.Event()
        self._trouble: str | None = None
        self._again: dict[tuple[str, UUID | None], float] = {}  # what is done now and then → when next

    async def run(self) -> None:
        """Until `stop()`. An outage of the database ends a pass, and the next one goes on."""
        await either(self._after, self._stopping)
        while not self._stopping.is_set():
            pause = _IDLE_SECONDS
            with contextlib.suppress(DatabaseDown):
                pause = await self._pass()
            if pause:
                await at_most(pause, self._stopping)

    async def stop(self) -> None:
        """Ends after the portion under way."""
        self._stopping.set()

    def health(self) -> str | None:
        """What keeps a campaign from going on."""
        return self._trouble

    async def once(self) -> int:
        """A portion of each open campaign; how many members were moved. Raises `DatabaseDown`."""
        moved, trouble = 0, None
        for row in await self._database.fetch(query("campaigns_open")):
            if self._stopping.is_set():
                break
            try:
                moved += await self._work(row["id"], row["workspace_id"], row["state"])
            except asyncpg.PostgresError as error:  # of this one: the others go on
                trouble = f"a campaign cannot go on: {type(error).__name__}"
                log.error(
                    "a campaign cannot go on",
                    campaign=str(row["id"]),
                    error=type(error).__name__,
                    code=error.sqlstate,
                )
        self._trouble = trouble
        return moved

    async def _pass(self) -> float:
        """A round; how long to rest until the next."""
        if self._is_time("hear", None, _HEAR_SECONDS):
            await self._database.fetchrow(query("campaign_replies"))
        moved = await self.once()
        if moved:
            return 0.0
        return _BUSY_SECONDS if self._again_of("work") else _IDLE_SECONDS

    async def _work(self, campaign_id: UUID, workspace_id: int, state: str) -> int:
        if state != "running":
            await self._rest(campaign_id, workspace_id)
            return 0
        async with self._database.acquire() as conn, conn.transaction():
            row = await conn.fetchrow(query("campaign_turn"), campaign_id, workspace_id)
            if row is None:
                return 0
            self._again["work", campaign_id] = self._monotonic() + 2 * _IDLE_SECONDS
            return await self._portion(conn, campaign_of(row))

    async def _rest(self, campaign: UUID, workspace_id: int) -> None:
        """Takes back what must not go. What a platform could not deliver is looked for now and then."""
        now_and_then = self._is_time("settle", campaign, _SETTLE_SECONDS)
        if now_and_then:
            for name in ("campaign_over", "campaign_settle", "campaign_reopen"):
                await self._database.execute(query(name), campaign, workspace_id)
        row = await self._database.fetchrow(query("campaign_rest"), campaign, workspace_id)
        if row is not None and row["open"]:
            self._again["work", campaign] = self._monotonic() + 2 * _IDLE_SECONDS
        if now_and_then:
            await self._database.execute(query("campaign_calm"), campaign, workspace_id)

    async def _portion(self, conn: Connection, campaign: Campaign) -> int:
        if campaign.gathered_at is None:
            await gather(conn, campaign, self._keys)
            return 1  # go on at once
        of = (campaign.id, campaign.workspace_id)
        await conn.execute(query("campaign_over"), *of)
        if self._is_time("settle", campaign.id, _SETTLE_SECONDS):
            await conn.execute(query("campaign_settle"), *of)
            await conn.execute(query("campaign_reopen"), *of)
        if campaign.expires_at is not None and campaign.expires_at <= campaign.now:
            moved = int((await conn.execute(query("campaign_expire"), *of, _EXPIRED_AT_ONCE)).split()[-1])
            if moved:
                return moved
        left = await conn.fetchrow(query("campaign_left"), *of)
        assert left is not None
        if not (left["drawn"] or left["rest"] or left["queued"]):
            await conn.execute(query("campaign_settle"), *of)
            if int((await conn.execute(query("campaign_reopen"), *of)).split()[-1]):
                return 0
            await conn.execute(query("campaign_done"), *of)
            log.info("a campaign is done", campaign=str(campaign.id))
            return 0
        if not left["drawn"] and campaign.tested_at is None:
            await conn.execute(query("campaign_tested"), *of)
        if left["rest"] and campaign.winner is None:
            campaign = replace(campaign, winner=await self._decide(conn, campaign))
        return await Feeder(conn, campaign, self._config(), self._keys).feed(left["queued"])

    async def _decide(self, conn: Connection, campaign: Campaign) -> str | None:
        """Picks the winner where the figures say so, or the better one when the time is up."""
        if campaign.decides != "auto" or not self._is_time("decide", campaign.id, _DECIDE_SECONDS):
            return None
        arms = await arms_of(conn, campaign)
        verdict = judge(arms, campaign.alpha)
        if verdict.winner is not None:
            return await self._pick(conn, campaign, verdict.winner, "statistics", arms, verdict)
        if campaign.tested_at is not None and campaign.now >= campaign.tested_at + campaign.decide_after:
            return await self._pick(conn, campaign, leader(arms), "deadline", arms, verdict)
        return None

    async def _pick(
        self,
        conn: Connection,
        campaign: Campaign,
        winner: str,
        by: str,
        arms: list[Arm],
        verdict: Verdict,
    ) -> str:
        because = because_of(by, campaign.alpha, arms, verdict)
        await conn.fetchrow(
            query("campaign_pick"),
            campaign.workspace,
            campaign.name,
            winner,
            orjson.dumps(because).decode(),
        )
        log.info("a campaign's variant was chosen", campaign=str(campaign.id), by=by)
        return winner

    def _is_time(self, what: str, of: UUID | None, seconds: float) -> bool:
        now = self._monotonic()
        if now < self._again.get((what, of), 0.0):
            return False
        self._again = {key: at for key, at in self._again.items() if at > now}
        self._again[what, of] = now + seconds
        return True

    def _again_of(self, what: str) -> bool:
        now = self._monotonic()
        return any(key[0] == what and at > now for key, at in self._again.items())


async def arms_of(conn: Connection, campaign: Campaign) -> list[Arm]:
    """What each variant has brought among those whose variant was drawn."""
    rows = await conn.fetch(query("campaign_results"), campaign.id, campaign.workspace_id)
    by_name = {row["variant"]: row for row in rows if row["tested"]}
    return [
        Arm(v.name, v.weight, by_name[v.name]["sent"], by_name[v.name]["hits"])
        if v.name in by_name
        else Arm(v.name, v.weight, 0, 0)
        for v in campaign.variants
    ]


def because_of(by: str, alpha: float, arms: list[Arm], verdict: Verdict) -> dict[str, Any]:
    """How it was decided, as it is kept."""
    return {
        "by": by,
        "alpha": round(alpha, 6),
        "arms": [{"name": arm.name, "sent": arm.sent, "hits": arm.hits} for arm in arms],
        "comparisons": [comparison.as_json() for comparison in verdict.comparisons],
    }
