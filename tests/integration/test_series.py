"""Series of reminders in SQL and their planning: who gets what, when and why; changes, downtime, and what goes wrong."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
import pytest_asyncio

from daemon.planning.reminders import Reminders
from daemon.planning.sources import series_of
from daemon.rules.wall_clock import instant
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.sealing.pending import Pending
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from tests.support import no_keys

WRONG = asyncpg.InvalidParameterValueError
NEW_YORK = "America/New_York"
DAY = timedelta(days=1)
PLAN_FROM = datetime(2027, 3, 8, 5, tzinfo=UTC)  # midnight in New York, six days before its clocks jump

# What the planner does, as the one transaction that it does it in.
TAKE = """select r.series_id, r.on_date, r.last_contact, r.workspace_id, w.name as workspace, s.name, s.kind,
       s.templates::text as templates, s.category, s.priority, s.channels, s.rrule, s.begins_at, s.zone, s.exceptions,
       s.catch_up, s.earlier, s.later
from duly.plan_run r join duly.series s on s.id = r.series_id join duly.workspace w on w.id = r.workspace_id
where r.done_at is null and s.enabled order by r.on_date limit 1 for update of r skip locked"""
MOVE = """update duly.plan_run set last_contact = coalesce($3, last_contact), done_at = case when $4 then now() end
where series_id = $1 and on_date = $2"""


class Stage:
    """A workspace with a planner whose clock the test sets."""

    def __init__(self, conn: Connection, keys: DataKeys) -> None:
        self.conn = conn
        self.reminders = Reminders(keys)
        self.portion = 2

    async def template(self, name: str, *texts: tuple[str, str, str], **variables: Any) -> None:
        """Texts: (channel, language, body with variables)."""
        id_ = await self.conn.fetchval(
            "insert into duly.template (id, workspace_id, name, version, variables) values (duly.new_id(), 1, $1, 1, $2)"
            " returning id",
            name, json.dumps(variables),
        )  # fmt: skip
        for number, (channel, language, body) in enumerate(texts, start=1):
            await self.conn.execute(
                "insert into duly.template_text (id, workspace_id, template_id, channel, language, number, body, subject)"
                " values (duly.new_id(), 1, $1, $2, $3, $4, $5, case $2 when 'email' then 'Hello' end)",
                id_, channel, language, number, body,
            )  # fmt: skip

    async def contact(self, name: str, *, zone: str | None = NEW_YORK, **more: Any) -> UUID:
        last = sum(map(ord, name)) % 100
        fields = {
            "external_id": name, "first_name": name.title(), "time_zone": zone,
            "addresses": [{"channel": "sms", "address": f"+141555501{last:02}"}],
        } | more  # fmt: skip
        rows = await self.conn.fetch("select * from duly.put_contacts('clinic', $1)", json.dumps([fields]))
        assert rows[0]["error"] is None
        found: UUID = rows[0]["id"]
        return found

    async def put(self, name: str = "knee", template: str = "knee", **fields: Any) -> UUID:
        found: UUID = await self.call("put_series", name=name, template=template, **fields)
        return found

    async def add(self, contact: str, series: str = "knee", **fields: Any) -> Any:
        return await self.call("add_to_series", series=series, contact=contact, **fields)

    async def call(self, function: str, **fields: Any) -> Any:
        """A function of duly for the workspace clinic, by named arguments."""
        kinds = {"variables": "jsonb"}
        names = "".join(
            f", {name} => ${n}::{kinds.get(name, KINDS.get(name, 'text'))}"
            for n, name in enumerate(fields, 1)
        )
        values = [json.dumps(v) if name == "variables" else v for name, v in fields.items()]
        return await self.conn.fetchval(f"select duly.{function}('clinic'{names})", *values)

    async def long_ago(self) -> None:
        """Everything has been there for long."""
        await self.conn.execute("update duly.series set since = '2020-01-01'")
        await self.conn.execute("update duly.series_member set since = '2020-01-01'")

    async def plan(self, now: datetime, *days: date) -> None:
        """What the planner does at this moment: opens days and plans what is open."""
        await self.conn.execute(query("reopen_series"))
        for day in days:
            await self.conn.execute(
                "insert into duly.plan_run (series_id, on_date, workspace_id)"
                " select id, $1, workspace_id from duly.series on conflict do nothing",
                day,
            )
        while await self.portion_of(now):
            pass

    async def portion_of(self, now: datetime) -> bool:
        async with self.conn.transaction():
            row = await self.conn.fetchrow(TAKE)
            if row is None:
                return False
            series, day = series_of(row), row["on_date"]
            contacts = await self.reminders.members(self.conn, series, day, row["last_contact"], self.portion)
            items = await self.reminders.decide(self.conn, series, day, contacts, now)
            rows = await self.conn.fetch(
                "select * from duly.enqueue_planned($1, $2::text::jsonb)",
                series.workspace_id,
                orjson.dumps(items).decode(),
            )
            assert [row["position"] for row in rows] == list(range(1, len(items) + 1))
            last = contacts[-1] if contacts else None
            await self.conn.execute(MOVE, series.id, day, last, len(contacts) < self.portion)
            return True

    async def decided(self, series: str = "knee") -> list[asyncpg.Record]:
        return await self.conn.fetch(
            """select c.external_id as who, p.occurrence, p.reason, p.because::text as because, p.earliest, p.latest,
                      d.state, d.detail, d.due_at, d.expires_at, d.channel::text as channel, d."to", d.priority,
                      m.body, m.category, m.template, m.variables::text as variables, m.metadata::text as metadata
               from duly.planned p join duly.series s on s.id = p.source_id join duly.contact c on c.id = p.contact_id
               left join duly.delivery_row d on d.id = p.delivery_id left join duly.message m on m.id = p.delivery_id
               where s.name = $1 order by p.occurrence, c.external_id""",
            series,
        )

    async def sent(self, series: str = "knee") -> list[tuple[str, str]]:
        return [
            (r["who"], f"{r['occurrence']:%m-%d %H:%M}")
            for r in await self.decided(series)
            if r["reason"] is None
        ]


KINDS = {
    "begins_at": "timestamp", "ends_on": "date", "exceptions": "timestamp[]", "earlier": "interval", "later": "interval",
    "priority": "integer", "channels": "text[]",
}  # fmt: skip


@pytest_asyncio.fixture
async def stage(conn: Connection) -> Stage:
    await conn.execute("select duly.register_workspace('clinic')")
    found = Stage(conn, no_keys(conn))
    await found.template(
        "knee",
        ("", "", "Hi {{FirstName}}, stretch your {{side}} knee."),
        FirstName={},
        side={"default": "left"},
    )
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_reminder_is_planned_with_its_time_words_and_reasons_once(stage: Stage) -> None:
    for name in ("ann", "bo", "cy"):
        await stage.contact(name)
    await stage.put(
        rrule="RRULE:freq=weekly;byday=mo,th", begins_at=at("2027-03-01T09:00"), priority=1, category="care",
        earlier=timedelta(minutes=30), later=timedelta(hours=2),
    )  # fmt: skip
    await stage.add("ann", variables={"side": "right"})
    await stage.add("bo", begins_at=at("2027-03-08T18:30"))
    await stage.add("cy", ends_on=date(2027, 3, 7))
    monday = date(2027, 3, 8)
    await stage.plan(PLAN_FROM, monday, monday + DAY)
    await stage.conn.execute("update duly.plan_run set done_at = null, last_contact = null")
    await stage.plan(PLAN_FROM)  # again, as after a kill
    ann, bo = await stage.decided()
    assert (ann["who"], ann["body"], ann["channel"], ann["priority"]) == (
        "ann",
        "Hi Ann, stretch your right knee.",
        "sms",
        1,
    )
    assert (ann["category"], ann["template"]) == ("care", "knee@1")
    assert json.loads(ann["variables"]) == {"FirstName": "Ann", "side": "right"}
    wished = at("2027-03-08T14:00+00:00")
    assert (ann["due_at"], ann["earliest"]) == (wished, wished - timedelta(minutes=30))
    assert (ann["latest"], ann["expires_at"]) == (wished + timedelta(hours=2), wished + timedelta(hours=14))
    assert json.loads(ann["because"]) == {
        "series": "knee", "wished": "2027-03-08 09:00", "zone": NEW_YORK, "zone_source": "given",
        "rrule": "FREQ=WEEKLY;BYDAY=MO,TH",
    }  # fmt: skip
    assert (bo["who"], bo["due_at"], bo["body"]) == (
        "bo", at("2027-03-08T23:30+00:00"), "Hi Bo, stretch your left knee."
    )  # fmt: skip


async def test_the_clock_is_the_series_the_persons_the_numbers_or_utc(stage: Stage) -> None:
    people = {
        "ann": (NEW_YORK, "+4930901820", (NEW_YORK, "given")),
        "bo": (None, "+491701234567", ("Europe/Berlin", "inferred")),  # Europe/Busingen has the same clock
        "cy": (None, "+61412345678", ("UTC", "unknown")),  # a mobile of Australia, which has several
    }
    await stage.put(begins_at=at("2027-03-08T09:00"))
    await stage.put("tokyo", begins_at=at("2027-03-08T09:00"), zone="Asia/Tokyo")
    for name, (zone, to, _) in people.items():
        await stage.contact(name, zone=zone, addresses=[{"channel": "sms", "address": to}])
        await stage.add(name)
        await stage.add(name, "tokyo")
    await stage.plan(PLAN_FROM - DAY, date(2027, 3, 8))
    for series in ("knee", "tokyo"):
        for row in await stage.decided(series):
            because = json.loads(row["because"])
            expected = people[row["who"]][2] if series == "knee" else ("Asia/Tokyo", "series")
            assert (because["zone"], because["zone_source"]) == expected
            assert row["due_at"] == instant(at("2027-03-08T09:00"), expected[0])


@pytest.mark.parametrize(
    ("policy", "caught"), [("skip", []), ("latest", [16]), ("all", [12, 13, 14, 15, 16])]
)
async def test_fourteen_days_with_a_jump_of_the_clocks_and_a_downtime_have_each_night_once(
    stage: Stage, policy: str, caught: list[int]
) -> None:
    """Every night at half past two, which on 14 March is no time; nobody plans from the 11th until noon of the 16th."""
    for name in ("ann", "bo", "cy"):
        await stage.contact(name)
    await stage.put(rrule="FREQ=DAILY;UNTIL=20270321", begins_at=at("2027-03-08T02:30"), catch_up=policy)
    for name in ("ann", "bo", "cy"):
        await stage.add(name)
    await stage.long_ago()
    first = date(2027, 3, 8)
    for day in range(4):  # planned a day ahead
        await stage.plan(PLAN_FROM + day * DAY - timedelta(hours=18), first + day * DAY)
    noon = instant(at("2027-03-16T12:00"), NEW_YORK)
    await stage.plan(noon, *(first + n * DAY for n in range(4, 10)))
    for day in range(10, 15):
        await stage.plan(PLAN_FROM + day * DAY - timedelta(hours=18), first + day * DAY)
    rows = await stage.decided()
    nights = [datetime.combine(first + n * DAY, time(2, 30)) for n in range(14)]
    assert [(r["who"], r["occurrence"]) for r in rows] == [
        (who, night) for night in nights for who in ("ann", "bo", "cy")
    ]
    assert [r["reason"] for r in rows].count("missed") == 3 * (5 - len(caught))
    caught_up = [r for r in rows if r["due_at"] == noon]
    assert [r["occurrence"].day for r in caught_up if r["who"] == "ann"] == caught
    assert all(r["latest"] == noon + timedelta(hours=4) for r in caught_up)
    for row in rows:
        if row["reason"] is None and row not in caught_up:
            assert row["due_at"] == instant(row["occurrence"], NEW_YORK)
    summer = [
        r["due_at"] for r in rows if r["who"] == "ann" and r["occurrence"] > at("2027-03-17") and r["due_at"]
    ]
    assert {moment.hour for moment in summer} == {6}


async def test_in_the_gap_of_a_spring_night_it_comes_when_the_clocks_have_jumped(stage: Stage) -> None:
    await stage.contact("ann")
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-08T02:30"))
    await stage.add("ann")
    await stage.plan(PLAN_FROM, date(2027, 3, 14), date(2027, 11, 7))
    assert [r["due_at"] for r in await stage.decided()] == [
        at("2027-03-14T07:00+00:00"),
        at("2027-11-07T07:30+00:00"),
    ]


async def test_what_cannot_be_said_to_one_is_noted_and_keeps_no_other_back(stage: Stage) -> None:
    await stage.template("visit", ("sms", "", "{{FirstName}}, see you at {{place}}."), FirstName={}, place={})
    await stage.contact("ann")
    await stage.contact("bo", addresses=[])
    await stage.contact("cy", addresses=[{"channel": "email", "address": "cy@example.com"}])
    await stage.contact("di", first_name=None)
    await stage.contact("ed")
    await stage.contact("flo")
    await stage.conn.execute(
        "select duly.do_not_contact('clinic', a.channel, a.address)"
        " from duly.address a join duly.contact c on c.id = a.contact_id where c.external_id = 'ed'"
    )
    await stage.put("visit", "visit", begins_at=at("2027-03-08T09:00"), channels=["sms", "email"])
    for name in ("ann", "bo", "cy", "di", "ed"):
        await stage.add(name, "visit", variables={"place": "the lab"})
    await stage.add("flo", "visit")
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    assert [(r["who"], r["reason"]) for r in await stage.decided("visit")] == [
        ("ann", None),
        ("bo", "no_address"),
        ("cy", "template: visit has no text for email"),
        ("di", "variables.FirstName: is missing; template visit needs it"),
        ("ed", "do_not_contact"),
        ("flo", "variables.place: is missing; template visit needs it"),
    ]
    await stage.put("gone", "nothing", begins_at=at("2027-03-08T09:00"))
    await stage.add("ann", "gone")
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    (found,) = await stage.decided("gone")
    assert found["reason"] == "template: nothing is no live template with a text"


async def test_the_channel_is_the_first_of_the_series_that_may_be_written_to_and_the_text_is_in_the_persons_language(
    stage: Stage,
) -> None:
    await stage.template("hi", ("", "", "Hello"), ("", "pt", "Olá"), ("email", "", "Dear"))
    both = [{"channel": "sms", "address": "+14155550190"}, {"channel": "email", "address": "ann@example.com"}]
    await stage.contact("ann", addresses=both)
    await stage.contact("bo", locale="pt-BR")
    await stage.put("hi", "hi", begins_at=at("2027-03-08T09:00"), channels=["email", "sms"])
    await stage.add("ann", "hi")
    await stage.add("bo", "hi")
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    ann, bo = await stage.decided("hi")
    assert (ann["channel"], ann["to"], ann["body"]) == ("email", "ann@example.com", "Dear")
    assert (bo["channel"], bo["body"], json.loads(bo["metadata"])) == ("sms", "Olá", {"language": "pt-BR"})
    await stage.conn.execute("select duly.do_not_contact('clinic', 'email', 'ann@example.com')")
    await stage.plan(PLAN_FROM + DAY, date(2027, 3, 9))
    await stage.put("hi", "hi", begins_at=at("2027-03-09T09:00"), channels=["email", "sms"])
    await stage.plan(PLAN_FROM + DAY, date(2027, 3, 9))
    found = [r for r in await stage.decided("hi") if r["occurrence"] == at("2027-03-09T09:00")]
    assert [(r["who"], r["channel"]) for r in found] == [("ann", "sms"), ("bo", "sms")]


async def test_no_text_is_said_again_before_all_have_been(stage: Stage) -> None:
    await stage.template("tip", *(("", "", f"Tip {n}") for n in range(4)))
    await stage.contact("ann")
    await stage.put("tip", "tip", rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"))
    await stage.add("ann", "tip")
    for n in range(8):
        await stage.plan(PLAN_FROM, date(2027, 3, 8) + n * DAY)
    bodies = [r["body"] for r in await stage.decided("tip")]
    assert len(set(bodies[:4])) == len(set(bodies[4:])) == 4


async def test_a_changed_rule_takes_back_what_lies_ahead_and_plans_it_anew(stage: Stage) -> None:
    for name in ("ann", "bo"):
        await stage.contact(name)
    rule: dict[str, Any] = {"rrule": "FREQ=DAILY", "begins_at": at("2027-03-08T09:00")}
    await stage.put(**rule)
    for name in ("ann", "bo"):
        await stage.add(name)
    days = [date(2027, 3, 8) + n * DAY for n in range(3)]
    await stage.plan(PLAN_FROM, *days)
    before = {r["id"] for r in await stage.conn.fetch("select id from duly.delivery")}
    await stage.put(**rule)  # the same changes nothing
    await stage.plan(PLAN_FROM)
    assert {r["id"] for r in await stage.conn.fetch("select id from duly.delivery")} == before

    await stage.put(**rule, exceptions=[at("2027-03-09T00:00")])
    states = await stage.conn.fetch("select state, detail from duly.delivery_row")
    assert [(r["state"], r["detail"]) for r in states] == [
        ("canceled", "the series has changed: planned anew")
    ] * 6
    await stage.plan(PLAN_FROM)
    await stage.plan(PLAN_FROM)
    assert await stage.sent() == [
        ("ann", "03-08 09:00"), ("bo", "03-08 09:00"), ("ann", "03-10 09:00"), ("bo", "03-10 09:00"),
    ]  # fmt: skip
    assert {r["state"] for r in await stage.decided()} == {"queued"}


async def test_a_change_leaves_what_is_being_sent_and_does_not_say_it_twice(stage: Stage) -> None:
    await stage.contact("ann")
    rule: dict[str, Any] = {"rrule": "FREQ=DAILY", "begins_at": at("2027-03-08T09:00")}
    await stage.put(**rule)
    await stage.add("ann")
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    await stage.conn.execute("update duly.delivery_row set state = 'sent'")
    await stage.put(**rule, exceptions=[at("2027-03-30T09:00")])
    await stage.plan(PLAN_FROM)
    assert [(r["state"]) for r in await stage.decided()] == ["sent"]
    assert await stage.conn.fetchval("select count(*) from duly.delivery") == 1


async def test_who_is_added_while_a_day_is_planned_is_not_left_out(stage: Stage, dsn: str) -> None:
    """The day is passed while the producer's transaction is open: what it adds is seen by nobody until it commits."""
    for name in ("ann", "bo", "cy", "di"):
        await stage.contact(name)
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"))
    for name in ("bo", "cy", "di"):
        await stage.add(name)
    other = await asyncpg.connect(dsn)
    try:
        transaction = other.transaction()
        await transaction.start()
        assert await other.fetchval("select duly.add_to_series('clinic', 'knee', 'ann')")
        await stage.plan(PLAN_FROM, date(2027, 3, 8))
        assert [who for who, _ in await stage.sent()] == ["bo", "cy", "di"]
        await transaction.commit()
    finally:
        await other.close()
    await stage.plan(PLAN_FROM)
    assert [who for who, _ in await stage.sent()] == ["ann", "bo", "cy", "di"]


async def test_what_a_planner_wrote_by_the_old_rule_meanwhile_is_taken_back(stage: Stage, dsn: str) -> None:
    await stage.contact("ann")
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"))
    await stage.add("ann")
    other = await asyncpg.connect(dsn)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(
            "select duly.put_series('clinic', 'knee', 'knee', 'FREQ=DAILY', '2027-03-08T10:00')"
        )
        await stage.plan(PLAN_FROM, date(2027, 3, 8))
        assert await stage.sent() == [("ann", "03-08 09:00")]
        await transaction.commit()
    finally:
        await other.close()
    await stage.plan(PLAN_FROM)
    assert await stage.sent() == [("ann", "03-08 10:00")]
    assert await stage.conn.fetchval("select count(*) from duly.delivery where state = 'queued'") == 1


async def test_who_is_taken_out_gets_nothing_more_and_who_is_changed_gets_the_new(stage: Stage) -> None:
    for name in ("ann", "bo"):
        await stage.contact(name)
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"))
    assert [await stage.add(name) for name in ("ann", "bo", "bo")] == [True, True, False]
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    assert await stage.call("remove_from_series", series="knee", contact="ann")
    assert not await stage.call("remove_from_series", series="knee", contact="ann")
    assert not await stage.add("bo", variables={"side": "right"})
    await stage.plan(PLAN_FROM, date(2027, 3, 9))
    rows = await stage.decided()
    assert [(r["who"], r["body"], r["state"]) for r in rows] == [
        ("bo", "Hi Bo, stretch your right knee.", "queued")
    ] * 2
    details = await stage.conn.fetch(
        "select detail from duly.delivery_row where state = 'canceled' order by detail"
    )
    assert [r["detail"] for r in details] == [
        "taken out of the series",
        "the member has changed: planned anew",
    ]


async def test_who_moves_gets_what_lies_ahead_by_the_new_clock_and_nothing_twice(stage: Stage) -> None:
    await stage.contact("ann")
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"))
    await stage.put("tokyo", rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"), zone="Asia/Tokyo")
    await stage.add("ann")
    await stage.add("ann", "tokyo")
    await stage.plan(PLAN_FROM - DAY, date(2027, 3, 8), date(2027, 3, 9))
    first, _ = await stage.conn.fetch(
        "select p.delivery_id from duly.planned p join duly.series s on s.id = p.source_id"
        " where s.name = 'knee' order by p.occurrence"
    )
    await stage.conn.execute(
        "update duly.delivery_row set state = 'sent' where id = $1", first["delivery_id"]
    )
    await stage.contact("ann", zone="Europe/Paris")
    await stage.plan(PLAN_FROM)
    assert [(row["state"], row["due_at"]) for row in await stage.decided()] == [
        ("sent", at("2027-03-08T14:00+00:00")),
        ("queued", at("2027-03-09T08:00+00:00")),
    ]
    assert await stage.conn.fetchval("select count(*) from duly.delivery where state = 'canceled'") == 1


async def test_a_paused_series_sends_nothing_and_goes_on_from_when_it_is_resumed(stage: Stage) -> None:
    await stage.contact("ann")
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"), catch_up="all")
    await stage.add("ann")
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    assert [await stage.call("pause_series", series="knee") for _ in range(2)] == [True, False]
    assert await stage.conn.fetchval("select array_agg(state::text) from duly.delivery") == ["canceled"]
    await stage.plan(PLAN_FROM, date(2027, 3, 9))
    assert await stage.sent() == []
    assert [await stage.call("resume_series", series="knee") for _ in range(2)] == [True, False]
    # As if it had been resumed after the 8th:
    await stage.conn.execute("update duly.series set since = $1", PLAN_FROM + DAY)
    await stage.plan(PLAN_FROM + DAY)
    assert await stage.sent() == [("ann", "03-09 09:00")]


async def test_nothing_from_before_somebody_was_added_is_caught_up(stage: Stage) -> None:
    await stage.contact("ann")
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-01T09:00"), catch_up="all")
    await stage.add("ann")
    await stage.conn.execute("update duly.series_member set since = $1", at("2027-03-08T15:00+00:00"))
    await stage.plan(at("2027-03-10T20:00+00:00"), *(date(2027, 3, day) for day in range(5, 11)))
    assert await stage.sent() == [("ann", "03-09 09:00"), ("ann", "03-10 09:00")]


async def test_a_rule_that_only_the_daemon_can_refuse_is_noted_and_the_others_go_on(stage: Stage) -> None:
    await stage.contact("ann")
    await stage.put("wrong", rrule="FREQ=MONTHLY;BYDAY=6MO", begins_at=at("2027-03-08T09:00"))
    await stage.put(begins_at=at("2027-03-08T09:00"))
    for series in ("wrong", "knee"):
        await stage.add("ann", series)
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    assert await stage.sent() == [("ann", "03-08 09:00")]
    problem = "select problem from duly.series where name = 'wrong'"
    assert (await stage.conn.fetchval(problem)).startswith("rrule: BYDAY=6MO is in no such period")
    await stage.put("wrong", rrule="FREQ=MONTHLY;BYDAY=2MO", begins_at=at("2027-03-08T09:00"))
    assert await stage.conn.fetchval(problem) is None
    await stage.plan(PLAN_FROM)
    assert await stage.sent("wrong") == [("ann", "03-08 09:00")]


async def test_a_workspace_that_seals_is_planned_with_its_key_and_says_so_without(
    stage: Stage, database: Database
) -> None:
    ring = KeyRing({"a": bytes(32)}, "a")
    keys = DataKeys(database, lambda: ring)
    await stage.contact("ann")
    await stage.put(rrule="FREQ=DAILY", begins_at=at("2027-03-08T09:00"))
    await stage.add("ann")
    await stage.conn.execute("select duly.set_sealing('clinic', true)")
    assert await Pending(database, keys).seal([1]) > 0
    assert await stage.conn.fetchval("select address from duly.address") == ""
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    stage.reminders = Reminders(keys)
    await stage.plan(PLAN_FROM, date(2027, 3, 9))
    without, with_key = await stage.decided()
    assert without["reason"] == "cannot_open"
    assert (with_key["reason"], with_key["body"][:6]) == (None, "Hi Ann")
    assert await Pending(database, keys).seal([1]) > 0
    assert (
        await stage.conn.fetchval("select count(*) from duly.message where body <> '' or variables <> '{}'")
        == 0
    )


async def test_an_account_is_asked_for_the_channel(stage: Stage) -> None:
    await stage.contact("ann")
    stage.reminders = Reminders(no_keys(stage.conn), lambda workspace, channel: None)
    await stage.put(begins_at=at("2027-03-08T09:00"))
    await stage.add("ann")
    await stage.plan(PLAN_FROM, date(2027, 3, 8))
    assert [r["reason"] for r in await stage.decided()] == ["no_account"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "Knee"}, "name: must be 1 to 80 small letters"),
    ({"template": None}, "template: must be the name"),
    ({"rrule": "FREQ=HOURLY"}, "rrule: by the hour, minute or second it would flood"),
    ({"rrule": "FREQ=DAILY;BYHOUR=9;BYHOUR=10"}, "rrule: has a part twice"),
    ({"rrule": "FREQ=DAILY;COUNT=2;UNTIL=20280101"}, "rrule: has COUNT and UNTIL"),
    ({"rrule": "DTSTART:20270101T090000\nRRULE:FREQ=DAILY"}, "rrule: has DTSTART"),
    ({"rrule": "INTERVAL=2"}, "rrule: is no rule of RFC 5545"),
    ({"rrule": "FREQ=DAILY; drop table x"}, "rrule: is no rule of RFC 5545"),
    ({"rrule": "FREQ=DAILY;BYHOUR=" + "9," * 600}, "rrule: has 1218 characters"),
    ({"begins_at": at("2027-03-08T09:00:30")}, "begins_at: must be a whole minute"),
    ({"begins_at": at("1066-10-14T09:00")}, "begins_at: must be in the years"),
    ({"zone": "Mars/Olympus"}, "zone: 'Mars/Olympus' is not the name"),
    ({"exceptions": [None]}, "exceptions: must be times"),
    ({"exceptions": [at("2300-01-01")]}, "exceptions: must be times"),
    ({"exceptions": [at("2027-03-08")] * 1001}, "exceptions: are more than 1000"),
    ({"catch_up": "some"}, "catch_up: 'some' is none of"),
    ({"earlier": timedelta(days=8)}, "earlier: must be from 0 to 7 days"),
    ({"later": timedelta(hours=-1)}, "later: must be from 0 to 7 days"),
    ({"category": "Care!"}, "category: must be"),
    ({"priority": 4}, "priority: 4 is none of"),
    ({"channels": ["fax"]}, "channels: must be some of"),
]


async def test_a_series_that_cannot_be_is_refused(stage: Stage) -> None:
    for fields, says in REFUSED:
        with pytest.raises(WRONG) as refused:
            await stage.put(**fields)
        assert says in str(refused.value)
    assert await stage.conn.fetchval("select count(*) from duly.series") == 0


async def test_what_cannot_be_added_is_refused_and_keeps_no_other_back(stage: Stage) -> None:
    await stage.contact("ann")
    await stage.put(rrule="FREQ=DAILY")
    begins = {"begins_at": "2027-03-08T09:00"}
    items: list[Any] = [
        {"contact": "ann"}, {"contact": "nobody", **begins}, {**begins}, 7, {"contact": "ann", "begins_at": "tomorrow"},
        {"contact": "ann", "begins_at": "2027-02-30T09:00"}, {"contact": "ann", **begins, "ends_on": "2027-03-07"},
        {"contact": "ann", **begins, "variables": []}, {"contact": "ann", **begins, "to": "x"},
        {"contact": "ann", **begins, "ends_on": "9999-12-31"},
        {"contact": "ann", **begins},
    ]  # fmt: skip
    rows = await stage.conn.fetch(
        "select * from duly.add_to_series_batch('clinic', 'knee', $1)", json.dumps(items)
    )
    assert [(row["error"] or "").partition(":")[0] for row in rows] == [
        "begins_at", "contact", "contact", "item", "begins_at", "begins_at", "ends_on", "variables", "to",
        "ends_on", "",
    ]  # fmt: skip
    assert [row["added"] for row in rows[-1:]] == [True]
    for call in (
        stage.add("ann", "none"),
        stage.call("pause_series", series="none"),
        stage.add("ann", begins_at=at("2027-03-08T09:00:30")),
    ):
        with pytest.raises(WRONG, match=r"^(series: 'none' is no series|begins_at: must be)"):
            await call
    await stage.conn.execute(
        "insert into duly.series (id, workspace_id, name, kind, templates)"
        " values (duly.new_id(), 1, 'week', 'check_in', '{}')"
    )
    with pytest.raises(WRONG, match=r"^series: 'week' is one of check-ins"):
        await stage.put("week")
