"""Caps: how much one recipient may get within a sliding window, or a day, week or month of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from daemon.model import Charge, Reason
from daemon.rules import wall_clock
from daemon.rules.answers import Allow, Defer, Ruling, Skip


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `limit` messages within `window`, or within the calendar's period. Exactly one of both is set."""

    name: str
    limit: int
    window: timedelta | None = None
    calendar: Literal["day", "week", "month"] | None = None
    skips: bool = False  # what has no room is given up instead of deferred


def period(calendar: Literal["day", "week", "month"], now: datetime, zone: str) -> tuple[datetime, datetime]:
    """When the recipient's present day, week (from Monday, ISO 8601) or month began and when it ends, in UTC."""
    today = wall_clock.local(now, zone).date()
    match calendar:
        case "day":
            begins, ends = today, today + timedelta(days=1)
        case "week":
            begins = today - timedelta(days=today.weekday())
            ends = begins + timedelta(days=7)
        case "month":
            begins = today.replace(day=1)
            ends = (begins + timedelta(days=32)).replace(day=1)
    midnight = [wall_clock.instant(datetime.combine(day, time()), zone) for day in (begins, ends)]
    return midnight[0], midnight[1]


def cap(cap: Cap, marks: Sequence[datetime], now: datetime, zone: str = "UTC") -> tuple[Ruling, Charge]:
    """Is there room for one more at `now`, beside the `marks` made so far; and what the mark must charge for it.

    `zone`: the recipient's. The last word is the charge's, as others may use the room meanwhile.
    """
    if cap.calendar is not None:
        since, free_at = period(cap.calendar, now, zone)
        charge = Charge(cap.name, cap.limit, None, since, free_at, cap.skips)
        counted = [mark for mark in marks if mark > since]
    else:
        assert cap.window is not None
        charge = Charge(cap.name, cap.limit, cap.window.total_seconds(), skips=cap.skips)
        counted = sorted(mark for mark in marks if mark > now - cap.window)
        # Room for one more is there when only `limit - 1` are left within the window.
        free_at = counted[-cap.limit] + cap.window if 0 < cap.limit <= len(counted) else now + cap.window
    because: dict[str, str | int | bool | None] = {
        "cap": cap.name,
        "used": len(counted),
        "limit": cap.limit,
        "per": window_in_words(cap),
    }
    if len(counted) < cap.limit:
        return Ruling("cap", Allow(), because), charge
    if cap.skips or cap.limit == 0:
        return Ruling("cap", Skip(Reason.CAP_REACHED), because), charge
    return Ruling("cap", Defer(free_at.astimezone(UTC), Reason.CAP_REACHED), because), charge


def window_in_words(cap: Cap) -> str:
    """In words: "week", "30 days"."""
    return str(cap.calendar) if cap.window is None else f"{cap.window / timedelta(days=1):g} days"
