"""What programs send and get: JSON in, JSON out."""

from __future__ import annotations

import re
from typing import Any

import orjson
from aiohttp import hdrs, web

_DEEPEST = 200
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


async def read_json(request: web.Request) -> Any:
    """The object or array of a request. Raises 400, 413 or 415."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send JSON, with Content-Type: application/json")
    body = await request.read()
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text=f"the body is not JSON: {error.msg}, line {error.lineno}") from None
    _check_depth(body)
    if not isinstance(found, dict | list):
        raise web.HTTPBadRequest(text="the body must be an object, or an array of objects")
    return found


def _check_depth(body: bytes) -> None:
    """What is handed on as JSON must be no deeper than its writer goes (254 levels). Raises 400."""
    if body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return
    depth = 0
    for mark in _MARK.findall(body):
        depth += 1 if mark in (b"[", b"{") else -1 if mark in (b"]", b"}") else 0
        if depth > _DEEPEST:
            raise web.HTTPBadRequest(
                text=f"the body has lists or objects within each other more than {_DEEPEST} levels deep"
            )


def answer(status: int, body: object) -> web.Response:
    """A response that nobody keeps."""
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(
        status=status, body=orjson.dumps(body, default=str), content_type="application/json", headers=headers
    )
