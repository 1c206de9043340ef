"""Which variant of a campaign is better, judged as often as one likes. Pure.

What is counted are hits: members that replied, clicked or were called back about. Each member's variant is drawn by
itself with known weights; so where no variant is better than another, each hit is one of A with A's part of their
weights, whatever came before and however long people take to answer. That is what is tested, by a mixture over all
other parts (a Beta prior):

    E = ∫ θ^a (1-θ)^b dBeta(θ) / (w^a (1-w)^b)        a, b: hits of A and B; w: A's part of the weights

Under no difference E is a martingale that begins at 1, so the chance that it *ever* reaches 1/α is at most α (Ville):
it may be looked at after each hit, and the test ended when it suits. 1/E is an always-valid p-value, and the parts θ
with E(θ) < 1/α are a confidence sequence. No normal approximation, so it holds for small counts too. Sources:

* Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm", 1970: the mixture.
* Johari, Koomen, Pekelis, Walsh, "Always Valid Inference: Continuous Monitoring of A/B Tests", Operations Research
  70(3), 2022.
* Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
  Statistics 49(2), 2021.
* Lindon, Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022: the count of hits by variant.

Several variants are compared in pairs, each at alpha divided by the number of pairs (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

# How firmly the prior holds to "no difference": as so many hits. With 20, ratios of two to three are as likely as not
# to be looked for; small ones are found as the hits come in.
_PRIOR_HITS = 20.0
_STEPS = 60  # of a bisection: to the last bit but a few


@dataclass(frozen=True, slots=True)
class Arm:
    """A variant: its weight in the draw, how many it was sent to, and how many of them did what it is for."""

    name: str
    weight: float
    sent: int
    hits: int

    @property
    def rate(self) -> float:
        """Hits of those sent to."""
        return self.hits / self.sent if self.sent else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two variants. `ratio`: how many times as many hits the first brings as the other, and from where to where that
    surely is; `p_value` holds at whatever moment one looks. Both allow for all pairs that are compared.
    """

    first: str
    other: str
    p_value: float
    ratio: float | None  # None: no hit of the other
    least: float
    most: float | None  # None: without end

    def as_json(self) -> dict[str, Any]:
        """For --json and the record of a decision."""
        return {
            "first": self.first,
            "other": self.other,
            "p_value": round(self.p_value, 6),
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "least": round(self.least, 4),
            "most": None if self.most is None else round(self.most, 4),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said now. `winner`: the variant that is better than every other; None: nobody can say yet."""

    winner: str | None
    comparisons: Sequence[Comparison]


def judge(arms: Sequence[Arm], alpha: float) -> Verdict:
    """Compares all variants. Where none is better, some is ever called the winner with a chance of at most `alpha`."""
    pairs = list(combinations(arms, 2))
    each = alpha / max(1, len(pairs))
    found = [_compare(first, other, each, len(pairs)) for first, other in pairs]
    better = {
        (c.first, c.other) if _leads(first, other) else (c.other, c.first)
        for c, (first, other) in zip(found, pairs, strict=True)
        if c.p_value <= alpha
    }
    winner = next(
        (
            arm.name
            for arm in arms
            if len(arms) > 1
            and all((arm.name, other.name) in better for other in arms if other.name != arm.name)
        ),
        None,
    )
    return Verdict(winner, found)


def leader(arms: Sequence[Arm]) -> str:
    """The one with the highest rate now, the first of several: for a deadline, and no proof of anything."""
    return max(arms, key=lambda arm: arm.rate).name


def log_evidence(first: int, other: int, part: float, at: float | None = None) -> float:
    """The logarithm of E for hits of two variants, of which the first has `part` of the weights. `at`: against this
    part instead, of which the same holds.
    """
    a, b = _PRIOR_HITS * part, _PRIOR_HITS * (1 - part)
    at = part if at is None else at
    mixed = _log_beta(a + first, b + other) - _log_beta(a, b)
    return mixed - _times_log(first, at) - _times_log(other, 1 - at)


def _compare(first: Arm, other: Arm, alpha: float, pairs: int) -> Comparison:
    part = first.weight / (first.weight + other.weight)
    odds = (1 - part) / part  # from a part of the hits to a ratio of the rates
    low, high = _bounds(first.hits, other.hits, part, alpha)
    p_value = min(1.0, pairs * math.exp(-max(0.0, log_evidence(first.hits, other.hits, part))))
    return Comparison(
        first.name,
        other.name,
        p_value,
        first.hits / other.hits * odds if other.hits else None,
        low / (1 - low) * odds if low < 1 else math.inf,
        high / (1 - high) * odds if high < 1 else None,
    )


def _bounds(first: int, other: int, part: float, alpha: float) -> tuple[float, float]:
    """The parts θ that are not ruled out: on both sides of that of the hits, E(θ) only grows."""
    limit = -math.log(alpha)
    peak = first / (first + other) if first + other else part

    def beyond(at: float) -> bool:
        return log_evidence(first, other, part, at) >= limit

    low = _edge(0.0, peak, beyond_is_low=True, beyond=beyond) if first else 0.0
    high = _edge(peak, 1.0, beyond_is_low=False, beyond=beyond) if other else 1.0
    return low, high


def _edge(low: float, high: float, *, beyond_is_low: bool, beyond: Any) -> float:
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if beyond(middle) == beyond_is_low:
            low = middle
        else:
            high = middle
    return low if beyond_is_low else high


def _leads(first: Arm, other: Arm) -> bool:
    return first.hits * other.weight > other.hits * first.weight


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _times_log(count: int, of: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(of) if of > 0 else -math.inf
