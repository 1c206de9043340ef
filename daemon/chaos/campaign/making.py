"""Makes the people of a campaign and begins it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from daemon.planning.campaign_drafts import draft, make
from daemon.store.database import Connection
from daemon.store.sql import query

_AT_ONCE = 1000
# No other part of a run writes to numbers that begin like this; the last digits are those of ordinary phones.
_NUMBER = "+1646{:03}{:04}"
_FIRST_ORDINARY, _ORDINARY = 1000, 9000
_LISTED_EACH = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """A campaign that has begun, and whom it must reach: its numbers, without those that are on the list."""

    workspace: str
    name: str
    numbers: frozenset[str]
    forbidden: frozenset[str]


async def begin(conn: Connection, workspace: str, name: str, people: int, **more: Any) -> Wanted:
    """Makes so many contacts, of whom every twentieth must not be written to, and starts a campaign to them.

    `more`: fields of the campaign, such as per_minute or holdout. Raises `CampaignProblem`.
    """
    numbers = [_NUMBER.format(555 + n // _ORDINARY, _FIRST_ORDINARY + n % _ORDINARY) for n in range(people)]
    for first in range(0, people, _AT_ONCE):
        items = [
            {
                "external_id": f"{name}-{number}",
                "first_name": f"P{number[-7:]}",
                "attributes": {"campaign": name},
                "addresses": [{"channel": "sms", "address": number}],
            }
            for number in numbers[first : first + _AT_ONCE]
        ]
        await conn.fetch(query("put_contacts"), workspace, orjson.dumps(items).decode())
    forbidden = frozenset(numbers[::_LISTED_EACH])
    listed = [{"channel": "sms", "to": number} for number in sorted(forbidden)]
    await conn.fetch(query("do_not_contact_batch"), workspace, orjson.dumps(listed).decode(), True)
    wanted = Wanted(workspace, name, frozenset(numbers) - forbidden, forbidden)
    await start(conn, wanted, **({"body": "Hello {{FirstName}}"} | more))
    return wanted


async def start(conn: Connection, wanted: Wanted, **more: Any) -> None:
    """Starts a campaign to people that are there: those whose attribute `campaign` is its name."""
    given = {"name": wanted.name, "category": "transactional", "segment": {"campaign": wanted.name}}
    await make(conn, wanted.workspace, draft(given | more))
    await conn.execute(query("campaign_act_start"), wanted.workspace, wanted.name)
