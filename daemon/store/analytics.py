"""What became of a workspace's deliveries, by template, style, hour and so on: for `duly analytics` and over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from asyncpg import Record

from daemon.problem import Problem
from daemon.store.database import Connection
from daemon.store.sql import query

DIMENSIONS = (
    "template", "text", "style", "kind", "variant", "source", "channel", "category", "hour", "day",
)  # fmt: skip
"""By what can be counted; analytics.sql says what each is."""

DEFAULT = ("style", "template", "channel", "hour", "day")


def known_dimensions(names: Iterable[str]) -> Sequence[str]:
    """The dimensions asked for, each once. Raises `Problem` with "by: what is wrong and what would be right"."""
    wanted = tuple(dict.fromkeys(names)) or DEFAULT
    for name in wanted:
        if name not in DIMENSIONS:
            raise Problem(f"by: {name[:40]!r} is none of {', '.join(DIMENSIONS)}")
    return wanted


async def load(
    conn: Connection, workspace_id: int, since: datetime, until: datetime, by: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """For each dimension its values with counts and rates, of deliveries queued from `since` until before `until`.

    Each delivery counts once under each dimension; `value` None is those without one. Raises `Problem` where `since`
    is not before `until`.
    """
    if since >= until:
        raise Problem("since: must be before until")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in by}
    for row in await conn.fetch(query("analytics"), workspace_id, since, until, list(by)):
        found[row["dimension"]].append(_line(row))
    return found


def _line(row: Record) -> dict[str, Any]:
    """Counts, and the rates that they make; a rate of nothing is None."""
    facts = {name: value for name, value in row.items() if name != "dimension"}
    ended = row["delivered"] + row["failed"]
    words = row["helpful"] + row["not_helpful"]
    return facts | {
        "success_rate": _rate(row["delivered"], ended),
        "reply_rate": _rate(row["replied"], row["sent"]),
        "click_rate": _rate(row["clicked"], row["sent"]),
        "helpful_rate": _rate(row["helpful"], words),
        "opt_out_rate": _rate(row["opted_out"], row["sent"]),
    }


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
