"""`/api/v1/workspaces/NAME/…`: contacts, consent and the do-not-contact list over HTTP.

The fields are those of `duly.put_contact`, `duly.record_consent` and `duly.do_not_contact`, and so are the checks;
addresses are brought into one form first. Who may call is who may queue (see `Api`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import asyncpg
import orjson
from aiohttp import web

from daemon.contacts.addresses import AddressProblem, normalise
from daemon.contacts.standing import load
from daemon.model import Channel
from daemon.store.database import Database
from daemon.store.sql import query
from daemon.web.access import Access
from daemon.web.bodies import answer, read_json
from daemon.web.refusals import TROUBLE, Refused, refusal
from daemon.web.request_ids import request_id

Item = dict[str, Any]

_BASE = "/api/v1/workspaces/{workspace}"


class People:
    """The routes below a workspace's name."""

    def __init__(self, access: Access, database: Database) -> None:
        self._access = access
        self._database = database

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.post(f"{_BASE}/contacts", self.put_contacts),
            web.post(f"{_BASE}/consent", self.record_consent),
            web.get(f"{_BASE}/consent", self.show_consent, allow_head=False),
            web.post(f"{_BASE}/do-not-contact", self.do_not_contact),
            web.delete(f"{_BASE}/do-not-contact", self.contact_again),
        ]

    async def put_contacts(self, request: web.Request) -> web.StreamResponse:
        """201 with the id of a new contact, 200 of one that was there; an array: 200 with a result per item."""
        return await self._put(request, "put_contacts", _contact, ("id", "change"))

    async def record_consent(self, request: web.Request) -> web.StreamResponse:
        """201 with the entry's id and the state that is stored, 200 where it was there; an array as above."""
        proof = {"request_id": request_id(request)}

        def entry(item: Item) -> Item:
            if "source" in item:
                raise Refused("source: leave it out; over HTTP it is http")
            given = item.get("proof")
            if given is None or isinstance(given, dict):
                item = item | {"proof": {**(given or {}), **proof}}
            return _addressed(item) | {"source": "http"}

        return await self._put(request, "record_consents", entry, ("id", "state", "repeated", "skipped"))

    async def do_not_contact(self, request: web.Request) -> web.StreamResponse:
        """201 for an address that is new on the list, 200 for one that was on it; an array as above."""

        def listed(item: Item) -> Item:
            if "source" in item:
                raise Refused("source: leave it out; over HTTP it is http")
            return _addressed(item) | {"source": "http"}

        return await self._put(request, "do_not_contact_batch", listed, ("added", "skipped"), True)

    async def contact_again(self, request: web.Request) -> web.StreamResponse:
        """200 with whether the address of `?channel=…&to=…&category=…` was on the list."""
        self._access.check_api(request)
        try:
            channel, to = _asked(request)
            given = (request.match_info["workspace"], channel, to, request.query.get("category", ""))
            rows = await self._database.fetch(query("contact_again"), *given)
        except TROUBLE as error:
            return refusal(error)
        return answer(200, {"removed": rows[0][0]})

    async def show_consent(self, request: web.Request) -> web.StreamResponse:
        """200 with what was said of the address of `?channel=…&to=…`, and what follows."""
        self._access.check_api(request)
        workspace = request.match_info["workspace"]
        try:
            channel, to = _asked(request)
            async with self._database.acquire() as conn:
                if await conn.fetchval(query("workspace_id"), workspace) is None:
                    raise Refused(f"workspace: {workspace[:100]!r} is not known")
                found = await load(conn, workspace, channel, to)
        except TROUBLE as error:
            return refusal(error)
        return answer(
            200,
            {
                "workspace": workspace,
                "channel": channel,
                "to": to,
                "standings": [asdict(standing) for standing in found.standings],
                "log": found.log,
                "suppressions": found.suppressions,
            },
        )

    async def _put(
        self,
        request: web.Request,
        name: str,
        prepare: Callable[[Item], Item],
        fields: tuple[str, ...],
        *more: object,
    ) -> web.StreamResponse:
        """Hands one item or many to a function of the database that answers for each."""
        self._access.check_api(request)
        body = await read_json(request)
        items, errors = _prepared(body if isinstance(body, list) else [body], prepare)
        try:
            rows = await self._database.fetch(
                query(name), request.match_info["workspace"], orjson.dumps(items).decode(), *more
            )
        except TROUBLE as error:
            return refusal(error)
        answers = iter(rows)
        results = [
            {"position": position, "error": error} if error else _result(position, next(answers), fields)
            for position, error in enumerate(errors, start=1)
        ]
        if isinstance(body, list):
            return answer(200, {"results": results})
        only = results[0]
        if only["error"] is not None:
            return refusal(Refused(str(only["error"])))
        new = only.get("change") == "created" or only.get("repeated") is False or only.get("added") is True
        return answer(201 if new else 200, {field: only[field] for field in fields})


def _prepared(given: list[Any], prepare: Callable[[Item], Item]) -> tuple[list[Item], list[str | None]]:
    """The items that go to the database, and for each given one what is wrong with it already."""
    items: list[Item] = []
    errors: list[str | None] = []
    for item in given:
        try:
            items.append(prepare(item) if isinstance(item, dict) else item)
            errors.append(None)
        except Refused as refusal:
            errors.append(str(refusal))
    return items, errors


def _result(position: int, row: asyncpg.Record, fields: tuple[str, ...]) -> Item:
    return {"position": position, **{field: row[field] for field in fields}, "error": row["error"]}


def _contact(item: Item) -> Item:
    """With its addresses in one form; what is no address at all is left for the database to name."""
    addresses = item.get("addresses")
    if not isinstance(addresses, list):
        return item
    return item | {
        "addresses": [_addressed(a, "address", "addresses.") if isinstance(a, dict) else a for a in addresses]
    }


def _addressed(item: Mapping[str, Any], field: str = "to", prefix: str = "") -> Item:
    channel, text = item.get("channel"), item.get(field)
    if isinstance(channel, str) and isinstance(text, str) and channel in set(Channel):
        try:
            return {**item, field: normalise(Channel(channel), text)}
        except AddressProblem as error:
            raise Refused(f"{prefix}{channel if prefix else field}: {error}") from None
    return dict(item)


def _asked(request: web.Request) -> tuple[str, str]:
    """The channel and address of a query."""
    channel, text = request.query.get("channel", ""), request.query.get("to", "")
    if channel not in set(Channel):
        raise Refused(f"channel: {channel[:40]!r} is none of {', '.join(Channel)}")
    if text.startswith(" "):
        text = "+" + text[1:]  # a plus that was not written %2B
    return channel, str(_addressed({"channel": channel, "to": text})["to"])
