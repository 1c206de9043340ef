"""Pauses and resumes a campaign at random moments, and looks whether its counts add up meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import orjson

from daemon.chaos.campaign.making import Wanted
from daemon.chaos.producer import GONE
from daemon.store.database import Connection
from daemon.store.sql import query

_PAUSED_SECONDS = (0.1, 0.6)
_RUNNING_SECONDS = (0.1, 0.8)
_AGAIN_SECONDS = 0.1


@dataclass(slots=True)
class Disturbed:
    """When it was surely paused, by the database's clock; and how often one looked and the counts did not add up."""

    paused: list[tuple[datetime, datetime]] = field(default_factory=list)
    looks: int = 0
    wrong_sums: int = 0


async def disturb(dsn: Callable[[], str], wanted: Wanted, seconds: float, rng: random.Random) -> Disturbed:
    """Pauses and resumes for so long, and leaves it running. A database that goes away is waited for."""
    done = Disturbed()
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(*GONE):
            conn: Connection = await asyncpg.connect(dsn(), timeout=5, command_timeout=30)
            try:
                await _rounds(conn, wanted, until, rng, done)
                return done
            finally:
                conn.terminate()
        await asyncio.sleep(_AGAIN_SECONDS)


async def _rounds(
    conn: Connection, wanted: Wanted, until: float, rng: random.Random, done: Disturbed
) -> None:
    of = (wanted.workspace, wanted.name)
    while time.monotonic() < until:
        await _rest(conn, wanted, rng.uniform(*_RUNNING_SECONDS), done)
        if await _ended(conn, wanted):
            return
        await conn.execute(query("campaign_act_pause"), *of)
        since = await conn.fetchval(query("chaos_clock_now"))
        await _rest(conn, wanted, rng.uniform(*_PAUSED_SECONDS), done)
        done.paused.append((since, await conn.fetchval(query("chaos_clock_now"))))
        await conn.execute(query("campaign_act_resume"), *of)
    if not await _ended(conn, wanted):
        await conn.execute(query("campaign_act_resume"), *of)


async def _ended(conn: Connection, wanted: Wanted) -> bool:
    facts = await conn.fetchrow(query("campaign_facts"), wanted.workspace, wanted.name)
    return facts is not None and facts["state"] == "done"


async def _rest(conn: Connection, wanted: Wanted, seconds: float, done: Disturbed) -> None:
    """So long, looking at the counts."""
    until = time.monotonic() + seconds
    while True:
        found = orjson.loads(await conn.fetchval(query("campaign_progress"), wanted.workspace, wanted.name))
        done.looks += 1
        if found["audience"] != found["sent"] + found["waiting"] + sum(found["skipped"].values()):
            done.wrong_sums += 1
        left = until - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(left, _AGAIN_SECONDS))
