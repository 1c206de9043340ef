"""The words of Duly as types: what a delivery is, where it stands, and what a platform answered.

Everything here is plain data. Nothing in this module does I/O or reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID


class Channel(StrEnum):
    """The kind of address a delivery goes to."""

    SMS = "sms"
    WHATSAPP = "whatsapp"
    RCS = "rcs"
    TELEGRAM = "telegram"
    EMAIL = "email"
    PUSH = "push"
    IN_APP = "in_app"


class Priority(IntEnum):
    """Who goes first within a workspace. Lower is sooner."""

    HIGH = 1
    NORMAL = 2
    BULK = 3


class State(StrEnum):
    """Where a delivery stands. It only moves forward, except that a retry returns it to `QUEUED`."""

    QUEUED = "queued"
    LEASED = "leased"
    SENDING = "sending"
    UNCERTAIN = "uncertain"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        """Whether nothing but a later receipt (delivered, read) can still change it."""
        return self in _FINAL


_FINAL = frozenset({State.DELIVERED, State.READ, State.FAILED, State.EXPIRED, State.SKIPPED, State.CANCELED})


class ReasonCategory(StrEnum):
    """What a reason asks of us: try again, give up, call the operator, or ask the platform."""

    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    CONFIGURATION = "configuration"
    OPT_OUT = "opt_out"
    UNCERTAIN = "uncertain"
    LIMIT = "limit"


class Reason(StrEnum):
    """Why a delivery did not (yet) arrive: the one closed list. `category` decides what follows."""

    # temporary: the same call may succeed later
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    CONNECTION_FAILED = "connection_failed"
    UNREACHABLE_NOW = "unreachable_now"
    CARRIER_ERROR = "carrier_error"
    UNKNOWN_ERROR = "unknown_error"
    NOT_BEGUN = "not_begun"  # our own daemon lost its lease before the call
    NOT_SCHEDULED = "not_scheduled"  # the platform does not take it ahead of its time
    # limit: the platform asks us to slow down; it did not take the message
    RATE_LIMITED = "rate_limited"
    QUEUE_FULL = "queue_full"
    DAILY_LIMIT = "daily_limit"
    # permanent: the same call will never succeed
    INVALID_ADDRESS = "invalid_address"
    NOT_REACHABLE = "not_reachable"
    NOT_MOBILE = "not_mobile"
    REGION_BLOCKED = "region_blocked"
    CONTENT_REJECTED = "content_rejected"
    CONTENT_TOO_LONG = "content_too_long"
    FILTERED = "filtered"
    NOT_REGISTERED = "not_registered"
    TEMPLATE_REQUIRED = "template_required"
    REJECTED = "rejected"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    # configuration: the operator must act; other accounts are not concerned
    BAD_CREDENTIALS = "bad_credentials"
    ACCOUNT_SUSPENDED = "account_suspended"
    BAD_SENDER = "bad_sender"
    BAD_REQUEST = "bad_request"
    CANNOT_OPEN = "cannot_open"  # it is sealed, and the key is missing or the row was changed
    # opt-out: the person does not want it
    OPTED_OUT = "opted_out"
    NO_CONSENT = "no_consent"  # its category needs a yes that nobody gave
    DO_NOT_CONTACT = "do_not_contact"  # on a list of the workspace or of the operator
    ERASED = "erased"  # all that was known of the person was removed
    # uncertain: nobody can say yet whether the platform took it
    TIMED_OUT = "timed_out"
    CONNECTION_LOST = "connection_lost"
    PROVIDER_ERROR = "provider_error"
    DAEMON_LOST = "daemon_lost"
    # decided by us, never by a platform
    EXPIRED = "expired"
    CANCELED = "canceled"
    QUIET_HOURS = "quiet_hours"
    CAP_REACHED = "cap_reached"
    NOT_VERIFIED = "not_verified"  # the business has not been checked, and this is none of its own addresses
    GOAL_MET = "goal_met"  # a check-in on goals that are met by now, to who wants no congratulation
    NOT_WANTED = "not_wanted"  # a check-in that the person's preferences no longer want

    @property
    def category(self) -> ReasonCategory:
        """What this reason asks of us."""
        return _CATEGORY[self]


def _categories() -> dict[Reason, ReasonCategory]:
    c, r = ReasonCategory, Reason
    table = {
        c.TEMPORARY: (
            r.PROVIDER_UNAVAILABLE,
            r.CONNECTION_FAILED,
            r.UNREACHABLE_NOW,
            r.CARRIER_ERROR,
            r.UNKNOWN_ERROR,
            r.NOT_BEGUN,
            r.NOT_SCHEDULED,
        ),
        c.LIMIT: (r.RATE_LIMITED, r.QUEUE_FULL, r.DAILY_LIMIT),
        c.CONFIGURATION: (
            r.BAD_CREDENTIALS,
            r.ACCOUNT_SUSPENDED,
            r.BAD_SENDER,
            r.BAD_REQUEST,
            r.CANNOT_OPEN,
        ),
        c.OPT_OUT: (r.OPTED_OUT, r.NO_CONSENT, r.DO_NOT_CONTACT, r.ERASED),
        c.UNCERTAIN: (r.TIMED_OUT, r.CONNECTION_LOST, r.PROVIDER_ERROR, r.DAEMON_LOST),
    }
    found = {reason: category for category, reasons in table.items() for reason in reasons}
    return {reason: found.get(reason, c.PERMANENT) for reason in Reason}


_CATEGORY = _categories()


class Lane(NamedTuple):
    """The unit of fairness: one workspace's deliveries of one priority on one channel."""

    workspace_id: int
    channel: Channel
    priority: int


class Charge(NamedTuple):
    """What a delivery uses of one cap: one of `limit`, among the marks of the last `window_seconds`, or of those
    from `since` to `ends`. Without room it waits, or is skipped.
    """

    cap: str
    limit: int
    window_seconds: float | None
    since: datetime | None = None
    ends: datetime | None = None
    skips: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """What the rules want asked once more by the mark, and what they answered, for the receipt."""

    until: datetime | None = None  # the mark must come before this; None: whenever
    charges: tuple[Charge, ...] = ()
    rulings: str | None = None  # JSON; None: no rule but the standing ones was asked


OPEN = Gate()


class Sealed(NamedTuple):
    """What of a delivery was leased sealed; None: it is in clear."""

    message_id: UUID | None
    to: bytes | None
    message: bytes | None  # body and metadata


@dataclass(frozen=True, slots=True)
class Delivery:
    """One leased delivery: all that the dispatcher, the worker and the platform need to know."""

    id: UUID
    workspace_id: int
    workspace: str
    channel: Channel
    to: str
    body: str
    category: str
    priority: int
    attempts: int  # calls that may have reached the platform, before this one
    segments: int  # what the carrier counts and limits are counted in; 1 where a channel has none
    lease_token: int
    leased_at: float  # by the monotonic clock
    forgiven: int = 0  # of these attempts, those made before a person replayed it
    expires_in_seconds: float | None = None  # from leased_at or send_at, by the database's clock; None: never
    media_urls: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    address_key: UUID | None = None  # the keyed hash of `to`
    gate: Gate = OPEN
    sealed: Sealed | None = None  # what must be opened before it means anything
    from_template: bool = False  # so it may have been planned
    send_at: datetime | None = None  # it is handed over ahead, to be sent then; None: to be sent at once

    @property
    def lane(self) -> Lane:
        """The lane it was leased from."""
        return Lane(self.workspace_id, self.channel, self.priority)

    @property
    def attempt(self) -> int:
        """The number of the call about to be made, from 1."""
        return self.attempts + 1

    @property
    def tries(self) -> int:
        """As which try a retry policy counts the call about to be made, from 1."""
        return self.attempt - self.forgiven


def _always(_lease_token: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rendered:
    """A delivery with everything a platform call needs already decided."""

    delivery: Delivery
    body: str
    sender: str | None = None  # E.164 or a service id; None where the account has only one sender
    media_urls: tuple[str, ...] = ()
    status_callback: str | None = None  # absolute URL that carries our delivery id and attempt
    validity_seconds: int | None = None  # how long the platform may keep trying
    owns: Callable[[int], bool] = _always  # whether what this token leased is still ours

    def may_begin(self) -> bool:
        """Asked right before the first byte leaves."""
        return self.owns(self.delivery.lease_token)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The platform took the message and gave it `provider_id`."""

    provider_id: str
    http_status: int = 201


@dataclass(frozen=True, slots=True)
class Rejected:
    """The platform surely did not take it. `reached` is False where the call never got to it."""

    reason: Reason
    code: str | None = None  # the platform's own code
    detail: str = ""  # the platform's own words, without secrets or bodies
    retry_after_seconds: float | None = None
    http_status: int | None = None
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether the platform took it: never send again before it has been asked."""

    reason: Reason
    detail: str = ""
    http_status: int | None = None


Outcome = Accepted | Rejected | Unknown


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A status callback, checked and translated into our words."""

    delivery_id: UUID | None
    attempt: int | None
    provider_id: str
    provider_status: str  # the platform's own word
    state: State | None  # None where it moves nothing (queued, sending …)
    reason: Reason | None = None
    code: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message from a person, checked."""

    provider_id: str
    channel: Channel
    from_address: str
    to_address: str
    body: str
    media_urls: tuple[str, ...] = ()
    opt_out_type: str | None = None  # STOP, START or HELP where the platform recognised one


Callback = StatusUpdate | InboundMessage


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a delivery, found before anything was sent."""

    field: str
    message: str


class BadSignature(Exception):
    """A callback whose signature is missing or wrong. Answered 403."""


class MalformedCallback(Exception):
    """A callback with a good signature that makes no sense. Answered 400; the text is safe to show."""
