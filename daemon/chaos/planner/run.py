"""One run of the planner under kills, from its start to its verdict."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import orjson

from daemon.chaos.campaign import judging as campaign_judging
from daemon.chaos.campaign.disturbing import Disturbed, disturb
from daemon.chaos.campaign.making import Wanted
from daemon.chaos.campaign.making import start as start_campaign
from daemon.chaos.cluster import DAEMONS, Cluster
from daemon.chaos.evidence import MOST_SHOWN, Outcome, explained
from daemon.chaos.messages import WORKSPACES
from daemon.chaos.node import ChaosError
from daemon.chaos.planner.judging import Evidence, Fault, Foreseen, Row, judge
from daemon.chaos.planner.people import (
    QUIET_CATEGORY,
    QUIET_ZONE,
    Person,
    campaign,
    people,
    quiet,
    quiet_hours,
)
from daemon.chaos.rest import all_of, rest
from daemon.chaos.settings import Tuning
from daemon.planning.check_ins import CheckIns
from daemon.planning.sources import series_of
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

# Until the daemons are ready; people are asked from then on.
_START_SECONDS = 12.0
_LEAST_SECONDS = 8.0
_USERS_A_SECOND = 80
# So many transactions at least plan a run's people, so that kills meet them.
_PORTIONS = 500
_DOWN_SECONDS = (0.1, 0.6)
_AMIDST_SECONDS = 0.04
_LOOK_SECONDS = 0.02
_KILLED_BETWEEN = (0.03, 0.9)  # of the people that are decided
_NOTHING_MOVES_SECONDS = 60.0
# So long the campaign takes at least; a throttle sees to it. It is killed in this part of it.
_CAMPAIGN_SECONDS = 6.0
_PER_HOUR = 10_000_000
_KILLED_WITHIN = (0.1, 0.9)
# Calls are tried again while the campaign is paused.
_FAULTS = {"unavailable": 0.05}
_PORTION = 500


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """What a run is asked for."""

    users: int
    kills: int
    seed: int
    tuning: Tuning
    directory: Path  # absolute; the logs stay in it


@dataclass(frozen=True, slots=True)
class CampaignHalf:
    """How the campaign went, how many of its members got a delivery, and how many deliveries were taken back."""

    figures: campaign_judging.Figures
    planned: int
    taken_back: int


class PlannerRun:
    """Puts people in, foresees what is to be planned, lets daemons plan and send it beside a campaign, kills them, and
    judges.
    """

    def __init__(self, wanted: PlannerSettings, tell: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._tell_line = tell
        self._began = time.monotonic()
        self._rng = random.Random(f"planner kills {wanted.seed}")
        self._kills = 0
        self._kills_amidst = 0
        self._kills_in_campaign = 0
        self._campaign_runs = False
        self._disturbed = Disturbed()
        self._news = asyncio.Condition()  # somebody was decided for
        self._over = False
        self._reached: dict[str, datetime] = {}
        self._decided: dict[str, bool] = {}  # name → whether with a delivery
        self._cluster = Cluster(wanted.directory, self._tell)

    async def run(self) -> Outcome:
        """The whole. Raises `EmbeddedError`, `ChaosError` or `ConfigError` where it cannot be done."""
        cluster, wanted = self._cluster, self._wanted
        first = _START_SECONDS
        last = first + max(_LEAST_SECONDS, wanted.users / _USERS_A_SECOND)
        async with cluster:
            await cluster.start_servers(wanted.seed)
            start = datetime.now(UTC)
            everyone = people(seed=wanted.seed, users=wanted.users, first=first, last=last)
            silence = quiet(start, first, last)
            conn = await cluster.connect()
            try:
                contacts = await _put(conn, everyone, start)
                foreseen = await _foresee(conn, everyone, contacts)
                rush = campaign(everyone)
                self._tell(
                    f"{len(foreseen)} of {wanted.users} people are to be asked, and {len(rush.numbers)} are in a campaign"
                )
                await cluster.set_faults(_FAULTS)
                await cluster.start_daemons(_tuned(wanted, silence), [0.0] * DAEMONS)
                self._began = time.monotonic()
                for workspace in WORKSPACES:
                    await conn.execute(query("chaos_check_in"), workspace, True)
                await self._ask()
                seconds = max(_CAMPAIGN_SECONDS, wanted.users / _USERS_A_SECOND)
                await all_of(
                    self._watch(len(foreseen)),
                    self._kill(len(foreseen), seconds),
                    self._reach(everyone, start),
                    self._run_campaign(rush, seconds),
                )
                self._tell(
                    f"{len(self._decided)} are decided, and {len(self._reached)} have reached their goals since"
                )
                await cluster.ready()
                stuck = await rest(conn, cluster, self._tell)
                of_campaign = {
                    str(row["delivery"]): row for row in await conn.fetch(query("chaos_campaign_deliveries"))
                }
                arrivals = await cluster.arrivals()
                evidence = Evidence(
                    foreseen=foreseen,
                    rows=[Row(**row) for row in await conn.fetch(query("chaos_planned_rows"))],
                    arrivals=[each for each in arrivals if each.delivery not in of_campaign],
                    reached={contacts[name]: at for name, at in self._reached.items()},
                    quiet=silence,
                    quiet_zone=QUIET_ZONE,
                    quiet_category=QUIET_CATEGORY,
                )
                went = await campaign_judging.judge(
                    conn,
                    rush,
                    self._disturbed,
                    [each.to for each in arrivals if each.delivery in of_campaign],
                )
                half = CampaignHalf(
                    went,
                    planned=len({row["contact"] for row in of_campaign.values()}),
                    taken_back=sum(row["taken_back"] for row in of_campaign.values()),
                )
                return await self._outcome(conn, evidence, half, [dict(row) for row in stuck])
            finally:
                await conn.close()

    async def _ask(self) -> None:
        """Has the daemons look at once, as cron and curl do."""
        async with aiohttp.ClientSession() as session:
            for node in self._cluster.nodes:
                async with session.post(f"{node.url}/api/v1/plan") as response:
                    if response.status != 202:
                        raise ChaosError(f"{node.name} refused to plan: {await response.text()}")

    async def _watch(self, expected: int) -> None:
        """Looks who was decided for, until it is everybody. Raises `ChaosError` where nothing moves."""
        conn = await self._cluster.connect()
        moved = time.monotonic()
        try:
            while len(self._decided) < expected:
                before = len(self._decided)
                rows = await conn.fetch(query("chaos_decided"))
                self._decided = {row["name"]: row["has_delivery"] for row in rows}
                if len(self._decided) > before:
                    moved = time.monotonic()
                    async with self._news:
                        self._news.notify_all()
                elif time.monotonic() - moved > _NOTHING_MOVES_SECONDS:
                    return  # the verdict says who was left out
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._over = True
            async with self._news:
                self._news.notify_all()
            await conn.close()

    async def _kill(self, expected: int, seconds: float) -> None:
        """kill -9 of whichever daemon, each with a start thereafter: half of them while they plan, half while the
        campaign runs, for so many seconds.
        """
        began = time.monotonic()
        later = self._wanted.kills // 2
        shares = sorted(self._rng.uniform(*_KILLED_BETWEEN) for _ in range(self._wanted.kills - later))
        moments = sorted(self._rng.uniform(*_KILLED_WITHIN) for _ in range(later))
        blows: list[asyncio.Task[None]] = []

        async def amidst_planning() -> None:
            for share in shares:
                await self._until(share * expected)
                await asyncio.sleep(self._rng.uniform(0, _AMIDST_SECONDS))  # into a transaction
                blows.append(self._blow(expected))

        async def amidst_campaign() -> None:
            for moment in moments:
                await asyncio.sleep(began + moment * seconds - time.monotonic())
                blows.append(self._blow(expected))

        await all_of(amidst_planning(), amidst_campaign())
        await asyncio.gather(*blows)

    def _blow(self, expected: int) -> asyncio.Task[None]:
        node = self._cluster.nodes[self._rng.randrange(DAEMONS)]
        killed = functools.partial(self._killed, node.name, expected)
        return asyncio.create_task(node.kill(self._rng.uniform(*_DOWN_SECONDS), killed))

    async def _run_campaign(self, wanted: Wanted, seconds: float) -> None:
        """Runs it for so long at least, paused and resumed all the time, and waits for its end."""
        conn = await self._cluster.connect()
        rng = random.Random(f"planner campaign {self._wanted.seed}")
        moved = time.monotonic()
        waiting = -1
        try:
            a_minute = max(1, round(len(wanted.numbers) * 60 / seconds))
            await start_campaign(conn, wanted, body="Everybody, come out", per_minute=a_minute)
            self._campaign_runs = True
            self._disturbed = await disturb(lambda: self._cluster.dsn, wanted, seconds, rng)
            while not await campaign_judging.settled(conn, wanted):
                found = orjson.loads(
                    await conn.fetchval(query("campaign_progress"), wanted.workspace, wanted.name)
                )
                if found["waiting"] != waiting:
                    waiting, moved = found["waiting"], time.monotonic()
                elif time.monotonic() - moved > _NOTHING_MOVES_SECONDS:
                    return  # the verdict says who was left out
                await asyncio.sleep(_LOOK_SECONDS * 5)
        finally:
            self._campaign_runs = False
            await conn.close()

    async def _until(self, decided: float) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._over or len(self._decided) >= decided)

    def _killed(self, name: str, expected: int) -> None:
        self._kills += 1
        self._kills_amidst += len(self._decided) < expected
        self._kills_in_campaign += self._campaign_runs
        self._tell(f"kill -9 {name} with {len(self._decided)} decided")

    async def _reach(self, everyone: Sequence[Person], start: datetime) -> None:
        """People reach their goals around the moment at which they are asked, after that was planned."""
        left = {
            person.name: person for person in everyone if person.reaches_at is not None and person.enabled
        }
        conn = await self._cluster.connect()
        began = time.monotonic()
        try:
            while left:
                now = datetime.now(UTC)
                due = [
                    person
                    for name, person in left.items()
                    if name in self._decided and now >= start + timedelta(seconds=person.reaches_at or 0)
                ]
                for person in due:
                    del left[person.name]
                await self._write(conn, [person for person in due if self._decided[person.name]], start)
                never = [name for name, person in left.items() if person.other_day]
                for name in never:
                    del left[name]
                if time.monotonic() - began > _NOTHING_MOVES_SECONDS * 2:
                    return
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await conn.close()

    async def _write(self, conn: Connection, some: Sequence[Person], start: datetime) -> None:
        by_workspace: dict[str, list[Person]] = defaultdict(list)
        for person in some:
            by_workspace[person.workspace].append(person)
        for workspace, mine in by_workspace.items():
            await _progress(conn, workspace, [item for p in mine for item in p.progress(start, rest=True)])
            at = await conn.fetchval(query("chaos_clock"))
            self._reached |= dict.fromkeys((p.name for p in mine), at)

    async def _outcome(
        self,
        conn: Connection,
        evidence: Evidence,
        half: CampaignHalf,
        stuck: Sequence[dict[str, Any]],
    ) -> Outcome:
        logs = self._cluster.logs
        (logs / "planned.jsonl").write_bytes(
            b"".join(orjson.dumps(asdict(row), default=str) + b"\n" for row in evidence.rows)
        )
        bad = list(judge(evidence))
        faults = Counter(each.fault for each in bad)
        went = half.figures
        planned = sum(row.decided and row.delivery is not None for row in evidence.rows) + half.planned
        expected = sum(each.reason is None for each in evidence.foreseen.values()) + went.planned
        said = [f"never at rest: {row}" for row in stuck[:MOST_SHOWN]]
        said += [
            await explained(conn, each.fault.value, each.delivery, each.why, evidence.arrivals)
            for each in bad[:MOST_SHOWN]
        ]
        if not went.good:
            said.append(f"the campaign: {went}; {self._disturbed.wrong_sums} looks did not add up")
        if planned != expected:
            said.append(f"{planned} are planned, and an undisturbed run plans {expected}")
        figures: dict[str, Any] = {
            "users": self._wanted.users,
            "planned": planned,
            "skipped": faults[Fault.SKIPPED] + went.skipped,
            "repeated": faults[Fault.REPEATED] + went.repeated,
            "out_of_rules": faults[Fault.OUT_OF_RULES] + went.out_of_rules,
            "seconds": round(time.monotonic() - self._began, 1),
            "undisturbed": expected,
            "not_sent": sum(row.decided and row.delivery is None for row in evidence.rows),
            "sent": len(evidence.arrivals),
            "reached": len(evidence.reached),
            "congratulated": sum(
                row.kind == "met" for row in evidence.rows if row.contact in evidence.reached
            ),
            "ended": sum(row.ended in ("goal_met", "not_wanted") for row in evidence.rows),
            "kills": self._kills,
            "kills_amidst": self._kills_amidst,
            "campaign": half.planned,
            "pauses": len(self._disturbed.paused),
            "taken_back": half.taken_back,
            "kills_in_campaign": self._kills_in_campaign,
        }
        said += [f"this proves nothing: {why}" for why in _hollow(figures, bad or not went.good)]
        return Outcome(figures, said, logs)

    def _tell(self, line: str) -> None:
        told = f"{time.monotonic() - self._began:6.1f} s  {line}"
        self._tell_line(told)
        with (self._cluster.logs / "run.log").open("a", encoding="utf-8") as log:
            log.write(told + "\n")


def _hollow(figures: dict[str, Any], bad: object) -> list[str]:
    """Why a good run proves nothing."""
    found: list[str] = []
    if bad:
        return found
    if figures["kills"] and not figures["kills_amidst"]:
        found.append("no daemon was killed while there was something to plan")
    if figures["kills"] > 1 and not figures["kills_in_campaign"]:
        found.append("no daemon was killed while the campaign ran")
    if figures["users"] >= 100 and not (figures["congratulated"] and figures["ended"]):
        found.append("nobody's check-in was changed or ended by goals that were reached after it was planned")
    if figures["users"] >= 100 and not figures["taken_back"]:
        found.append("no pause found anything of the campaign in the queue")
    return found


def _tuned(wanted: PlannerSettings, silence: tuple[datetime, datetime]) -> Tuning:
    """The operator's tuning with quiet hours in the middle of the run, small portions, and as much planned an hour as in
    weeks of real ones.
    """
    return replace(
        wanted.tuning,
        platforms={
            name: {**table, "planned_per_hour": _PER_HOUR} for name, table in wanted.tuning.platforms.items()
        },
        rules={"quiet_hours": {QUIET_CATEGORY: quiet_hours(*silence)}},
        planning={"portion": max(1, wanted.users // _PORTIONS)},
    )


async def _put(conn: Connection, everyone: Sequence[Person], start: datetime) -> dict[str, UUID]:
    """Puts the people in with all that is known of them; external_id → contact."""
    contacts: dict[str, UUID] = {}
    for workspace in WORKSPACES:
        await conn.execute(query("chaos_templates"), workspace)
        mine = [person for person in everyone if person.workspace == workspace]
        for begin in range(0, len(mine), _PORTION):
            some = mine[begin : begin + _PORTION]
            rows = await conn.fetch(query("put_contacts"), workspace, _json([p.contact() for p in some]))
            contacts |= {p.name: row["id"] for p, row in zip(some, rows, strict=True)}
            await conn.execute(query("chaos_goals"), workspace, _json([g for p in some for g in p.goals()]))
            await _progress(conn, workspace, [item for p in some for item in p.progress(start)])
            await conn.execute(
                query("chaos_preferences"), workspace, _json([p.preference(start) for p in some])
            )
            stops = [{"channel": "sms", "to": p.to} for p in some if p.stopped and p.to]
            await conn.fetch(query("do_not_contact_batch"), workspace, _json(stops), True)
    return contacts


async def _progress(conn: Connection, workspace: str, items: Sequence[dict[str, Any]]) -> None:
    for row in await conn.fetch(query("add_progress"), workspace, _json([i for i in items if i["amount"]])):
        if row["error"] is not None:
            raise ChaosError(row["error"])


async def _foresee(
    conn: Connection, everyone: Sequence[Person], contacts: dict[str, UUID]
) -> dict[UUID, Foreseen]:
    """What one undisturbed run decides of the same people: nothing is written, and no daemon is at work yet."""
    for workspace in WORKSPACES:
        await conn.execute(query("chaos_check_in"), workspace, False)
    source = CheckIns(DataKeys(conn, lambda: KeyRing({}, None)))
    found: dict[UUID, Foreseen] = {}
    days = {datetime.now(UTC).date() + timedelta(days=n) for n in (-1, 0, 1, 2)}
    for row in await conn.fetch(query("plan_series"), ["check_in"], None, None):
        series = series_of(row)
        mine = [contacts[person.name] for person in everyone if person.workspace == series.workspace]
        for day in days:
            for item in await source.decide(conn, series, day, mine, row["now"]):
                found[item["contact"]] = Foreseen(item["occurrence"], item.get("reason"))
    return found


def _json(items: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(items).decode()
