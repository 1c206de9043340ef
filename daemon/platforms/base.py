"""What every platform does, and nothing about how Duly queues.

A platform knows nothing of the database. Adding one is a module that implements `Platform`, a table of
its error codes, and the conformance tests in tests/ that all platforms share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from daemon.model import (
    Accepted,
    Callback,
    Channel,
    Outcome,
    Problem,
    Reason,
    Rejected,
    Rendered,
    StatusUpdate,
)


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """An HTTP request that claims to come from a platform."""

    urls: tuple[str, ...]  # the URLs under which the platform may have called us, most likely first
    headers: Mapping[str, str]  # case-insensitive
    query: Mapping[str, str]
    content_type: str  # without parameters, lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class CannotTell:
    """The platform could not be asked, or its answer settles nothing. `detail` says why."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """The platform has no such message."""


# Where a message stands that the platform was given; a `StatusUpdate` without our delivery.
Standing = StatusUpdate | Gone | CannotTell

LEASE_RAN_OUT = Rejected(Reason.NOT_BEGUN, detail="the lease ran out before the call began", reached=False)

# Every message the platform has that may be the delivery asked for, none: it surely has no such message.
# A list and not one answer, because two equal messages to one address look the same to the platform: whoever
# asks knows which of them other deliveries have already claimed.
Found = Sequence[Accepted] | CannotTell


class Platform(Protocol):
    """One account on one provider."""

    @property
    def channels(self) -> frozenset[Channel]:
        """The channels it can carry."""

    async def open(self) -> None:
        """Make the connections that last; called once before anything else."""

    async def close(self) -> None:
        """Close them; no call is under way."""

    async def send(self, rendered: Rendered) -> Outcome:
        """Make one call. Never raises for what the network or the platform does: that is an `Outcome`.

        `rendered.may_begin` is asked as late as the client library lets us, right before the first byte
        leaves; where it says no, nothing is sent and the outcome is `LEASE_RAN_OUT`. A daemon that was
        suspended between the `sending` mark and here would else send what another has taken over.
        """

    async def check(self) -> str | None:
        """Ask the platform whether the credentials are good; None if so, else what is wrong."""

    async def find(self, rendered: Rendered, since: datetime) -> Found:
        """What the platform has taken since `since` that may be this delivery."""

    def validate(self, rendered: Rendered) -> list[Problem]:
        """What is wrong with it, without asking anybody."""

    def parse_status(self, request: CallbackRequest) -> list[Callback]:
        """Check and translate a status callback. Raises `BadSignature` or `MalformedCallback`."""

    def parse_inbound(self, request: CallbackRequest) -> list[Callback]:
        """Check and translate an inbound message. Raises `BadSignature` or `MalformedCallback`."""


@runtime_checkable
class Scheduling(Protocol):
    """What a platform does besides, if it takes messages ahead of their time: `send` heeds `Delivery.send_at`."""

    async def withdraw(self, provider_id: str) -> Standing:
        """Cancel a message that is not sent yet, and say where it stands then: canceled, or too late."""

    async def look(self, provider_id: str) -> Standing:
        """Say where a message stands."""
