"""What Twilio's answer to a call says: taken, surely not taken, or nobody knows."""

from __future__ import annotations

import math
from typing import Any

import orjson

from daemon.model import Accepted, Outcome, Reason, Rejected, Unknown
from daemon.platforms.twilio.errors import reason_for


def outcome_of(status: int, headers: Any, body: bytes) -> Outcome:
    """The outcome of a POST Messages that was answered."""
    answer = _json(body)
    if 200 <= status < 300:
        sid = answer.get("sid")
        if isinstance(sid, str) and len(sid) <= 100 and sid.isascii() and sid.isprintable() and sid:
            return Accepted(sid, status)
        return Unknown(Reason.PROVIDER_ERROR, "an answer without a sid", status)
    code = answer.get("code")
    code = code if type(code) is int else None
    detail = str(answer.get("message") or "")[:300].replace("\0", "")
    if status == 429 or code == 20429:
        return Rejected(
            Reason.RATE_LIMITED, _text(code), detail, _seconds(headers.get("Retry-After")), status
        )
    if code == 20503:
        asked = _seconds(headers.get("Retry-After"))
        return Rejected(Reason.PROVIDER_UNAVAILABLE, _text(code), detail, asked, status)
    if status >= 500 or code == 20500:
        return Unknown(Reason.PROVIDER_ERROR, detail or f"HTTP {status}", status)
    if status in (401, 403) and code is None:
        return Rejected(Reason.BAD_CREDENTIALS, None, detail, http_status=status)
    if status < 400:
        return Rejected(Reason.BAD_REQUEST, None, f"HTTP {status}: is base_url right?", http_status=status)
    return Rejected(reason_for(code), _text(code), detail, http_status=status)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(code: int | None) -> str | None:
    return None if code is None else str(code)


def _seconds(header: str | None) -> float | None:
    """A Retry-After in seconds; its other form, a date, is rare and treated as absent."""
    try:
        seconds = float(header) if header is not None else math.nan
    except ValueError:
        return None
    return min(max(seconds, 0.0), 86_400.0) if math.isfinite(seconds) else None
