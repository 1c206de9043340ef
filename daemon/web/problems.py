"""Errors as application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(
    status: int, detail: str, *, field: str | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """An error that says what was wrong and what to do, and in which `field` of the request.

    `detail` must be safe to show to anybody.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if field is not None:
        body["field"] = field
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/problem+json", headers=headers
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error into a problem; what we did not expect is logged and told to nobody."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {
            k: v for k, v in error.headers.items() if k in ("Allow", "WWW-Authenticate", "Retry-After")
        }
        return problem(error.status, error.text or error.reason, headers=headers)
    except (web.RequestPayloadError, ContentEncodingError):
        return problem(400, "the body cannot be unpacked")
    except ConnectionResetError:
        raise
    except Exception:
        log.exception("a request failed", path=request.path)
        return problem(500, "something went wrong on our side; it has been logged")
