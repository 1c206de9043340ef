"""Which deliveries are asked about together, and at which times the queue is cut to tell them apart. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.store.backlog import Moment

# Busy moments are looked for in the quarters of the hours, at most one in each.
_QUARTER = timedelta(minutes=15)
_MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A quarter is busy that has so many messages, and such a part of all that is to come.
_BUSY_MESSAGES = 10
_BUSY_PART = 0.02
# A minute belongs to it that has such a part of its heaviest minute.
_HEAVY_PART = 0.1
# The smallest difference of two times in the database.
_TICK = timedelta(microseconds=1)
# How far ahead minutes are told apart: see sql/queries/backlog_moments.sql.
_HORIZON = timedelta(days=8)
# So many pieces of lanes a forecast follows, about.
_MOST_LOTS = 20_000
_FEWEST_CUTS, _MOST_CUTS = 6, 48


@dataclass(frozen=True, slots=True)
class Cohort:
    """What is due from `since` (None: from ever) until before `until`, of one workspace or priority or of all."""

    since: datetime | None
    until: datetime
    workspace: str | None = None
    priority: int | None = None

    @property
    def at(self) -> datetime:
        """The moment that it is called by."""
        return self.until - _TICK if self.since is None else self.since


def up_to(at: datetime) -> datetime:
    """The `until` of what is due at this moment or before."""
    return at + _TICK


def busy(moments: Sequence[Moment], most: int = 4) -> list[Cohort]:
    """The next moments at which much becomes due, in order. In its quarter of the hour each is from the first to
    the last minute that has much: what else is due within it is no part of it.
    """
    quarters: dict[datetime, list[Moment]] = defaultdict(list)
    for moment in moments:
        quarters[moment.minute - (moment.minute - _EPOCH) % _QUARTER].append(moment)
    sizes = {quarter: sum(m.messages for m in of) for quarter, of in quarters.items()}
    least = max(_BUSY_MESSAGES, _BUSY_PART * sum(sizes.values()))
    largest = sorted((q for q in quarters if sizes[q] >= least), key=lambda q: (-sizes[q], q))[:most]
    return [_heavy(quarters[quarter]) for quarter in sorted(largest)]


def _heavy(quarter: Sequence[Moment]) -> Cohort:
    least = _HEAVY_PART * max(moment.messages for moment in quarter)
    minutes = [moment.minute for moment in quarter if moment.messages >= least]
    return Cohort(min(minutes), max(minutes) + _MINUTE)


def edges(
    at: datetime, moments: Sequence[Moment], cohorts: Iterable[Cohort], lanes: int = 1
) -> list[datetime]:
    """Where to cut the queue, ascending: now, around the cohorts, and elsewhere such that no cut has much more
    than another, unless it is a single minute. The more lanes, the fewer cuts.
    """
    cuts = {at + _TICK, at + _HORIZON}
    for cohort in cohorts:
        cuts.add(cohort.until)
        if cohort.since is not None:
            cuts.add(cohort.since)
    many = min(_MOST_CUTS, max(_FEWEST_CUTS, _MOST_LOTS // max(1, lanes)))
    part = sum(moment.messages for moment in moments) / many
    since_cut = 0
    for moment in moments:
        if since_cut and since_cut + moment.messages > part:
            cuts.add(moment.minute)
            since_cut = 0
        since_cut += moment.messages
    return sorted(cuts)
