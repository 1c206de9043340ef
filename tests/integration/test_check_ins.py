"""Check-ins on goals: who is asked what and when, each once, whatever changes or fails meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from daemon.planning.check_ins import CheckIns
from daemon.planning.outline import foreseen
from daemon.planning.plan_runs import Only, PlanRuns, Progress
from daemon.planning.registry import sources
from daemon.planning.sources import Item, Series
from daemon.store.database import Connection, Database
from tests.integration.coach import add, ahead, open_up, person, plan, runs, template, wants_it
from tests.support import no_keys


@pytest.fixture(autouse=True)
async def series(conn: Connection) -> UUID:
    return await open_up(conn)


async def planned(conn: Connection) -> dict[str, asyncpg.Record]:
    """What was decided, by whom it is for."""
    rows = await conn.fetch(
        """select c.external_id, p.*, d.due_at, d.priority, d.state::text as state, d."to", m.body, m.category, m.template
           from duly.planned p join duly.contact c on c.id = p.contact_id
           left join duly.delivery_row d on d.id = p.delivery_id left join duly.message m on m.id = d.message_id"""
    )
    assert len({row["external_id"] for row in rows}) == len(rows)
    return {row["external_id"]: row for row in rows}


async def test_each_gets_what_their_goals_and_preferences_call_for(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    await person(conn, "missed", day, style="snarky")
    await person(conn, "partial", day, done=1)
    await person(conn, "met", day, done=4, on_goal_met=True)
    await person(conn, "coach", day, priority=1)
    await person(conn, "met, silent", day, done=5)
    await person(conn, "partial, silent", day, done=3, on_partial_goal=False)
    await person(conn, "no goals", day, goal=None)
    await person(conn, "no address", day, to="")
    await person(conn, "stopped", day, to="+14155567777")
    await conn.execute("select duly.do_not_contact('clinic', 'sms', '+14155567777')")
    await person(conn, "disabled", day, enabled=False)
    await person(conn, "another day", day + timedelta(days=1))
    progress = await plan(database, day)
    found = await planned(conn)
    assert {name: row["kind"] for name, row in found.items() if row["delivery_id"]} == {
        "missed": "missed", "partial": "partial", "met": "met", "coach": "missed",
    }  # fmt: skip
    assert {name: row["reason"] for name, row in found.items() if not row["delivery_id"]} == {
        "met, silent": "goal_met", "partial, silent": "not_wanted", "no goals": "no_goals",
        "no address": "no_address", "stopped": "do_not_contact",
    }  # fmt: skip
    assert (progress.planned, progress.skipped) == (4, 5)
    words = {name: row["body"].split(":")[0][:-2] for name, row in found.items() if row["body"]}
    assert words == {
        "missed": "accountability snarky", "partial": "partial supportive",
        "met": "congratulatory supportive", "coach": "accountability supportive",
    }  # fmt: skip
    assert found["partial"]["body"].endswith(": partial, Runs 1/4")
    assert {n: (r["category"], r["priority"]) for n, r in found.items() if r["body"]} == {
        "missed": ("accountability", 3), "partial": ("accountability", 3),
        "met": ("congratulatory", 2), "coach": ("accountability", 1),
    }  # fmt: skip
    because = json.loads(found["partial"]["because"])
    assert because["goals"] == [{"name": "Runs", "done": 1, "target": 4, "unit": "runs", "period": "day"}]
    assert (because["zone"], because["zone_source"], because["template"]) == ("UTC", "given", "partial@1")
    assert await conn.fetchval("select bool_and(used_at is not null) from duly.template")


async def test_the_time_is_that_of_each_ones_wall_clock(conn: Connection, database: Database) -> None:
    day = ahead()
    zones = {"Asia/Kolkata": "12:30", "America/Phoenix": "01:00+1", "UTC": "18:00"}
    for zone in zones:
        await person(conn, zone, day, zone=zone)
    await person(conn, "tells by number", day, zone=None, to="+917700900123")
    await person(conn, "tells nothing", day, zone=None, to="+14155550001")
    await plan(database, day)
    found = await planned(conn)
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    wished = {name: row["wished_at"] - at for name, row in found.items()}
    assert wished["Asia/Kolkata"] == wished["tells by number"] == timedelta(hours=12, minutes=30)
    assert wished["America/Phoenix"] == timedelta(hours=25)
    assert wished["UTC"] == timedelta(hours=18)
    assert all(row["due_at"] == row["wished_at"] == row["earliest"] for row in found.values())
    assert all(row["latest"] - row["earliest"] == timedelta(hours=4) for row in found.values())
    assert json.loads(found["tells by number"]["because"])["zone_source"] == "inferred"


async def test_nothing_is_planned_twice_however_often_and_by_how_many(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    for n in range(40):
        await person(conn, f"p{n}", day, done=n % 3)
    progress = [Progress() for _ in range(3)]
    assert await runs(database).again(Progress())  # what is asked for before a day is planned plans nothing
    await runs(database).open(0, Only(on_date=day))

    async def work(mine: Progress) -> None:
        engine = runs(database, 3)
        for _ in range(200):  # who finds the run taken looks again
            if not await engine.portion_of(mine, Only(on_date=day)):
                await asyncio.sleep(0.005)

    await asyncio.gather(*(work(mine) for mine in progress))
    assert sum(mine.planned for mine in progress) == 40, progress
    assert sum(mine.portions > 0 for mine in progress) > 1
    again = await plan(database, day)
    assert again.decided == 0
    assert await conn.fetchval("select count(*) from duly.delivery_row") == 40
    run = await conn.fetchrow("select * from duly.plan_run where on_date = $1", day)
    assert run is not None
    assert (run["planned"], run["skipped"]) == (40, 0)
    assert run["done_at"] is not None


class Dies(CheckIns):
    """Breaks off in the middle of a portion, after it has decided."""

    async def decide(
        self, conn: Connection, series: Series, on_date: date, contacts: Sequence[UUID], now: datetime
    ) -> list[Item]:
        """As the other, and then the connection is gone."""
        items = await super().decide(conn, series, on_date, contacts, now)
        conn.terminate()
        return items


async def test_a_portion_that_breaks_off_leaves_nothing_and_is_done_by_the_next(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    for n in range(5):
        await person(conn, f"p{n}", day)
    await runs(database).open(0, Only(on_date=day))
    first = Progress()
    assert await runs(database, 2).portion_of(first, Only(on_date=day))
    dying = PlanRuns(database, {"check_in": Dies(no_keys(database))}, portion=2)
    with pytest.raises(Exception, match=r"(?i)connection|closed|pool"):
        await dying.portion_of(Progress(), Only(on_date=day))
    assert len(await planned(conn)) == 2
    await plan(database, day, 2)
    assert Counter(row["state"] for row in (await planned(conn)).values()) == {"queued": 5}


async def test_what_is_stored_of_one_person_stops_nobodys_planning(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    deep = "[" * 1500 + "]" * 1500
    await person(conn, "huge", day)
    await person(conn, "deep", day)
    await person(conn, "ann", day)
    await conn.execute("select duly.put_contact('clinic', 'huge', attributes => '{\"n\": 1e6000}')")
    await conn.execute("select duly.put_contact('clinic', 'deep', attributes => $1)", f'{{"n": {deep}}}')
    await plan(database, day)
    assert {name: row["state"] for name, row in (await planned(conn)).items()} == {
        "huge": "queued", "deep": "queued", "ann": "queued",
    }  # fmt: skip


class Chokes(CheckIns):
    """Cannot decide on one person."""

    choking: UUID

    async def decide(
        self, conn: Connection, series: Series, on_date: date, contacts: Sequence[UUID], now: datetime
    ) -> list[Item]:
        """As the other, but for that one."""
        if self.choking in contacts:
            raise ValueError("+14155550123")
        return await super().decide(conn, series, on_date, contacts, now)


async def test_who_cannot_be_planned_again_keeps_nobody_else_back(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    people = [await person(conn, f"p{n}", day, enabled=False) for n in range(5)]
    await plan(database, day)
    for n in range(5):
        await wants_it(conn, f"p{n}", day, enabled=True)
    source = Chokes(no_keys(database))
    source.choking = people[2]
    progress = Progress()
    assert await PlanRuns(database, {"check_in": source}).again(progress)
    assert (progress.planned, progress.skipped) == (4, 1)
    assert set(await planned(conn)) == {"p0", "p1", "p3", "p4"}
    assert await conn.fetchval("select count(*) from duly.plan_again") == 0


async def test_a_series_that_cannot_be_planned_is_named_without_what_was_read(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    source = Chokes(no_keys(database))
    source.choking = await person(conn, "ann", day)
    await runs(database).again(Progress())
    await runs(database).open(0, Only(on_date=day))
    progress = Progress()
    assert await PlanRuns(database, {"check_in": source}).portion_of(progress, Only(on_date=day))
    assert list(progress.troubles.values()) == ["clinic check-in: ValueError"]


async def test_changed_preferences_take_back_what_lies_ahead_and_plan_it_anew(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    for name in ("ann", "bob", "cleo", "dora"):
        await person(conn, name, day)
    await plan(database, day)
    await wants_it(conn, "ann", day, "20:30", style="snarky")
    await wants_it(conn, "bob", day, enabled=False)
    await conn.execute("select duly.put_contact('clinic', 'cleo', time_zone => 'Asia/Kolkata')")
    await conn.execute("select duly.remove_goal('clinic', 'dora', 'Runs')")
    states = Counter(r[0] for r in await conn.fetch("select state::text from duly.delivery_row"))
    assert states == {"canceled": 4}  # at once, before anybody plans
    await plan(database, day)
    found = await planned(conn)
    assert set(found) == {"ann", "cleo", "dora"}
    assert f"{found['ann']['due_at']:%H:%M}" == "20:30"
    assert found["ann"]["body"].startswith("accountability snarky")
    assert f"{found['cleo']['due_at']:%H:%M}" == "12:30"
    assert found["dora"]["reason"] == "no_goals"
    assert await conn.fetchval("select count(*) from duly.plan_again") == 0
    assert await conn.fetchval("select count(*) from duly.delivery_row where state = 'queued'") == 2


async def test_who_wants_to_be_asked_only_after_the_day_was_planned_is_asked_still(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    await person(conn, "late", day, enabled=False)
    await person(conn, "no goal yet", day, goal=None)
    assert (await plan(database, day)).decided == 1
    await wants_it(conn, "late", day, enabled=True)
    await conn.execute("select duly.set_goal('clinic', 'no goal yet', 'Swim', 2)")
    await plan(database, day)
    assert {name: row["state"] for name, row in (await planned(conn)).items()} == {
        "late": "queued",
        "no goal yet": "queued",
    }


async def test_no_text_is_said_again_before_all_have_been(conn: Connection, database: Database) -> None:
    weeks = [ahead() + timedelta(weeks=week) for week in range(4)]
    await person(conn, "ann", weeks[0])
    for day in weeks:
        await plan(database, day)
    rows = await conn.fetch("select body from duly.message order by created_at")
    texts = [row["body"].split(":")[0] for row in rows]
    assert len(set(texts[:3])) == 3
    assert texts[3] == texts[0]


async def test_a_template_put_without_declarations_takes_the_figures_as_texts(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    await person(conn, "begins", day, done=1.5)
    await conn.execute("select duly.put_template('clinic', 'partial', '{{goal}}: {{done}} of {{target}}')")
    await plan(database, day)
    assert await conn.fetchval("select body from duly.message") == "Runs: 1.5 of 4"


async def test_a_partial_goal_without_words_of_its_own_has_those_of_a_missed_one(
    conn: Connection, database: Database
) -> None:
    await conn.execute("update duly.template set state = 'retired' where name = 'partial'")
    day = ahead()
    await person(conn, "ann", day, done=1, style="chaotic")
    await plan(database, day)
    assert (await planned(conn))["ann"]["body"].startswith("accountability supportive")
    await conn.execute("update duly.template set state = 'retired'")
    await person(conn, "bob", day)
    await plan(database, day)
    assert (await planned(conn))["bob"]["reason"] == "no_text"


async def test_what_nobody_planned_in_time_is_left_out_or_caught_up_as_the_series_says(
    conn: Connection, database: Database
) -> None:
    day = ahead(-3)
    await person(conn, "ann", day)
    await plan(database, day)
    assert (await planned(conn))["ann"]["reason"] == "late"
    await conn.execute("select duly.register_workspace('shop')")
    await template(conn, "accountability", workspace="shop")
    await conn.execute("select duly.put_check_in('shop', 'check-in', catch_up => 'latest')")
    await person(conn, "bob", day, workspace="shop")
    await plan(database, day)
    bob = (await planned(conn))["bob"]
    assert bob["state"] == "queued"
    assert bob["due_at"] > bob["wished_at"]
    assert bob["earliest"] == bob["due_at"] < bob["latest"]


async def test_days_are_opened_before_they_begin_anywhere_and_while_they_last_somewhere(
    conn: Connection, database: Database
) -> None:
    await runs(database).open(18)
    now = datetime.now(UTC)
    days = [row[0] for row in await conn.fetch("select on_date from duly.plan_run order by on_date")]
    assert days[0] == (now - timedelta(hours=12)).date()
    assert days[-1] == (now + timedelta(hours=32)).date()
    assert await runs(database).open(18) == 0


async def test_a_dry_run_counts_and_writes_nothing(conn: Connection, database: Database) -> None:
    day = ahead()
    for n in range(6):
        await person(conn, f"p{n}", day, done=n, on_goal_met=n == 5)
    found = await foreseen(database, sources(no_keys(database), None), Only(), day, 4)
    assert found.as_json() == {
        "users": 6,
        "planned": 5,
        "skipped": 1,
        "kinds": {"met": 1, "missed": 1, "partial": 3},
        "reasons": {"goal_met": 1},
        "hours": {f"{day}T18:00:00+00:00": 5},
    }
    assert await conn.fetchval("select count(*) from duly.planned") == 0
    await plan(database, day)
    after = await foreseen(database, sources(no_keys(database), None), Only(), day, 4)
    assert after.as_json() == found.as_json()


async def test_a_window_for_duplicates_is_kept_to(conn: Connection, database: Database) -> None:
    await conn.execute("select duly.register_workspace('clinic', interval '1 day')")
    day = ahead()
    await person(conn, "ann", day)
    await person(conn, "bob", day)
    await plan(database, day)
    await plan(database, day)
    assert {row["state"] for row in (await planned(conn)).values()} == {"queued"}
    assert await conn.fetchval("select count(*) from duly.recent_content") == 2


async def test_a_goal_counts_over_its_period_of_the_persons_own_days(
    conn: Connection, database: Database
) -> None:
    """On a Monday the week that has just ended is asked about."""
    today = datetime.now(UTC).date()
    monday = today + timedelta(days=8 - today.isoweekday())
    await person(conn, "ann", monday, target=2, on_goal_met=True, zone="Asia/Kolkata", period="week")
    for at in (f"{monday - timedelta(days=8)}T18:29:00Z", f"{monday - timedelta(days=8)}T18:31:00Z"):
        await conn.execute(
            "select duly.add_progress('clinic', 'ann', 'Runs', 1, $1)", datetime.fromisoformat(at)
        )
    await plan(database, monday)
    assert json.loads((await planned(conn))["ann"]["because"])["goals"][0]["done"] == 1


async def test_progress_counts_once_for_a_key(conn: Connection) -> None:
    await person(conn, "ann", ahead())
    counted = [
        await conn.fetchval("select duly.add_progress('clinic', 'ann', 'Runs', 1, key => $1)", key)
        for key in ("a", "a", "b", None, None)
    ]
    assert counted == [True, False, True, True, True]
    found = json.loads(await conn.fetchval("select duly.goals_of('clinic', 'ann')"))
    assert found["goals"][0]["done"] == 4
    items: list[Any] = [
        {"contact": "ann", "goal": "Runs", "amount": 1, "key": "c"},
        {"contact": "ann", "goal": "Runs", "amount": 1, "key": "c"},
        {"contact": "eve", "goal": "Runs", "amount": 1},
        {"contact": "ann", "goal": "Swim", "amount": 1},
        {"contact": "ann", "goal": "Runs", "amount": "1"},
        {"contact": "ann", "goal": "Runs", "amount": 1, "at": "2026-11-26"},
        7,
    ]
    rows = await conn.fetch("select * from duly.add_progress_batch('clinic', $1)", json.dumps(items))
    assert [row["repeated"] for row in rows] == [False, True, None, None, None, None, None]
    assert [row["error"] and row["error"].partition(":")[0] for row in rows] == [
        None, None, "contact", "goal", "amount", "at", "item",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("set_preference('clinic', 'eve')", "contact: 'eve' is no contact's external_id"),
        ("set_preference('clinic', null)", "contact: null"),
        ("set_preference('none', 'ann')", "workspace: 'none'"),
        ("set_preference('clinic', 'ann', send_day => 'Someday')", "send_day: 'Someday' is no weekday"),
        ("set_preference('clinic', 'ann', send_time => '24:00')", "send_time: '24:00' is no time"),
        ("set_preference('clinic', 'ann', style => 'Loud!')", "style: must be"),
        ("set_preference('clinic', 'ann', priority => 4)", "priority: 4 is none"),
        ("set_preference('clinic', 'ann', channels => '{fax}')", "channels: must be some of"),
        ("set_goal('clinic', 'ann', 'New')", "target: is missing"),
        ("set_goal('clinic', 'ann', ' ', 1)", "name: must have"),
        ("set_goal('clinic', 'ann', 'New', 0)", "target: must be a number greater than 0"),
        ("set_goal('clinic', 'ann', 'New', 'NaN')", "target: must be a number greater than 0"),
        ("set_goal('clinic', 'ann', 'New', 1, period => 'year')", "period: 'year' is none of"),
        (
            "set_goal('clinic', 'ann', 'New', 1, begins_on => '2026-02-01', ends_on => '2026-01-01')",
            "ends_on: ",
        ),
        (
            "set_goal('clinic', 'ann', 'New', 1, begins_on => '20000-01-01')",
            "begins_on: must be in the years",
        ),
        ("set_goal('clinic', 'ann', 'New', 1, ends_on => '0044-03-15 BC')", "ends_on: must be in the years"),
        ("add_progress('clinic', 'ann', 'Other', 1)", "goal: 'Other' is no goal"),
        ("add_progress('clinic', 'ann', 'Runs', 'NaN')", "amount: must be a number"),
        ("add_progress('clinic', 'ann', 'Runs', 1, 'infinity')", "at: must be a finite time"),
        ("add_progress('clinic', 'ann', 'Runs', 1, '1999-01-01Z')", "at: must be a time between"),
        ("add_progress('clinic', 'ann', 'Runs', 1, key => '')", "key: must have"),
        ("put_check_in('clinic', 'Check in')", "name: must be"),
        ("put_check_in('clinic', 'check-in', '{\"won\": \"x\"}')", "templates: must be"),
        ("put_check_in('clinic', 'check-in', catch_up => 'often')", "catch_up: 'often' is none"),
        ("put_check_in('clinic', 'check-in', later => '8 days')", "later: must be from 0 to 7 days"),
        ("put_check_in('clinic', 'check-in', category => 'opt_out_reply')", "category: must be"),
    ],
)
async def test_what_is_wrong_is_named_by_its_field(conn: Connection, call: str, complaint: str) -> None:
    await person(conn, "ann", ahead())
    with pytest.raises(asyncpg.InvalidParameterValueError) as caught:
        await conn.execute(f"select duly.{call}")
    assert str(caught.value).startswith(complaint), str(caught.value)


async def test_null_leaves_a_field_as_it_is(conn: Connection) -> None:
    day = date(2026, 11, 27)
    await person(conn, "ann", day, "7:05".zfill(5), style="snarky", priority=1, channels=["email", "sms"])
    await conn.execute("select duly.set_preference('clinic', 'ann', on_goal_met => true, priority => 0)")
    await conn.execute("select duly.set_goal('clinic', 'ann', 'Runs', unit => 'km')")
    await add(conn, "ann", 2.5)
    found = json.loads(await conn.fetchval("select duly.goals_of('clinic', 'ann')"))
    assert found["preferences"] == {
        "enabled": True, "send_day": "Friday", "send_time": "07:05:00", "on_goal_met": True,
        "on_partial_goal": True, "style": "snarky", "channels": ["email", "sms"], "priority": None,
    }  # fmt: skip
    goal = {"name": "Runs", "target": 4, "unit": "km", "period": "day", "begins_on": None, "ends_on": None}
    assert found["goals"] == [goal | {"done": 2.5}]
