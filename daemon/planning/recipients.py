"""Whom the planner writes to: what is known of people, on which of their addresses, and by which clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson

from daemon.jsonb import read_jsonb
from daemon.model import Channel
from daemon.rules.wall_clock import ZONES, zone_info
from daemon.rules.zones import whereabouts
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

UNKNOWN_ZONE = "UTC"
"""By which clock somebody is written to of whom nothing tells a zone."""

_CHANNELS = tuple(Channel)
_HOURS = [timedelta(hours=hour) for hour in range(0, 49, 6)]


class Address(NamedTuple):
    """Where somebody is reached."""

    channel: Channel
    to: str | None  # None: it is sealed and cannot be opened
    key: UUID
    stopped: Mapping[str, str]  # category, '' for all → why it must not be written to

    def stop(self, category: str) -> str | None:
        """Why nothing of a category goes to it; None where it may."""
        return self.stopped.get("") or self.stopped.get(category)


class Person(NamedTuple):
    """A contact with the addresses, the best of each channel first."""

    id: UUID
    external_id: str | None
    first_name: str | None
    name: str | None
    locale: str | None
    time_zone: str | None
    attributes: Mapping[str, Any]
    addresses: Sequence[Address]


class Zone(NamedTuple):
    """A clock, and how it was found: of the series, given for the person, inferred from the number, or unknown."""

    name: str
    source: Literal["series", "given", "inferred", "unknown"]


async def load_people(
    conn: Connection, keys: DataKeys, workspace_id: int, contacts: Sequence[UUID]
) -> dict[UUID, Person]:
    """These contacts, with sealed addresses opened. Who has been erased since is not in the answer."""
    known: dict[UUID, Any] = {}
    addresses: dict[UUID, list[Address]] = {}
    for row in await conn.fetch(query("plan_people"), workspace_id, contacts):
        known[row["id"]] = row
        found = addresses.setdefault(row["id"], [])
        if row["channel"] in _CHANNELS:
            to = row["address"] or None
            if row["sealed"] is not None and to is None:
                identity = f"{row['address_key']} {row['channel']}"
                parts = await keys.try_open(workspace_id, "address", identity, row["sealed"])
                to = parts[0] if parts else None
            stopped = orjson.loads(row["stopped"]) if row["stopped"] else {}
            found.append(Address(Channel(row["channel"]), to, row["address_key"], stopped))
    return {id_: _person(row, addresses[id_]) for id_, row in known.items()}


def channel_of(person: Person, order: Sequence[str], category: str) -> Address | None:
    """The first address, by an order of channels, that may be written to. No order: sms, then what else there is."""
    return next((each for each in _ordered(person, order) if each.to and each.stop(category) is None), None)


def unreachable(person: Person, order: Sequence[str], category: str) -> str:
    """Why `channel_of` found none: as the rules say of the first address, `cannot_open` or `no_address`."""
    addresses = _ordered(person, order)
    stops = [stop for each in addresses if (stop := each.stop(category)) is not None]
    return stops[0] if stops else "cannot_open" if addresses else "no_address"


def zone_of(person: Person, on: date, given: str | None = None) -> Zone:
    """By which clock a person's day `on` is: `given` (the series'), the person's own, the one that all zones of their
    numbers show then, or UTC. A name that is no zone counts as not given.
    """
    if given is not None and given in ZONES:
        return Zone(given, "series")
    if person.time_zone is not None and person.time_zone in ZONES:
        return Zone(person.time_zone, "given")
    for address in person.addresses:
        zones = whereabouts(None, address.channel, address.to).zones if address.to else ()
        if zones and _agree(zones, on):
            return Zone(zones[0], "inferred")
    return Zone(UNKNOWN_ZONE, "unknown")


def variables_of(person: Person) -> dict[str, Any]:
    """What templates may say of a person without being told: their attributes, and FirstName and Name."""
    found = {**person.attributes, "FirstName": person.first_name, "Name": person.name}
    return {name: value for name, value in found.items() if value is not None}


def _person(row: Any, addresses: Sequence[Address]) -> Person:
    return Person(
        row["id"],
        row["external_id"],
        row["first_name"],
        row["name"],
        row["locale"],
        row["time_zone"],
        read_jsonb(row["attributes"]),
        addresses,
    )


def _ordered(person: Person, order: Sequence[str]) -> list[Address]:
    return [
        address
        for channel in order or _CHANNELS
        for address in person.addresses
        if address.channel == channel
    ]


@lru_cache(maxsize=4096)
def _agree(zones: tuple[str, ...], on: date) -> bool:
    """Whether clocks in all these zones show the same throughout a day."""
    if len(zones) == 1:
        return True
    begin = datetime(on.year, on.month, on.day, tzinfo=UTC) - timedelta(hours=12)
    return all(
        len({(begin + step).astimezone(zone_info(zone)).utcoffset() for zone in zones}) == 1
        for step in _HOURS
    )
