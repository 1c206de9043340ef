"""`/api/v1/workspaces/NAME/series…`: series of reminders over HTTP.

The fields are those of `duly.put_series` and `duly.add_to_series`, and so are the checks; the rule is read in full as
well. Who may call is who may queue (see `Api`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from daemon.planning.series import MOST_SHOWN, coming, facts, put_series, wanted_of
from daemon.planning.sources import series_of
from daemon.rules.wall_clock import ZONES
from daemon.store.database import Database
from daemon.store.sql import query
from daemon.web.access import Access
from daemon.web.bodies import answer, read_json
from daemon.web.refusals import TROUBLE, Refused, refusal

_BASE = "/api/v1/workspaces/{workspace}/series"
_ONE = _BASE + "/{series}"
_SHOWN = 5


class SeriesRoutes:
    """The routes below a workspace's series."""

    def __init__(self, access: Access, database: Database) -> None:
        self._access = access
        self._database = database

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.post(_BASE, self.put),
            web.get(_BASE, self.list, allow_head=False),
            web.get(_ONE, self.show, allow_head=False),
            web.post(f"{_ONE}/members", self.add),
            web.delete(f"{_ONE}/members", self.remove),
            web.post(f"{_ONE}/pause", self.pause),
            web.post(f"{_ONE}/resume", self.resume),
        ]

    async def put(self, request: web.Request) -> web.StreamResponse:
        """201 with the id of a new series, 200 of one that was there and is this now."""
        self._access.check_api(request)
        body = await read_json(request)
        try:
            if not isinstance(body, dict):
                raise Refused("body: must be a JSON object; put one series at a time")
            name = body.pop("name", None)
            if not isinstance(name, str):
                raise Refused("name: is missing; give the series a name such as physio-knee")
            wanted = wanted_of(body)
            async with self._database.acquire() as conn:
                id_, created = await put_series(conn, request.match_info["workspace"], name, wanted)
        except TROUBLE as error:
            return refusal(error, "series")
        return answer(201 if created else 200, {"id": id_})

    async def list(self, request: web.Request) -> web.StreamResponse:
        """200 with all series of the workspace."""
        self._access.check_api(request)
        try:
            rows = await self._rows(request, None)
        except TROUBLE as error:
            return refusal(error, "series")
        return answer(200, {"series": [facts(row) for row in rows]})

    async def show(self, request: web.Request) -> web.StreamResponse:
        """200 with one series and when it comes next: `?next=5&zone=…`."""
        self._access.check_api(request)
        try:
            how_many, zone = _asked(request)
            name = request.match_info["series"]
            rows = await self._rows(request, name)
            if not rows:
                raise Refused(f"series: {name[:100]!r} is no series of this workspace")
            found = facts(rows[0])
            if found["problem"] is None:
                times = coming(series_of(rows[0]), how_many, datetime.now(UTC), zone)
                found["next"] = [{"wall": each.wall.isoformat(), "at": each.at} for each in times]
        except TROUBLE as error:
            return refusal(error, "series")
        return answer(200, found)

    async def add(self, request: web.Request) -> web.StreamResponse:
        """201 for who is new in the series, 200 for who was in it; an array: 200 with a result per item."""
        self._access.check_api(request)
        body = await read_json(request)
        items = body if isinstance(body, list) else [body]
        try:
            rows = await self._database.fetch(
                query("add_to_series"), *_whose(request), orjson.dumps(items).decode()
            )
            results = [
                {"position": row["position"], "added": row["added"], "error": row["error"]} for row in rows
            ]
            if isinstance(body, list):
                return answer(200, {"results": results})
            if results[0]["error"] is not None:
                raise Refused(results[0]["error"])
        except TROUBLE as error:
            return refusal(error, "series")
        return answer(201 if results[0]["added"] else 200, {"added": results[0]["added"]})

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """200 with whether `?contact=…` was in the series."""
        contact = request.query.get("contact", "")
        return await self._call(request, "remove_from_series", "removed", contact)

    async def pause(self, request: web.Request) -> web.StreamResponse:
        """200 with whether it was going on."""
        return await self._call(request, "pause_series", "paused")

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """200 with whether it was paused."""
        return await self._call(request, "resume_series", "resumed")

    async def _call(self, request: web.Request, name: str, done: str, *more: str) -> web.Response:
        self._access.check_api(request)
        try:
            rows = await self._database.fetch(query(name), *_whose(request), *more)
        except TROUBLE as error:
            return refusal(error, "series")
        return answer(200, {done: rows[0][0]})

    async def _rows(self, request: web.Request, name: str | None) -> Any:
        workspace = request.match_info["workspace"]
        async with self._database.acquire() as conn:
            if await conn.fetchval(query("workspace_id"), workspace) is None:
                raise Refused(f"workspace: {workspace[:100]!r} is not known")
            return await conn.fetch(query("series"), workspace, name)


def _whose(request: web.Request) -> tuple[str, str]:
    return request.match_info["workspace"], request.match_info["series"]


def _asked(request: web.Request) -> tuple[int, str | None]:
    zone, text = request.query.get("zone"), request.query.get("next", str(_SHOWN))
    if zone is not None and zone not in ZONES:
        raise Refused(f"zone: {zone[:64]!r} is no IANA zone such as America/New_York")
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= MOST_SHOWN):
        raise Refused(f"next: must be a whole number from 0 to {MOST_SHOWN}")
    return int(text), zone
