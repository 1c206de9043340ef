"""What can go wrong with a call, and faults that strike at random: for chaos runs. Off by default."""

from __future__ import annotations

import random
import time
from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.queue.limiter import TokenBucket

_T = TypeVar("_T")

LATE_SECONDS = (0.5, 3.0)
"""How long a late answer keeps the caller waiting."""
TAKEN_LATER_SECONDS = (2.0, 4.5)
"""How long after the connection was cut a message is taken all the same, and then to be found."""

Milliseconds = Annotated[float, Field(ge=0, le=600_000)]
PerSecond = Annotated[float, Field(ge=0, le=100_000)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Trouble(StrEnum):
    """How one call goes wrong."""

    TOO_MANY_REQUESTS = "too_many_requests"  # 429/20429 with Retry-After: 1; not taken
    UNAVAILABLE = "unavailable"  # 503/20503; not taken
    ERROR_NOT_TAKEN = "error_not_taken"  # 500/20500
    CUT_NOT_TAKEN = "cut_not_taken"  # the connection closes without an answer
    ERROR_TAKEN = "error_taken"  # 500/20500, although it was taken
    CUT_TAKEN = "cut_taken"
    HANG_TAKEN = "hang_taken"  # no answer until the client gives up, although it was taken
    LATE_TAKEN = "late_taken"  # taken at once, answered only after some seconds (LATE_SECONDS)
    CUT_TAKEN_LATER = (
        "cut_taken_later"  # the connection closes, and it is taken only so much later (TAKEN_LATER_SECONDS)
    )

    @property
    def taken(self) -> bool:
        """Whether the message is taken all the same."""
        return self not in (
            Trouble.TOO_MANY_REQUESTS,
            Trouble.UNAVAILABLE,
            Trouble.ERROR_NOT_TAKEN,
            Trouble.CUT_NOT_TAKEN,
        )


class CallbackTrouble(StrEnum):
    """How one callback goes wrong."""

    REPEAT = "repeat"  # posted twice
    REORDER = "reorder"  # held back, so that later ones overtake it
    DROP = "drop"  # the first try is lost; it is tried again as after a connection error


class Faults(BaseModel):
    """How often, from 0 to 1, each kind of trouble strikes, and how slow every call is.

    A call suffers one kind at most, so the probabilities of calls sum to 1 at most, and so do those of
    callbacks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0  # latency is drawn from latency_ms ± this, never below 0
    most_per_second: PerSecond = 0  # messages beyond this meet too_many_requests; 0: there is no such limit
    too_many_requests: Probability = 0
    unavailable: Probability = 0
    error_not_taken: Probability = 0
    cut_not_taken: Probability = 0
    error_taken: Probability = 0
    cut_taken: Probability = 0
    hang_taken: Probability = 0
    late_taken: Probability = 0
    cut_taken_later: Probability = 0
    callback_repeat: Probability = 0
    callback_reorder: Probability = 0
    callback_drop: Probability = 0

    @model_validator(mode="after")
    def _sums(self) -> Self:
        for name, kinds in (("calls", self._calls()), ("callbacks", self._callbacks())):
            if sum(probability for _, probability in kinds) > 1 + 1e-9:
                raise ValueError(f"the probabilities of {name} sum to more than 1")
        return self

    def _calls(self) -> list[tuple[Trouble, float]]:
        return [(trouble, getattr(self, trouble.value)) for trouble in Trouble]

    def _callbacks(self) -> list[tuple[CallbackTrouble, float]]:
        return [(trouble, getattr(self, f"callback_{trouble.value}")) for trouble in CallbackTrouble]


class Dice:
    """Rolls the faults with one seeded generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        """Replace the faults in force."""
        self.faults = faults
        most = faults.most_per_second
        self._most = TokenBucket(most, most / 5, time.monotonic()) if most else None
        self._calls = [item for item in faults._calls() if item[1]]
        self._callbacks = [item for item in faults._callbacks() if item[1]]

    def latency_seconds(self) -> float:
        """How long to hold this call back."""
        if not (self.faults.latency_ms or self.faults.jitter_ms):
            return 0.0
        jitter = self.rng.uniform(-1, 1) * self.faults.jitter_ms
        return max(0.0, self.faults.latency_ms + jitter) / 1000

    def late_seconds(self) -> float:
        """How long a late answer takes."""
        return self.rng.uniform(*LATE_SECONDS)

    def taken_later_seconds(self) -> float:
        """How long it takes until a message is taken after its connection was cut."""
        return self.rng.uniform(*TAKEN_LATER_SECONDS)

    def crowd(self) -> Trouble | None:
        """Whether this message is one too many."""
        if self._most is None:
            return None
        now = time.monotonic()
        if self._most.delay(1, now) > 0:
            return Trouble.TOO_MANY_REQUESTS
        self._most.take(1, now)
        return None

    def call(self) -> Trouble | None:
        """What goes wrong with this call."""
        return self._roll(self._calls)

    def callback(self) -> CallbackTrouble | None:
        """What goes wrong with this callback."""
        return self._roll(self._callbacks)

    def _roll(self, kinds: list[tuple[_T, float]]) -> _T | None:
        if not kinds:
            return None
        roll = self.rng.random()
        for trouble, probability in kinds:
            roll -= probability
            if roll < 0:
                return trouble
        return None
