"""Which messages the demo queues: a seeded plan, with a known share of every behaviour of the stand-in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from daemon.demo.numbers import LANGUAGES, Numbers
from daemon.demo.texts import COACH, FLORIST, HOSPITAL, NAMES, PLACES, TEXTS

SHARES = {HOSPITAL: 0.80, COACH: 0.17, FLORIST: 0.03}
"""The workspaces, and how much of the whole each writes."""

_PRIORITIES = {
    "urgent": 1,
    "transactional": 2,
    "accountability": 2,
    "congratulatory": 3,
    "marketing": 3,
}

# The share of numbers that end in these digits; see daemon/sandbox/behaviours.py.
_REFUSED = {"0001": 0.010, "0002": 0.010, "0004": 0.015}  # invalid, opted out, undelivered to a landline
_ANSWERING = {"0007": 0.030, "0008": 0.007, "0015": 0.020}  # thanks, STOP, callbacks out of order
_WAITING = {"0003": 0.010, "0005": 0.020, "0009": 0.015, "0014": 0.010}  # late, or only after another try
_OPEN_ENDED = {"0006": 0.003}  # sent, and never heard of again

_SOON_SHARE, _LATER_SHARE, _EXPIRING_SHARE, _CANCELED_SHARE = 0.20, 0.03, 0.02, 0.015


class Pace(Enum):
    """What the run is for."""

    LIVE = "live"
    """To look at: some are due in minutes, some never end."""
    ONCE = "once"
    """To end soon: every delivery is final within seconds of its first call."""
    SPEED = "speed"
    """To measure: all is due now and nothing waits but for the daemon."""


@dataclass(frozen=True, slots=True)
class DemoMessage:
    """What one `duly.enqueue` is called with. Seconds count from that call."""

    workspace: str
    to: str
    body: str
    category: str
    priority: int
    media_urls: tuple[str, ...] = ()
    due_seconds: float = 0.0
    expires_seconds: float | None = None
    cancel: bool = False  # taken back right after it was queued


def plan(how_many: int, pace: Pace, seed: int) -> list[DemoMessage]:
    """The messages of a run, in the order in which they are queued. The same seed plans the same."""
    rng = random.Random(seed)
    workspaces = list(_workspaces(how_many))
    rng.shuffle(workspaces)
    suffixes = _suffixes(how_many, pace)
    suffixes = [*suffixes[:how_many], *[None] * (how_many - len(suffixes))]
    rng.shuffle(suffixes)
    writer = Writer(rng)
    written = [writer.write(w, s) for w, s in zip(workspaces, suffixes, strict=True)]
    return [_timed(m, s is None, pace, rng) for m, s in zip(written, suffixes, strict=True)]


def trickle(seed: int) -> Iterator[DemoMessage]:
    """Messages without end, for a page that stays alive."""
    rng = random.Random(seed)
    writer = Writer(rng)
    names, weights = list(SHARES), list(SHARES.values())
    shares = {**_REFUSED, **_ANSWERING, **_WAITING, **_OPEN_ENDED}
    while True:
        suffix = rng.choices([None, *shares], [1 - sum(shares.values()), *shares.values()])[0]
        message = writer.write(rng.choices(names, weights)[0], suffix)
        yield _timed(message, suffix is None, Pace.LIVE, rng)


class Writer:
    """Writes messages to people who do not exist."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._numbers = Numbers(rng)

    def write(self, workspace: str, suffix: str | None) -> DemoMessage:
        """One message to a new number, which ends in `suffix` or is ordinary."""
        rng, texts = self._rng, TEXTS[workspace]
        region, to = self._person(suffix)
        language = LANGUAGES[region]
        text = rng.choice(texts[language] if language in texts else texts["en"])
        code = f"{rng.getrandbits(24):06x}"
        body = text.body.format(
            name=rng.choice(NAMES[language]),
            date=f"{rng.randrange(1, 29):02}.{rng.randrange(1, 13):02}.",
            time=f"{rng.randrange(7, 20):02}:{rng.choice(('00', '15', '30', '45'))}",
            minutes=rng.randrange(18, 40),
            place=rng.choice(PLACES),
            code=code,
        )
        media = (f"https://{workspace}.example/pictures/{code}.jpg",) if text.media else ()
        return DemoMessage(workspace, to, body, text.category, _PRIORITIES[text.category], media)

    def _person(self, suffix: str | None) -> tuple[str, str]:
        """A region and a number there; another region where all of one's numbers are given."""
        regions = self._rng.sample(list(LANGUAGES), len(LANGUAGES))
        for region in regions:
            try:
                return region, self._numbers.mobile(region, suffix)
            except ValueError:
                continue
        self._numbers = Numbers(self._rng)  # so long a run writes to the same people again
        return self._person(suffix)


def _workspaces(how_many: int) -> Iterator[str]:
    """Each workspace as often as its share says; the largest takes what rounding leaves."""
    counts = {name: round(how_many * share) for name, share in SHARES.items()}
    counts[HOSPITAL] += how_many - sum(counts.values())
    for name, count in counts.items():
        yield from [name] * count


def _suffixes(how_many: int, pace: Pace) -> list[str | None]:
    """The last digits with a meaning, each as often as its share says and once at least in 50."""
    shares = {**_REFUSED, **_ANSWERING}
    if pace is not Pace.SPEED:
        shares |= _WAITING
    if pace is Pace.LIVE:
        shares |= _OPEN_ENDED
    least = 1 if how_many >= 50 else 0
    return [s for suffix, share in shares.items() for s in [suffix] * max(least, round(how_many * share))]


def _timed(message: DemoMessage, ordinary: bool, pace: Pace, rng: random.Random) -> DemoMessage:
    """The message with its times. What is canceled is due late enough that nothing can overtake that."""
    what = rng.random()
    if ordinary and what < _CANCELED_SHARE:
        return replace(message, due_seconds=rng.uniform(3, 6), cancel=True)
    if pace is Pace.SPEED:
        return message
    if ordinary and (what := what - _CANCELED_SHARE) < _EXPIRING_SHARE:
        return replace(message, expires_seconds=rng.uniform(0.3, 4.0), priority=3)
    if (what := what - _EXPIRING_SHARE) < _SOON_SHARE:
        return replace(message, due_seconds=rng.uniform(0.5, 5.0))
    if pace is Pace.LIVE and what - _SOON_SHARE < _LATER_SHARE:
        return replace(message, due_seconds=rng.uniform(30, 600))
    return message
