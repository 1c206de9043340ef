"""All rules together: what is asked of a category, what must be known for it, and what follows from the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from daemon.model import Channel, Charge, Gate
from daemon.rules.answers import Allow, Defer, Ruling, Skip
from daemon.rules.caps import Cap, cap
from daemon.rules.permission import Consent, consent, suppression, verification
from daemon.rules.quiet_hours import Fallbacks, QuietHours, quiet_hours
from daemon.rules.zones import country_of_number, whereabouts

PER_WEEK = "per_week"
"""The cap that a contact's own `max_per_week` makes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of one category of one workspace's messages."""

    hours: QuietHours | None = None
    hours_in: Mapping[str, QuietHours | None] = field(default_factory=dict)  # by country
    fallbacks: Fallbacks = Fallbacks()  # noqa: RUF009 - frozen
    caps: tuple[Cap, ...] = ()
    per_week: bool = False  # whether a contact's own maximum holds it back
    consent_required: bool = False
    verified_only: bool = False

    @property
    def any(self) -> bool:
        """Whether anything is asked beyond what the mark asks of every delivery."""
        return self != _NOTHING


_NOTHING = Rules()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a delivery's recipient and business. `marks`: cap → when it was used."""

    now: datetime
    channel: Channel
    to: str
    verified: bool = False
    own_address: bool = False
    stand_in: bool = False
    time_zone: str | None = None
    max_per_week: int | None = None
    consent: Consent | None = None
    suppressed: str | None = None
    marks: Mapping[str, Sequence[datetime]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every rule's answer, and the one that follows; `gate` is what the mark asks again of what is allowed."""

    rulings: tuple[Ruling, ...]
    answer: Allow | Defer | Skip
    charges: tuple[Charge, ...] = ()

    @property
    def gate(self) -> Gate:
        """What goes with an allowed delivery."""
        until = self.answer.until if isinstance(self.answer, Allow) else None
        return Gate(until, self.charges, self.receipt)

    @property
    def receipt(self) -> str:
        """The rulings as JSON, for the delivery's receipt."""
        return orjson.dumps([as_json(ruling) for ruling in self.rulings]).decode()

    @property
    def decisive(self) -> Ruling:
        """The ruling that the answer comes from."""
        return next((ruling for ruling in self.rulings if ruling.answer == self.answer), self.rulings[0])


def hours_for(rules: Rules, to: str) -> QuietHours | None:
    """The quiet hours at an address."""
    return rules.hours_in.get(country_of_number(to) or "", rules.hours) if rules.hours_in else rules.hours


def judge(rules: Rules, known: Known) -> Verdict:
    """A no of one rule is a no; else the longest wait of those that want to wait; else it may go, for as long as
    all allow it.
    """
    where = whereabouts(known.time_zone, known.channel, known.to)
    hours = hours_for(rules, known.to)
    rulings = [
        suppression(known.suppressed),
        consent(rules.consent_required, known.consent),
        quiet_hours(hours, where, known.now, rules.fallbacks),
    ]
    if rules.verified_only:
        rulings.append(
            verification(verified=known.verified, own_address=known.own_address, stand_in=known.stand_in)
        )
    charges = []
    zone = where.zones[0] if where.zones else "UTC"
    caps = rules.caps
    if rules.per_week and known.max_per_week is not None:
        caps = (*caps, Cap(PER_WEEK, known.max_per_week, calendar="week"))
    for each in caps:
        ruling, charge = cap(each, known.marks.get(each.name, ()), known.now, zone)
        rulings.append(ruling)
        charges.append(charge)
    return Verdict(tuple(rulings), _together(rulings), tuple(charges))


def _together(rulings: Sequence[Ruling]) -> Allow | Defer | Skip:
    answers = [ruling.answer for ruling in rulings]
    for answer in answers:
        if isinstance(answer, Skip):
            return answer
    if waits := [answer for answer in answers if isinstance(answer, Defer)]:
        return max(waits, key=lambda wait: wait.until)
    ends = [answer.until for answer in answers if isinstance(answer, Allow) and answer.until is not None]
    return Allow(min(ends, default=None))


def as_json(ruling: Ruling) -> dict[str, object]:
    """A ruling as the receipt holds it."""
    found: dict[str, object] = {"rule": ruling.rule}
    match ruling.answer:
        case Allow(until=until):
            found["answer"] = "allow"
        case Defer(until=until, reason=reason):
            found |= {"answer": "defer", "reason": reason.value}
        case Skip(reason=reason):
            found |= {"answer": "skip", "reason": reason.value}
            until = None
    if until is not None:
        found["until"] = until.isoformat()
    return found | {"because": dict(ruling.because)}
