"""The form of a request to create a message, checked as Twilio checks it. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, parse_qsl, urlsplit

import orjson

from daemon.sandbox.errors import TwilioError

Form = Mapping[str, Sequence[str]]

MAX_BODY_CHARACTERS = 1600
MAX_MEDIA = 10
MAX_VALIDITY_SECONDS = 36_000
MIN_AHEAD_SECONDS = 300
MAX_AHEAD_SECONDS = 35 * 86_400

_RECIPIENT = re.compile(r"(?:(?:whatsapp:|rcs:)?\+[1-9]\d{6,14}|messenger:\d{5,20})")
_SENDER = re.compile(  # E.164, short code, channel address, or 1 to 11 letters, digits and spaces
    r"\+[1-9]\d{6,14}|\d{3,8}|(?:whatsapp|rcs|messenger):[\w+.-]{3,64}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}"
)
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_CONTENT = re.compile(r"HX[0-9a-fA-F]{32}")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")  # no underscores, says Twilio


@dataclass(frozen=True, slots=True)
class Draft:
    """A request that passed every check that needs only the request."""

    to: str
    sender: str | None
    service: str | None
    body: str
    media: tuple[str, ...]
    callback_url: str | None
    delivery: str | None
    attempt: int | None
    send_at: float | None


def parse_form(body: bytes) -> dict[str, list[str]]:
    """A form's fields, each with its values in order. Undecodable bytes are replaced."""
    form: dict[str, list[str]] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        form.setdefault(name, []).append(value)
    return form


def first(form: Form, name: str) -> str:
    """A field's value, or an empty string."""
    values = form.get(name)
    return values[0] if values else ""


def carried(callback_url: str) -> tuple[str | None, int | None]:
    """The `delivery` and `attempt` that a StatusCallback URL carries in its query, if any."""
    try:
        query = parse_qs(urlsplit(callback_url).query)
    except ValueError:
        return None, None
    delivery = query.get("delivery", [""])[0]
    attempt = query.get("attempt", [""])[0]
    return delivery or None, _integer(attempt)


def draft(form: Form, now: float, least_ahead: float = MIN_AHEAD_SECONDS) -> Draft:
    """Check the form at the moment `now` (epoch seconds). Raises `TwilioError` for the first fault.

    `least_ahead`: in how many seconds a SendAt may be at the soonest.
    """
    to = first(form, "To")
    sender, service = _sender(form)
    _check_pair(to, sender, service)
    body, media = _content(form)
    callback_url = first(form, "StatusCallback") or None
    if callback_url and not is_url(callback_url):
        raise TwilioError(21609, callback_url)
    _check_validity(first(form, "ValidityPeriod"))
    delivery, attempt = carried(callback_url) if callback_url else (None, None)
    return Draft(
        to=to,
        sender=sender,
        service=service,
        body=body,
        media=media,
        callback_url=callback_url,
        delivery=delivery,
        attempt=attempt,
        send_at=_send_at(form, service, now, least_ahead),
    )


def _sender(form: Form) -> tuple[str | None, str | None]:
    """The sender and the messaging service; Twilio takes the service's sid in From as well."""
    sender, service = first(form, "From"), first(form, "MessagingServiceSid")
    if not service and _SERVICE.fullmatch(sender):
        sender, service = "", sender
    return sender or None, service or None


def _check_pair(to: str, sender: str | None, service: str | None) -> None:
    if not to:
        raise TwilioError(21604)
    if not _RECIPIENT.fullmatch(to):
        raise TwilioError(21211, to)
    if not sender and not service:
        raise TwilioError(21603)
    if service and not _SERVICE.fullmatch(service):
        raise TwilioError(21701, service)
    if sender and not _SENDER.fullmatch(sender):
        raise TwilioError(21212, sender)
    if sender == to:
        raise TwilioError(21266, to)
    if sender and _channel(sender) != _channel(to):
        raise TwilioError(21910)


def _channel(address: str) -> str:
    channel, colon, _ = address.partition(":")
    return channel if colon else ""


def _content(form: Form) -> tuple[str, tuple[str, ...]]:
    body, media = first(form, "Body"), tuple(url for url in form.get("MediaUrl", ()) if url)
    content, variables = first(form, "ContentSid"), first(form, "ContentVariables")
    if not (body or media or _CONTENT.fullmatch(content)):
        raise TwilioError(21602)
    if len(body) > MAX_BODY_CHARACTERS:
        raise TwilioError(21617)
    if len(media) > MAX_MEDIA:
        raise TwilioError(21623)
    if not all(map(is_url, media)):
        raise TwilioError(21620)
    if variables and not _is_object(variables):
        raise TwilioError(21656)
    if content and not body:  # the template itself is Twilio's: show what was said of it
        body = f"{content} {variables}".rstrip()
    return body, media


def _check_validity(value: str) -> None:
    if value and not 1 <= (_integer(value) or 0) <= MAX_VALIDITY_SECONDS:
        raise TwilioError(21624)


def _integer(value: str) -> int | None:
    """A whole number of at most nine digits, or None."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def _send_at(form: Form, service: str | None, now: float, least_ahead: float) -> float | None:
    """When to send. Without ScheduleType, or without a service, Twilio drops SendAt and sends at once."""
    kind, value = first(form, "ScheduleType"), first(form, "SendAt")
    if kind and kind != "fixed":
        raise TwilioError(35126)
    if not kind or service is None:
        return None
    if not value:
        raise TwilioError(35111)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise TwilioError(35114) from None
    send_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not least_ahead < send_at - now <= MAX_AHEAD_SECONDS:
        raise TwilioError(35114)
    return send_at


def is_url(value: str) -> bool:
    """Whether it is an http or https URL that Twilio would call."""
    if any(character <= " " for character in value):
        return False
    try:
        url = urlsplit(value)
        _ = url.port  # raises where it is no number
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname and _HOST.fullmatch(url.hostname))


def _is_object(value: str) -> bool:
    try:
        return isinstance(orjson.loads(value), dict)
    except orjson.JSONDecodeError:
        return False
