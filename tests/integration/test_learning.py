"""What is learned of people: their hours on their own clock, each event once; and the analytics."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from daemon.config import parse_config
from daemon.planning.learning import chance, load_habits, load_tastes
from daemon.planning.send_time import learned
from daemon.planning.styles import Words
from daemon.queue.learner import Learner
from daemon.sandbox.app import Sandbox
from daemon.store.analytics import DIMENSIONS, known_dimensions
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.support import ROOT, free_port, toml

TOKYO, NEW_YORK = "Asia/Tokyo", "America/New_York"
WEEK_AGO = datetime.now(UTC).replace(minute=10, second=0, microsecond=0) - timedelta(days=7)
SOURCE = uuid4()


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


@pytest.fixture
def learner(database: Database) -> Learner:
    config = parse_config("[workspaces.clinic]\nlearn_send_time = true\n[workspaces.shop]")
    return Learner(database, lambda: config, asyncio.Event())


async def person(conn: Connection, name: str, zone: str | None = TOKYO, workspace: str = "clinic") -> UUID:
    """A contact with a goal."""
    found: UUID = await conn.fetchval(
        "select duly.put_contact($1, $2, time_zone => $3)", workspace, name, zone
    )
    await conn.execute(
        """insert into duly.goal (id, workspace_id, contact_id, name, target)
           select duly.new_id(), workspace_id, id, 'runs', 3 from duly.contact where id = $1""",
        found,
    )
    return found


async def act(conn: Connection, contact: UUID, at: datetime) -> None:
    """Progress on the goal."""
    await conn.execute(
        """insert into duly.progress (workspace_id, goal_id, amount, at, recorded_at)
           select workspace_id, id, 1, $2, now() - interval '1 hour' from duly.goal where contact_id = $1""",
        contact,
        at,
    )


async def planned(
    conn: Connection,
    contact: UUID,
    at: datetime,
    *,
    style: str = "snarky",
    state: str = "delivered",
    **more: Any,
) -> UUID:
    """A check-in that was planned for then and went then."""
    items = [{
        "source_id": str(SOURCE), "source": "check_in", "contact": str(contact), "occurrence": at.isoformat()[:19],
        "channel": "sms", "to": "+1415" + str(contact.int)[:7], "body": "How was it?", "style": style, "kind": "missed",
        "due_at": at.isoformat(), "category": "accountability", **more,
    }]  # fmt: skip
    row = await conn.fetchrow(
        """select p.id, p.error from duly.contact c, duly.enqueue_planned(c.workspace_id, $2::text::jsonb) p
           where c.id = $1""",
        contact,
        json.dumps(items),
    )
    assert row is not None
    assert row["error"] is None
    await conn.execute(
        """update duly.delivery_row set state = $2::text::duly.state,
             sent_at = case when $2 in ('sent', 'delivered', 'failed') then $3::timestamptz end where id = $1""",
        row["id"],
        state,
        at,
    )
    delivery: UUID = row["id"]
    return delivery


def slot(at: datetime, hours: int) -> int:
    """The hour of the week that a clock so many hours ahead of UTC shows."""
    there = at + timedelta(hours=hours)
    return there.weekday() * 24 + there.hour


async def test_each_event_is_learned_once_on_the_persons_own_clock(
    conn: Connection, learner: Learner, database: Database
) -> None:
    ann, bob, unknown = await person(conn, "ann"), await person(conn, "bob"), await person(conn, "cy", None)
    other = await person(conn, "dee", workspace="shop")
    for whom in (ann, ann, bob, unknown, other):
        await act(conn, whom, WEEK_AGO)
    answered = await planned(conn, ann, WEEK_AGO)
    await conn.execute("select duly.responded(1, $1, 'reply')", answered)
    await conn.execute("update duly.response set first_at = $1", WEEK_AGO + timedelta(hours=3))
    late = await planned(conn, ann, WEEK_AGO + timedelta(hours=1))
    await conn.execute("select duly.responded(1, $1, 'click')", late)  # a week after
    await planned(conn, ann, WEEK_AGO, state="skipped", source_id=str(uuid4()))
    await planned(conn, unknown, WEEK_AGO)
    await planned(conn, bob, datetime.now(UTC) - timedelta(hours=20))  # may be answered yet
    assert await learner.once() == 8
    assert await learner.once() == 0

    found = await load_habits(conn, 1, [ann, bob, unknown])
    here, next_hour = slot(WEEK_AGO, 9), slot(WEEK_AGO, 9) + 1
    assert found.person(ann).active == pytest.approx({here: 1})  # twice within one hour counts once
    assert found.person(ann).sent == pytest.approx({here: 1, next_hour % 168: 1})
    assert found.person(ann).answered == pytest.approx({here: 1})
    assert found.person(bob).active == pytest.approx({here: 1})
    assert not found.person(bob).sent
    assert found.person(unknown).events == 0
    assert found.cohort.active == pytest.approx({here: 2})
    assert found.cohort.answered == pytest.approx({here: 1})
    assert await conn.fetchval("select count(*) from duly.habit where workspace_id = 2") == 0

    await act(conn, ann, WEEK_AGO + timedelta(days=1))
    assert await learner.once() == 1
    assert (await load_habits(conn, 1, [ann])).person(ann).events == pytest.approx(4)


async def test_what_is_old_weighs_less(conn: Connection, learner: Learner) -> None:
    ann = await person(conn, "ann")
    await act(conn, ann, WEEK_AGO)
    await learner.once()
    await conn.execute("update duly.habit set at = at - interval '56 days'")
    assert (await load_habits(conn, 1, [ann])).person(ann).events == pytest.approx(0.5, abs=0.01)
    await act(conn, ann, WEEK_AGO)
    await learner.once()
    found = await load_habits(conn, 1, [ann])
    for habit in (found.person(ann), found.cohort):
        assert habit.events == pytest.approx(1.5, abs=0.01)


async def test_daylight_saving_moves_no_habit(conn: Connection, learner: Learner) -> None:
    ann = await person(conn, "ann", NEW_YORK)
    now = datetime.now(UTC)
    winter, summer = "2026-11-02 18:30", "2026-10-26 18:30"  # clocks go back on 1 November
    for wall in (winter, summer):
        at = await conn.fetchval("select $1::text::timestamp at time zone $2", wall, NEW_YORK)
        if now - timedelta(days=110) < at < now:
            await act(conn, ann, at)
    hours = [await conn.fetchval("select duly.hour_of_week($1::text::timestamp at time zone $2, $2)", wall, NEW_YORK)
             for wall in (winter, summer)]  # fmt: skip
    assert hours == [18, 18]
    await learner.once()
    assert set((await load_habits(conn, 1, [ann])).person(ann).active) <= {18}


async def test_two_daemons_learn_everything_once(
    conn: Connection, learner: Learner, database: Database
) -> None:
    everybody = [await person(conn, f"p{n}") for n in range(20)]
    for whom in everybody:
        await act(conn, whom, WEEK_AGO)
        await planned(conn, whom, WEEK_AGO)

    async def learn(how_many: int) -> int:
        row = await database.fetchrow(query("learn_habits"), 1, how_many)
        return (row["looked"] or 0) if row is not None else 0

    looked = 0
    while round_ := sum(await asyncio.gather(*(learn(3) for _ in range(4)))):
        looked += round_
    assert looked == 40
    found = await load_habits(conn, 1, everybody)
    assert found.cohort.events == pytest.approx(40)
    assert [found.person(whom).events for whom in everybody] == pytest.approx([2] * 20)


async def test_a_habit_makes_a_time_and_its_reason(conn: Connection, learner: Learner) -> None:
    ann = await person(conn, "ann")
    tokyo_morning = (WEEK_AGO + timedelta(hours=9)).replace(hour=8) - timedelta(hours=9)
    for day in range(14):
        await act(conn, ann, tokyo_morning - timedelta(days=day))
    await learner.once()
    found = await load_habits(conn, 1, [ann])
    assert chance(SOURCE, ann, WEEK_AGO).random() == chance(SOURCE, ann, WEEK_AGO).random()
    times = {
        learned(time(18), 6, found.person(ann), found.cohort, range(7, 22), Random(seed))[0]
        for seed in range(20)
    }
    assert times <= {time(7), time(8), time(9)}


async def test_words_make_tastes(conn: Connection) -> None:
    ann, bob = await person(conn, "ann"), await person(conn, "bob")
    for day, (whom, style, helpful) in enumerate(
        [(ann, "snarky", False), (ann, "snarky", False), (ann, "supportive", True), (bob, "snarky", True)]
    ):
        delivery = await planned(conn, whom, WEEK_AGO + timedelta(days=day), style=style)
        await conn.execute("select duly.give_feedback('clinic', $1, $2)", delivery, helpful)
    found = await load_tastes(conn, 1, [ann])
    assert found.person(ann) == {"snarky": Words(0, 2), "supportive": Words(1, 0)}
    assert found.cohort == {"snarky": Words(1, 2), "supportive": Words(1, 0)}
    assert found.person(bob) == {}


async def test_links_that_have_expired_go(conn: Connection, learner: Learner) -> None:
    await conn.execute("select duly.register_link_base('https://d.example')")
    await conn.execute("select (duly.make_link('clinic')).token from generate_series(1, 3)")
    await conn.execute(
        "update duly.link set expires_at = now() where token = (select min(token) from duly.link)"
    )
    await learner.once()
    assert await conn.fetchval("select count(*) from duly.link") == 2


# Analytics.


async def test_what_came_is_counted_by_every_dimension(
    conn: Connection, work_dir: Path, dsn: str, sandbox: Sandbox
) -> None:
    config = work_dir / "duly.toml"
    config.write_text(toml(dsn, sandbox.url, free_port()))

    def duly(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "daemon", "analytics", *words, "--config", str(config)],
            capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip

    ann = await person(conn, "ann")
    supportive = [
        await planned(conn, ann, WEEK_AGO + timedelta(days=d), style="supportive") for d in range(3)
    ]
    failed = await planned(conn, ann, WEEK_AGO + timedelta(days=3), state="failed")
    await planned(conn, ann, WEEK_AGO + timedelta(days=4), state="skipped")
    await planned(conn, ann, WEEK_AGO, source="campaign", source_id=str(uuid4()), kind="b", style="")
    await conn.execute("select duly.enqueue('clinic', 'email', 'a@b.example', 'plain')")
    await conn.execute("select duly.enqueue('shop', 'sms', '+14155550123', 'of others')")
    for delivery, kind in (
        (supportive[0], "reply"),
        (supportive[0], "click"),
        (supportive[1], "reply"),
        (failed, "opt_out"),
    ):
        await conn.execute("select duly.responded(1, $1, $2)", delivery, kind)
    await conn.execute("select duly.give_feedback('clinic', $1, true)", supportive[0])
    await conn.execute("select duly.give_feedback('clinic', $1, false)", supportive[1])

    words = [word for name in DIMENSIONS for word in ("--by", name)]
    done = duly("--workspace", "clinic", "--json", *words)
    assert done.returncode == 0, done.stderr
    by = json.loads(done.stdout)["by"]
    assert set(by) == set(DIMENSIONS)
    assert {name: sum(line["queued"] for line in lines) for name, lines in by.items()} == dict.fromkeys(
        DIMENSIONS, 7
    )
    styles = {line["value"]: line for line in by["style"]}
    expected = {"queued": 3, "sent": 3, "delivered": 3, "failed": 0, "replied": 2, "clicked": 1, "helpful": 1,
                "not_helpful": 1, "success_rate": 1.0, "reply_rate": 0.6667, "helpful_rate": 0.5}  # fmt: skip
    assert {name: styles["supportive"][name] for name in expected} == expected
    snarky = {"queued": 2, "sent": 1, "failed": 1, "skipped": 1, "opted_out": 1, "success_rate": 0.0}
    assert {name: styles["snarky"][name] for name in snarky} == snarky
    assert styles[None]["queued"] == 2
    values = {name: [line["value"] for line in lines] for name, lines in by.items()}
    assert (values["kind"], values["variant"], values["channel"]) == (
        ["missed", None],
        ["b", None],
        ["email", "sms"],
    )
    assert f"{(WEEK_AGO + timedelta(hours=9)).hour:02}" in values["hour"]
    assert f"{WEEK_AGO:%Y-%m-%d}" in values["day"]

    told = duly("--workspace", "clinic", "--by", "style")
    assert "supportive" in told.stdout
    assert "(none)" in told.stdout
    wrong = duly("--workspace", "clinic", "--since", "2030-01-01T00:00Z")
    assert (wrong.returncode, wrong.stderr.strip()) == (2, "duly: --since: must be before until")
    with pytest.raises(ValueError, match=r"^by: 'age' is none of template, "):
        known_dimensions(["age"])
