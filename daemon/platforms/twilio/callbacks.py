"""Twilio's webhooks: who signed them, and what they say.

https://www.twilio.com/docs/usage/webhooks/webhooks-security: the signature covers the URL as Twilio called
it and all parameters; a JSON body is covered by its hash, the URL parameter bodySHA256.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from daemon.model import BadSignature, Channel, InboundMessage, MalformedCallback, Reason, State, StatusUpdate
from daemon.platforms.base import CallbackRequest
from daemon.platforms.twilio.errors import reason_for

# What moves a delivery. Twilio's earlier words (accepted, scheduled, queued, sending) move nothing.
_STATES = {
    "sent": State.SENT,
    "delivered": State.DELIVERED,
    "read": State.READ,
    "failed": State.FAILED,
    "undelivered": State.FAILED,
    "canceled": State.FAILED,
}
_EARLIER = frozenset(
    {"accepted", "scheduled", "queued", "sending", "receiving", "received", "partially_delivered"}
)
_MOST_FIELDS = 200
_MOST_MEDIA = 100
_LONGEST_URL = 2000


def parameters(request: CallbackRequest, auth_token: str) -> Mapping[str, str]:
    """The parameters of a request that this auth token signed.

    Raises `BadSignature` where the signature is missing or wrong, `MalformedCallback` where it is right and
    the body still makes no sense.
    """
    signature = request.headers.get("X-Twilio-Signature", "")
    if not signature:
        raise BadSignature("the request has no X-Twilio-Signature")
    try:
        text = request.body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSignature("the body is not UTF-8") from None
    if request.content_type == "application/json":
        _check(request, auth_token, text, signature)
        return _from_json(text)
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise BadSignature("the body is not a form") from None
    _check(request, auth_token, MultiDict(pairs), signature)
    values: dict[str, str] = {}
    for key, value in pairs:
        if values.setdefault(key, value) != value:
            raise MalformedCallback(f"{key} is there more than once, with different values")
    return values


def _check(request: CallbackRequest, auth_token: str, params: str | MultiDict[str], signature: str) -> None:
    if isinstance(params, str) and "bodySHA256" not in request.query:
        raise BadSignature("a JSON body needs bodySHA256 in the URL")
    validator = RequestValidator(auth_token)
    for url in request.urls:
        try:
            if _fits(validator, url, params, signature):
                return
        except (ValueError, TypeError):
            continue
    raise BadSignature("the signature does not fit; is web.public_url the URL that Twilio calls?")


def _fits(validator: RequestValidator, url: str, params: str | MultiDict[str], signature: str) -> bool:
    if not isinstance(params, str):
        # Nearly always the URL is to the letter what we gave; `validate` computes two signatures for each.
        exact = validator.compute_signature(url, params)
        if hmac.compare_digest(exact.encode(), signature.encode()):
            return True
    return bool(validator.validate(url, params, signature))


def _from_json(text: str) -> Mapping[str, str]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise MalformedCallback("the body is not JSON") from None
    if not isinstance(found, dict):
        raise MalformedCallback("the body is not a JSON object")
    return {
        k: v if isinstance(v, str) else orjson.dumps(v).decode() for k, v in found.items() if v is not None
    }


def status_update(request: CallbackRequest, auth_token: str) -> StatusUpdate:
    """A status callback. Raises `BadSignature` or `MalformedCallback`."""
    values = parameters(request, auth_token)
    found = standing(
        _required(values, "MessageSid", "SmsSid"),
        _required(values, "MessageStatus"),
        values.get("ErrorCode", ""),
        values.get("ErrorMessage", ""),
    )
    return replace(
        found, delivery_id=_uuid(request.query.get("delivery")), attempt=_small(request.query.get("attempt"))
    )


def standing(sid: str, word: str, code: str, message: str) -> StatusUpdate:
    """Twilio's status in our words, without a delivery. Raises `MalformedCallback`."""
    word = word.lower()
    if word not in _STATES and word not in _EARLIER:
        raise MalformedCallback("MessageStatus is none of Twilio's")
    state = _STATES.get(word)
    code = code.replace("\0", "")[:20]
    reason = None
    if state is State.FAILED:
        reason = Reason.CANCELED if word == "canceled" else reason_for(_number(code))
    return StatusUpdate(
        delivery_id=None,
        attempt=None,
        provider_id=sid,
        provider_status=word,
        state=state,
        reason=reason,
        code=code or None,
        detail=message[:500],
    )


def inbound_message(request: CallbackRequest, auth_token: str) -> InboundMessage:
    """A message from a person. Raises `BadSignature` or `MalformedCallback`."""
    values = parameters(request, auth_token)
    count = _number(values.get("NumMedia", "0"))
    if count is None or count > _MOST_MEDIA:
        raise MalformedCallback("NumMedia is not a small number")
    media = tuple(values[k] for k in (f"MediaUrl{i}" for i in range(count)) if k in values)
    if any(len(url) > _LONGEST_URL or "\0" in url for url in media):
        raise MalformedCallback("a MediaUrl is too long or has a NUL")
    opt_out = values.get("OptOutType", "").upper()
    return InboundMessage(
        provider_id=_required(values, "MessageSid", "SmsSid"),
        channel=Channel.SMS,
        from_address=_required(values, "From"),
        to_address=_required(values, "To"),
        body=values.get("Body", ""),
        media_urls=media,
        opt_out_type=opt_out if opt_out in ("STOP", "START", "HELP") else None,
    )


def _required(values: Mapping[str, str], *names: str) -> str:
    for name in names:
        value = values.get(name, "")
        if value:
            if len(value) > 200 or "\0" in value:
                raise MalformedCallback(f"{name} is too long or has a NUL")
            return value
    raise MalformedCallback(f"{names[0]} is missing")


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise MalformedCallback("delivery is not an id of ours") from None


def _small(text: str | None) -> int | None:
    if text is None:
        return None
    found = _number(text)
    if found is None or not 0 < found < 32000:
        raise MalformedCallback("attempt is not a number of ours")
    return found


def _number(text: str) -> int | None:
    """A number of a few plain digits; int() also takes other scripts' digits, and stumbles over thousands."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None
