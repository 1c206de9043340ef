"""`/api/v1`: queueing over HTTP, for whoever cannot call SQL. One object, or an array with a result per item.

The fields are `duly.enqueue`'s parameters, and so are the checks: it is the same function. Templates with conditions
are rendered here. Who may call is who
may see the page: the name and password of [web], or, without a password, programs on this machine.
"""

from __future__ import annotations

import orjson
from aiohttp import web

from daemon.content.preparing import prepare
from daemon.store.database import Database
from daemon.store.sql import query
from daemon.web.access import Access
from daemon.web.bodies import answer, read_json
from daemon.web.problems import problem
from daemon.web.refusals import TROUBLE, refusal


class Api:
    """The routes under `/api/v1`."""

    def __init__(self, access: Access, database: Database) -> None:
        self._access = access
        self._database = database

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [web.post("/api/v1/deliveries", self.enqueue)]

    async def enqueue(self, request: web.Request) -> web.StreamResponse:
        """201 with the id; an array: 200 with a result per item. What is wrong is named by its field, with 422."""
        self._access.check_api(request)
        items = await read_json(request)
        given = items if isinstance(items, list) else [items]
        try:
            async with self._database.acquire() as conn:
                prepared = await prepare(conn, given)
                rows = await conn.fetch(
                    query("enqueue_rendered"), orjson.dumps(given).decode(), orjson.dumps(prepared).decode()
                )
        except TROUBLE as error:
            return refusal(error)
        results = [{"position": r["position"], "id": r["id"], "error": r["error"]} for r in rows]
        if isinstance(items, list):
            return answer(200, {"results": results})
        if results[0]["error"] is not None:
            return problem(422, results[0]["error"], field=results[0]["error"].partition(":")[0])
        return answer(201, {"id": results[0]["id"]})
