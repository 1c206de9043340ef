"""A coach's Sunday with clocks sped up: most want to be asked at 18:00, and the account carries a hundred an hour.

The application's side is done as role duly_producer, by the public SQL. The daemon plans the coming Sunday and spreads it
as it always does. Then we, who own this database, move the queued deliveries to now, an hour in ten seconds, and leave
what was planned as it is: so the page shows the Sunday, and it fills up as the messages go.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import aiohttp
import asyncpg
import orjson

from daemon.content.library import put_template
from daemon.content.starter import starter
from daemon.demo.people import Somebody, own_zone, people
from daemon.demo.settings import RUNDOWN, SUNDAY_PER_HOUR
from daemon.rules.wall_clock import instant, local
from daemon.store.database import Connection
from daemon.store.sql import query

_EARLIER, _LATER = timedelta(minutes=30), timedelta(hours=4)
_SLOT = timedelta(minutes=5)
_HALF_WAY = 0.4  # of all are sent
_LATE_GOALS = 12  # so many reach their goal then
_LOOK_SECONDS = 0.25
_PLAN_SECONDS = 90.0
_STALLED_SECONDS = 30.0
_HOUR = timedelta(hours=1)

_FORGET = (
    "select duly.cancel(d.id) from duly.delivery_row d where d.workspace_id = $1 and d.state = 'queued'",
    "delete from duly.planned where workspace_id = $1",
    "delete from duly.plan_run where workspace_id = $1",
    "delete from duly.plan_again where workspace_id = $1",
    "delete from duly.progress where workspace_id = $1",
    "delete from duly.series where workspace_id = $1",
)
_PREFERENCE = """
select duly.set_preference($1, $2, send_day => 'Sunday', send_time => $3, on_goal_met => $4, style => $5, priority => $6)
"""
_GOAL = "select duly.set_goal($1, $2, $3, $4, $5, 'week')"
_PROGRESS = "select duly.add_progress($1, $2, $3, $4, $5, $6)"
_CHECK_IN = "select duly.put_check_in($1, 'check-in', earlier => $2, later => $3)"
# The daemon opens other days by itself: they are not for this show, and on a Sunday today's would go in earnest.
_OTHER_DAYS = """
insert into duly.plan_run (series_id, on_date, workspace_id, done_at)
select $1, d::date, w.id, now()
from duly.workspace w, generate_series(current_date - 2, current_date + 3, interval '1 day') d
where w.name = $2 and d::date <> $3
"""
_NOT_READY = """
select exists (select from duly.plan_run r where r.workspace_id = w.id and r.on_date = $2 and r.done_at is null)
    or exists (select from duly.planned p
               where p.workspace_id = w.id and p.delivery_id is not null and p.spread_at is null)
from duly.workspace w where w.name = $1
"""
_PLACES = """
select p.wished_at, p.placed_at, p.latest, d.segments from duly.planned p
join duly.workspace w on w.id = p.workspace_id and w.name = $1
join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
order by p.placed_at
"""
_SPEED_UP = """
update duly.delivery_row d
set due_at = $2::timestamptz + (d.due_at - $3::timestamptz) * $4::float8,
    expires_at = $2 + (d.expires_at - $3) * $4
from duly.workspace w
where w.name = $1 and d.workspace_id = w.id and d.state = 'queued'
"""
_STATES = """
select d.state, count(*) as count from duly.planned p
join duly.workspace w on w.id = p.workspace_id and w.name = $1
join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
group by 1
"""
_COULD_STILL = """
select c.external_id from duly.planned p
join duly.workspace w on w.id = p.workspace_id and w.name = $1
join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
join duly.preference f on f.contact_id = p.contact_id and f.workspace_id = p.workspace_id and f.on_goal_met
join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
where d.state = 'queued' and d.due_at > clock_timestamp() + interval '0.7 seconds' and p.kind in ('partial', 'missed')
order by d.due_at limit $2
"""
_CONGRATULATED = """
select count(*) from duly.planned p
join duly.workspace w on w.id = p.workspace_id and w.name = $1
join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
where c.external_id = any ($2::text[]) and p.kind = 'met' and m.category = 'congratulatory'
  and d.state in ('sent', 'delivered', 'read')
"""

_WAITING = ("queued", "leased", "sending", "uncertain")
_ARRIVED = ("sent", "delivered", "read")


class SundayError(Exception):
    """The Sunday did not come about. The text says why."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large it is, and how fast."""

    people: int = 420
    hour_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class SundayResult:
    """How it ended; the keys of "sunday" in --json. The times are those of that Sunday."""

    day: date
    planned: int
    sent: int
    reached_late: int  # who reached their goals half-way
    congratulated_late: int  # and were congratulated instead
    slots_over_capacity: int
    beyond_tolerance: int
    earliest: datetime
    latest: datetime

    @property
    def good(self) -> bool:
        """Whether everything came as it should."""
        return (
            0 < self.planned == self.sent
            and self.slots_over_capacity == self.beyond_tolerance == 0
            and 0 < self.reached_late == self.congratulated_late
        )

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"Sunday {self.day:%d %B}: {self.planned} planned, {self.sent} sent from {self.earliest:%H:%M} to "
            f"{self.latest:%H:%M}; in {self.slots_over_capacity} slots more than the account carries, "
            f"{self.beyond_tolerance} beyond tolerance; {self.congratulated_late} of {self.reached_late} who reached "
            f"their goals late were congratulated"
        )


async def clear(conn: Connection) -> None:
    """Takes back what is left of an earlier run's Sunday; before the daemon starts, which would go on with it."""
    workspace = await conn.fetchval(query("workspace_id"), RUNDOWN)
    if workspace is not None:
        for statement in _FORGET:
            await conn.execute(statement, workspace)


def coming_sunday(now: datetime, zone: str) -> date:
    """The next one that has not begun yet."""
    today = local(now, zone).date()
    return today + timedelta(days=7 - today.isoweekday() or 7)


def in_its_week(now: datetime, sunday: date, zone: str) -> datetime:
    """Now, or where that week has not begun yet its first moment: what was done then counts on the Sunday."""
    monday = instant(datetime.combine(sunday - timedelta(days=6), time()), zone)
    return min(max(now, monday), now + timedelta(hours=23, minutes=59))


class Sunday:
    """One Sunday, on two connections: the application's and the owner's."""

    def __init__(self, app: Connection, owner: Connection, page: str, size: Size) -> None:
        self.line = ""  # for the progress
        self._app = app
        self._owner = owner
        self._page = page
        self._size = size
        self._zone = own_zone()
        self._day = coming_sunday(datetime.now(UTC), self._zone)

    @classmethod
    async def connect(cls, dsn: str, page: str, size: Size) -> Sunday:
        """Connects."""
        app, owner = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
        await app.execute("set role duly_producer")
        return cls(app, owner, page, size)

    def close(self) -> None:
        """Cuts the connections."""
        for conn in (self._app, self._owner):
            conn.terminate()

    async def run(self, say: Callable[[str], None]) -> SundayResult:
        """The whole of it. `say` tells what one should know. Raises `SundayError`."""
        everybody = people(self._size.people)
        self.line = f"Sunday {self._day:%d %B} · {len(everybody)} people are put in"
        await self._put(everybody)
        self.line = f"Sunday {self._day:%d %B} · being planned and spread"
        await self._open()
        await self._until_spread()
        places = await self._owner.fetch(_PLACES, RUNDOWN)
        if not places:
            raise SundayError("nothing was planned")
        begin, end = places[0]["placed_at"], places[-1]["placed_at"]
        say(
            f"Sunday {self._day:%d %B}: {len(places)} check-ins are planned, most wanted 18:00; the account carries "
            f"{SUNDAY_PER_HOUR} an hour, so they are spread from {self._clock(begin)} to {self._clock(end)}. "
            f"An hour now takes {self._size.hour_seconds:g} s."
        )
        began = await self._speed_up(begin)
        late = await self._watch(began, begin, end, everybody, say)
        states = await self._states()
        return SundayResult(
            day=self._day,
            planned=len(places),
            sent=sum(states[state] for state in _ARRIVED),
            reached_late=len(late),
            congratulated_late=await self._owner.fetchval(_CONGRATULATED, RUNDOWN, late),
            slots_over_capacity=over_capacity([(row["placed_at"], row["segments"]) for row in places]),
            beyond_tolerance=sum(row["placed_at"] > row["latest"] for row in places),
            earliest=local(begin, self._zone).replace(microsecond=0),
            latest=local(end, self._zone).replace(microsecond=0),
        )

    async def _put(self, everybody: Sequence[Somebody]) -> None:
        """The texts; then contacts, preferences, goals and what was done for them, as the application writes them."""
        now = in_its_week(datetime.now(UTC), self._day, self._zone)
        for document in starter():  # as `duly template import-starter`
            await put_template(self._owner, RUNDOWN, document)
        async with self._app.transaction():
            items = orjson.dumps([each.contact(self._zone) for each in everybody]).decode()
            rows = await self._app.fetch(query("put_contacts"), RUNDOWN, items)
            if problem := next((row["error"] for row in rows if row["error"]), None):
                raise SundayError(problem)
            await self._app.executemany(
                _PREFERENCE,
                [(RUNDOWN, p.name, p.time, p.on_goal_met, p.style, int(p.coach)) for p in everybody],
            )
            await self._app.executemany(
                _GOAL, [(RUNDOWN, p.name, p.goal, p.target, p.unit) for p in everybody]
            )
            await self._app.executemany(
                _PROGRESS, [(RUNDOWN, p.name, p.goal, p.done, now, "before") for p in everybody if p.done]
            )

    async def _open(self) -> None:
        """The series of check-ins, and the planning of this one Sunday; the daemon does the rest."""
        async with self._owner.transaction():
            await self._owner.execute("set local role duly_producer")
            series = await self._owner.fetchval(_CHECK_IN, RUNDOWN, _EARLIER, _LATER)
            await self._owner.execute("reset role")
            await self._owner.execute(_OTHER_DAYS, series, RUNDOWN, self._day)
            await self._owner.execute(query("plan_open"), 0, RUNDOWN, self._day)
            # Their preferences are new; what is planned below knows them already.
            await self._owner.execute(
                "delete from duly.plan_again a using duly.workspace w where w.id = a.workspace_id and w.name = $1",
                RUNDOWN,
            )
        async with aiohttp.ClientSession() as session, session.post(f"{self._page}/api/v1/plan"):
            pass  # so that it looks at once

    async def _until_spread(self) -> None:
        try:
            async with asyncio.timeout(_PLAN_SECONDS):
                while True:
                    if not await self._owner.fetchval(_NOT_READY, RUNDOWN, self._day):
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise SundayError(f"it was not planned and spread within {_PLAN_SECONDS:g} s") from None

    async def _speed_up(self, begin: datetime) -> datetime:
        """Moves the queued deliveries: `begin` is in a second. Returns when that is."""
        began: datetime = await self._owner.fetchval("select clock_timestamp() + interval '1 second'")
        async with self._owner.transaction():
            await self._owner.execute(
                _SPEED_UP, RUNDOWN, began, begin, self._size.hour_seconds / _HOUR.total_seconds()
            )
            await self._owner.execute("notify duly, 'look'")
        return began

    async def _watch(
        self,
        began: datetime,
        begin: datetime,
        end: datetime,
        everybody: Sequence[Somebody],
        say: Callable[[str], None],
    ) -> list[str]:
        """Until all have gone; half-way some reach their goals, and they are returned."""
        late: list[str] = []
        asked = False
        patience = asyncio.timeout(_STALLED_SECONDS)
        loop = asyncio.get_running_loop()
        try:
            async with patience:
                last: Counter[str] = Counter()
                while True:
                    states = await self._states()
                    if states != last:
                        last = states
                        patience.reschedule(loop.time() + _STALLED_SECONDS)
                    # By our own clock, which was the database's a moment ago.
                    passed = (datetime.now(UTC) - began) / timedelta(seconds=self._size.hour_seconds)
                    at = begin + passed * _HOUR
                    gone = states.total() - sum(states[state] for state in _WAITING)
                    self.line = f"Sunday {self._clock(min(at, end))} · {gone} of {states.total()} sent"
                    if not asked and gone >= _HALF_WAY * states.total():
                        asked = True
                        late = await self._reach(everybody)
                        say(
                            f"Sunday {self._clock(at)}: {len(late)} people have just reached their goals; they get "
                            "the congratulation instead."
                        )
                    if not any(states[state] for state in (*_WAITING, "sent")):
                        return late
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise SundayError(f"nothing has moved for {_STALLED_SECONDS:g} s: {self.line}") from None

    async def _reach(self, everybody: Sequence[Somebody]) -> list[str]:
        """Some whose turn comes yet do the rest."""
        rows = await self._owner.fetch(_COULD_STILL, RUNDOWN, _LATE_GOALS)
        names = {row["external_id"] for row in rows}
        now = in_its_week(datetime.now(UTC), self._day, self._zone)
        await self._app.executemany(
            _PROGRESS,
            [(RUNDOWN, p.name, p.goal, p.target - p.done, now, "late") for p in everybody if p.name in names],
        )
        return sorted(names)

    async def _states(self) -> Counter[str]:
        rows = await self._owner.fetch(_STATES, RUNDOWN)
        return Counter({row["state"]: row["count"] for row in rows})

    def _clock(self, at: datetime) -> str:
        return f"{local(at, self._zone):%H:%M}"


def over_capacity(placed: Sequence[tuple[datetime, int]]) -> int:
    """In how many slots more segments are placed than the account carries: a part of a segment is carried over."""
    slots: Counter[int] = Counter()
    for at, segments in placed:
        slots[int(at.timestamp() // _SLOT.total_seconds())] += segments
    each = SUNDAY_PER_HOUR * _SLOT.total_seconds() / _HOUR.total_seconds()  # as openings.py rounds
    return sum(segments > int((nth + 1) * each) - int(nth * each) for nth, segments in slots.items())
