"""`/api/v1/workspaces/NAME/campaigns…`: campaigns over HTTP.

The fields are those of docs/campaigns.md; what a campaign does is done by the functions of the database that SQL has
too. Who may call is who may queue (see `Api`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from daemon.config import Config
from daemon.planning.campaign_drafts import draft, make
from daemon.planning.campaign_outlook import progress, results
from daemon.store.database import Database
from daemon.store.sql import query
from daemon.web.access import Access
from daemon.web.bodies import answer, read_json
from daemon.web.problems import problem
from daemon.web.refusals import TROUBLE, refusal

_BASE = "/api/v1/workspaces/{workspace}/campaigns"
_ONE = _BASE + "/{campaign}"
_LISTED = 100


class Campaigns:
    """The routes below a workspace's campaigns."""

    def __init__(self, access: Access, database: Database, config: Callable[[], Config]) -> None:
        self._access = access
        self._database = database
        self._config = config

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.get(_BASE, self.show_all, allow_head=False),
            web.post(_BASE, self.create),
            web.get(_ONE, self.show, allow_head=False),
            web.get(f"{_ONE}/results", self.show_results, allow_head=False),
            web.post(f"{_ONE}/members", self.add),
            web.post(f"{_ONE}/events", self.hit),
            web.post(f"{_ONE}/winner", self.pick),
            web.post(f"{_ONE}/{{action:start|pause|resume|cancel}}", self.act),
        ]

    async def show_all(self, request: web.Request) -> web.StreamResponse:
        """200 with the newest."""
        self._access.check_api(request)
        try:
            rows = await self._database.fetch(
                query("campaign_list"), request.match_info["workspace"], _LISTED, False
            )
        except TROUBLE as error:
            return refusal(error, "campaign")
        return answer(200, {"campaigns": [dict(row) for row in rows]})

    async def create(self, request: web.Request) -> web.StreamResponse:
        """201 with the draft's id; 422 for what is wrong, by its field."""
        self._access.check_api(request)
        given = await read_json(request)
        try:
            async with self._database.acquire() as conn:
                made = await make(conn, request.match_info["workspace"], draft(given))
        except TROUBLE as error:
            return refusal(error, "campaign")
        return answer(201, {"id": made, "state": "draft"})

    async def show(self, request: web.Request) -> web.StreamResponse:
        """200 with how far it is."""
        return await self._look(request, self._progress)

    async def show_results(self, request: web.Request) -> web.StreamResponse:
        """200 with what the variants have brought."""
        return await self._look(request, results)

    async def add(self, request: web.Request) -> web.StreamResponse:
        """200 with a result per item, as duly.campaign_add has it."""
        self._access.check_api(request)
        items = await read_json(request)
        try:
            rows = await self._database.fetch(
                query("campaign_add"),
                *_names(request),
                orjson.dumps(items if isinstance(items, list) else [items]).decode(),
            )
        except TROUBLE as error:
            return refusal(error, "campaign")
        return answer(200, {"results": [dict(row) for row in rows]})

    async def hit(self, request: web.Request) -> web.StreamResponse:
        """201 for what is noted, 200 where it was there or the contact is not in the campaign."""
        self._access.check_api(request)
        given = await read_json(request)
        texts = {"contact": "", "kind": "callback", "key": ""}
        if not isinstance(given, dict) or given.keys() - texts.keys():
            return problem(422, "event: must be an object with contact, kind and key", field="event")
        said = texts | given
        for field, value in said.items():
            if not isinstance(value, str) or (field == "contact" and not value):
                return problem(422, f"{field}: must be a text, and not empty", field=field)
        try:
            row = await self._database.fetchrow(
                query("campaign_hit"), *_names(request), said["contact"], said["kind"], said["key"], None
            )
        except TROUBLE as error:
            return refusal(error, "campaign")
        noted = row is not None and bool(row["noted"])
        return answer(201 if noted else 200, {"noted": noted})

    async def pick(self, request: web.Request) -> web.StreamResponse:
        """200 with the winner."""
        self._access.check_api(request)
        given = await read_json(request)
        variant = given.get("variant") if isinstance(given, dict) else None
        if not isinstance(variant, str):
            return problem(422, "variant: must be the name of one of the variants", field="variant")
        try:
            row = await self._database.fetchrow(
                query("campaign_pick"), *_names(request), variant, '{"by": "person"}'
            )
        except TROUBLE as error:
            return refusal(error, "campaign")
        return answer(200, {"winner": variant, "changed": row is not None and bool(row["picked"])})

    async def act(self, request: web.Request) -> web.StreamResponse:
        """200 with what it did; 422 where the campaign's state does not allow it."""
        self._access.check_api(request)
        try:
            row = await self._database.fetchrow(
                query(f"campaign_act_{request.match_info['action']}"), *_names(request)
            )
        except TROUBLE as error:
            return refusal(error, "campaign")
        return answer(200, dict(row or {}))

    async def _look(self, request: web.Request, look: Callable[..., Any]) -> web.StreamResponse:
        self._access.check_api(request)
        try:
            async with self._database.acquire() as conn:
                return answer(200, await look(conn, *_names(request)))
        except TROUBLE as error:
            return refusal(error, "campaign")

    async def _progress(self, conn: Any, workspace: str, name: str) -> dict[str, Any]:
        return await progress(conn, self._config(), workspace, name)


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["workspace"], request.match_info["campaign"]
