"""queue: the whole pipeline with a platform that answers at once, against raw SQL: lease and record, 500 at a time.

What the pipeline does beside that: fairness, priorities, limits, the `sending` mark and its commit.
"""

from __future__ import annotations

from itertools import count

import asyncpg

from daemon.config import PlatformConfig
from daemon.model import Accepted, Outcome, Rendered
from daemon.platforms.base import Platform
from daemon.platforms.registry import make_platform
from daemon.platforms.twilio import Twilio
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.bench.harness import (
    Result,
    Took,
    compared,
    configured,
    fill,
    fresh_database,
    held_daemon,
    recorded,
    timed,
)
from tests.bench.send import unmarked_lease

_BATCH = 500
_WORKSPACES = 50


class Instant(Twilio):
    """Twilio's adapter but for the call."""

    _sids = count()

    async def send(self, rendered: Rendered) -> Outcome:
        """Takes it."""
        return Accepted(f"SM{next(self._sids):032x}")


def _instant(config: PlatformConfig) -> Platform:
    made = make_platform(config)
    made.__class__ = Instant
    return made


async def raw(dsn: str, conn: Connection, messages: int) -> Took:
    """The limit: both statements by turns on one connection, as fast as it takes them."""
    await fill(conn, messages, _WORKSPACES)
    node = await conn.fetchval(
        "insert into duly.node (name, version, alive_until) values ('raw', '0', 'infinity') returning id"
    )
    workspaces = [row["id"] for row in await conn.fetch("select id from duly.workspace")]
    lanes = len(workspaces)
    token = node << 32
    lease = unmarked_lease()
    mine = await asyncpg.connect(dsn)

    async def work() -> None:
        nonlocal token
        while True:
            token += 1
            rows = await mine.fetch(
                lease, workspaces, ["sms"] * lanes, [2] * lanes, [_BATCH // lanes] * lanes, token, node
            )
            if not rows:
                return
            of = len(rows)
            await mine.execute(
                query("record"),
                [row["id"] for row in rows],
                [row["workspace_id"] for row in rows],
                [token] * of,
                ["sent"] * of,
                [None] * of,
                [None] * of,
                [f"SM{number:032x}" for number in range(of)],
                [0.0] * of,
                [True] * of,
                [1] * of,
                [row["address_key"] for row in rows],
                ["accepted"] * of,
                [201] * of,
                [None] * of,
                [0.0] * of,
                [0] * of,
                "main",
                [],
                [0] * of,
            )

    try:
        return await timed(work)
    finally:
        await mine.close()
        await conn.execute("delete from duly.node where id = $1", node)


async def duly(dsn: str, conn: Connection, messages: int) -> Took:
    """The daemon, from the first lease to the last recorded attempt."""
    config = configured(dsn, "http://127.0.0.1:9", 200)
    await fill(conn, messages, _WORKSPACES)
    async with held_daemon(config, dsn, _instant) as daemon:
        return await timed(lambda: daemon.work(lambda: recorded(conn, messages)))


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `queue`."""
    messages, rounds = (5_000, 2) if quick else (30_000, 5)
    ratios, rates, cpu = [], [], []
    async with fresh_database() as dsn:
        conn = await asyncpg.connect(dsn)
        for _ in range(rounds):
            limit = await raw(dsn, conn, messages)
            ours = await duly(dsn, conn, messages)
            ratios.append(limit.wall / ours.wall)
            rates.append((round(messages / limit.wall), round(messages / ours.wall)))
            cpu.append(round(ours.cpu / messages * 1e6, 1))
        await conn.close()
    facts = {"messages": messages, "per_second_raw_ours": rates, "cpu_us_per_message": cpu}
    return {"queue": compared(ratios, 0.8, "of raw lease + record SQL's rows/s", **facts)}
