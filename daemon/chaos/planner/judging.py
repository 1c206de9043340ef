"""Compares what an undisturbed run plans, what the killed daemons planned, and what reached the stand-in. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from daemon.chaos.opt_out.judging import IN_FLIGHT_SECONDS
from daemon.chaos.verdict import Arrival

_SUCCESS = frozenset({"sent", "delivered", "read"})
_CHANGED = frozenset({"goal_met", "not_wanted"})


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What an undisturbed run decides for somebody."""

    occurrence: datetime
    reason: str | None  # None: they are written to


@dataclass(frozen=True, slots=True)
class Row:
    """A decision as the database has it at the end, with its delivery; `decided`: False of a delivery that no decision
    knows of."""

    contact: UUID | None
    decided: bool
    occurrence: datetime | None
    reason: str | None
    kind: str | None
    earliest: datetime | None
    latest: datetime | None
    zone: str | None
    delivery: UUID | None
    state: str | None
    ended: str | None  # the delivery's reason
    category: str | None
    template: str | None
    marked_at: datetime | None
    leased_at: datetime | None  # under which its last call was made


class Fault(StrEnum):
    """What is wrong with a decision or its delivery."""

    SKIPPED = "skipped"
    REPEATED = "repeated"
    OUT_OF_RULES = "out_of_rules"


@dataclass(frozen=True, slots=True)
class Bad:
    """One that breaks a promise."""

    fault: Fault
    delivery: UUID | None
    why: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verdict is made from."""

    foreseen: Mapping[UUID, Foreseen]
    rows: Sequence[Row]
    arrivals: Sequence[Arrival]
    reached: Mapping[
        UUID, datetime
    ]  # contact → a moment after the commit of what made them reach their goals
    quiet: tuple[datetime, datetime]
    quiet_zone: str
    quiet_category: str


def judge(evidence: Evidence) -> Iterator[Bad]:
    """Every decision and delivery that is not as it must be."""
    rows: dict[UUID, list[Row]] = defaultdict(list)
    for row in evidence.rows:
        if row.contact is None or not row.decided:
            yield Bad(Fault.REPEATED, row.delivery, "a delivery that no decision knows of")
        else:
            rows[row.contact].append(row)
    arrivals: dict[str | None, list[Arrival]] = defaultdict(list)
    for arrival in evidence.arrivals:
        arrivals[arrival.delivery].append(arrival)
    known = {str(row.delivery) for row in evidence.rows}
    for arrival in evidence.arrivals:
        if arrival.delivery not in known:
            yield Bad(Fault.REPEATED, None, f"arrived, and is of no decision: {arrival.delivery}")
    for contact, wanted in evidence.foreseen.items():
        found = rows.pop(contact, [])
        if not found:
            yield Bad(Fault.SKIPPED, None, f"nothing was decided for {contact}")
        for other in found[1:]:
            yield Bad(Fault.REPEATED, other.delivery, f"decided {len(found)} times for {contact}")
        for row in found[:1]:
            yield from _one(
                evidence, contact, wanted, row, arrivals[str(row.delivery)] if row.delivery else []
            )
    for contact, others in rows.items():
        yield Bad(Fault.OUT_OF_RULES, others[0].delivery, f"{contact} was not to be asked at all")


def _one(
    evidence: Evidence, contact: UUID, wanted: Foreseen, row: Row, arrivals: Sequence[Arrival]
) -> Iterator[Bad]:
    if wanted.reason is None and row.delivery is None:
        yield Bad(Fault.SKIPPED, None, f"{contact} was not written to: {row.reason}")
        return
    if wanted.reason is not None and row.delivery is not None:
        yield Bad(Fault.OUT_OF_RULES, row.delivery, f"written to although {wanted.reason}")
    if row.occurrence != wanted.occurrence:
        yield Bad(Fault.OUT_OF_RULES, row.delivery, f"is for {row.occurrence}, not {wanted.occurrence}")
    if row.delivery is None:
        return
    if len(arrivals) > 1:
        yield Bad(Fault.REPEATED, row.delivery, f"arrived {len(arrivals)} times")
    ended = row.state == "skipped" and row.ended in _CHANGED and contact in evidence.reached
    if not arrivals and not ended:
        yield Bad(Fault.SKIPPED, row.delivery, f"never arrived: {row.state}, {row.ended}")
    if arrivals and row.state not in _SUCCESS:
        yield Bad(Fault.OUT_OF_RULES, row.delivery, f"arrived, and stands at {row.state}")
    for arrival in arrivals:
        yield from _rules(evidence, contact, row, arrival)


def _rules(evidence: Evidence, contact: UUID, row: Row, arrival: Arrival) -> Iterator[Bad]:
    assert row.earliest is not None
    assert row.latest is not None
    late = row.latest.timestamp() + IN_FLIGHT_SECONDS
    if not row.earliest.timestamp() <= arrival.accepted_at <= late:
        yield Bad(Fault.OUT_OF_RULES, row.delivery, f"was sent outside {row.earliest} to {row.latest}")
    begins, ends = evidence.quiet
    if row.zone == evidence.quiet_zone and row.category == evidence.quiet_category:
        in_flight = timedelta(seconds=IN_FLIGHT_SECONDS)
        quiet_since = (begins + in_flight).timestamp()
        marked = row.marked_at is not None and begins <= row.marked_at < ends
        if marked or quiet_since <= arrival.accepted_at < ends.timestamp():
            yield Bad(Fault.OUT_OF_RULES, row.delivery, f"was sent in quiet hours from {begins}")
    reached = evidence.reached.get(contact)
    stale = row.kind != "met" or not (row.template or "").startswith("congratulatory")
    if reached is not None and row.leased_at is not None and reached < row.leased_at and stale:
        yield Bad(
            Fault.OUT_OF_RULES,
            row.delivery,
            f"says {row.template} although all was reached at {reached}, before its lease at {row.leased_at}",
        )
