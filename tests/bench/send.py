"""send: queued rows to all sent, recorded and attempts stored, against the leanest bare loop of the same POSTs.

Also what the durable `sending` mark costs: the same job with a lease that marks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Iterator, Sequence
from unittest import mock
from uuid import UUID

import aiohttp
import asyncpg
import orjson
from yarl import URL

from daemon.model import Rendered
from daemon.platforms.twilio.wire import encode
from daemon.queue import fetcher
from daemon.queue.line import Line
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.bench.harness import (
    ACCOUNT_SID,
    Result,
    Took,
    compared,
    configured,
    fill,
    fresh_database,
    held_daemon,
    raw_stand_in,
    recorded,
    timed,
)

_CONCURRENCY = 100


async def lean_loop(url: str, messages: int) -> Took:
    """The limit: one lean aiohttp session and no queue."""
    target = URL(f"{url}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json", encoded=True)
    headers = {
        "Authorization": "Basic " + "x" * 44,
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        "User-Agent": "bench",
    }
    numbers = iter(range(messages))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept", "Content-Type"),
        auto_decompress=False,
    ) as session:

        async def work() -> None:
            for number in numbers:
                body = encode(
                    [
                        ("To", "+14155550100"),
                        ("From", "+15005550006"),
                        ("Body", f"Hello number {number}, your appointment is tomorrow at nine"),
                        (
                            "StatusCallback",
                            "http://127.0.0.1:1/hooks/twilio/main/status?delivery="
                            "01a20d9b-6828-7792-9c2a-0c1a4286019d&attempt=1",
                        ),
                    ]
                )
                async with (
                    asyncio.timeout(15),
                    session.post(target, data=body, headers=headers, allow_redirects=False) as response,
                ):
                    assert orjson.loads(await response.read())["sid"]

        async def all_of_them() -> None:
            await asyncio.gather(*(work() for _ in range(_CONCURRENCY)))

        return await timed(all_of_them)


async def duly(dsn: str, url: str, conn: Connection, messages: int) -> Took:
    """The whole daemon on the same number of queued rows, from the first lease to the last recorded attempt."""
    await fill(conn, messages)
    async with held_daemon(configured(dsn, url, _CONCURRENCY), dsn) as daemon:
        return await timed(lambda: daemon.work(lambda: recorded(conn, messages)))


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `send`, with what the mark costs among its facts."""
    messages, rounds = (2_000, 2) if quick else (20_000, 5)
    sends, marks, rates, cpu = [], [], [], []
    with raw_stand_in() as url:
        async with fresh_database() as dsn:
            conn = await asyncpg.connect(dsn)
            await lean_loop(url, 500)
            for _ in range(rounds):
                lean = await lean_loop(url, messages)
                ours = await duly(dsn, url, conn, messages)
                with _without_mark():
                    bare = await duly(dsn, url, conn, messages)
                sends.append(lean.wall / ours.wall)
                marks.append(bare.wall / ours.wall)
                rates.append(
                    (round(messages / lean.wall), round(messages / ours.wall), round(messages / bare.wall))
                )
                cpu.append(round(ours.cpu / messages * 1e6))
            await conn.close()
    facts = {
        "messages": messages,
        "per_second_lean_ours_unmarked": rates,
        "cpu_us_per_message": cpu,
        "of_the_unmarked": round(statistics.median(marks), 3),
    }
    return {"send": compared(sends, 0.85, "of the lean loop's messages/s", **facts)}


@contextlib.contextmanager
def _without_mark() -> Iterator[None]:
    """A lease that marks by itself: what the job would cost without a second durable statement."""
    lease = unmarked_lease()

    async def marked(_line: Line, batch: Sequence[Rendered]) -> set[tuple[UUID, int]]:
        return {(rendered.delivery.id, rendered.delivery.lease_token) for rendered in batch}

    with (
        mock.patch.object(Line, "_ask_to_mark", marked),
        mock.patch.object(fetcher, "query", lambda name: lease if name == "lease" else query(name)),
    ):
        yield


def unmarked_lease() -> str:
    """lease.sql, changed so that what it leases is marked at once."""
    lease = query("lease")
    for old, new in (
        ("else 'leased' end)::duly.state", "else 'sending' end)::duly.state"),
        (
            "lease_token = $5",
            "attempts = r.attempts + 1, sending_at = now(), account = 'main', lease_token = $5",
        ),
        ("l.attempts,", "(l.attempts - 1)::smallint as attempts,"),
        ("l.state = 'leased'", "l.state = 'sending'"),
    ):
        assert old in lease, old
        lease = lease.replace(old, new)
    return lease
