"""What is foretold against what then happens: a real daemon, the stand-in, limits that bind at every level."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from daemon.cli.outlook import foretell
from daemon.cli.status import readiness
from daemon.config import Config, load_config
from daemon.planning.cohorts import Cohort
from daemon.planning.forecast import Forecast, Outlook
from daemon.planning.looking import look
from daemon.sandbox.app import Sandbox
from daemon.store import backlog
from daemon.store.database import Connection
from daemon.store.sql import query
from daemon.store.status import snapshot
from tests.daemons import all_settled, daemon_on, enqueue, plain_sandbox, states
from tests.support import free_port, until

HIGH, NORMAL, BULK = 1, 2, 3
LONG = "x" * 400  # three segments
# Of the time that something takes.
MOST_WRONG = 0.1
# What a busy machine adds to the end of anything, however short.
JITTER_SECONDS = 0.4

WORKSPACES = """
[workspaces.large]
[workspaces.small]
[workspaces.news]
[workspaces.tight]
per_second = 9
burst = 6
[workspaces.mixed]
per_second = 5
burst = 4
[workspaces.sunday]
"""

_ENDS = """
select w.name, r.priority, max(r.sent_at) as at
from duly.delivery_row r join duly.workspace w on w.id = r.workspace_id group by 1, 2
"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with plain_sandbox() as found:
        yield found


async def foretold(conn: Connection, config: Config, *cohorts: Cohort) -> Forecast:
    """What `duly status` would say now."""
    daemon = await readiness(config)
    found = await snapshot(conn, 5)
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        seen = await look(conn, cohorts)
    return foretell(seen, found, config, daemon)


def assert_near(what: str, forecast: Forecast, outlook: Outlook, end: datetime, began: datetime) -> None:
    """Of the time from its begin, or from the forecast where that was later, at most a tenth is wrong."""
    assert outlook.ends_seconds is not None, outlook.why
    was = (end - forecast.at).total_seconds()
    took = (end - max(began, forecast.at)).total_seconds()
    said = f"{what}: foretold {outlook.ends_seconds:.2f} s, was {was:.2f} s"
    assert abs(outlook.ends_seconds - was) <= max(MOST_WRONG * took, JITTER_SECONDS), said


async def test_a_forecast_comes_true_before_and_while_it_runs(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    port = free_port()
    async with daemon_on(work_dir, dsn, sandbox, port, account="rate_per_second = 80", extra=WORKSPACES):
        config = load_config(work_dir / f"duly-{port}.toml")
        async with conn.transaction():
            at = await conn.fetchval("select now()")
            await enqueue(conn, 440, workspace="large", first=0)
            await enqueue(conn, 90, workspace="small", first=1000, body=LONG)
            await enqueue(conn, 60, workspace="news", first=8000, priority=BULK)
            await enqueue(conn, 32, workspace="tight", first=2000, body=LONG)
            await enqueue(conn, 30, workspace="mixed", first=3000, priority=HIGH)
            await enqueue(conn, 30, workspace="mixed", first=4000, priority=BULK)
            await enqueue(conn, 200, workspace="shop", first=5000, priority=HIGH)
            await enqueue(conn, 200, workspace="sunday", first=6000, due_in=5)
        sunday = Cohort(at + timedelta(seconds=5), at + timedelta(seconds=6))
        urgent = Cohort(None, at + timedelta(seconds=1), priority=HIGH)
        forecasts = [await foretold(conn, config, sunday, urgent)]

        async def under_way() -> bool:
            return (await states(conn))["queued"] < 600

        await until(under_way, seconds=20)
        forecasts.append(await foretold(conn, config, sunday, urgent))
        await until(lambda: all_settled(conn), seconds=40)
    ends = {(row["name"], row["priority"]): row["at"] for row in await conn.fetch(_ENDS)}
    workspaces = {name: max(end for (of, _), end in ends.items() if of == name) for name, _ in ends}
    urgent_end = max(end for (_, priority), end in ends.items() if priority == HIGH)
    assert set(forecasts[0].workspaces) == set(workspaces)
    for forecast in forecasts:
        for name, outlook in forecast.workspaces.items():
            assert_near(name, forecast, outlook, workspaces[name], sunday.at if name == "sunday" else at)
        assert_near("all", forecast, forecast.total, max(ends.values()), at)
        assert_near("main", forecast, forecast.accounts["main"], max(ends.values()), at)
        (_, on_sunday), (_, when_urgent) = forecast.cohorts[:2]
        assert_near("what is due on Sunday", forecast, on_sunday, workspaces["sunday"], sunday.at)
        assert_near("what is urgent", forecast, when_urgent, urgent_end, at)
    (_, on_sunday), (_, when_urgent) = forecasts[0].cohorts[:2]
    assert (on_sunday.messages, on_sunday.segments) == (200, 200)
    assert (when_urgent.messages, when_urgent.segments) == (230, 230)


async def test_what_will_expire_unsent_is_foretold(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> None:
    port = free_port()
    async with daemon_on(work_dir, dsn, sandbox, port, account="rate_per_second = 40"):
        config = load_config(work_dir / f"duly-{port}.toml")
        async with conn.transaction():
            await enqueue(conn, 300, first=0, expires_in=4)
            await enqueue(conn, 40, workspace="shop", first=1000)
        forecast = await foretold(conn, config)
        await until(lambda: all_settled(conn), seconds=30)
    expired = (await states(conn))["expired"]
    assert 100 < expired < 260
    assert forecast.total.expiring == pytest.approx(expired, rel=MOST_WRONG)
    assert forecast.workspaces["shop"].expiring == 0
    assert forecast.workspaces["clinic"].expiring == forecast.total.expiring


async def test_the_queue_is_summed_up_exactly_and_by_its_indexes(conn: Connection) -> None:
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    await conn.execute("""
        insert into duly.delivery_row
          (id, workspace_id, message_id, channel, priority, state, due_at, segments, expires_at, "to")
        select duly.new_id(), 1 + n % 2, duly.new_id(), 'sms', 1 + n % 3,
               case when n % 50 = 0 then 'queued' when n % 500 = 1 then 'leased' else 'delivered' end::duly.state,
               now() + (n - 20000) * interval '1 second', 1 + n % 4,
               case when n % 100 = 0 then now() + interval '2 days' end, '+14155550123'
        from generate_series(1, 60000) n""")
    await conn.execute("vacuum analyze duly.delivery_row")
    at = await conn.fetchval("select now()")
    cuts = [at - timedelta(hours=1), at, at + timedelta(hours=1)]
    async with conn.transaction():
        found = await backlog.lots(conn, at, cuts)
    rows = await conn.fetch(
        """select width_bucket(due_at, $1::timestamptz[]) as slot, count(*) as messages, sum(segments) as segments
           from duly.delivery_row where state in ('queued', 'leased') group by 1""",
        cuts,
    )
    assert {row["slot"] for row in rows} == {0, 1, 2, 3}
    for row in rows:
        of = [lot for lot in found if lot.slot == row["slot"]]
        assert sum(lot.messages for lot in of) == row["messages"]
        assert sum(lot.segments for lot in of) == row["segments"]
    assert len(found) <= 2 * 3 * 4 * 2  # workspaces, priorities, slots, expiring or not
    coming = await conn.fetchval(
        "select count(*) from duly.delivery_row where state = 'queued' and due_at > now()"
    )
    assert sum(moment.messages for moment in await backlog.moments(conn)) == coming
    for name, *arguments in (("backlog_moments",), ("backlog_lots", cuts, cuts, None), ("call_seconds",)):
        plan = "\n".join(row[0] for row in await conn.fetch(f"explain {query(name)}", *arguments))
        assert "Seq Scan on delivery_row" not in plan, name
        assert "Seq Scan on attempt" not in plan, name
    plan = "\n".join(row[0] for row in await conn.fetch(f"explain {query('backlog_moments')}"))
    assert "Index Only Scan using delivery_row_queued on delivery_row d" in plan
