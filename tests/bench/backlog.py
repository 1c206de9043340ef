"""backlog: what it costs to find the lanes and to lease 500 rows, by how many rows wait in 1,000 workspaces."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import orjson

from daemon.store.database import Connection
from daemon.store.sql import query
from tests.bench import rig
from tests.bench.harness import Result, compared, fresh_database

_WORKSPACES = 1000
_BATCH = 500
# A row with its indexes and its part of the log.
_BYTES_A_ROW = 600
# Few rows, hot tables: what may be read as a whole must be a batch or a list of names.
_HOT_TABLES = frozenset({"delivery_row", "attempt", "callback"})
_STATEMENTS = ("lanes", "lease", "next_due", "mark", "record", "expire", "rescue")


@dataclass
class Place:
    """A database with so many queued rows, and what was measured on it: milliseconds."""

    rows: int
    conn: Connection
    node: int
    lanes: list[int]
    leases: list[float] = field(default_factory=list)
    scans: list[float] = field(default_factory=list)
    next_dues: list[float] = field(default_factory=list)
    tokens: int = 0


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `backlog`: a lease's cost at the shortest backlog to that at the longest.

    The scan for lanes, which a daemon makes once in `poll_seconds` and not for each lease, is among the facts.
    Each lease is one of the daemon's, committed, and takes new rows: one from each of 500 lanes in turn. So
    many are leased alike from each backlog, in turns, so that noise strikes all of them.
    """
    sizes, short = _sizes(quick)
    async with contextlib.AsyncExitStack() as stack:
        places, fill_seconds = [], 0.0
        for rows in sizes:
            begun = time.monotonic()
            places.append(await _place(stack, rows))
            fill_seconds = time.monotonic() - begun
        walks = [walk for place in places for walk in await _walks(place)]
        for _ in range(2 * (4 if quick else 7)):
            for place in places:
                await _measure(place)
    return {"backlog": _result(places, walks, short, fill_seconds)}


def _sizes(quick: bool) -> tuple[list[int], str | None]:
    """Which backlogs, and why not the longest where the disk is too small for it."""
    if quick:
        return [10_000, 100_000], None
    free = shutil.disk_usage(tempfile.gettempdir()).free
    needed = 11_000_000 * _BYTES_A_ROW
    if free < needed:
        short = f"10M rows left out: {free / 1e9:.1f} GB of disk are free, {needed / 1e9:.1f} GB are needed"
        return [10_000, 1_000_000], short
    return [10_000, 1_000_000, 10_000_000], None


async def _place(stack: contextlib.AsyncExitStack, rows: int) -> Place:
    dsn = await stack.enter_async_context(fresh_database())
    conn = await asyncpg.connect(dsn)
    stack.push_async_callback(conn.close)
    await conn.execute("alter table duly.delivery_row set (autovacuum_enabled = false)")  # noise, not cost
    await rig.backlog(dsn, rows, _WORKSPACES)
    node = await conn.fetchval(
        """insert into duly.node (name, version, alive_until) values ('bench', '0', now() + interval '1 day')
           returning id"""
    )
    lanes = [row["workspace_id"] for row in await conn.fetch(query("lanes"))]
    await conn.execute("checkpoint")
    return Place(rows, conn, node, lanes)


async def _measure(place: Place) -> None:
    """One turn: the lanes, a lease of one row from each of half of them, and what is next in those."""
    place.scans.append(await _took(place.conn, "lanes"))
    place.tokens += 1
    half = place.lanes[place.tokens % 2 :: 2]
    lanes = [half, ["sms"] * len(half), [2] * len(half)]
    token = place.node << 32 | place.tokens
    place.leases.append(await _took(place.conn, "lease", *lanes, [1] * len(half), token, place.node))
    place.next_dues.append(await _took(place.conn, "next_due", *lanes))
    leased = await place.conn.fetchval(
        "select count(*) from duly.delivery_row where node_id = $1 and lease_token = $2 and state = 'leased'",
        place.node,
        token,
    )
    assert leased == len(half) == _BATCH


async def _took(conn: Connection, name: str, *arguments: object) -> float:
    begun = time.perf_counter()
    await conn.fetch(query(name), *arguments)
    return (time.perf_counter() - begun) * 1000


async def _walks(place: Place) -> list[str]:
    """Where the planner would read a hot table or sort the backlog, whatever the parameters."""
    found = []
    await place.conn.execute("set plan_cache_mode = force_generic_plan")
    for name in _STATEMENTS:
        parameters = len((await place.conn.prepare(query(name))).get_parameters())
        await place.conn.execute(f"prepare asked as {query(name)}")
        nulls = f"({', '.join(['null'] * parameters)})" if parameters else ""
        answer = await place.conn.fetchval(f"explain (format json) execute asked{nulls}")
        for node in _nodes(orjson.loads(answer)[0]["Plan"]):
            kind, table = node["Node Type"], node.get("Relation Name")
            if kind == "Seq Scan" and table in _HOT_TABLES:
                found.append(f"{name} reads all of {table} at {place.rows:,} rows")
            if kind.endswith("Sort") and node["Plan Rows"] >= place.rows / 2:
                found.append(f"{name} sorts the backlog at {place.rows:,} rows")
        await place.conn.execute("deallocate asked")
    await place.conn.execute("reset plan_cache_mode")
    return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _result(places: list[Place], walks: list[str], short: str | None, fill_seconds: float) -> Result:
    """The first turn of each half of the lanes warms the caches and does not count."""
    first, last = places[0], places[-1]
    scans = [a / b for a, b in zip(first.scans[2:], last.scans[2:], strict=True)]
    result = compared(
        [a / b for a, b in zip(first.leases[2:], last.leases[2:], strict=True)],
        round(1 / 1.5, 3),
        f"a lease's cost at {first.rows:,} to that at {last.rows:,} rows",
        walks=", ".join(walks) or "none",
        **{f"at_{place.rows}": _costs(place) for place in places},
        lanes_ratio=round(statistics.median(scans), 3),
        fill_seconds=round(fill_seconds, 1),
        **({"short": short} if short else {}),
    )
    return replace(result, met=bool(result.met) and not walks)


def _costs(place: Place) -> dict[str, float]:
    return {
        "lease_ms": round(statistics.median(place.leases[2:]), 2),
        "lanes_ms": round(statistics.median(place.scans[2:]), 2),
        "next_due_ms": round(statistics.median(place.next_dues[2:]), 2),
    }
