"""learning: what a learned send time gains over a fixed one, with people whose habits are known; and what learning costs.

The people are of tests/simulated_people.py, where the truth stands. Of the gain: the answers that a whole half year
gives, as a share of those at the fixed time, beside what an oracle that knows each person's best hour gives. Where there
is nothing to gain, what is lost. Then in the database: 100,000 planned and answered messages learned from, and counted.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg

from daemon.planning.learning import load_habits
from daemon.planning.send_time import learned
from daemon.store.analytics import load
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.bench.harness import Result, compared, fresh_database
from tests.simulated_people import ALLOWED, FIXED, Run, World, over, simulate

_GOAL = 0.5  # of what the oracle gains, over the half year
_SEEDS = (1, 2, 3)
_WORLDS = {
    "people": World(),
    "answers_only": World(acts_a_week=0),
    "all_hours_alike": World(base=0.2, height=0, act_noise=1),
    "fixed_is_best": World(peaks=((18.5, 1.0),), shift_hours=0),
    "misled": World(peaks=((18.5, 1.0),), shift_hours=0, act_noise=1),
}
_PEOPLE = """
with made as (
  insert into duly.contact (id, workspace_id, external_id, time_zone)
  select duly.new_id(), 1, 'p' || n, 'America/New_York' from generate_series(1, $1::int) n returning id
), message as (
  insert into duly.message (id, workspace_id, body, category, template)
  select md5('m' || n)::uuid, 1, 'How was it?', 'accountability', 'check_in@1' from generate_series(1, 1) n returning id
)
insert into duly.planned (source_id, contact_id, occurrence, workspace_id, source, delivery_id, kind, style, wished_at)
select md5('s')::uuid, m.id, timestamp '2026-01-01' + make_interval(weeks => w), 1, 'check_in', duly.new_id(), 'missed',
       (array['supportive', 'snarky', 'chaotic'])[1 + abs(hashtext(m.id::text)) % 3],
       now() - interval '3 days' - make_interval(weeks => w, hours => (abs(hashtext(m.id::text)) % 12))
from made m, generate_series(0, 9) w
"""
_DELIVERIES = """
insert into duly.delivery_row (id, workspace_id, message_id, channel, priority, state, due_at, "to", sent_at)
select p.delivery_id, 1, md5('m1')::uuid, 'sms', 3, 'delivered', p.wished_at, '+14155550123',
       p.wished_at + interval '1 minute'
from duly.planned p
"""
_ANSWERS = """
insert into duly.response (delivery_id, kind, workspace_id, first_at)
select d.id, 'reply', 1, d.sent_at + interval '1 hour' from duly.delivery_row d where hashtext(d.id::text) % 4 = 0
"""
_WORDS = """
insert into duly.feedback (delivery_id, workspace_id, contact_id, style, helpful, via)
select p.delivery_id, 1, p.contact_id, p.style, hashtext(p.delivery_id::text) % 3 <> 0, 'reply'
from duly.planned p where hashtext(p.delivery_id::text) % 8 = 0
"""


async def run(*, quick: bool) -> dict[str, Result]:
    """The line's figures."""
    people, seeds = (60, _SEEDS[:1]) if quick else (400, _SEEDS)
    facts: dict[str, Any] = {}
    shares: list[float] = []
    for name, world in _WORLDS.items():
        runs = [simulate(world, people=people, weeks=26, seed=seed) for seed in seeds]
        facts[name] = _facts(runs)
        if name == "people":
            shares = [over(each).share for each in runs]
    return {"learning": compared(shares, _GOAL, "of the oracle's gain", **facts, **await _costs(quick=quick))}


def _facts(runs: list[list[Run]]) -> dict[str, float]:
    """Means over the seeds, by how long it has been learned for."""
    found = {}
    for name, weeks in (
        ("weeks_1_4", slice(0, 4)),
        ("weeks_5_13", slice(4, 13)),
        ("weeks_14_26", slice(13, 26)),
    ):
        spans = [over(each[weeks]) for each in runs]
        found[f"{name}_gain"] = round(sum(span.gain for span in spans) / len(spans), 3)
    whole = [over(each) for each in runs]
    found["gain"] = round(sum(each.gain for each in whole) / len(whole), 3)
    found["oracle_gain"] = round(sum(each.oracle / each.fixed - 1 for each in whole) / len(whole), 3)
    return found


async def _costs(*, quick: bool) -> dict[str, Any]:
    people = 500 if quick else 10_000  # ten messages each
    async with fresh_database() as dsn:
        conn = await asyncpg.connect(dsn)
        try:
            await conn.execute("select duly.register_workspace('w')")
            await conn.execute("insert into duly.time_zone values ('America/New_York')")
            await conn.execute(_PEOPLE, people)
            for statement in (_DELIVERIES, _ANSWERS, _WORDS):
                await conn.execute(statement)
            await conn.execute("vacuum analyze")
            return await _measure(conn, people)
        finally:
            await conn.close()


async def _measure(conn: Connection, people: int) -> dict[str, Any]:
    begun = time.perf_counter()
    total = 0
    while done := await conn.fetchval(query("learn_habits"), 1, 2000):
        total += done
    learning = time.perf_counter() - begun
    contacts = [row["id"] for row in await conn.fetch("select id from duly.contact order by id limit 5000")]
    begun = time.perf_counter()
    habits = await load_habits(conn, 1, contacts)
    loading = time.perf_counter() - begun
    begun = time.perf_counter()
    for contact in contacts:
        learned(FIXED, 6, habits.person(contact), habits.cohort, ALLOWED, Random(1))
    choosing = time.perf_counter() - begun
    until = datetime.now(UTC) + timedelta(days=1)
    since = until - timedelta(days=2)
    seconds = {}
    for by in (("style",), ("style", "template", "channel", "hour", "day")):
        begun = time.perf_counter()
        await load(conn, 1, since, until, by)
        seconds[f"analytics_{len(by)}_dimensions_ms"] = round((time.perf_counter() - begun) * 1000)
    return {
        "deliveries": people * 10,
        "learned_per_second": round(total / learning),
        "habits_loaded_per_second": round(len(contacts) / loading),
        "times_chosen_per_second": round(len(contacts) / choosing),
        **seconds,
    }
