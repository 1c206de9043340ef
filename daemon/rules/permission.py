"""May this business write to this address at all: consent, lists, and whether the business has been checked."""

from __future__ import annotations

from typing import Literal

from daemon.model import Reason
from daemon.rules.answers import Allow, Ruling, Skip

Consent = Literal["given", "requested", "withdrawn"]


def consent(required: bool, last: Consent | None) -> Ruling:
    """A category that needs a yes needs one that was not taken back; `requested` is none yet. `last`: the last
    word on record for this address, channel and category.
    """
    if not required:
        return Ruling("consent", Allow(), {"required": False, "last": last})
    answer = Allow() if last == "given" else Skip(Reason.NO_CONSENT)
    return Ruling("consent", answer, {"required": True, "last": last})


def suppression(reason: str | None) -> Ruling:
    """`reason`: of the suppression that covers it, None without one."""
    answer = Allow() if reason is None else Skip(Reason(reason))
    return Ruling("suppression", answer, {"listed": reason})


def verification(*, verified: bool, own_address: bool, stand_in: bool) -> Ruling:
    """Who has not been checked writes to the business's own verified addresses and to stand-ins only."""
    answer = Allow() if verified or own_address or stand_in else Skip(Reason.NOT_VERIFIED)
    return Ruling(
        "verification", answer, {"verified": verified, "own_address": own_address, "stand_in": stand_in}
    )
