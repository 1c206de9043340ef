"""Goals are asked again at the lease: whoever has reached theirs since gets no reproach; what a daemon plans it sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from daemon.store.timeline import load
from tests.integration.coach import add, ahead, noon, open_up, person, plan, there, wants_it
from tests.integration.stage import Stage
from tests.integration.test_sealing_daemon import NEW, privacy
from tests.support import until

# So that spreading leaves all of them where they are.
AT_ONCE = "planned_per_hour = 1_000_000"
PEOPLE = ("stays", "reaches", "silent", "begins", "goes on", "leaves")


@pytest_asyncio.fixture
async def stage(dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Path) -> Stage:
    await open_up(conn)
    await open_up(conn, "private")
    return Stage(dsn, conn, sandbox, work_dir)


async def cohort(conn: Connection, workspace: str) -> None:
    """Six people who are asked in a moment; all but two of them were going to be told that they missed their goal."""
    zone = noon()
    day, time = there(1, zone)
    for name in PEOPLE:
        done = 1 if name == "goes on" else 0
        await person(
            conn, name, day, time, zone=zone, done=done, workspace=workspace, on_goal_met=name != "silent"
        )


async def change(conn: Connection, workspace: str) -> None:
    """What they do after they were planned."""
    await add(conn, "reaches", 4, workspace=workspace)
    await add(conn, "silent", 5, workspace=workspace)
    await add(conn, "begins", 1, workspace=workspace)
    await add(conn, "goes on", 2, workspace=workspace)
    await conn.execute(
        "update duly.preference set enabled = false where contact_id = $1", await of(conn, "leaves")
    )


async def of(conn: Connection, name: str) -> UUID:
    found: UUID = await conn.fetchval("select id from duly.contact where external_id = $1", name)
    return found


async def facts(conn: Connection) -> dict[str, Any]:
    rows = await conn.fetch(
        """select c.external_id, d.id, d.state::text as state, d.reason, m.category, m.template, p.kind
           from duly.planned p join duly.contact c on c.id = p.contact_id join duly.delivery_row d on d.id = p.delivery_id
           join duly.message m on m.id = d.message_id"""
    )
    return {row["external_id"]: row for row in rows}


async def ended(stage: Stage) -> dict[str, Any]:
    async def all_ended() -> dict[str, Any] | None:
        found = await facts(stage.conn)
        done = ("sent", "delivered", "skipped")
        return found if len(found) == 6 and all(row["state"] in done for row in found.values()) else None

    found: dict[str, Any] = await until(all_ended)
    return found


def bodies(stage: Stage) -> list[str]:
    """What arrived, without the number of the text."""
    return sorted(
        message.body.partition(" supportive")[0] + message.body[-4:]
        for message in stage.sandbox.ledger.messages
    )


EXPECTED = ["accountability 0/4", "congratulatory 4/4", "partial 1/4", "partial 3/4"]


async def test_a_changed_goal_changes_what_is_said_or_ends_it(stage: Stage, database: Database) -> None:
    await cohort(stage.conn, "clinic")
    await plan(database, there(0, noon())[0])
    assert {row["kind"] for row in (await facts(stage.conn)).values()} == {"missed", "partial"}
    await change(stage.conn, "clinic")
    async with stage.daemon(account=AT_ONCE):
        found = await ended(stage)
    assert {
        name: (row["state"] == "skipped", row["reason"]) for name, row in found.items() if row["reason"]
    } == {
        "silent": (True, "goal_met"),
        "leaves": (True, "not_wanted"),
    }
    assert bodies(stage) == EXPECTED
    assert {name: row["kind"] for name, row in found.items()} == {
        "stays": "missed", "reaches": "met", "silent": "missed", "begins": "partial", "goes on": "partial",
        "leaves": "missed",
    }  # fmt: skip
    assert (found["reaches"]["category"], found["reaches"]["template"]) == (
        "congratulatory",
        "congratulatory@1",
    )
    timeline = await load(stage.conn, found["reaches"]["id"])
    assert timeline is not None
    steps = [step.what for step in timeline.steps]
    assert steps.index("planned") < steps.index("asked the rules when leased: said otherwise")
    planned = next(step for step in timeline.steps if step.what == "planned")
    assert "check-in check-in, met, Runs: 4 of 4 runs, wished for" in planned.detail
    answers = [answer for step in timeline.steps for answer in step.answers if answer.startswith("goals")]
    assert answers == ["goals: reword (now met, done 4 of 4, planned missed)"]
    skipped = await load(stage.conn, found["silent"]["id"])
    assert skipped is not None
    assert any("goals: skip, goal_met" in answer for step in skipped.steps for answer in step.answers)


async def test_a_sealed_workspace_is_planned_sent_and_asked_again_by_a_daemon_alone(stage: Stage) -> None:
    async with stage.daemon(account=AT_ONCE, extra=privacy({"new": NEW}, "new")):
        zone = noon()
        far = ahead()
        for name in PEOPLE:
            await person(stage.conn, name, far, zone=zone, workspace="private", on_goal_met=name != "silent")

        async def sealed() -> bool:
            return bool(
                await stage.conn.fetchval(
                    "select bool_and(address = '' and sealed is not null) from duly.address"
                )
            )

        await until(sealed)
        day, time = there(5, zone)
        for name in PEOPLE:
            await wants_it(stage.conn, name, day, time, workspace="private")

        async def planned() -> bool:
            return len(await facts(stage.conn)) == 6

        await until(planned)
        await change(stage.conn, "private")
        found = await ended(stage)

        async def sealed_again() -> bool:
            return not await stage.conn.fetchval(
                "select count(*) from duly.message where sealed is null and body <> ''"
            )

        await until(sealed_again)
    assert {name: row["reason"] for name, row in found.items() if row["reason"]} == {
        "silent": "goal_met",
        "leaves": "not_wanted",
    }
    assert bodies(stage) == [*EXPECTED[:3], "partial 2/4"]


async def test_what_was_said_and_planned_is_in_the_receipt_as_json(stage: Stage, database: Database) -> None:
    await person(stage.conn, "ann", ahead())
    await plan(database, ahead())
    because = json.loads(await stage.conn.fetchval("select because from duly.planned"))
    assert set(because) == {"wished", "zone", "zone_source", "kind", "goals", "style", "template", "text"}
