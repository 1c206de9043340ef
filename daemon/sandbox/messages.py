"""A message as Twilio knows it, and the statuses it goes through."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

API_VERSION = "2010-04-01"


class Status(StrEnum):
    """Twilio's words for where a message stands."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"
    RECEIVED = "received"


FAILED = frozenset({Status.UNDELIVERED, Status.FAILED, Status.CANCELED})
"""Ended, and the person did not get it: sending it again makes no duplicate."""
FINAL = FAILED | {Status.DELIVERED, Status.READ, Status.RECEIVED}

ERROR_MESSAGES = {
    30003: "Unreachable destination handset",
    30006: "Landline or unreachable carrier",
}


@dataclass(slots=True, eq=False)
class Message:
    """One message, outbound or inbound. Times are epoch seconds except `accepted_monotonic`."""

    sid: str
    to: str
    sender: str | None  # None while a messaging service has not chosen one
    service: str | None
    body: str
    media: tuple[str, ...]
    status: Status
    segments: int
    created: float
    accepted_monotonic: float
    updated: float
    seq: int = 0  # its place in the ledger
    sent: float | None = None
    send_at: float | None = None
    error: int | None = None
    callback_url: str | None = None
    delivery: str | None = None  # from the StatusCallback URL, where it carries them
    attempt: int | None = None
    duplicate: bool = False
    earlier: Message | None = field(default=None, repr=False)  # the one before for the same delivery

    @property
    def inbound(self) -> bool:
        """Whether a person sent it to us."""
        return self.status is Status.RECEIVED

    @property
    def phone(self) -> str:
        """The person's number."""
        return (self.sender or "") if self.inbound else self.to


@lru_cache(maxsize=4096)
def _rfc2822(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def rfc2822(moment: float | None) -> str | None:
    """An epoch moment as Twilio writes dates."""
    return None if moment is None else _rfc2822(int(moment))


def resource(message: Message, account_sid: str) -> dict[str, Any]:
    """The message as Twilio's API shows it (`api.v2010.account.message` in its OpenAPI)."""
    uri = f"/{API_VERSION}/Accounts/{account_sid}/Messages/{message.sid}"
    return {
        "account_sid": account_sid,
        "api_version": API_VERSION,
        "body": message.body,
        "date_created": rfc2822(message.created),
        "date_sent": rfc2822(message.sent),
        "date_updated": rfc2822(message.updated),
        "direction": "inbound" if message.inbound else "outbound-api",
        "error_code": message.error,
        "error_message": None if message.error is None else ERROR_MESSAGES.get(message.error),
        "from": message.sender,
        "messaging_service_sid": message.service,
        "num_media": str(len(message.media)),
        "num_segments": str(message.segments),
        "price": None,
        "price_unit": None,
        "sid": message.sid,
        "status": message.status.value,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.to,
        "uri": f"{uri}.json",
    }


def callback_parameters(message: Message, account_sid: str) -> dict[str, str]:
    """The form of a status callback for where the message stands now."""
    status = message.status.value
    parameters = {
        "AccountSid": account_sid,
        "ApiVersion": API_VERSION,
        "From": message.sender or "",
        "MessageSid": message.sid,
        "MessageStatus": status,
        "SmsSid": message.sid,
        "SmsStatus": status,
        "To": message.to,
    }
    if message.service:
        parameters["MessagingServiceSid"] = message.service
    if message.error is not None:
        parameters["ErrorCode"] = str(message.error)
    channel, colon, _ = message.to.partition(":")
    if colon:
        parameters["ChannelPrefix"] = channel
    return parameters
