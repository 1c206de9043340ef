"""Which messages a run queues, when, and what else is done to them: a plan drawn from a seed. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

# Of unequal size, so that lanes differ.
WORKSPACES = {"harbour": 0.6, "mill": 0.25, "tower": 0.1, "inn": 0.05}
SECOND_ACCOUNT = ("mill", "inn")
"""Those that go by the second account."""

_PRIORITIES = (1, 2, 2, 2, 3)
_BURSTS = 0.5
_LATER, _EQUAL, _KEYED, _CANCELED, _EXPIRING = 0.3, 0.04, 0.2, 0.04, 0.02
# Last four digits from here on mean nothing to the stand-in.
_FIRST_ORDINARY = 1000


@dataclass(frozen=True, slots=True)
class Planned:
    """One message. Times are seconds: `at` since the run began, the others since it was queued."""

    number: int
    at: float
    workspace: str
    to: str
    body: str
    priority: int
    due_seconds: float = 0.0
    expires_seconds: float | None = None
    key: str | None = None
    again_seconds: float | None = None  # queued a second time under its key, so much later
    cancel_seconds: float | None = None


def plan(*, seed: int, messages: int, seconds: float) -> list[Planned]:
    """The messages of a run in the order in which they are queued. The same seed plans the same."""
    rng = random.Random(f"messages {seed}")
    moments = sorted(_moments(rng, messages, seconds))
    planned: list[Planned] = []
    for number, at in enumerate(moments):
        fresh = _message(rng, number, at)
        if planned and rng.random() < _EQUAL:
            # The same words to the same person, moments later: only our own id tells the two apart.
            twin = planned[-rng.randrange(1, min(20, len(planned)) + 1)]
            fresh = replace(fresh, workspace=twin.workspace, to=twin.to, body=twin.body)
        planned.append(fresh)
    return planned


def _moments(rng: random.Random, messages: int, seconds: float) -> list[float]:
    """Half of them evenly, half in bursts, as when a reminder goes to a whole ward."""
    bursts = [rng.uniform(0, seconds) for _ in range(max(1, messages // 50))]
    return [
        rng.choice(bursts) if rng.random() < _BURSTS else rng.uniform(0, seconds) for _ in range(messages)
    ]


def _message(rng: random.Random, number: int, at: float) -> Planned:
    # Fewer people than messages: some are written to several times.
    person = rng.randrange(max(50, number + 1))
    message = Planned(
        number=number,
        at=at,
        workspace=rng.choices(list(WORKSPACES), list(WORKSPACES.values()))[0],
        to=f"+1415{555 + person // 9000:03d}{_FIRST_ORDINARY + person % 9000:04d}",
        body=f"Message {number}: your code is {rng.getrandbits(32):08x}"
        + rng.choice(("", " ✓", " " * 200 + ".")),
        priority=rng.choice(_PRIORITIES),
        due_seconds=round(rng.uniform(0.3, 6.0), 3) if rng.random() < _LATER else 0.0,
    )
    if rng.random() < _KEYED:
        again = rng.uniform(0, 3) if rng.random() < 0.5 else None
        message = replace(message, key=f"key-{number}", again_seconds=again)
    kind = rng.random()
    if kind < _CANCELED:
        # Around the moment it is due, where a cancellation races with the call.
        due = round(rng.uniform(0.5, 4.0), 3)
        message = replace(message, due_seconds=due, cancel_seconds=max(0.0, due + rng.uniform(-0.5, 0.2)))
    elif kind < _CANCELED + _EXPIRING:
        message = replace(message, expires_seconds=message.due_seconds + round(rng.uniform(0.5, 4.0), 3))
    return message
