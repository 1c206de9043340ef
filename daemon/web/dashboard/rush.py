"""The busiest moment that is planned for, as a chart: what was wished, where it was placed, and what of that is gone.

It is drawn here, in parts of the width and pixels of the height, so that it fits any screen without a script.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daemon.config import Config
from daemon.model import Channel
from daemon.planning.openings import planned_per_hour
from daemon.planning.spread_chart import SLOT_SECONDS, Bar, chart, peak
from daemon.store import overview
from daemon.store.database import Database
from daemon.web.live import Beside

# Fewer wanted within a quarter of an hour are no rush.
LEAST = 10
HEIGHT = 180  # pixels, down to the line of the hours
_HEADROOM = 6  # of them, above the highest bar
_AROUND = timedelta(hours=12)
_COARSE_SECONDS = 900
_FINE_UNTIL = timedelta(hours=2)
_WIDEST = timedelta(hours=36)  # what is placed later is in the figures only
_HOUR = timedelta(hours=1)
_MOST_HOURS = 12  # on the axis
# Higher than so many times what goes in a slot, a wish is cut off and its number said.
_CUT_ABOVE, _CUT_TO = 2.0, 1.6
_MOST_NUMBERS, _NUMBERS_APART = 3, 16.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: `x` and `width` in hundredths of the chart's, `y` and `height` in pixels."""

    look: str
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """A slot: its boxes, and what it says where the pointer rests."""

    boxes: Sequence[Box]
    wished: int
    placed: int
    gone: int


@dataclass(frozen=True, slots=True)
class Number:
    """How many wanted a time whose box is cut off. `before`: it stands left of `x`."""

    x: float
    messages: int
    before: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A time on the axis. `minor`: without words where there is little room."""

    x: float
    at: datetime
    minor: bool


@dataclass(frozen=True, slots=True)
class Hour:
    """A line of the table."""

    at: datetime
    wished: int
    placed: int
    gone: int


@dataclass(frozen=True, slots=True)
class Rush:
    """A busy moment and all around it."""

    peak: datetime
    at_peak: int  # messages wanted in that quarter of an hour
    planned: int
    gone: int
    first: datetime  # from when
    last: datetime  # until when all of it is placed
    per_hour: Mapping[str, float]  # segments, by account
    line: float | None  # how high that is, as a box's y
    priorities: Sequence[int]
    columns: Sequence[Column]
    numbers: Sequence[Number]
    ticks: Sequence[Tick]
    hours: Sequence[Hour]


class Rushes:
    """Looks for it beside the page, no oftener than that costs: of a hundred thousand messages it takes a second."""

    def __init__(self, database: Database, config: Callable[[], Config], pause_factor: float) -> None:
        self._database = database
        self._config = config
        self._beside = Beside("rush", self._ask, pause_factor=pause_factor)

    async def look(self) -> Rush | None:
        """The busiest, as it was when last seen; None where little is planned, or where nobody can say."""
        found, _ = await self._beside.look()
        return found[0] if found is not None else None

    async def close(self) -> None:
        """Ends what is under way."""
        await self._beside.close()

    async def _ask(self) -> tuple[Rush | None]:
        """As a tuple, since "there is none" is an answer, too."""
        async with overview.reading(self._database) as conn:
            at = await peak(conn, LEAST)
            bars = [] if at is None else await chart(conn, at - _AROUND, at + _AROUND)
        if at is None:
            return (None,)
        return (await asyncio.to_thread(draw, at, bars, self._per_hour(bars)),)

    def _per_hour(self, bars: Iterable[Bar]) -> dict[str, float]:
        config = self._config()
        using: dict[str, set[str]] = defaultdict(set)
        for bar in bars:
            account = config.account_for(bar.workspace, Channel(bar.channel))
            if account is not None and account in config.platforms:
                using[account].add(bar.workspace)
        return {name: planned_per_hour(config, name, sorted(of)) for name, of in sorted(using.items())}


def draw(at: datetime, bars: Sequence[Bar], per_hour: Mapping[str, float]) -> Rush | None:
    """The chart of what is planned around a peak, of bars of five minutes; None where that is too little by now."""
    planned = sum(bar.wished for bar in bars)
    if planned < LEAST:
        return None
    shown = [bar for bar in bars if bar.slot < bars[0].slot + _WIDEST]
    fine = shown[-1].slot - shown[0].slot < _FINE_UNTIL
    seconds = SLOT_SECONDS if fine else _COARSE_SECONDS
    slots = _slots(shown, seconds)
    carried = _carried(bars, per_hour, seconds)
    scale = _Scale(min(slots), timedelta(seconds=seconds), max(slots), _top(slots.values(), carried))
    placed = [slot for slot, of in _slots(bars, seconds).items() if of.placed]
    return Rush(
        peak=at,
        at_peak=sum(bar.wished for bar in bars if at <= bar.slot < at + timedelta(seconds=_COARSE_SECONDS)),
        planned=planned,
        gone=sum(bar.gone for bar in bars),
        first=min(placed),
        last=max(placed) + scale.step,
        per_hour=per_hour,
        line=None if carried is None else scale.y(carried),
        priorities=sorted({bar.priority for bar in bars}),
        columns=[_column(scale, slot, of) for slot, of in sorted(slots.items())],
        numbers=_numbers(scale, slots),
        ticks=_ticks(scale),
        hours=[
            Hour(hour, of.wished, of.placed, of.gone)
            for hour, of in sorted(_slots(bars, int(_HOUR.total_seconds())).items())
        ],
    )


@dataclass(slots=True)
class _Slot:
    wished: int = 0
    # By priority: gone, and not yet.
    by_priority: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def placed(self) -> int:
        return sum(map(sum, self.by_priority.values()))

    @property
    def gone(self) -> int:
        return sum(gone for gone, _ in self.by_priority.values())


@dataclass(frozen=True, slots=True)
class _Scale:
    begin: datetime
    step: timedelta
    last: datetime  # the last slot
    top: float  # messages that reach up to the headroom

    def x(self, at: datetime) -> float:
        return round(100 * ((at - self.begin) / (self.end - self.begin)), 3)

    def y(self, messages: float) -> float:
        return round(HEIGHT - (HEIGHT - _HEADROOM) * min(messages, self.top) / self.top, 1)

    @property
    def end(self) -> datetime:
        return self.last + self.step

    @property
    def width(self) -> float:
        return round(100 * (self.step / (self.end - self.begin)), 3)


def _slots(bars: Iterable[Bar], seconds: int) -> dict[datetime, _Slot]:
    found: dict[datetime, _Slot] = defaultdict(_Slot)
    for bar in bars:
        at = datetime.fromtimestamp(bar.slot.timestamp() // seconds * seconds, bar.slot.tzinfo)
        slot = found[at]
        slot.wished += bar.wished
        gone, waiting = slot.by_priority.get(bar.priority, (0, 0))
        slot.by_priority[bar.priority] = gone + bar.gone, waiting + bar.placed - bar.gone
    return found


def _carried(bars: Iterable[Bar], per_hour: Mapping[str, float], seconds: int) -> float | None:
    """How many of these messages the accounts carry in a slot."""
    placed, segments = 0, 0
    for bar in bars:
        placed, segments = placed + bar.placed, segments + bar.segments
    return sum(per_hour.values()) * seconds / 3600 * placed / segments if per_hour and segments else None


def _top(slots: Iterable[_Slot], carried: float | None) -> float:
    """Wishes that tower over all that can be placed are cut off, so that the rest can be seen."""
    each = list(slots)
    placed, wished = max(slot.placed for slot in each), max(slot.wished for slot in each)
    usual = max(placed, 1) if carried is None or carried > 4 * placed else max(placed, carried)
    return usual * _CUT_TO if wished > usual * _CUT_ABOVE else max(wished, usual)


def _column(scale: _Scale, at: datetime, slot: _Slot) -> Column:
    x, boxes, below = scale.x(at), [], 0
    for priority, counts in sorted(slot.by_priority.items()):
        for look, messages in zip(("gone", "placed"), counts, strict=True):
            if messages:
                y = scale.y(below + messages)
                boxes.append(Box(f"{look} p{priority}", x, scale.width, y, round(scale.y(below) - y, 1)))
                below += messages
    if slot.wished:
        y = scale.y(slot.wished)
        look = "wished cut" if slot.wished > scale.top else "wished"
        boxes.append(Box(look, x, scale.width, y, round(HEIGHT - y, 1)))
    return Column(boxes, slot.wished, slot.placed, slot.gone)


def _numbers(scale: _Scale, slots: Mapping[datetime, _Slot]) -> list[Number]:
    """Of the highest that are cut off, as far as there is room."""
    cut = [(of.wished, at) for at, of in slots.items() if of.wished > scale.top]
    found: list[Number] = []
    for wished, at in sorted(cut, key=lambda each: (-each[0], each[1])):
        x = scale.x(at)
        before = x > 50
        number = Number(round(x if before else x + scale.width, 3), wished, before)
        if len(found) < _MOST_NUMBERS and all(abs(number.x - other.x) >= _NUMBERS_APART for other in found):
            found.append(number)
    return found


def _ticks(scale: _Scale) -> list[Tick]:
    """Full hours, or as many of them as there is room for."""
    hours = (scale.end - scale.begin) / _HOUR
    every = next(step for step in (0.25, 0.5, 1, 2, 3, 6, 12) if hours / step <= _MOST_HOURS)
    step = every * _HOUR.total_seconds()
    nth = int(-(-scale.begin.timestamp() // step))
    found = []
    while (at := datetime.fromtimestamp(nth * step, scale.begin.tzinfo)) <= scale.end:
        found.append(Tick(scale.x(at), at, minor=nth % 2 == 1))
        nth += 1
    return found
