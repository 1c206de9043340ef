"""What programs send and get: JSON in, JSON out."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import hdrs, web


async def read_json(request: web.Request) -> Any:
    """The object or array of a request. Raises 400, 413 or 415."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send JSON, with Content-Type: application/json")
    try:
        found = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text=f"the body is not JSON: {error.msg}, line {error.lineno}") from None
    if not isinstance(found, dict | list):
        raise web.HTTPBadRequest(text="the body must be an object, or an array of objects")
    return found


def answer(status: int, body: object) -> web.Response:
    """A response that nobody keeps."""
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(
        status=status, body=orjson.dumps(body, default=str), content_type="application/json", headers=headers
    )
