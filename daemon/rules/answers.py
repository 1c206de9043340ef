"""What a rule answers: may this delivery go now, later, or not at all, and which of what it was told mattered.

A rule is a pure function from what is known to a `Ruling`. It reads no clock and asks no database: whoever asks
it, at planning, at the lease or for a simulation, gives it the moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from daemon.model import Reason


@dataclass(frozen=True, slots=True)
class Allow:
    """It may go, before `until` if that is set: then the rule must be asked again. Aware datetimes throughout."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Defer:
    """It may not go before `until`; what is asked again then may still be deferred or skipped."""

    until: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Skip:
    """It must never go."""

    reason: Reason


Answer = Allow | Defer | Skip


@dataclass(frozen=True, slots=True)
class Ruling:
    """One rule's answer, and what of its input mattered: a few short values, fit for JSON, without any secret."""

    rule: str
    answer: Answer
    because: Mapping[str, str | int | bool | None] = field(default_factory=dict)
