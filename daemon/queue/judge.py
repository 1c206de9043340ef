"""Asks the rules of what has been leased: what may go goes on, the rest is written back with the reason.

Most categories of most workspaces have no rule beyond what the mark asks of every delivery. They cost a look
into a table here, and no statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import orjson
import structlog

from daemon.model import OPEN, Channel, Delivery, Gate
from daemon.queue.holding import held_columns
from daemon.queue.rulebook import Rulebook
from daemon.rules.answers import Allow
from daemon.rules.judgement import Known, Rules, Verdict, judge
from daemon.store.database import Database
from daemon.store.sql import query

log = structlog.get_logger(__name__)


class Judge:
    """Between the lease and the line."""

    def __init__(
        self,
        database: Database,
        rulebook: Callable[[], Rulebook],
        is_stand_in: Callable[[Delivery], bool],
    ) -> None:
        """`is_stand_in`: whether a delivery goes to a stand-in on this machine."""
        self._database = database
        self._rulebook = rulebook
        self._is_stand_in = is_stand_in

    async def sift(self, leased: Sequence[Delivery]) -> dict[UUID, Delivery]:
        """What may go now, by id, with what the mark must ask again. The rest is queued for later or skipped.

        Raises `DatabaseDown`; then nothing is decided, and all is still leased.
        """
        book = self._rulebook()
        asked: list[tuple[Delivery, Rules]] = []
        free: dict[UUID, Delivery] = {}
        for delivery in leased:
            rules = book.of(delivery.workspace, delivery.category)
            if rules is None:
                free[delivery.id] = delivery
            else:
                asked.append((delivery, rules))
        if not asked:
            return free
        known = await self._known(asked)
        held: list[tuple[Delivery, Verdict]] = []
        for delivery, rules in asked:
            verdict = judge(rules, known[delivery.id])
            if isinstance(verdict.answer, Allow):
                free[delivery.id] = replace(delivery, gate=verdict.gate)
            else:
                held.append((delivery, verdict))
        if held:
            await self._hold_back(held)
        return free

    async def foresee(self, meant: Mapping[UUID, tuple[Delivery, datetime]]) -> dict[UUID, Gate]:
        """Which deliveries may go at a later moment each, by id, as far as can be said now; nothing is written.

        What is charged to a cap is not among them: how much of it is used then is not known yet. Raises `DatabaseDown`.
        """
        book = self._rulebook()
        may: dict[UUID, Gate] = {}
        asked: list[tuple[Delivery, Rules]] = []
        for delivery, _ in meant.values():
            rules = book.of(delivery.workspace, delivery.category)
            if rules is None:
                may[delivery.id] = OPEN
            elif not rules.caps:
                asked.append((delivery, rules))
        if not asked:
            return may
        known = await self._known(asked)
        for delivery, rules in asked:
            verdict = judge(rules, replace(known[delivery.id], now=meant[delivery.id][1]))
            if isinstance(verdict.answer, Allow) and not verdict.charges:
                may[delivery.id] = verdict.gate
        return may

    async def _known(self, asked: Sequence[tuple[Delivery, Rules]]) -> dict[UUID, Known]:
        deliveries = [delivery for delivery, _ in asked]
        rows = await self._database.fetch(
            query("rule_context"),
            [d.id for d in deliveries],
            [d.workspace_id for d in deliveries],
            [d.address_key for d in deliveries],
            [d.channel.value for d in deliveries],
            [d.category for d in deliveries],
        )
        rows_by_id = {row["id"]: row for row in rows}
        return {
            d.id: known_of(rows_by_id[d.id], d.channel, d.to, rules.verified_only and self._is_stand_in(d))
            for d, rules in asked
        }

    async def _hold_back(self, held: Sequence[tuple[Delivery, Verdict]]) -> None:
        columns = held_columns((delivery, verdict, _detail(verdict)) for delivery, verdict in held)
        await self._database.execute(query("hold_back"), *columns, "leased")


def known_of(
    row: asyncpg.Record, channel: Channel, to: str, stand_in: bool, *, now: datetime | None = None
) -> Known:
    """What rule_context.sql says, at the database's time or another."""
    marks = orjson.loads(row["marks"]) if row["marks"] else {}
    return Known(
        now=now or row["now"],
        channel=channel,
        to=to,
        verified=row["verified"],
        own_address=bool(row["own_address"]),
        stand_in=stand_in,
        time_zone=row["time_zone"],
        max_per_week=row["max_per_week"],
        consent=row["consent"],
        suppressed=row["suppressed"],
        marks={cap: [datetime.fromtimestamp(at, UTC) for at in used or ()] for cap, used in marks.items()},
    )


def _detail(verdict: Verdict) -> str:
    rule = verdict.decisive
    why = ", ".join(f"{key} {value}" for key, value in rule.because.items() if value is not None)
    return f"{rule.rule}: {why}"[:500]
