"""planner: how many people a day's planning decides for in a second, against plain queueing of the same deliveries.

Everybody has an address, a zone of four, a goal with progress, and preferences for one Sunday; a third of them have
each reached it, done a part, and done nothing. The limit is `duly.enqueue_batch` with the very texts and addresses that
were planned, in one connection like the planner, in portions of the same size.

`python -m tests.bench.planner --people 1000000` plans so many once, and prints how far it is, the rate and the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import time
from datetime import UTC, date, datetime, timedelta

import asyncpg
import orjson

from daemon import logs
from daemon.planning.plan_runs import Only, PlanRuns, Progress
from daemon.planning.registry import sources
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from tests.bench.harness import Result, compared, fresh_database, shared_server

_PORTION = 1000
_TEXTS = 6
_PEOPLE = """
with person as (
  insert into duly.contact (id, workspace_id, external_id, first_name, time_zone)
  select duly.new_id(), w.id, 'p' || n, 'Person ' || n,
         ('{America/New_York,Europe/Berlin,Asia/Kolkata,America/Los_Angeles}'::text[])[1 + n % 4]
  from generate_series(1, $1::int) n, duly.workspace w where w.name = 'coach' returning id, workspace_id, external_id
), numbered as (
  select p.*, substr(p.external_id, 2)::int as n from person p
), address as (
  insert into duly.address (workspace_id, address_key, channel, contact_id, address)
  select n.workspace_id, duly.address_key('sms', '+1415' || (2000000 + n.n)), 'sms', n.id, '+1415' || (2000000 + n.n)
  from numbered n
), preference as (
  insert into duly.preference (contact_id, workspace_id, send_day, on_goal_met)
  select n.id, n.workspace_id, 7, true from numbered n
), goal as (
  insert into duly.goal (id, workspace_id, contact_id, name, unit, target)
  select duly.new_id(), n.workspace_id, n.id, 'Morning runs', 'runs', 3 from numbered n
  returning id, workspace_id, contact_id
)
insert into duly.progress (workspace_id, goal_id, amount, at)
select g.workspace_id, g.id, n.n % 3 * 1.5, $2::timestamptz from goal g join numbered n on n.id = g.contact_id
"""
_TEMPLATE = """
with template as (
  insert into duly.template (id, workspace_id, name, version, variables)
  select duly.new_id(), w.id, $1, 1, '{"FirstName": {"type": "text"}, "goal": {"type": "text"},
    "done": {"type": "number"}, "target": {"type": "number"}, "percent": {"type": "number"}}'
  from duly.workspace w where w.name = 'coach'
  returning id, workspace_id
)
insert into duly.template_text (id, workspace_id, template_id, style, number, body)
select duly.new_id(), t.workspace_id, t.id, s.name, n,
       'Hi {{FirstName}}, ' || s.name || ' word ' || n || ': {{goal}} stands at {{done}} of {{target}}, {{percent}} %'
from template t, unnest('{supportive,snarky,chaotic}'::text[]) s (name), generate_series(1, $2::int) n
"""


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `planner`: people a second to those that plain queueing takes."""
    people, rounds = (3_000, 2) if quick else (100_000, 3)
    ratios, rates, cpus = [], [], []
    for _ in range(rounds):
        async with fresh_database() as dsn:
            conn = await asyncpg.connect(dsn)
            sunday = _next_sunday()
            await _fill(conn, people, sunday)
            wall, cpu = await _plan(dsn, people, sunday)
            limit = await _queue(conn, people)
            await conn.close()
        ratios.append(limit / wall)
        rates.append((round(people / wall), round(people / limit)))
        cpus.append(cpu / people * 1e6)
    facts = {
        "people": people,
        "per_second_planned_queued": rates,
        "our_cpu_us_a_person": round(statistics.median(cpus), 1),
        "largest_memory_mb": _memory_mb(),
    }
    return {"planner": compared(ratios, 0.4, "of the deliveries/s of plain queueing", **facts)}


def _next_sunday() -> date:
    today = datetime.now(UTC).date()
    return today + timedelta(days=14 - today.isoweekday())


async def _fill(conn: Connection, people: int, sunday: date) -> None:
    await conn.execute("select duly.register_workspace('coach')")
    for name in ("accountability", "partial", "congratulatory"):
        await conn.execute(_TEMPLATE, name, _TEXTS)
    await conn.execute("select duly.put_check_in('coach', 'check-in')")
    await conn.execute(_PEOPLE, people, _noon(sunday))
    for table in ("contact", "address", "preference", "goal", "progress"):
        await conn.execute(f"vacuum analyze duly.{table}")


def _noon(sunday: date) -> datetime:
    return datetime(sunday.year, sunday.month, sunday.day, 12, tzinfo=UTC) - timedelta(days=1)


async def _plan(dsn: str, people: int, sunday: date, *, tell: int = 0) -> tuple[float, float]:
    """Seconds by the wall and of this process. `tell`: after how many people each it prints how far it is; 0: never."""
    database = Database(lambda: dsn)
    runs = PlanRuns(database, sources(DataKeys(database, lambda: KeyRing({}, None)), None), portion=_PORTION)
    only, progress = Only(on_date=sunday), Progress()
    await runs.open(0, only)
    wall, cpu = time.perf_counter(), time.process_time()
    while await runs.portion_of(progress, only):
        if tell and progress.decided % tell < _PORTION:
            taken = time.perf_counter() - wall
            print(
                f"{progress.decided:,} after {taken:.0f} s: {progress.decided / taken:,.0f} a second",
                flush=True,
            )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await database.close()
    assert (progress.planned, progress.skipped) == (people, 0), progress
    return wall, cpu


async def _queue(conn: Connection, people: int) -> float:
    """Seconds that plain queueing of the same takes."""
    rows = await conn.fetch(
        """select d."to", m.body, m.category, d.priority, d.due_at, d.expires_at, m.variables::text as variables
           from duly.delivery_row d join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id"""
    )
    items = [
        {**row, "workspace": "coach", "channel": "sms", "variables": orjson.Fragment(row["variables"])}
        for row in rows
    ]
    assert len(items) == people
    began = time.perf_counter()
    for begin in range(0, people, _PORTION):
        batch = orjson.dumps(items[begin : begin + _PORTION]).decode()
        await conn.execute("select count(error) from duly.enqueue_batch($1::text::jsonb)", batch)
    return time.perf_counter() - began


async def once(people: int) -> None:
    """Plans so many people and prints how far it is, and what it took."""
    async with shared_server(), fresh_database() as dsn:
        conn = await asyncpg.connect(dsn)
        sunday = _next_sunday()
        filling = time.perf_counter()
        await _fill(conn, people, sunday)
        before = _memory_mb()
        print(f"{people:,} people in {time.perf_counter() - filling:.0f} s; {before} MB so far", flush=True)
        wall, cpu = await _plan(dsn, people, sunday, tell=max(people // 20, 1))
        size = await conn.fetchval("select pg_database_size(current_database()) / 1048576")
        await conn.close()
    print(
        f"planned in {wall:.0f} s: {people / wall:,.0f} a second, {cpu / people * 1e6:.0f} µs of CPU each; "
        f"{_memory_mb()} MB at most; the database has {size:,} MB"
    )


def _memory_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.planner", description="Plans a day of many people."
    )
    parser.add_argument("--people", type=int, default=1_000_000)
    logs.configure("warning")
    asyncio.run(once(parser.parse_args().people))
