"""Which style helps: chosen by what a person, and the cohort, called helpful, beginning with the person's own choice.

The chance that a message in a style is called helpful is Beta-distributed. Its prior is the cohort's rate for the style,
worth a few words; the person's chosen style has more of it, as if it had been called helpful `_CHOSEN` times already. One
draw of each, and the highest is taken (Thompson sampling; Thompson 1933, Russo et al., A Tutorial on Thompson Sampling,
2018): a style that was called not helpful fades, and comes back from time to time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from random import Random
from typing import Any, NamedTuple

_COHORT_WORDS = 4.0  # the cohort's rate is worth so many of a person's own words
_CHOSEN = 4.0


class Words(NamedTuple):
    """How often something was called helpful, and how often not."""

    helpful: float = 0.0
    not_helpful: float = 0.0


def choose_style(
    preferred: str,
    allowed: Collection[str],
    counts: Mapping[str, Words],
    cohort: Mapping[str, Words],
    rng: Random,
) -> tuple[str, dict[str, Any]]:
    """One of the `allowed` styles, and why, for the receipt as `because.style`. `counts`: the person's own.

    Without a word from anybody it is the preferred one, if that is allowed. With the same `rng` it is the same. Raises
    `ValueError` without any allowed style.
    """
    if not allowed:
        raise ValueError("styles: there is none to choose from")
    said = sum(sum(counts.get(style, Words())) for style in allowed)
    known = sum(sum(cohort.get(style, Words())) for style in allowed)
    if not said + known and preferred in allowed:
        return preferred, {"preferred": preferred, "chosen": preferred, "from": 0, "cohort": 0}
    drawn, chance = {}, {}
    for style in sorted(allowed):
        yes, no = _posterior(counts.get(style, Words()), cohort.get(style, Words()), style == preferred)
        drawn[style] = rng.betavariate(yes, no)
        chance[style] = round(yes / (yes + no), 3)
    chosen = max(drawn, key=drawn.__getitem__)
    return chosen, {"preferred": preferred, "chosen": chosen, "from": said, "cohort": known, "chance": chance}


def _posterior(own: Words, cohort: Words, chosen: bool) -> tuple[float, float]:
    rate = (cohort.helpful + 1) / (cohort.helpful + cohort.not_helpful + 2)
    yes = _COHORT_WORDS * rate + own.helpful + (_CHOSEN if chosen else 0)
    return yes, _COHORT_WORDS * (1 - rate) + own.not_helpful
