"""Series of reminders as the planner plans them: what joins or changes later, and pauses."""

from __future__ import annotations

import json

from daemon.planning.plan_runs import PlanRuns, Progress
from daemon.planning.registry import sources
from daemon.store.database import Connection, Database
from tests.support import no_keys


async def test_what_joins_changes_or_pauses_is_planned_again(conn: Connection, database: Database) -> None:
    await conn.execute("select duly.register_workspace('clinic')")
    await conn.execute("select duly.put_template('clinic', 'knee', 'Hi {{FirstName}}, stretch.')")
    people = [
        {
            "external_id": f"p{n}",
            "first_name": "Ann",
            "time_zone": "America/New_York",
            "addresses": [{"channel": "sms", "address": f"+1415{5550100 + n:07}"}],
        }
        for n in range(40)
    ]
    await conn.fetch("select * from duly.put_contacts('clinic', $1)", json.dumps(people))
    put = "select duly.put_series('clinic', 'knee', 'knee', 'FREQ=DAILY', (now() + interval '1 day')::date + $1::time)"
    await conn.execute(put.replace("$1", "'09:00'"))
    runs = PlanRuns(database, sources(no_keys(database), None), portion=7)

    async def join(first: int, last: int) -> None:
        items = [{"contact": f"p{n}"} for n in range(first, last)]
        await conn.fetch("select * from duly.add_to_series_batch('clinic', 'knee', $1)", json.dumps(items))

    async def plan() -> int:
        progress = Progress()
        await runs.open(30)
        while await runs.step(progress):
            pass
        assert not progress.troubles
        assert progress.skipped == 0
        return progress.planned

    async def queued() -> int:
        return int(await conn.fetchval("select count(*) from duly.delivery where state = 'queued'"))

    await join(0, 30)
    first = await plan()
    assert first >= 30
    assert await plan() == 0
    await join(30, 40)
    later = await plan()
    assert later == first // 3
    await conn.execute(put.replace("$1", "'10:00'"))
    assert await plan() == first + later == await queued()
    await conn.execute("select duly.pause_series('clinic', 'knee')")
    assert (await plan(), await queued()) == (0, 0)
    await conn.execute("select duly.resume_series('clinic', 'knee')")
    assert await plan() == first + later
