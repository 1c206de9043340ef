"""Check-ins at the hour and in the style that were learned; and links in what the planner and campaigns say."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from daemon.config import parse_config
from daemon.planning.campaign_drafts import draft, make
from daemon.planning.campaign_outlook import results
from daemon.planning.outline import foreseen
from daemon.planning.plan_runs import Only, PlanRuns, Progress
from daemon.planning.registry import sources
from daemon.sandbox.app import Sandbox
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.integration.coach import add, ahead, open_up, person, wants_it
from tests.integration.stage import Stage
from tests.support import no_keys, until

BASE = "https://d.example"
TARGET = "https://coach.example/plan?week=7&x=%20y"
LEARNS = 'learn_send_time = true\nlearn_hours = "08:00-21:00"\nlearn_style = true'
COHORT = UUID(int=0)


@pytest.fixture(autouse=True)
async def series(conn: Connection) -> UUID:
    await open_up(conn, "shop")
    return await open_up(conn)


def planner(
    database: Database, *, rules: str = "", base: bool = True, keys: DataKeys | None = None
) -> PlanRuns:
    """Planning where the clinic learns, and the shop does not."""
    web = f'[web]\nlink_url = "{BASE}"' if base else ""
    config = parse_config(f"{web}\n[workspaces.clinic]\n{LEARNS}\n{rules}\n[workspaces.shop]", environ={})
    return PlanRuns(database, sources(keys or no_keys(database), None, lambda: config))


async def run(runs: PlanRuns, day: date) -> Progress:
    progress = Progress()
    await runs.open(0, Only(on_date=day))
    while await runs.step(progress, Only(on_date=day)):
        pass
    assert not progress.troubles
    return progress


async def is_there(conn: Connection, contact: UUID, day: date, hour: int, weight: float = 60) -> None:
    """Makes somebody, and the cohort, at home in an hour of that day of the week."""
    for whose in (contact, COHORT):
        await conn.execute(
            """insert into duly.habit as h (contact_id, hour, workspace_id, active)
               select $1, $2, workspace_id, $3 from duly.contact where id = $4
               on conflict (contact_id, hour, workspace_id) do update set active = h.active + excluded.active""",
            whose,
            day.weekday() * 24 + hour,
            weight,
            contact,
        )


async def decided(conn: Connection, workspace: str = "clinic") -> dict[str, Any]:
    """By whom it is for: what was decided."""
    rows = await conn.fetch(
        """select c.external_id, p.*, d.due_at, m.body, m.variables::text as variables, m.metadata::text as metadata
           from duly.planned p join duly.contact c on c.id = p.contact_id
           join duly.workspace w on w.id = p.workspace_id and w.name = $1
           left join duly.delivery_row d on d.id = p.delivery_id left join duly.message m on m.id = d.message_id""",
        workspace,
    )
    assert len({row["external_id"] for row in rows}) == len(rows)
    return {row["external_id"]: {**row, "because": json.loads(row["because"])} for row in rows}


def times(found: dict[str, Any]) -> dict[str, str]:
    return {name: f"{row['due_at']:%H:%M}" for name, row in found.items() if row["due_at"] is not None}


async def test_each_is_written_to_in_their_own_hour_of_the_day_they_chose_and_once(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    for name, fixed, hour in (("early", "18:10", 9), ("new", "18:00", None), ("night", "18:00", 23)):
        contact = await person(conn, name, day, fixed)
        if hour is not None:
            await is_there(conn, contact, day, hour)
    await is_there(conn, await person(conn, "other", day, workspace="shop"), day, 9)
    runs = planner(database)
    before = await foreseen(database, runs._sources, Only(), day, 10)
    await run(runs, day)
    found = await decided(conn)
    assert times(found)["early"] == "09:10"
    assert times(found)["night"] not in ("22:00", "23:00")  # the hours that the workspace allows end at 21:00
    assert times(await decided(conn, "shop")) == {"other": "18:00"}
    assert "learned" not in (await decided(conn, "shop"))["other"]["because"]
    early = found["early"]
    assert early["occurrence"] == datetime.combine(day, time(18, 10))
    assert early["due_at"] == early["wished_at"] == early["earliest"] == early["latest"] - timedelta(hours=4)
    learned = early["because"]["learned"]
    assert (learned["fixed"], learned["learned"], learned["from"]) == ("18:10", "09:10", 60)
    assert learned["chance"] > learned["chance_fixed"]
    assert early["because"]["wished"] == f"{day} 18:10"
    after = await foreseen(database, runs._sources, Only(), day, 10)
    assert before.as_json() == after.as_json()  # the dry run has decided the same
    # What is learned later moves nothing, and a change of preferences decides anew: for one, once.
    await is_there(conn, early["contact_id"], day, 14, 1000)
    assert (await run(runs, day)).decided == 0
    await wants_it(conn, "early", day, "18:10", style="snarky")
    assert (await run(runs, day)).planned == 1
    assert times(await decided(conn))["early"] == "14:10"


async def test_what_the_rules_call_quiet_is_never_learned_nor_what_has_passed(
    conn: Connection, database: Database
) -> None:
    day = ahead()
    for name, hour in (("quiet", 9), ("open", 13)):
        await is_there(conn, await person(conn, name, day, "18:15"), day, hour)
    rules = '[workspaces.clinic.rules]\nquiet_hours = { accountability = "20:00-10:00" }'
    await run(planner(database, rules=rules), day)
    found = times(await decided(conn))
    assert found["open"] == "13:15"
    assert found["quiet"] >= "10:15"
    # A day in the past: its hours are over, and what is still within its tolerance goes now.
    now = datetime.now(UTC)
    zone = f"Etc/GMT{now.hour - 19:+d}" if -14 <= now.hour - 19 <= 12 else "Etc/GMT+12"
    evening = (now - timedelta(hours=now.hour - 19)) if zone != "Etc/GMT+12" else now - timedelta(hours=12)
    wall = f"{evening - timedelta(minutes=5):%H:%M}"
    today = evening.date()
    late = await person(conn, "late", today, wall, zone=zone)
    await is_there(conn, late, today, 9)
    await run(planner(database), today)
    row = (await decided(conn))["late"]
    assert row["due_at"] >= row["wished_at"] == row["earliest"]
    assert row["because"]["learned"]["learned"] == wall


async def test_a_daemon_goes_by_what_was_learned_and_explains_it(stage: Stage, database: Database) -> None:
    day, conn = ahead(1), stage.conn
    chosen = await a_style_is_chosen_among_those_that_there_are(conn, database)
    await reaches_her_goal(conn, chosen)
    for workspace in ("clinic", "shop"):
        contact = await person(conn, f"eve of {workspace}", day, workspace=workspace)
        await is_there(conn, contact, day, 20)

    async def all_planned() -> bool:
        return bool(await conn.fetchval("select count(*) = 4 from duly.planned"))

    daemon = stage.config()
    toml = daemon.config.read_text()
    daemon.config.write_text(toml.replace("[workspaces.clinic]", f"[workspaces.clinic]\n{LEARNS}"))
    async with stage.running(daemon):
        await until(all_planned)
        await stage.reaches(chosen, "sent", "delivered")
    eve = (await decided(conn))["eve of clinic"]
    told = await stage.story(eve["delivery_id"])  # as `duly explain` prints it
    assert times(await decided(conn))["eve of clinic"] == "20:00"
    assert times(await decided(conn, "shop")) == {"eve of shop": "18:00"}
    assert "learned (from 60, " in told
    assert "fixed 18:00, " in told
    # What she was going to be told has become a congratulation, in the style that was chosen.
    ann = (await decided(conn))["ann"]
    assert ann["body"].startswith("congratulatory snarky")
    assert (ann["kind"], ann["style"], ann["because"]["style"]["chosen"]) == ("met", "snarky", "snarky")


async def a_style_is_chosen_among_those_that_there_are(conn: Connection, database: Database) -> UUID:
    """Returns the delivery of somebody who gets another style than the one she chose."""
    day = ahead()
    ann = await person(conn, "ann", day, done=1)
    await person(conn, "bo", day, style="chaotic")  # has no texts
    runs = planner(database)
    await run(runs, day)
    found = await decided(conn)
    assert [
        (found[name]["style"], found[name]["because"]["style"]["preferred"]) for name in ("ann", "bo")
    ] == [
        ("supportive", "supportive"),
        ("supportive", "chaotic"),
    ]
    for n in range(30):  # ann called the other style helpful, and this one not
        await conn.execute(
            "insert into duly.feedback (delivery_id, workspace_id, contact_id, style, helpful, via)"
            " select gen_random_uuid(), workspace_id, id, $2, $3, 'reply' from duly.contact where id = $1",
            ann,
            "snarky" if n % 2 else "supportive",
            bool(n % 2),
        )
    await wants_it(conn, "ann", day)
    await run(runs, day)
    row = (await decided(conn))["ann"]
    assert row["body"].startswith("partial snarky")
    assert (row["style"], row["because"]["style"]["chosen"], row["because"]["style"]["from"]) == (
        "snarky",
        "snarky",
        30,
    )
    delivery: UUID = row["delivery_id"]
    return delivery


async def reaches_her_goal(conn: Connection, delivery: UUID) -> None:
    """After it was planned; and its time has come."""
    await conn.execute("update duly.delivery_row set due_at = now() where id = $1", delivery)
    await conn.execute("update duly.preference set on_goal_met = true")
    await add(conn, "ann", 9)
    await conn.execute(
        """update duly.progress g set at = p.occurrence at time zone 'UTC' from duly.planned p
           where p.delivery_id = $1""",
        delivery,
    )


@pytest.fixture
def stage(dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Any) -> Stage:
    return Stage(dsn, conn, sandbox, work_dir)


# Links.


async def words(conn: Connection, name: str, body: str, **variables: Any) -> None:
    """A template of the clinic's with one text."""
    await conn.execute(
        "select duly.put_template('clinic', $1, $2, variables => $3)",
        name,
        body,
        json.dumps({each: {"type": "url"} | more for each, more in variables.items()}),
    )


async def tokens(conn: Connection) -> dict[str, Any]:
    return {row["token"]: row for row in await conn.fetch("select * from duly.link")}


async def test_check_ins_and_reminders_have_links_of_their_own(conn: Connection, database: Database) -> None:
    await words(conn, "accountability", "Go on! {{feedback_url}}", feedback_url={}, link={"default": TARGET})
    await words(conn, "visit", "{{link}} {{links.map}}", link={}, **{"links.map": {"type": "text"}})
    day = ahead()
    for name in ("ann", "bo"):
        await person(conn, name, day)
    await conn.execute(
        "select duly.put_series('clinic', 'visits', template => 'visit', begins_at => $1)",
        datetime.combine(day, time(9)),
    )
    variables = {"link": TARGET, "links": {"map": "see the leaflet"}}
    await conn.execute(
        "select duly.add_to_series('clinic', 'visits', contact => 'ann', variables => $1)",
        json.dumps(variables),
    )
    runs = planner(database)
    before = await foreseen(database, runs._sources, Only(), day, 10)
    assert (before.planned, await tokens(conn)) == (3, {})  # a dry run makes none
    await run(runs, day)
    known = await tokens(conn)
    rows = await conn.fetch(
        """select p.source, m.body, m.metadata::text as metadata, p.delivery_id
           from duly.planned p join duly.message m on m.id = p.delivery_id"""
    )
    assert len(rows) == len(known) == 3
    for row in rows:
        (token,) = json.loads(row["metadata"])["links"]
        said = {"check_in": f"Go on! {BASE}/f/{token}", "reminder": f"{BASE}/l/{token} see the leaflet"}
        assert row["body"] == said[row["source"]]
        assert known[token]["delivery_id"] == row["delivery_id"]
        assert known[token]["target"] == (None if row["source"] == "check_in" else TARGET)


async def test_without_a_url_for_links_what_needs_one_is_not_sent_and_says_why(
    conn: Connection, database: Database
) -> None:
    await words(conn, "accountability", "Go on! {{feedback_url}}", feedback_url={})
    await words(conn, "partial", "{{link}} is yours", link={"default": TARGET}, feedback_url={})
    day = ahead()
    await person(conn, "ann", day)
    await person(conn, "bo", day, done=1)
    await run(planner(database, base=False), day)
    found = await decided(conn)
    assert found["ann"]["reason"] == (
        "feedback_url: links have no URL; set web.link_url or web.public_url in the TOML"
    )
    assert found["bo"]["body"] == f"{TARGET} is yours"
    assert await tokens(conn) == {}


async def test_what_seals_has_the_targets_of_its_links_sealed(conn: Connection, database: Database) -> None:
    keys = DataKeys(database, lambda: KeyRing({"a": bytes(32)}, "a"))
    await conn.execute("select duly.set_sealing('clinic', true)")
    await words(
        conn, "accountability", "{{link}} {{feedback_url}}", link={"default": TARGET}, feedback_url={}
    )
    day = ahead()
    await person(conn, "ann", day)
    assert (await run(planner(database), day)).skipped == 1  # without keys
    assert (await decided(conn))["ann"]["reason"] == "cannot_open"
    await wants_it(conn, "ann", day, "18:01")
    await run(planner(database, keys=keys), day)
    (link,) = [row for row in (await tokens(conn)).values() if row["sealed"]]
    assert link["target"] is None
    assert await keys.open(link["workspace_id"], "link", link["token"], link["sealed"]) == [TARGET]


async def test_answers_clicks_and_words_count_for_the_variants_of_a_campaign(stage: Stage) -> None:
    """All the way: a daemon sends it, people answer on their phones and press links."""
    conn = stage.conn
    for n in range(6):
        await person(conn, f"P{n}", ahead(), goal=None, to=f"+1415556{2000 + n}", enabled=False)
    text = "{{FirstName}}, come again: {{link}} Did it help? {{feedback_url}}"
    variants = [{"name": "a", "body": text}, {"name": "b", "body": "Hi! " + text}]
    for metric in ("reply", "click", "helpful"):
        fields = {"metric": metric, "variants": variants, "variables": {"link": TARGET}, "segment": {}}
        await make(conn, "clinic", draft({"name": metric, "category": "transactional", **fields}))
    async with stage.daemon() as daemon:
        stage.sandbox.lifecycle.inbound_url = f"{daemon.url}/hooks/twilio/main/inbound"
        for together in (("helpful", "click"), ("reply",)):  # an answer is to the last one
            for metric in together:
                await conn.fetchval(query("campaign_act_start"), "clinic", metric)
            for metric in together:
                await all_of_it_sent(conn, metric)
        links = await of_members(conn)
        async with aiohttp.ClientSession(headers={"User-Agent": "Mozilla/5.0 (iPhone)"}) as session:
            for n in (0, 1):
                click, ask = links["click", f"P{n}"]
                assert click["target"] == TARGET
                async with session.get(f"{daemon.url}/l/{click['token']}", allow_redirects=False) as answer:
                    assert (answer.status, answer.headers["Location"]) == (302, TARGET)
            for n, pressed in ((0, ("yes",)), (1, ("yes", "no")), (2, ("no", "yes"))):
                ask = links["helpful", f"P{n}"][1]
                for button in pressed:
                    async with session.post(
                        f"{daemon.url}/f/{ask['token']}", data={"helpful": button}
                    ) as answer:
                        assert answer.status == 200
        for n, said in enumerate(("See you", "thanks", "STOP")):
            stage.sandbox.lifecycle.reply(f"+1415556{2000 + n}", said, ())

        async def all_came() -> bool:
            found = await conn.fetchval(
                "select count(*) from duly.response where kind in ('reply', 'opt_out')"
            )
            return bool(found == 3)

        await until(all_came)
    for metric in ("reply", "click", "helpful"):  # a STOP is no reply
        brought = await results(conn, "clinic", metric)
        assert sum(variant["hits"] for variant in brought["variants"]) == 2, brought
    events = await conn.fetch(
        """select g.name, c.external_id, e.kind from duly.campaign_event e join duly.campaign g on g.id = e.campaign_id
           join duly.contact c on c.id = e.contact_id order by 1, 2, 3"""
    )
    assert [tuple(row) for row in events] == [
        ("click", "P0", "click"), ("click", "P1", "click"),
        ("helpful", "P0", "helpful"), ("helpful", "P1", "not_helpful"), ("helpful", "P2", "helpful"),
        ("reply", "P0", "reply"), ("reply", "P1", "helpful"), ("reply", "P1", "reply"),
    ]  # fmt: skip


async def all_of_it_sent(conn: Connection, campaign: str) -> None:
    """Waits until all of a campaign are sent."""

    async def all_sent() -> bool:
        found = json.loads(await conn.fetchval("select duly.campaign_progress('clinic', $1)", campaign))
        return bool(found["sent"] == 6)

    await until(all_sent, seconds=25)


async def of_members(conn: Connection) -> dict[tuple[str, str], list[asyncpg.Record]]:
    """Campaign and contact → the link that leads on, and the one that asks."""
    rows = await conn.fetch(
        """select g.name, c.external_id, l.token, l.target from duly.link l
           join duly.planned p on p.delivery_id = l.delivery_id join duly.campaign g on g.id = p.source_id
           join duly.contact c on c.id = p.contact_id order by l.target is null"""
    )
    found: dict[tuple[str, str], list[asyncpg.Record]] = {}
    for row in rows:
        found.setdefault((row["name"], row["external_id"]), []).append(row)
    assert {len(links) for links in found.values()} == {2}
    return found
