"""What the rules hold back, as hold_back.sql takes it: from the judge and the goals at the lease, from the caps' charge
at the mark.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.model import Delivery
from daemon.rules.answers import Allow, Defer
from daemon.rules.judgement import Verdict

Held = tuple[Delivery, Verdict, str]
"""A delivery that may not go now, with its verdict and the detail of it."""


def held_columns(held: Iterable[Held]) -> list[list[object]]:
    """The arrays of hold_back.sql for deliveries that may not go now.

    By id, so that all who write deliveries lock them in one order. There must be at least one.
    """
    ordered = sorted(held, key=lambda each: each[0].id)
    return [list(column) for column in zip(*(_row(*each) for each in ordered), strict=True)]


def _row(delivery: Delivery, verdict: Verdict, detail: str) -> tuple[object, ...]:
    answer = verdict.answer
    assert not isinstance(answer, Allow)
    until = answer.until if isinstance(answer, Defer) else None
    return (
        delivery.id,
        delivery.workspace_id,
        delivery.lease_token,
        "skipped" if until is None else "queued",
        answer.reason.value,
        detail,
        until,
        verdict.receipt,
    )
