"""What Twilio's answer to a call says: taken, surely not taken, or nobody knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from daemon.model import Accepted, Outcome, Reason, Rejected, Unknown
from daemon.platforms.twilio.errors import reason_for


def outcome_of(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """The outcome of a POST Messages that was answered; the headers' names are in small letters."""
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
            Reason.RATE_LIMITED, _text(code), detail, _seconds(headers.get("retry-after")), status
        )
    if code == 20503:
        asked = _seconds(headers.get("retry-after"))
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


# What Smart Encoding may make of a text (https://www.twilio.com/docs/messaging/services#smart-encoding), and
# what a trial account puts before it.
_SMART = str.maketrans(
    {
        **dict.fromkeys("\u00ab\u00bb\u201c\u201d\u201e\u201f\u02ba\u02ee", '"'),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bb\u02bc\u02c8\u2032", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000\t", " "),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff", ""),
        "\u2026": "...",
    }
)
_TRIAL = "Sent from your Twilio trial account - "


def same_text(listed: str, ours: str) -> bool:
    """Whether a listed message may have our text, as Twilio may have changed it on the way.

    Too strict would send twice what is there; a little too mild only asks about one message more.
    """
    return _plain(listed.removeprefix(_TRIAL)) == _plain(ours)


def _plain(text: str) -> str:
    return " ".join(text.translate(_SMART).split())
