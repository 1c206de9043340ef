"""rules: what asking the rules and writing the receipt costs, in messages a second and per delivery.

The whole daemon sends a category without rules, then one with quiet hours, a needed consent and a cap, with the
receipt and without it. Beside that, the parts alone: the statement that learns what the rules must know, over a
million deliveries, suppressions and consents, the rules themselves, and the mark's look at the suppressions.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest import mock
from uuid import uuid4
from zoneinfo import ZoneInfo

import asyncpg

from daemon.model import Channel, Gate
from daemon.queue.judge import known_of
from daemon.queue.rulebook import rules_of
from daemon.rules.judgement import Rules, Verdict, judge
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
    raw_stand_in,
    recorded,
    timed,
)
from tests.bench.rig import backlog

_RULED = "news"
_BATCH = 500
_CONSENTS = """
insert into duly.consent (id, workspace_id, address_key, state, source, who, at)
select duly.new_id(), d.workspace_id, d.address_key, 'given', 'sql', 'bench', now() from duly.delivery_row d
"""
_STRANGERS = """
insert into duly.suppression (address_key, workspace_id, reason, source)
select md5('s' || n)::uuid, 1 + n % 50, 'opted_out', 'bench' from generate_series(1, $1::int) n
"""


def _rules() -> str:
    """Rules that let all of it pass: quiet only at the other side of the day."""
    begins = datetime.now(ZoneInfo("America/Los_Angeles")) + timedelta(hours=12)
    hours = f"{begins:%H:%M}-{begins + timedelta(minutes=30):%H:%M}"
    return f'''quiet_hours = {{ {_RULED} = "{hours}" }}
        consent_required = ["{_RULED}"]'''


async def _send(dsn: str, url: str, conn: Connection, messages: int, category: str, rules: str) -> Took:
    await conn.execute("truncate duly.consent")
    await conn.execute("truncate duly.cap_use")
    await fill(conn, messages, category=category)
    if category == _RULED:
        await conn.execute(_CONSENTS)
        await conn.execute("analyze duly.consent")
    async with held_daemon(configured(dsn, url, rules=rules), dsn) as daemon:
        return await timed(lambda: daemon.work(lambda: recorded(conn, messages)))


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `rules`: the receipt's cost, with that of all rules among its facts."""
    messages, rounds, rows = (1_000, 2, 5_000) if quick else (20_000, 5, 1_000_000)
    rules = _rules()
    receipts, ruled, rates = [], [], []
    with raw_stand_in() as url:
        async with fresh_database() as dsn:
            conn = await asyncpg.connect(dsn)
            await conn.execute("alter table duly.consent disable trigger append_only")
            for _ in range(rounds):
                plain = await _send(dsn, url, conn, messages, "transactional", rules)
                with_receipt = await _send(dsn, url, conn, messages, _RULED, rules)
                with _without_receipt():
                    without = await _send(dsn, url, conn, messages, _RULED, rules)
                receipts.append(without.wall / with_receipt.wall)
                ruled.append(plain.wall / with_receipt.wall)
                rates.append(tuple(round(messages / took.wall) for took in (plain, without, with_receipt)))
            await conn.close()
        async with fresh_database() as dsn:
            parts = await _parts(dsn, rows, rules)
    facts = {
        "messages": messages,
        "per_second_plain_ruled_ruled_with_receipt": rates,
        "ruled_of_plain": round(statistics.median(ruled), 3),
        "rows": rows,
        **parts,
    }
    return {"rules": compared(receipts, 0.95, "of the messages/s without a receipt", **facts)}


async def _parts(dsn: str, rows: int, rules: str) -> dict[str, float]:
    """Microseconds a delivery of each part, the median of twenty batches."""
    await backlog(dsn, rows, 50)
    conn = await asyncpg.connect(dsn)
    await conn.execute(_CONSENTS)
    await conn.execute(_STRANGERS, rows)
    for table in ("delivery_row", "consent", "suppression"):
        await conn.execute(f"vacuum analyze duly.{table}")
    asked = rules_of(configured(dsn, "http://127.0.0.1:1", rules=rules).rules, _RULED)
    node = await conn.fetchval(
        "insert into duly.node (name, version, alive_until) values ('b', '0', now() + interval '1 h') returning id"
    )
    found: dict[str, list[float]] = {}
    for token in range(1, 21):
        for part, microseconds in (await _one(conn, node, token, asked)).items():
            found.setdefault(part, []).append(microseconds)
    await conn.close()
    return {part: round(statistics.median(some), 1) for part, some in found.items()}


async def _one(conn: Connection, node: int, token: int, rules: Rules) -> dict[str, float]:
    lane = [1 + token], ["sms"], [2], [_BATCH]
    leased = sorted(await conn.fetch(query("lease"), *lane, token, node), key=lambda row: row["id"])
    ids, of = [row["id"] for row in leased], [row["workspace_id"] for row in leased]
    keys, sort = [row["address_key"] for row in leased], (["sms"] * len(leased), [_RULED] * len(leased))
    began = time.perf_counter()
    context = await conn.fetch(query("rule_context"), ids, of, keys, *sort)
    learned = time.perf_counter()
    for row in context:
        known = known_of(row, Channel.SMS, f"+1415{2_000_000 + row['id'].int % 1000}", stand_in=False)
        judge(rules, replace(known, now=datetime.now(UTC))).receipt  # noqa: B018 - made for its cost
    judged = time.perf_counter()
    tokens = [token] * len(leased)
    await conn.fetch(query("mark"), ids, of, tokens, node, "main", keys, *sort, [])
    marked = time.perf_counter()
    await conn.execute("update duly.delivery_row set state = 'sent', node_id = null where node_id = $1", node)
    strangers = [uuid4() for _ in leased]
    looked = time.perf_counter()
    await conn.fetch("select reason from duly.suppression where address_key = any ($1::uuid[])", strangers)
    return {
        part: seconds / len(leased) * 1e6
        for part, seconds in (
            ("context_us", learned - began),
            ("rules_us", judged - learned),
            ("mark_us", marked - judged),
            ("suppressions_us", time.perf_counter() - looked),
        )
    }


@contextlib.contextmanager
def _without_receipt() -> Iterator[None]:
    """The rules are asked, and their answers forgotten."""

    def gate(verdict: Verdict) -> Gate:
        return Gate(getattr(verdict.answer, "until", None), verdict.charges)

    with mock.patch.object(Verdict, "gate", property(gate)):
        yield
