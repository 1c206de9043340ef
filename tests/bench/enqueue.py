"""enqueue: how fast deliveries are queued, against a raw COPY into the same tables and indexes.

`duly send --csv` (the file read, checked and committed in chunks), `enqueue_batch` by the thousand, and
`duly.enqueue` one at a time, that against the Python peers' own call for one job.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import asyncpg
import orjson

from daemon import logs
from daemon.bulk.reading import RecipientFile
from daemon.bulk.uploading import Tally, Terms, upload
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.bench.harness import Result, compared, fresh_database
from tests.support import ROOT, dsn_of

_PEERS = ("procrastinate", "pgqueuer")
_CONNECTIONS = (1, 8)
_PROGRAM = Path(__file__).parent / "contestants" / "python" / "enqueue.py"
_TEXT = "Hello, your appointment is tomorrow at nine, and parking is behind the house"
_DELIVERY = (
    "id",
    "workspace_id",
    "message_id",
    "channel",
    "priority",
    "segments",
    "due_at",
    "to",
    "address_key",
)
_MESSAGE = ("id", "workspace_id", "body", "category")


@dataclass(frozen=True, slots=True)
class Work:
    """The same recipients in the shapes that the contestants want them."""

    rows: int
    own: Path  # a CSV of addresses and texts
    shared: Path  # a CSV of addresses
    items: list[str]  # for enqueue_batch, a thousand each
    deliveries: bytes  # for COPY
    messages: bytes


@dataclass(slots=True)
class Rates:
    """Rows a second, a number for each round."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, rows: int, seconds: float) -> None:
        """A contestant's turn."""
        self.found.setdefault(name, []).append(rows / seconds)

    def against(self, ours: str, *theirs: str) -> list[float]:
        """Round by round, ours to the best of the others."""
        others = zip(*(self.found[name] for name in theirs), strict=True)
        return [mine / max(other) for mine, other in zip(self.found[ours], others, strict=True)]

    def as_json(self) -> dict[str, int]:
        """The medians."""
        return {f"{name}_per_second": round(statistics.median(rates)) for name, rates in self.found.items()}


async def run(*, quick: bool) -> dict[str, Result]:
    """The entries `enqueue` and, where a peer is there, `enqueue_single`."""
    rows, calls, rounds = (20_000, 200, 2) if quick else (300_000, 1_000, 5)
    rates, skipped = Rates(), _skipped()
    async with fresh_database() as dsn:
        conn = await asyncpg.connect(dsn)
        await conn.execute("select duly.register_workspace('clinic')")
        with tempfile.TemporaryDirectory(prefix="duly-bench-") as directory:
            work = await _prepare(conn, Path(directory), rows)
            for _ in range(rounds):
                await _bulk_round(conn, dsn, work, rates)
        for _ in range(1 if quick else 9):  # each call waits for the disk, which is moody: many short turns
            await _single_round(conn, dsn, calls, rates, skipped)
        await conn.close()
    one_text = compared(rates.against("bulk_one_text", "copy_one_text"), None, "")
    facts = {"rows": rows, "one_text": one_text.ratio, "one_text_spread": one_text.spread, "skipped": skipped}
    ratios = rates.against("bulk", "copy")
    results = {"enqueue": compared(ratios, 0.5, "of COPY, a text for each", **facts, **rates.as_json())}
    peers = [name for name in _PEERS if name not in skipped]
    if peers:
        singles = rates.against("single_1", *(f"{name}_1" for name in peers))
        results["enqueue_single"] = compared(singles, 1.0, f"of {' or '.join(peers)}, one at a time")
    return results


async def _prepare(conn: Connection, directory: Path, rows: int) -> Work:
    ids = [
        row[0]
        for row in await conn.fetch("select duly.new_id() from generate_series(1, $1::int) order by 1", rows)
    ]
    to = [f"+1415{5_000_000 + n}" for n in range(rows)]
    bodies = [f"Hello number {n}, your appointment is tomorrow at nine" for n in range(rows)]
    own, shared = directory / "own.csv", directory / "shared.csv"
    own.write_text("to,body\n" + "".join(f'{a},"{b}"\n' for a, b in zip(to, bodies, strict=True)))
    shared.write_text("to\n" + "".join(f"{address}\n" for address in to))
    items = [
        {"workspace": "clinic", "channel": "sms", "to": a, "body": b} for a, b in zip(to, bodies, strict=True)
    ]
    now = "2026-01-01T00:00:00Z"
    return Work(
        rows,
        own,
        shared,
        [orjson.dumps(items[n : n + 1000]).decode() for n in range(0, min(rows, 20_000), 1000)],
        "".join(
            f"{id},1,{id},sms,3,1,{now},{a},{uuid5(NAMESPACE_OID, a)}\n"
            for id, a in zip(ids, to, strict=True)
        ).encode(),
        "".join(f'{id},1,"{b}",transactional\n' for id, b in zip(ids, bodies, strict=True)).encode(),
    )


async def _bulk_round(conn: Connection, dsn: str, work: Work, rates: Rates) -> None:
    async with _turn(conn) as took:
        await _copy(conn, "delivery_row", work.deliveries, _DELIVERY)
    rates.add("copy_one_text", work.rows, took[0])
    async with _turn(conn) as took:
        await _copy(conn, "message", work.messages, _MESSAGE)
        await _copy(conn, "delivery_row", work.deliveries, _DELIVERY)
    rates.add("copy", work.rows, took[0])
    for name, path, body in (("bulk", work.own, ""), ("bulk_one_text", work.shared, _TEXT)):
        database = Database(lambda: dsn)
        await database.open()
        terms = Terms("clinic", name, "sms", body, None, 3, "transactional", None, ())
        async with _turn(conn) as took:
            with RecipientFile(path) as file:
                await upload(database, file, terms, tally := Tally(), lambda *_: None)
        assert (tally.queued, tally.wrong) == (work.rows, 0)
        await database.close()
        rates.add(name, work.rows, took[0])
    async with _turn(conn) as took:
        for items in work.items:
            await conn.fetch(query("enqueue_batch"), items)
    rates.add("batch", 1000 * len(work.items), took[0])


async def _single_round(
    conn: Connection, dsn: str, calls: int, rates: Rates, skipped: dict[str, str]
) -> None:
    for connections in _CONNECTIONS:
        jobs = calls * min(connections, 2)
        rates.add(f"single_{connections}", jobs, await _one_by_one(conn, dsn, jobs, connections))
        for peer in _PEERS:
            if peer not in skipped:
                rates.add(f"{peer}_{connections}", 1, 1 / await _peer(conn, dsn, peer, jobs, connections))


async def _one_by_one(conn: Connection, dsn: str, jobs: int, connections: int) -> float:
    """Seconds for `duly.enqueue`, a transaction a call."""
    pool = [await asyncpg.connect(dsn) for _ in range(connections)]
    waiting = iter(range(jobs))

    async def calls(mine: Connection) -> None:
        for number in waiting:
            await mine.fetchval(
                "select duly.enqueue('clinic', 'sms', $1, $2)",
                f"+1415{5_000_000 + number}",
                f"Hello number {number}, your appointment is tomorrow at nine",
            )

    for each in pool:
        await each.fetchval("select duly.enqueue('clinic', 'sms', '+14155550100', $1)", "Hello")
    async with _turn(conn) as took:
        await asyncio.gather(*(calls(each) for each in pool))
    for each in pool:
        await each.close()
    return took[0]


async def _peer(conn: Connection, dsn: str, peer: str, jobs: int, connections: int) -> float:
    """Jobs a second of its own call, in an empty database on the same server."""
    await conn.execute("create database peer")
    try:
        asked = {"peer": peer, "dsn": dsn_of(dsn, "peer"), "jobs": jobs, "connections": connections}
        program = await asyncio.create_subprocess_exec(
            str(_peers_python()), str(_PROGRAM), json.dumps(asked), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await program.communicate()
        found: float = json.loads(out)["per_second"]
        return found
    finally:
        await conn.execute("drop database peer with (force)")


def _peers_python() -> Path:
    """The interpreter that has the Python peers."""
    return Path(os.environ.get("DULY_BENCH_PYTHON", ROOT / ".bench" / "python" / "bin" / "python"))


def _skipped() -> dict[str, str]:
    return {} if _peers_python().exists() else dict.fromkeys(_PEERS, "its environment is not there")


@asynccontextmanager
async def _turn(conn: Connection) -> AsyncIterator[list[float]]:
    """From empty tables and a checkpoint on. Yields a list that holds the seconds afterwards."""
    await conn.execute("truncate duly.delivery_row, duly.message, duly.upload, duly.upload_refusal")
    await conn.execute("checkpoint")
    took: list[float] = []
    began = time.perf_counter()
    yield took
    took.append(time.perf_counter() - began)


async def _copy(conn: Connection, table: str, rows: bytes, columns: Sequence[str]) -> None:
    await conn.copy_to_table(
        table, schema_name="duly", source=io.BytesIO(rows), columns=columns, format="csv"
    )


def main() -> int:
    """Only these figures: `python -m tests.bench.enqueue [--quick]`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.enqueue")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    logs.configure("warning")
    results: dict[str, Any] = {n: r.as_json() for n, r in asyncio.run(run(quick=options.quick)).items()}
    print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
