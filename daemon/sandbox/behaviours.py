"""What a number's last four digits make happen: the sandbox's answer to Twilio's magic numbers."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.sandbox.faults import Trouble
from daemon.sandbox.messages import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What happens to a message for a number that ends in `suffix`. Seconds are divided by the speed."""

    suffix: str  # four digits; empty for ordinary numbers
    summary: str
    reject: int | None = None  # every call is refused with this code
    first: Trouble | None = None  # what goes wrong with the first call for a delivery; later ones are taken
    ends: Status = Status.DELIVERED
    error: int | None = None
    slow_seconds: float = 0.0  # on top of the ordinary time before it ends
    reply: str | None = None  # what the person answers once it was delivered
    scrambled: bool = False  # callbacks out of order, and each of them twice


ORDINARY = Behaviour(suffix="", summary="is delivered quickly")

_TABLE = (
    Behaviour(suffix="0001", summary="is refused at once: not a valid number (21211)", reject=21211),
    Behaviour(suffix="0002", summary="is refused at once: opted out (21610)", reject=21610),
    Behaviour(
        suffix="0003",
        summary="is sent, then undelivered: the phone cannot be reached (30003)",
        ends=Status.UNDELIVERED,
        error=30003,
    ),
    Behaviour(suffix="0004", summary="fails: it is a landline (30006)", ends=Status.FAILED, error=30006),
    Behaviour(suffix="0005", summary="is delivered after several seconds", slow_seconds=6.0),
    Behaviour(suffix="0006", summary="is sent, and nothing more is heard of it", ends=Status.SENT),
    Behaviour(suffix="0007", summary="is delivered, and the person replies", reply="Thanks, see you then!"),
    Behaviour(suffix="0008", summary="is delivered, and the person replies STOP", reply="STOP"),
    Behaviour(
        suffix="0009",
        summary="is first refused: too many requests (429/20429, Retry-After: 1); then taken",
        first=Trouble.TOO_MANY_REQUESTS,
    ),
    Behaviour(
        suffix="0010",
        summary="first meets an error (500/20500) and is not taken; then taken",
        first=Trouble.ERROR_NOT_TAKEN,
    ),
    Behaviour(
        suffix="0011",
        summary="is taken, but the answer is an error (500/20500)",
        first=Trouble.ERROR_TAKEN,
    ),
    Behaviour(
        suffix="0012",
        summary="is taken, but the connection closes without an answer",
        first=Trouble.CUT_TAKEN,
    ),
    Behaviour(
        suffix="0013",
        summary="is taken, but there is no answer until the client gives up",
        first=Trouble.HANG_TAKEN,
    ),
    Behaviour(
        suffix="0014",
        summary="is first refused: unavailable (503/20503); then taken",
        first=Trouble.UNAVAILABLE,
    ),
    Behaviour(
        suffix="0015",
        summary="is delivered, and its callbacks come out of order and repeatedly",
        scrambled=True,
    ),
)
_BY_SUFFIX = {behaviour.suffix: behaviour for behaviour in _TABLE}


def behaviours() -> tuple[Behaviour, ...]:
    """The whole table, for the docs and the demo. Every other number is delivered quickly."""
    return _TABLE


def behaviour_of(number: str) -> Behaviour:
    """What happens to a message for this number."""
    return _BY_SUFFIX.get(number[-4:], ORDINARY)
