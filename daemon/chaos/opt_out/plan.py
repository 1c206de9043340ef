"""What a race queues and stops, and when: a plan drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from daemon.chaos.messages import SECOND_ACCOUNT, WORKSPACES
from daemon.chaos.opt_out.rules import AMPLE, CROWD, NIGHTS, PACED, PLAIN, QUIET_SECONDS, Night

# One delivery in two is due at the same moment as others, as when a reminder goes to a whole ward.
_BURSTS = 0.5
_AT_ONCE = 0.3
_SEVERAL = 0.15  # pairs of which the stop has three deliveries to end
# A stop comes so long before or after the due time, which the mark follows within moments; half of them close to it.
_AROUND, _CLOSE = (-0.4, 0.5), (-0.02, 0.1)

_CROWD_SIZE, _PACED_SIZE = 9, 5
_CROWDS_STOPPED = 0.3
_PACED_TAKES_SECONDS = 8.0
_NIGHT_BEFORE, _NIGHT_AFTER = 2.5, 1.5
# Half of them right before quiet hours begin, all by the account with the fewest calls: leased, they still wait.
_DUSK, _DUSK_SECONDS = 0.5, 0.2

_FIRST_ORDINARY = 1000  # last four digits from here on mean nothing to the stand-in


class Stop(StrEnum):
    """What keeps a delivery from being sent."""

    CONSENT = "record_consent"
    WORDS = "inbound STOP"
    CANCEL = "cancel"
    LISTED = "do_not_contact"
    LISTED_BY_ALL = "do_not_contact by all"
    ERASED = "erased"


class Part(StrEnum):
    """Which part of the run a delivery plays."""

    PAIR = "pair"  # races with a stop
    CROWD = "crowd"  # more at one moment than its cap lets through
    PACED = "paced"  # more than its cap lets through within a few seconds
    NIGHT = "night"  # due around quiet hours


@dataclass(frozen=True, slots=True)
class Planned:
    """One delivery, and what may stop it. Times are seconds since the run began."""

    number: int
    part: Part
    at: float  # when it is queued
    due: float
    workspace: str
    to: str
    category: str
    priority: int
    zone: str | None = None  # what the recipient's contact says
    stop: Stop | None = None
    stop_at: float = 0.0


def plan(*, seed: int, pairs: int, seconds: float, quiet_at: float) -> list[Planned]:
    """A run's deliveries. The same seed plans the same.

    `seconds`: when the last pair is due; `quiet_at`: when the quiet hours begin.
    """
    rng = random.Random(f"opt-out {seed}")
    people = _people()
    drafts = [
        *_pairs(rng, people, pairs, seconds),
        *_crowds(rng, people, max(12, pairs // 25), seconds),
        *_paced(rng, people, max(2, pairs // 100), seconds),
        *_nights(rng, people, max(48, pairs // 15), quiet_at),
    ]
    return [replace(draft, number=number) for number, draft in enumerate(drafts)]


def _people() -> Iterator[int]:
    """Nobody is in two parts of a run: each is judged by itself."""
    yield from range(9000 * (1000 - 556))


def _number(person: int, prefix: str = "+1415") -> str:
    return f"{prefix}{556 + person // 9000:03d}{_FIRST_ORDINARY + person % 9000:04d}"


def _pairs(rng: random.Random, people: Iterator[int], count: int, seconds: float) -> Iterator[Planned]:
    bursts = [rng.uniform(0.5, seconds) for _ in range(max(1, count // 40))]
    for _ in range(count):
        due = rng.choice(bursts) if rng.random() < _BURSTS else rng.uniform(0.5, seconds)
        stop = rng.choice(list(Stop))
        first = Planned(
            number=0,
            part=Part.PAIR,
            at=due if rng.random() < _AT_ONCE else max(0.0, due - rng.uniform(0.4, 3.0)),
            due=due,
            workspace=_workspace(rng),
            to=_number(next(people)),
            category=rng.choice((PLAIN, AMPLE)),
            priority=rng.choice((1, 2, 2, 3)),
            stop=stop,
            stop_at=max(0.0, due + rng.uniform(*rng.choice((_AROUND, _CLOSE)))),
        )
        yield first
        if stop is not Stop.CANCEL and rng.random() < _SEVERAL:
            for _ in range(2):
                yield replace(
                    first, due=due + rng.uniform(0, 0.03), stop=None, priority=rng.choice((1, 2, 3))
                )


def _crowds(rng: random.Random, people: Iterator[int], count: int, seconds: float) -> Iterator[Planned]:
    for _ in range(count):
        due, to, workspace = rng.uniform(0.5, seconds), _number(next(people)), _workspace(rng)
        stopped = rng.random() < _CROWDS_STOPPED
        for n in range(_CROWD_SIZE):
            stop = Stop.CONSENT if stopped and n == 0 else None
            moment = due + rng.choice((0, rng.uniform(0, 0.03)))
            yield Planned(0, Part.CROWD, max(0.0, due - 1), moment, workspace, to, CROWD, 1 + n % 3, None,
                          stop, due + rng.uniform(-0.02, 0.1))  # fmt: skip


def _paced(rng: random.Random, people: Iterator[int], count: int, seconds: float) -> Iterator[Planned]:
    for _ in range(count):
        due = rng.uniform(0.5, max(1.0, seconds - _PACED_TAKES_SECONDS))
        to, workspace = _number(next(people)), _workspace(rng)
        for n in range(_PACED_SIZE):
            yield Planned(0, Part.PACED, max(0.0, due - 1), due, workspace, to, PACED, 1 + n % 3)


def _nights(rng: random.Random, people: Iterator[int], count: int, quiet_at: float) -> Iterator[Planned]:
    """Due from some time before the quiet hours to some time after: those within wait for their end."""
    for n in range(count):
        night: Night = list(NIGHTS.values())[n % len(NIGHTS)]
        dusk = rng.random() < _DUSK
        after = (
            rng.uniform(-_DUSK_SECONDS, 0)
            if dusk
            else rng.uniform(-_NIGHT_BEFORE, QUIET_SECONDS + _NIGHT_AFTER)
        )
        due = max(0.0, quiet_at + after)
        yield Planned(
            number=0,
            part=Part.NIGHT,
            at=max(0.0, due - rng.uniform(0.3, 2.0)),
            due=due,
            workspace=SECOND_ACCOUNT[0] if dusk else _workspace(rng),
            to=_number(next(people), night.prefix),
            category=night.category,
            priority=rng.choice((1, 2, 3)),
            zone=night.zone if night.given else None,
        )


def _workspace(rng: random.Random) -> str:
    return rng.choices(list(WORKSPACES), list(WORKSPACES.values()))[0]
