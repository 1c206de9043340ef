"""`/api/v1/workspaces/NAME/…`: links for texts, what people said of messages, and analytics, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

from daemon.planning.links import DAYS, make_links, with_links
from daemon.sealing.keys import DataKeys
from daemon.store.analytics import known_dimensions, load
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from daemon.web.access import Access
from daemon.web.bodies import answer, read_json
from daemon.web.refusals import TROUBLE, Refused, refusal

_BASE = "/api/v1/workspaces/{workspace}"
_DAYS = 30


class Responses:
    """The routes below a workspace's name that are about what people make of messages."""

    def __init__(
        self, access: Access, database: Database, base: Callable[[], str | None], keys: DataKeys
    ) -> None:
        """`base`: what links begin with; None where there can be none."""
        self._access = access
        self._database = database
        self._base = base
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.post(f"{_BASE}/links", self.make_link),
            web.post(f"{_BASE}/feedback", self.give_feedback),
            web.get(f"{_BASE}/analytics", self.analytics, allow_head=False),
        ]

    async def make_link(self, request: web.Request) -> web.StreamResponse:
        """201 with a link's `url` for a text and the `metadata` that binds the message to it.

        `target`: where it leads; without one it asks whether the message was helpful. `days`: until it expires; `key`:
        the same key gives the same link, where the workspace does not seal.
        """
        self._access.check_api(request)
        workspace = request.match_info["workspace"]
        try:
            item = await _object(request, {"target", "key", "days"})
            target, days = item.get("target"), item.get("days", DAYS)
            if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 3660:
                raise Refused("days: must be a whole number from 1 to 3660")
            for name in ("target", "key"):
                if not isinstance(item.get(name), str | None):
                    raise Refused(f"{name}: must be a text")
            async with self._database.acquire() as conn, conn.transaction():
                row = await conn.fetchrow(query("workspace_seals"), workspace)
                if row is not None and row["seal"] and target is not None:
                    return await self._sealed(conn, row["id"], target, item.get("key"), days)
                made = await conn.fetchrow(query("make_link"), workspace, target, item.get("key"), days)
        except TROUBLE as error:
            return refusal(error)
        assert made is not None
        return answer(201, {"url": made["url"], "metadata": {"links": [made["token"]]}})

    async def _sealed(
        self, conn: Connection, workspace_id: int, target: str, key: str | None, days: int
    ) -> web.Response:
        base = self._base()
        if base is None:
            raise Refused("links have no URL yet: set web.public_url or web.link_url in the TOML and reload")
        if key is not None:
            raise Refused("key: leave it out; in a workspace that seals each link is a new one")
        links = await make_links(conn, workspace_id, [target], base, self._keys, days)
        return answer(201, {"url": links[0].url, "metadata": with_links({}, links)})

    async def give_feedback(self, request: web.Request) -> web.StreamResponse:
        """200: it is noted whether the `delivery` was `helpful`."""
        self._access.check_api(request)
        try:
            item = await _object(request, {"delivery", "helpful"})
            if not isinstance(item.get("helpful"), bool):
                raise Refused("helpful: must be true or false")
            delivery = _uuid(item.get("delivery"))
            await self._database.fetch(
                query("give_feedback"), request.match_info["workspace"], delivery, item["helpful"]
            )
        except TROUBLE as error:
            return refusal(error)
        return answer(200, {"delivery": str(delivery), "helpful": item["helpful"]})

    async def analytics(self, request: web.Request) -> web.StreamResponse:
        """200 with counts and rates by each dimension of `?by=style&by=hour&since=…&until=…`."""
        self._access.check_api(request)
        workspace = request.match_info["workspace"]
        try:
            by = known_dimensions(request.query.getall("by", []))
            until = _moment(request, "until") or datetime.now(UTC)
            since = _moment(request, "since") or until - timedelta(days=_DAYS)
            async with self._database.acquire() as conn:
                owner = await conn.fetchval(query("workspace_id"), workspace)
                if owner is None:
                    raise Refused(f"workspace: {workspace[:100]!r} is not known")
                found = await load(conn, owner, since, until, by)
        except TROUBLE as error:
            return refusal(error)
        return answer(200, {"workspace": workspace, "since": since, "until": until, "by": found})


async def _object(request: web.Request, fields: set[str]) -> dict[str, Any]:
    """The request's one object. Raises `Refused` for another kind, or a field that it does not take."""
    found = await read_json(request)
    if not isinstance(found, dict):
        raise Refused("body: must be one object")
    if unknown := sorted(found.keys() - fields):
        raise Refused(f"{unknown[0][:40]}: is none of the fields {', '.join(sorted(fields))}")
    return found


def _uuid(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise Refused("delivery: must be a delivery's id") from None


def _moment(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a plus that was not written %2B
    except ValueError:
        raise Refused(f"{name}: {text[:40]!r} is not a time such as 2026-01-31T18:00:00+01:00") from None
    if found.tzinfo is None:
        raise Refused(f"{name}: {text[:40]!r} has no zone: add one, such as +01:00 or Z")
    return found
