"""Preferences, goals, progress and check-ins over HTTP, and the planner's trigger.

The fields are those of `duly.set_preference`, `duly.set_goal`, `duly.add_progress` and `duly.put_check_in`, and so are
the checks. Who may call is who may queue (see `Api`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
from aiohttp import web

from daemon.store.database import Database
from daemon.store.sql import query
from daemon.web.access import Access
from daemon.web.bodies import answer, read_json
from daemon.web.refusals import TROUBLE, Refused, refusal

_BASE = "/api/v1/workspaces/{workspace}"
_CONTACT = _BASE + "/contacts/{contact}"


_TEXT = (str, "must be a text")
_FLAG = (bool, "must be true or false")
_WHOLE = (int, "must be a whole number")
_LIST = (list, "must be a list of texts")

# The fields of each body in the order of its query's parameters.
_PREFERENCE = {
    "enabled": _FLAG,
    "send_day": _TEXT,
    "send_time": _TEXT,
    "on_goal_met": _FLAG,
    "on_partial_goal": _FLAG,
    "style": _TEXT,
    "channels": _LIST,
    "priority": _WHOLE,
}
_GOAL = {
    "target": ((int, float), "must be a number"),
    "unit": _TEXT,
    "period": _TEXT,
    "begins_on": _TEXT,
    "ends_on": _TEXT,
}
_CHECK_IN = {
    "templates": (dict, "must be an object with the names of templates for met, partial and missed"),
    "category": _TEXT,
    "priority": _WHOLE,
    "channels": _LIST,
    "catch_up": _TEXT,
    "earlier_minutes": _WHOLE,
    "later_minutes": _WHOLE,
    "enabled": _FLAG,
}


class Plans:
    """The routes of what is planned from."""

    def __init__(self, access: Access, database: Database, plan_soon: Callable[[], None]) -> None:
        """`plan_soon`: has the planner look at once."""
        self._access = access
        self._database = database
        self._plan_soon = plan_soon

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.put(f"{_CONTACT}/preferences", self.set_preference),
            web.put(f"{_CONTACT}/goals/{{goal}}", self.set_goal),
            web.delete(f"{_CONTACT}/goals/{{goal}}", self.remove_goal),
            web.get(f"{_CONTACT}/goals", self.show, allow_head=False),
            web.post(f"{_BASE}/progress", self.add_progress),
            web.put(f"{_BASE}/check-ins/{{name}}", self.put_check_in),
            web.post("/api/v1/plan", self.plan),
            web.get("/api/v1/plan", self.status, allow_head=False),
        ]

    async def set_preference(self, request: web.Request) -> web.StreamResponse:
        """200 with the contact's preferences and goals as they are then."""
        return await self._write(request, "set_preference", ("contact",), _PREFERENCE, shows=True)

    async def set_goal(self, request: web.Request) -> web.StreamResponse:
        """200 with the contact's preferences and goals as they are then."""
        return await self._write(request, "set_goal", ("contact", "goal"), _GOAL, shows=True)

    async def put_check_in(self, request: web.Request) -> web.StreamResponse:
        """200 with the series' id."""
        return await self._write(request, "put_check_in", ("name",), _CHECK_IN, shows=False)

    async def remove_goal(self, request: web.Request) -> web.StreamResponse:
        """200 with whether there was one."""
        self._access.check_api(request)
        return await self._answer(request, "remove_goal", "removed", "contact", "goal")

    async def show(self, request: web.Request) -> web.StreamResponse:
        """200 with the contact's preferences and goals."""
        self._access.check_api(request)
        return await self._answer(request, "goals_of", None, "contact")

    async def add_progress(self, request: web.Request) -> web.StreamResponse:
        """201 where it counts, 200 where its key has been counted; an array: 200 with a result per item."""
        self._access.check_api(request)
        body = await read_json(request)
        items = body if isinstance(body, list) else [body]
        try:
            rows = await self._database.fetch(
                query("add_progress"), request.match_info["workspace"], orjson.dumps(items).decode()
            )
        except TROUBLE as error:
            return refusal(error, "contact")
        results = [dict(row) for row in rows]
        if isinstance(body, list):
            return answer(200, {"results": results})
        if results[0]["error"] is not None:
            return refusal(Refused(results[0]["error"]))
        return answer(200 if results[0]["repeated"] else 201, {"repeated": results[0]["repeated"]})

    async def plan(self, request: web.Request) -> web.StreamResponse:
        """202: the planner of this daemon looks now for what is to be planned. For cron and curl; no body is needed."""
        self._access.check_api(request)
        self._plan_soon()
        return await self._runs(202)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """200 with how far planning has come, of `?workspace=…&date=…` or all."""
        self._access.check_api(request)
        try:
            on_date = _date("date", request.query.get("date"))
        except Refused as error:
            return refusal(error, "contact")
        return await self._runs(200, request.query.get("workspace"), on_date)

    async def _runs(
        self, status: int, workspace: str | None = None, on_date: date | None = None
    ) -> web.StreamResponse:
        try:
            rows = await self._database.fetch(query("plan_runs"), workspace, on_date, False)
        except TROUBLE as error:
            return refusal(error, "contact")
        return answer(status, {"runs": [dict(row) for row in rows]})

    async def _write(
        self,
        request: web.Request,
        name: str,
        path: tuple[str, ...],
        fields: Mapping[str, tuple[Any, str]],
        *,
        shows: bool,
    ) -> web.StreamResponse:
        self._access.check_api(request)
        body = await read_json(request)
        places = [request.match_info[each] for each in ("workspace", *path)]
        try:
            row = await self._database.fetchrow(query(name), *places, *_given(body, fields))
        except TROUBLE as error:
            return refusal(error, "contact")
        if shows:
            return await self._answer(request, "goals_of", None, "contact")
        return answer(200, {"id": row[0] if row else None})

    async def _answer(
        self, request: web.Request, name: str, field: str | None, *path: str
    ) -> web.StreamResponse:
        places = [request.match_info[each] for each in ("workspace", *path)]
        try:
            row = await self._database.fetchrow(query(name), *places)
        except TROUBLE as error:
            return refusal(error, "contact")
        assert row is not None
        return answer(200, orjson.Fragment(row[0]) if field is None else {field: row[0]})


def _given(body: Any, fields: Mapping[str, tuple[Any, str]]) -> list[object]:
    """The fields' values in their order, None for what is not there. Raises `Refused`."""
    if not isinstance(body, dict):
        raise Refused("body: must be an object")
    for name in body:
        if name not in fields:
            raise Refused(f"{name[:40]}: is none of the fields {', '.join(fields)}")
    return [_value(name, body.get(name), *kind) for name, kind in fields.items()]


def _value(name: str, value: Any, kind: Any, words: str) -> object:
    if value is None:
        return None
    if name == "send_day" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Refused(f"{name}: {words}")
    if kind is int and abs(value) > 1_000_000:
        raise Refused(f"{name}: is too large")
    if kind is list and not all(isinstance(each, str) for each in value):
        raise Refused(f"{name}: {words}")
    if kind is dict:
        return orjson.dumps(value).decode()
    if isinstance(value, int | float) and kind == (int, float):
        return Decimal(str(value))
    return _date(name, value) if name.endswith("_on") else value


def _date(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(f"{name}: {text[:40]!r} is not a day such as 2026-11-29") from None
