"""Compares whom a campaign had to reach with what reached the stand-in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from daemon.chaos.campaign.disturbing import Disturbed
from daemon.chaos.campaign.making import Wanted
from daemon.store.database import Connection
from daemon.store.sql import query


@dataclass(frozen=True, slots=True)
class Figures:
    """How a campaign went. All but `planned` must be 0; `out_of_rules` are messages to whom nothing may go, those handed
    over while it was paused, and looks at which its counts did not add up.
    """

    planned: int
    skipped: int
    repeated: int
    out_of_rules: int

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return self.skipped == self.repeated == self.out_of_rules == 0


async def settled(conn: Connection, wanted: Wanted) -> bool:
    """Whether nothing of it is left to do."""
    found = orjson.loads(await conn.fetchval(query("campaign_progress"), wanted.workspace, wanted.name))
    return found["state"] in ("done", "canceled") and not found["waiting"]


async def judge(conn: Connection, wanted: Wanted, disturbed: Disturbed, arrived_at: Iterable[str]) -> Figures:
    """The figures. `arrived_at`: the number of each message that the stand-in has taken, whatever it is of."""
    ours = wanted.numbers | wanted.forbidden
    arrived = Counter(number for number in arrived_at if number in ours)
    missing = sum(number not in arrived for number in wanted.numbers)
    repeated = sum(count - 1 for count in arrived.values())
    forbidden = sum(number in arrived for number in wanted.forbidden)
    while_paused = await conn.fetchval(
        query("chaos_campaign_paused"),
        wanted.workspace,
        wanted.name,
        [since for since, _ in disturbed.paused],
        [until for _, until in disturbed.paused],
    )
    return Figures(
        len(wanted.numbers), missing, repeated, forbidden + int(while_paused) + disturbed.wrong_sums
    )
