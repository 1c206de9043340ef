"""Compares what was stopped and when, what the database says, and what reached the stand-in. Pure.

All moments are of one clock, the database's: a daemon's own may be wrong. The stand-in runs beside it and reads
the same one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from daemon.chaos.opt_out.plan import Planned, Stop
from daemon.chaos.opt_out.rules import Limit
from daemon.chaos.schedule import LEASE_SECONDS
from daemon.chaos.verdict import Arrival

_SUCCESS = frozenset({"sent", "delivered", "read"})
_ENDED = frozenset({"skipped", "canceled", "expired"})
_REASONS = {
    Stop.CONSENT: "opted_out",
    Stop.WORDS: "opted_out",
    Stop.CANCEL: "canceled",
    Stop.LISTED: "do_not_contact",
    Stop.LISTED_BY_ALL: "do_not_contact",
    Stop.ERASED: "erased",
}

IN_FLIGHT_SECONDS = LEASE_SECONDS + 2.0
"""A mark that came before a stop, or before quiet hours, lets its call through for so long: right before its first
byte a call looks whether its lease still holds, and the stand-in takes it within the time-out of 2 s."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A stop that has been answered: what it holds for, and a moment of the database's clock after its commit."""

    kind: Stop
    number: int  # of the planned delivery
    to: str
    answered_at: datetime

    def covers(self, row: Row) -> bool:
        """Whether it holds for this delivery: a cancellation for its own, all else for whatever goes to the person."""
        return row.number == self.number if self.kind is Stop.CANCEL else row.to == self.to


@dataclass(frozen=True, slots=True)
class Row:
    """What the database says about a delivery at the end."""

    id: UUID
    number: int | None  # of the planned delivery; None: an answer of Duly's own
    category: str
    to: str
    state: str
    reason: str | None
    due_at: datetime  # as it was queued; a deferral moves the row's own
    marked_at: datetime | None  # when the statement began that let its last call through
    node: int | None  # the daemon that leased it last; None: it was given back or ended


class Fault(StrEnum):
    """What is wrong with a delivery."""

    SENT_AFTER_OPT_OUT = "sent_after_opt_out"
    OVER_CAP = "over_cap"
    IN_QUIET_HOURS = "in_quiet_hours"
    EARLY = "early"
    CONTRADICTED = "contradicted"  # the database and the stand-in say different things
    LOST = "lost"  # nothing kept it from being sent, and it was not
    DUPLICATE = "duplicates"


@dataclass(frozen=True, slots=True)
class Bad:
    """One delivery that breaks a promise."""

    fault: Fault
    delivery: UUID | None
    why: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verdict is made from."""

    planned: Sequence[Planned]
    stopped: Sequence[Stopped]
    rows: Sequence[Row]
    arrivals: Sequence[Arrival]
    charges: Mapping[tuple[str, UUID], datetime]  # cap and delivery → when it was charged
    caps: Mapping[str, Limit]  # category, which is also the cap's name → its limit
    quiet: Mapping[str, tuple[datetime, datetime]]  # category → from when until just before when


class Judge:
    """The evidence by delivery, and what follows from it."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self.parts = {planned.number: planned.part for planned in evidence.planned}
        self.arrived: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in evidence.arrivals:
            self.arrived[arrival.delivery or ""].append(arrival)
        self._by_person: dict[str, list[Stopped]] = defaultdict(list)
        for stopped in evidence.stopped:
            self._by_person[stopped.to].append(stopped)
        self.rows = [row for row in evidence.rows if row.number is not None]

    def bad(self) -> Iterator[Bad]:
        """Every delivery that breaks a promise, and how."""
        yield from self._unknown()
        for row in self.rows:
            yield from self._stopped(row)
            yield from self._in_quiet_hours(row)
            yield from self._early(row)
            yield from self._contradicted(row)
            yield from self._lost(row)
        yield from self._over_cap()

    def arrivals_of(self, row: Row) -> Sequence[Arrival]:
        """What the stand-in has accepted of a delivery."""
        return self.arrived.get(str(row.id), ())

    def stops_of(self, row: Row) -> list[Stopped]:
        """The stops that hold for a delivery."""
        return [stopped for stopped in self._by_person.get(row.to, ()) if stopped.covers(row)]

    def _unknown(self) -> Iterator[Bad]:
        missing = set(self.parts) - {row.number for row in self.rows}
        for number in sorted(missing):
            yield Bad(Fault.LOST, None, f"delivery {number} of the plan was queued, and there is no such row")
        known = {str(row.id) for row in self._evidence.rows}
        for arrival in self._evidence.arrivals:
            if arrival.delivery not in known:
                yield Bad(
                    Fault.CONTRADICTED,
                    None,
                    f"{arrival.sid} arrived for {arrival.delivery}: there is no such row",
                )

    def _stopped(self, row: Row) -> Iterator[Bad]:
        for stopped in self.stops_of(row):
            after = f"{stopped.kind.value} was answered at {stopped.answered_at:%H:%M:%S.%f}"
            if row.marked_at is not None and row.marked_at > stopped.answered_at:
                yield Bad(Fault.SENT_AFTER_OPT_OUT, row.id, f"marked at {row.marked_at:%H:%M:%S.%f}; {after}")
            for arrival in self.arrivals_of(row):
                late = arrival.accepted_at - stopped.answered_at.timestamp()
                if row.marked_at is None or late > IN_FLIGHT_SECONDS:
                    yield Bad(
                        Fault.SENT_AFTER_OPT_OUT,
                        row.id,
                        f"arrived as {arrival.sid} {late:.3f} s later; {after}",
                    )

    def _in_quiet_hours(self, row: Row) -> Iterator[Bad]:
        if row.category not in self._evidence.quiet:
            return
        begins, ends = self._evidence.quiet[row.category]
        if row.marked_at is not None and begins <= row.marked_at < ends:
            yield Bad(Fault.IN_QUIET_HOURS, row.id, f"marked at {row.marked_at:%H:%M:%S.%f}")
        for arrival in self.arrivals_of(row):
            if begins.timestamp() + IN_FLIGHT_SECONDS < arrival.accepted_at < ends.timestamp():
                yield Bad(Fault.IN_QUIET_HOURS, row.id, f"arrived as {arrival.sid}")

    def _early(self, row: Row) -> Iterator[Bad]:
        if row.marked_at is not None and row.marked_at < row.due_at:
            early = (row.due_at - row.marked_at).total_seconds()
            yield Bad(Fault.EARLY, row.id, f"marked {early * 1000:.3f} ms before it was due")
        for arrival in self.arrivals_of(row):
            early = row.due_at.timestamp() - arrival.accepted_at
            if early > 0:
                yield Bad(
                    Fault.EARLY, row.id, f"arrived as {arrival.sid} {early * 1000:.3f} ms before it was due"
                )

    def _contradicted(self, row: Row) -> Iterator[Bad]:
        for arrival in self.arrivals_of(row):
            if arrival.duplicate:
                yield Bad(Fault.DUPLICATE, row.id, f"arrived again as {arrival.sid}")
            if row.state in _ENDED or row.marked_at is None:
                marked = "" if row.marked_at else ", never marked"
                yield Bad(
                    Fault.CONTRADICTED, row.id, f"it is {row.state}{marked}, and arrived as {arrival.sid}"
                )

    def _lost(self, row: Row) -> Iterator[Bad]:
        if row.state in _SUCCESS and not self.arrivals_of(row):
            yield Bad(Fault.LOST, row.id, f"it is {row.state}, and the stand-in has never seen it")
        elif row.state not in _SUCCESS and not self.rightly_ended(row):
            yield Bad(
                Fault.LOST, row.id, f"it is {row.state} ({row.reason or 'no reason'}), and nothing stopped it"
            )

    def rightly_ended(self, row: Row) -> bool:
        """Whether a stop or a cap is why a delivery was not sent, and the row says so."""
        if row.state not in ("skipped", "canceled"):
            return False
        if row.reason == "cap_reached":
            return row.category in self._evidence.caps
        return row.reason in {_REASONS[stopped.kind] for stopped in self.stops_of(row)}

    def _over_cap(self) -> Iterator[Bad]:
        by_person: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.category in self._evidence.caps:
                by_person[row.category, row.to].append(row)
        for (category, _), rows in by_person.items():
            limit = self._evidence.caps[category]
            sent = [row for row in rows if self.arrivals_of(row)]
            yield from self._uncharged(category, sent)
            if limit.seconds is None:
                for row in sent[limit.most :]:
                    yield Bad(Fault.OVER_CAP, row.id, f"{len(sent)} of {category} arrived at {row.to}")
                stopped = any(self.stops_of(row) for row in rows)
                if not stopped and len(sent) < min(limit.most, len(rows)):
                    yield Bad(
                        Fault.LOST, rows[0].id, f"only {len(sent)} of {category} arrived at {rows[0].to}"
                    )
            else:
                yield from self._too_close(category, limit.most, limit.seconds, sent)

    def _uncharged(self, category: str, sent: Iterable[Row]) -> Iterator[Bad]:
        for row in sent:
            if (category, row.id) not in self._evidence.charges:
                yield Bad(Fault.OVER_CAP, row.id, f"it arrived and was never charged to the cap {category}")

    def _too_close(self, category: str, most: int, seconds: float, sent: Iterable[Row]) -> Iterator[Bad]:
        """One too many within a window, from the first's charge to the last's arrival: no call is faster than that."""
        known = [row for row in sent if (category, row.id) in self._evidence.charges]
        charged = sorted(known, key=lambda row: self._evidence.charges[category, row.id])
        for first, *others in (charged[n : n + most + 1] for n in range(len(charged) - most)):
            last = max(arrival.accepted_at for row in (first, *others) for arrival in self.arrivals_of(row))
            took = last - self._evidence.charges[category, first.id].timestamp()
            if took < seconds:
                yield Bad(
                    Fault.OVER_CAP,
                    first.id,
                    f"{most + 1} of {category} arrived at {first.to} within {took:.3f} s",
                )
