"""`duly chaos --scenario planner`: a short day, and what its command refuses; how it is judged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from daemon.chaos.planner.judging import Evidence, Fault, Foreseen, Row, judge
from daemon.chaos.planner.people import QUIET_CATEGORY, QUIET_ZONE, people
from daemon.chaos.verdict import Arrival
from tests.chaos.test_chaos import chaos

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
WALL = NOON.replace(tzinfo=None)
ANN = uuid4()


def test_nobody_is_left_out_asked_twice_or_against_the_rules(tmp_path: Path) -> None:
    done = chaos(
        "--scenario", "planner", "--users", "150", "--kills", "3", "--seed", "5", "--json",
        "--logs", str(tmp_path / "run"),
        seconds=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads(done.stdout)
    assert list(figures)[:6] == ["users", "planned", "skipped", "repeated", "out_of_rules", "seconds"]
    assert [figures[name] for name in ("users", "skipped", "repeated", "out_of_rules", "kills")] == [
        150,
        0,
        0,
        0,
        3,
    ]
    assert figures["planned"] == figures["undisturbed"] > 80
    assert min(figures["kills_amidst"], figures["congratulated"], figures["ended"], figures["sent"]) > 0
    assert min(figures["campaign"], figures["taken_back"], figures["kills_in_campaign"]) > 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--scenario", "planner", "--messages", "9"), "--users"),
        (("--scenario", "opt-out", "--users", "9"), "--pairs"),
        (("--users", "9"), "--messages"),
        (("--scenario", "planner", "--seconds", "9"), "leave it out"),
    ],
)
def test_what_belongs_to_another_scenario_is_refused(words: tuple[str, ...], complaint: str) -> None:
    done = chaos(*words, seconds=20)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_seed_draws_the_same_people_of_every_kind() -> None:
    drawn = people(seed=3, users=400, first=10, last=20)
    assert (
        drawn == people(seed=3, users=400, first=10, last=20) != people(seed=4, users=400, first=10, last=20)
    )
    for kind in ("other_day", "stopped", "on_goal_met", "priority", "reaches_at", "to"):
        assert len({bool(getattr(person, kind)) for person in drawn}) == 2, kind


GOOD = Row(
    ANN, True, WALL, None, "missed", NOON, NOON + timedelta(hours=1), "UTC", UUID(int=7), "sent", None,
    "accountability", "accountability@1", NOON + timedelta(seconds=1), NOON + timedelta(seconds=1),
)  # fmt: skip
WROTE = Foreseen(WALL, None)
NOT = Foreseen(WALL, "goal_met")


def quiet(marked: float) -> Row:
    return replace(GOOD, zone=QUIET_ZONE, marked_at=NOON + timedelta(seconds=marked))


def arrived(seconds: float = 2, times: int = 1, delivery: UUID | None = GOOD.delivery) -> list[Arrival]:
    at = NOON.timestamp() + seconds
    return [Arrival(str(delivery), 1, f"SM{n}", "+1", "sent", at, duplicate=n > 0) for n in range(times)]


@pytest.mark.parametrize(
    ("wanted", "rows", "arrivals", "reached", "faults"),
    [
        (WROTE, [GOOD], arrived(), None, []),
        (WROTE, [], [], None, [Fault.SKIPPED]),
        (WROTE, [replace(GOOD, delivery=None, reason="late")], [], None, [Fault.SKIPPED]),
        (WROTE, [GOOD], [], None, [Fault.SKIPPED]),
        (WROTE, [GOOD], arrived(times=2), None, [Fault.REPEATED]),
        (WROTE, [GOOD, replace(GOOD, occurrence=NOON)], arrived(), None, [Fault.REPEATED]),
        (WROTE, [GOOD, replace(GOOD, contact=None, decided=False)], arrived(), None, [Fault.REPEATED]),
        (WROTE, [GOOD], [*arrived(), *arrived(delivery=UUID(int=8))], None, [Fault.REPEATED]),
        (NOT, [replace(GOOD, delivery=None, reason="goal_met")], [], None, []),
        (NOT, [GOOD], arrived(), None, [Fault.OUT_OF_RULES]),
        (WROTE, [replace(GOOD, contact=uuid4())], [], None, [Fault.SKIPPED, Fault.OUT_OF_RULES]),
        (WROTE, [GOOD], arrived(-1), None, [Fault.OUT_OF_RULES]),
        (WROTE, [GOOD], arrived(3700), None, [Fault.OUT_OF_RULES]),
        (WROTE, [quiet(31)], arrived(31), None, [Fault.OUT_OF_RULES]),
        (WROTE, [quiet(29)], arrived(31), None, []),
        (WROTE, [GOOD], arrived(), NOON, [Fault.OUT_OF_RULES]),
        (WROTE, [GOOD], arrived(), NOON + timedelta(seconds=2), []),
        (WROTE, [replace(GOOD, kind="met", template="congratulatory@1")], arrived(), NOON, []),
        (WROTE, [replace(GOOD, state="skipped", ended="goal_met")], [], NOON, []),
        (WROTE, [replace(GOOD, state="skipped", ended="goal_met")], [], None, [Fault.SKIPPED]),
    ],
)  # fmt: skip
def test_the_verdict_finds_what_is_wrong(
    wanted: Foreseen, rows: list[Row], arrivals: list[Arrival], reached: datetime | None, faults: list[Fault]
) -> None:
    evidence = Evidence(
        foreseen={ANN: wanted},
        rows=rows,
        arrivals=arrivals,
        reached={ANN: reached} if reached else {},
        quiet=(NOON + timedelta(seconds=30), NOON + timedelta(seconds=34)),
        quiet_zone=QUIET_ZONE,
        quiet_category=QUIET_CATEGORY,
    )
    assert [bad.fault for bad in judge(evidence)] == faults
