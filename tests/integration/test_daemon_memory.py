"""A million queued rows: they stay in the database, and no hot statement ever reads them all."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from daemon.store.database import Connection
from daemon.store.embedded import EmbeddedHandle
from daemon.store.sql import query
from tests.conftest import _TEMPLATE
from tests.daemons import daemon_on, plain_sandbox, slow
from tests.support import DaemonProcess, dsn_of, free_port, until

ROWS = 1_000_000
BUFFER = 1000
# A statement for a batch of a hundred may touch so many pages of 8 KiB; the backlog alone has over 15,000.
MOST_PAGES = 6000

_FILL = f"""
set synchronous_commit = off;
select duly.register_workspace('clinic-' || n) from generate_series(0, 19) n;
insert into duly.message (id, workspace_id, body, category)
  select '00000000-0000-7000-8000-000000000001', id, 'Hello', 'transactional' from duly.workspace;
insert into duly.delivery_row (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at)
  select (lpad(to_hex(1700000000000 + n / 10), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
         1 + n % 20, '00000000-0000-7000-8000-000000000001', 'sms', '+1' || (4150000000 + n), md5(n::text)::uuid,
         1 + n % 3,
         now() - make_interval(secs => {ROWS} - n), case when n % 10 = 0 then now() + interval '1 day' end
  from generate_series(1, {ROWS}) n;
"""


@pytest.fixture(scope="module")
def million(postgres: EmbeddedHandle) -> Iterator[str]:
    """The DSN of a database with a million due rows in sixty lanes."""
    name = f"million_{uuid.uuid4().hex[:8]}"

    async def make() -> None:
        await _run(postgres.server.dsn, f"create database {name} template {_TEMPLATE}")
        await _run(dsn_of(postgres.server.dsn, name), _FILL)

    asyncio.run(make())
    yield dsn_of(postgres.server.dsn, name)
    asyncio.run(_run(postgres.server.dsn, f"drop database {name} with (force)"))


async def _run(dsn: str, text: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(text)
    finally:
        await conn.close()


@pytest.fixture
async def conn(million: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(million)
    yield connection
    await connection.close()


# What the planner may do, and what the statements really touch.


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def assert_no_walk(name: str, plan: dict[str, Any]) -> None:
    """No scan of the whole table, no sort of more than a batch."""
    for node in nodes(plan):
        kind = node["Node Type"]
        assert not (kind == "Seq Scan" and node["Relation Name"] == "delivery_row"), f"{name} reads the table"
        assert not (kind.endswith("Sort") and node["Plan Rows"] > 20_000), f"{name} sorts the backlog"


STATEMENTS = (
    *("lanes", "lease", "next_due", "mark", "record", "status_callbacks"),
    *("rescue", "expire", "held", "disown", "release", "ask_claim"),
)


@pytest.mark.parametrize("analyzed", [False, True], ids=["never analyzed", "analyzed"])
async def test_no_statement_reads_or_sorts_the_backlog_whatever_its_parameters(
    analyzed: bool, million: str, conn: Connection
) -> None:
    if analyzed:
        await conn.execute("analyze duly.delivery_row, duly.message")
    await conn.execute("set plan_cache_mode = force_generic_plan")
    for name in STATEMENTS:
        parameters = len((await conn.prepare(query(name))).get_parameters())
        await conn.execute(f"prepare {name} as {query(name)}")
        nulls = ", ".join(["null"] * parameters)
        asked = f"explain (format json) execute {name}" + (f"({nulls})" if parameters else "")
        (plan,) = orjson.loads(await conn.fetchval(asked))
        assert_no_walk(name, plan["Plan"])
        await conn.execute(f"deallocate {name}")


async def explained(conn: Connection, name: str, *arguments: object) -> int:
    """Runs it and returns how many pages it touched."""
    (found,) = orjson.loads(
        await conn.fetchval(f"explain (analyze, buffers, timing off, format json) {query(name)}", *arguments)
    )
    plan = found["Plan"]
    assert_no_walk(name, plan)
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_each_statement_touches_no_more_pages_than_its_batch_needs(
    million: str, conn: Connection
) -> None:
    lanes = [(1 + n % 20, "sms", 1 + n // 20) for n in range(60)]
    workspaces, channels, priorities = (list(column) for column in zip(*lanes, strict=True))
    transaction = conn.transaction()
    await transaction.start()
    node = await conn.fetchval(
        "insert into duly.node (name, version, alive_until) values ('n', '0', now() + interval '1 h') returning id"
    )
    token = node << 32 | 1
    pages = {
        "lanes": await explained(conn, "lanes"),
        "next_due": await explained(conn, "next_due", workspaces, channels, priorities),
        "lease": await explained(conn, "lease", workspaces, channels, priorities, [2] * 60, token, node),
    }
    rows = await conn.fetch(
        "select id, workspace_id, address_key from duly.delivery_row where lease_token = $1 limit 100", token
    )
    assert len(rows) == 100
    ids = [row["id"] for row in rows]
    of = [row["workspace_id"] for row in rows]
    hundred = len(ids)

    def each(value: object) -> list[object]:
        return [value] * hundred

    keys = [row["address_key"] for row in rows]
    sort = (each("sms"), each("marketing"))
    pages["rule_context"] = await explained(conn, "rule_context", ids, of, keys, *sort)
    pages["mark"] = await explained(conn, "mark", ids, of, each(token), node, "main", keys, *sort, [])
    outcome = (
        each("sent"),
        each(None),
        each(None),
        [f"SM{n}" for n in range(hundred)],
        each(0.0),
        each(True),
    )
    facts = (each(1), keys, each("accepted"), each(201), each(None), each(0.1), each(20))
    pages["record"] = await explained(conn, "record", ids, of, each(token), *outcome, *facts, "main", [], [])
    word = (each(1), [f"SM{n}" for n in range(hundred)], each("delivered"), each("delivered"))
    rest = (each(None), each(None), each(None), each(0.0))
    pages["status_callbacks"] = await explained(conn, "status_callbacks", ids, *word, *rest, "main")
    pages["expire"] = await explained(conn, "expire", 1000)
    await conn.execute("update duly.node set alive_until = now() where id = $1", node)
    pages["rescue"] = await explained(conn, "rescue", 1000)
    await transaction.rollback()
    assert {name: count for name, count in pages.items() if count > MOST_PAGES} == {}


# What the daemon holds.


def memory_mb(daemon: DaemonProcess, field: str) -> float:
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024


async def held(conn: Connection) -> int:
    return int(
        await conn.fetchval("select count(*) from duly.delivery_row where state in ('leased', 'sending')")
    )


@pytest.mark.parametrize("account", ["rate_per_second = 50", "concurrency = 20"], ids=["limited", "slow"])
async def test_a_daemon_holds_a_bounded_part_of_a_million_rows(
    account: str, work_dir: Path, million: str, dsn: str, conn: Connection
) -> None:
    async with plain_sandbox() as sandbox:
        slow(sandbox, 0.1)
        async with daemon_on(work_dir, dsn, sandbox, free_port(), account=account) as idle:
            empty = memory_mb(idle, "VmRSS")
        limits = f"buffer = {BUFFER}"
        async with daemon_on(
            work_dir, million, sandbox, free_port(), account=account, daemon=limits
        ) as daemon:
            begun = sandbox.ledger.accepted

            async def flows() -> bool:
                return sandbox.ledger.accepted > begun + 100

            await until(flows, seconds=20)
            most = max([await held(conn) for _ in range(10)])
            assert memory_mb(daemon, "VmHWM") < empty + 60
            assert 0 < most <= BUFFER + BUFFER // 4 + 40  # what is urgent has a quarter to itself
            assert await daemon.stop() == 0
        assert await held(conn) == 0
