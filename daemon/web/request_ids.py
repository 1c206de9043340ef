"""A name for every request: in each log line it causes, and in its answer as X-Request-Id."""

from __future__ import annotations

import re
import secrets

import structlog
from aiohttp import web

from daemon.web.problems import Handler

HEADER = "X-Request-Id"
_FIT = re.compile(r"[A-Za-z0-9._-]{8,64}")
_KEY: web.RequestKey[str] = web.RequestKey("request_id", str)


@web.middleware
async def request_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Takes over the id that a proxy gave, where it is one, and binds it to the log."""
    given = request.headers.get(HEADER, "")
    request[_KEY] = given if _FIT.fullmatch(given) else secrets.token_hex(8)
    with structlog.contextvars.bound_contextvars(request=request[_KEY]):
        return await handler(request)


def request_id(request: web.Request) -> str:
    """The request's name."""
    found: str = request.get(_KEY, "none")
    return found


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """For aiohttp's on_response_prepare."""
    response.headers[HEADER] = request_id(request)
