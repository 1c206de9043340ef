"""Compares what producers were told, what the database says and what reached the stand-in. Pure.

The stand-in's ledger is the witness: it knows nothing of Duly's database, only what arrived.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

_SUCCESS = frozenset({"sent", "delivered", "read"})


@dataclass(slots=True)
class Told:
    """What a producer was told about one planned message: every id its calls returned, and its cancellation."""

    number: int
    ids: set[UUID] = field(default_factory=set)
    canceled: bool = False  # duly.cancel answered true


@dataclass(frozen=True, slots=True)
class Row:
    """What the database says about a delivery at the end."""

    id: UUID
    number: int  # of the planned message
    state: str
    reason: str | None
    due_at: datetime  # as it was queued; a retry moves the row's own
    may_expire: bool
    held: bool  # uncertain, and only a person can decide
    was_uncertain: bool
    refused: bool  # the platform itself said no


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that the stand-in has accepted."""

    delivery: str | None
    attempt: int | None
    sid: str
    to: str
    status: str
    accepted_at: float  # epoch seconds
    duplicate: bool


class Fault(StrEnum):
    """What is wrong with a delivery. Held ones break no promise: they are only explained."""

    LOST = "lost"
    DUPLICATE = "duplicate"
    EARLY = "early"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Bad:
    """One delivery that breaks a promise."""

    fault: Fault
    delivery: UUID | None
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures, and every delivery that breaks a promise."""

    accepted: int
    delivered: int
    uncertain: int
    uncertain_resolved: int
    held: int
    bad: tuple[Bad, ...]

    def count(self, fault: Fault) -> int:
        """How many deliveries broke this promise."""
        return sum(bad.fault is fault for bad in self.bad)


def judge(told: Iterable[Told], rows: Sequence[Row], arrivals: Sequence[Arrival]) -> Verdict:
    """The verdict once everything has come to rest; what has not is lost unless it arrived."""
    told = list(told)
    arrived: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        arrived[arrival.delivery or ""].append(arrival)
    canceled = {id_ for t in told if t.canceled for id_ in t.ids}
    known = {row.id for row in rows}
    vanished = {id_ for t in told for id_ in t.ids} - known
    in_force = [row for row in rows if row.state != "canceled" and row.id not in canceled]
    bad = [
        Bad(Fault.LOST, id_, "its enqueue committed, and the database has no such row") for id_ in vanished
    ]
    bad += _strays(arrivals, known)
    for row in rows:
        bad += _faults(row, arrived[str(row.id)], canceled=row.state == "canceled" or row.id in canceled)
    bad += _queued_twice(rows, arrived)
    uncertain = [row for row in rows if row.was_uncertain]
    return Verdict(
        accepted=len(in_force) + len(vanished),
        delivered=sum(bool(arrived[str(row.id)]) for row in in_force),
        uncertain=len(uncertain),
        uncertain_resolved=sum(row.state != "uncertain" for row in uncertain),
        held=sum(row.held for row in rows),
        bad=tuple(bad),
    )


def _faults(row: Row, arrivals: list[Arrival], *, canceled: bool) -> list[Bad]:
    bad = [Bad(Fault.DUPLICATE, row.id, f"arrived again as {a.sid}") for a in arrivals if a.duplicate]
    if canceled:
        # What was canceled in time was never due.
        bad += [Bad(Fault.EARLY, row.id, f"arrived as {a.sid} although canceled in time") for a in arrivals]
        return bad
    due = row.due_at.timestamp()
    bad += [
        Bad(
            Fault.EARLY, row.id, f"arrived as {a.sid} {(due - a.accepted_at) * 1000:.3f} ms before it was due"
        )
        for a in arrivals
        if a.accepted_at < due
    ]
    if not arrivals and (why := _why_lost(row)):
        bad.append(Bad(Fault.LOST, row.id, why))
    return bad


def _why_lost(row: Row) -> str | None:
    """Why a delivery that never arrived should have; None where it ended legitimately."""
    if row.state in _SUCCESS:
        return f"the database says {row.state}, and the stand-in has never seen it"
    if row.held or (row.state == "expired" and row.may_expire) or (row.state == "failed" and row.refused):
        return None
    return f"it is {row.state} ({row.reason or 'no reason'}) and never arrived"


def _strays(arrivals: Iterable[Arrival], known: set[UUID]) -> list[Bad]:
    names = {str(id_) for id_ in known}
    return [
        Bad(Fault.LOST, None, f"{a.sid} arrived for {a.delivery}, of which the database knows nothing")
        for a in arrivals
        if a.delivery not in names
    ]


def _queued_twice(rows: Iterable[Row], arrived: dict[str, list[Arrival]]) -> list[Bad]:
    """A planned message is one delivery, however often it was queued under its key."""
    by_number: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if arrived[str(row.id)]:
            by_number[row.number].append(row)
    return [
        Bad(Fault.DUPLICATE, row.id, f"message {number} was queued as {len(same)} deliveries")
        for number, same in by_number.items()
        for row in same[1:]
    ]
