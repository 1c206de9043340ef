"""What becomes of occurrences that are past when they are planned, as after a downtime: a series says it itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MISSED = "missed"
"""The reason of an occurrence that nobody planned while it was of use, and that is not caught up."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One occurrence, and from when to when it may go; or why it does not."""

    wall: datetime  # naive, on the clock it was planned by
    wished: datetime  # the same as an instant
    due: datetime
    earliest: datetime
    latest: datetime
    reason: str | None = None
    caught_up: bool = False


def slots(
    occurrences: Sequence[tuple[datetime, datetime]],
    policy: str,
    earlier: timedelta,
    later: timedelta,
    now: datetime,
) -> list[Slot]:
    """Each occurrence's slot. `occurrences`: (wall, instant) in order; `policy`: skip, latest or all.

    One within its tolerance, `later`, is due when it was wished, or now. One beyond it was missed: by `skip` none of
    those is sent, by `latest` the newest one is, by `all` each, in order; they are due now and then have the same
    tolerance again.
    """
    missed = [wished for _, wished in occurrences if wished + later < now]
    found = []
    for wall, wished in occurrences:
        if wished + later >= now:
            earliest = min(max(wished - earlier, now), max(wished, now))
            found.append(Slot(wall, wished, max(wished, now), earliest, wished + later))
        elif policy == "all" or (policy == "latest" and wished == missed[-1]):
            found.append(Slot(wall, wished, now, now, now + later, caught_up=True))
        else:
            found.append(Slot(wall, wished, wished, wished, wished + later, MISSED))
    return found
