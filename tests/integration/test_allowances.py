"""The SQL of the shared limits does what its model in Python does, and what is given is durable when it is used."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import asyncpg
import pytest

from daemon.queue.pace import SLICE_SECONDS, PaceAsk
from daemon.queue.quota import QuotaAsk
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.unit.shared_limits import HORIZON_SECONDS, SETTLE_SECONDS, PaceLine, QuotaRow

_PACE = """select given_from, given_until, taken_until from duly.take_pace(
             array[$1::text], array[$2::float8], array[$3::float8], array[$4::float8], array[$5::float8],
             $6::float8, $7::float8, $8::float8, $9::float8)"""
_QUOTA = """select given, slot, ends, used, again from duly.take_quota(
              array[$1::text], array[$2::float8], array[$3::float8], array[$4::int], array[$5::int],
              array[$6::bigint], array[$7::int], $8::float8)"""


@pytest.mark.parametrize("seed", range(5))
async def test_pieces_are_given_as_the_model_says(conn: Connection, seed: int) -> None:
    rng, line, at = random.Random(seed), PaceLine(), 1_700_000_000.0
    for _ in range(100):
        at += rng.choice((0.0, rng.uniform(0, 0.3), rng.uniform(0, 30)))
        rate, segments = rng.choice((10.0, 20.0, 100.0)), rng.randint(1, 5)
        ask = PaceAsk(
            rate, (segments + rng.uniform(0, 50)) / rate, segments / rate, rng.randint(1, 200) / rate
        )
        row = await conn.fetchrow(
            _PACE,
            "k",
            rate,
            ask.reach,
            ask.least,
            ask.wanted,
            SLICE_SECONDS,
            SETTLE_SECONDS,
            HORIZON_SECONDS,
            at,
        )
        assert row is not None
        assert tuple(row) == pytest.approx(line.take(ask, at), abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
async def test_windows_are_given_as_the_model_says(conn: Connection, seed: int) -> None:
    rng, row_model, at = random.Random(seed), QuotaRow(), 1_700_000_000.0
    slot = 0
    for _ in range(150):
        at += rng.choice((0.0, rng.uniform(0, 1), rng.uniform(0, 90)))
        seconds = rng.choice((0.9375, 0.9375, 0.9375, 3.0))
        back = rng.randint(0, 2)
        ask = QuotaAsk(
            float(rng.choice((1, 10, 60))), seconds, rng.randint(1, 4), rng.randint(1, 6), slot, back
        )
        row = await conn.fetchrow(
            _QUOTA, "k", ask.most, seconds, ask.least, ask.wanted, ask.back_slot, ask.back, at
        )
        assert row is not None
        assert tuple(row) == pytest.approx(row_model.take(ask, at))
        slot = row["slot"]


async def test_daemons_that_ask_at_once_get_pieces_that_do_not_overlap(conn: Connection, dsn: str) -> None:
    keys = [f"workspace {nth}" for nth in range(50)]
    taken: dict[str, list[tuple[float, float]]] = {key: [] for key in keys}

    async def ask(seed: int) -> None:
        rng = random.Random(seed)
        own = await asyncpg.connect(dsn)
        try:
            for _ in range(20):
                asked = rng.sample(keys, 30)
                n = len(asked)
                rows = await own.fetch(
                    query("take_pace"), asked, [1e3] * n, [0.2] * n, [1e-3] * n, [1e-2] * n, 0.1, 0.01, 10.0
                )
                assert {row["key"] for row in rows} == set(asked)
                for row in rows:
                    taken[row["key"]].append((row["given_from"], row["given_until"]))
        finally:
            await own.close()

    await asyncio.gather(*(ask(seed) for seed in range(4)))
    for pieces in taken.values():
        pieces.sort()
        for (_, end), (start, _) in pairwise(pieces):
            assert start >= end - 1e-5


async def test_giving_does_not_wait_for_the_disk_and_leaves_the_next_transaction_alone(
    conn: Connection,
) -> None:
    """The mark that follows makes it durable: nothing is sent by what could be forgotten."""
    await conn.execute("set synchronous_commit = on")
    async with conn.transaction():
        await conn.fetch(query("take_pace"), ["k"], [1.0], [1.0], [1.0], [1.0], 0.1, 0.01, 0.2)
        assert await conn.fetchval("show synchronous_commit") == "off"
    assert await conn.fetchval("show synchronous_commit") == "on"


async def test_limits_long_unused_are_forgotten(conn: Connection) -> None:
    await conn.execute(
        """insert into duly.pace values ('old', 1, now() - interval '2 days'), ('new', 1, now());
           insert into duly.quota values
             ('old', 0.9375, floor(extract(epoch from now() - interval '2 days') / 0.9375), '{1}'),
             ('new', 0.9375, floor(extract(epoch from now()) / 0.9375), '{1}')"""
    )
    await conn.execute(query("node_forget"))
    assert [r["key"] for r in await conn.fetch("select key from duly.pace")] == ["new"]
    assert [r["key"] for r in await conn.fetch("select key from duly.quota")] == ["new"]
