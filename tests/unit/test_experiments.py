"""The statistics of A/B: who looks after every hit is misled no oftener than alpha, and real differences are found."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.planning.experiments import Arm, judge, leader, log_evidence

ALPHA = 0.05
Counts = np.ndarray[Any, np.dtype[np.int64]]


def arms(*hits: int, weights: tuple[float, ...] | None = None, sent: int = 1000) -> list[Arm]:
    weights = weights or (1.0,) * len(hits)
    return [Arm(chr(97 + n), weights[n], sent, of) for n, of in enumerate(hits)]


def evidence(first: Counts, other: Counts, part: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same as `log_evidence`, for many at once; a test holds the two together."""
    a, b = 20 * part, 20 * (1 - part)
    most = int((first + other).max()) + 1
    of_a, of_b, of_both = (
        np.array([math.lgamma(begin + n) - math.lgamma(begin) for n in range(most)]) for begin in (a, b, 20)
    )
    found: np.ndarray[Any, np.dtype[np.float64]] = (
        of_a[first]
        + of_b[other]
        - of_both[first + other]
        - first * math.log(part)
        - other * math.log(1 - part)
    )
    return found


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.05, 0.95))
def test_the_evidence_is_the_mixture_that_it_says(first: int, other: int, part: float) -> None:
    found = log_evidence(first, other, part)
    assert found == pytest.approx(evidence(np.array(first), np.array(other), part), abs=1e-6)


def test_the_evidence_is_the_integral_over_the_prior() -> None:
    at = np.linspace(0, 1, 20_001)
    prior = at**9 * (1 - at) ** 9
    prior /= prior.sum()
    expected = math.log((at**30 * (1 - at) ** 10 * prior).sum() / 0.5**40)
    assert log_evidence(30, 10, 0.5) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("part", [0.5, 0.2])
def test_looking_after_every_hit_misleads_no_oftener_than_alpha(part: float) -> None:
    """2,000 campaigns without a difference, each looked at after each of 2,000 hits."""
    draws = np.random.default_rng(1).random((2000, 2000)) < part
    first = draws.cumsum(axis=1)
    found = evidence(first, np.arange(1, 2001) - first, part)
    misled = (found >= -math.log(ALPHA)).any(axis=1).mean()
    assert 0.005 < misled <= ALPHA  # and the test could have failed: some are misled
    fixed = np.abs(first - part * np.arange(1, 2001)) / np.sqrt(part * (1 - part) * np.arange(1, 2001))
    assert (fixed[:, 20:] > 1.96).any(axis=1).mean() > 4 * ALPHA  # what a test for one look does here


def test_with_four_variants_and_a_look_a_day_none_seems_better_oftener_than_alpha() -> None:
    """2,000 campaigns of 60 days, all variants alike: that any two ever seem to differ is already rare enough."""
    rng = np.random.default_rng(2)
    hits = rng.poisson(2.5, (2000, 60, 4)).cumsum(axis=1)
    pairs = list(combinations(range(4), 2))
    limit = -math.log(ALPHA / len(pairs))
    differ = [(evidence(hits[:, :, a], hits[:, :, b], 0.5) >= limit).any(axis=1) for a, b in pairs]
    assert 0 < np.any(differ, axis=0).mean() <= ALPHA
    last = hits[:10, -1]
    assert all(judge(arms(*map(int, each)), ALPHA).winner is None for each in last)


def test_a_real_difference_is_found_and_the_right_one_wins() -> None:
    """8 % against 12 % of 4,000 each: nearly always, mostly long before the end, and hardly ever the wrong one."""
    rng = np.random.default_rng(3)
    steps = rng.binomial([[50], [50]], [[[0.08], [0.12]]], size=(100, 2, 80))
    totals = steps.cumsum(axis=2)
    ended, right = [], 0
    for run in totals:
        for look in range(3, 80, 4):
            winner = judge(arms(int(run[0, look]), int(run[1, look])), ALPHA).winner
            if winner is not None:
                ended.append(look)
                right += winner == "b"
                break
    assert len(ended) > 90
    assert right >= len(ended) - 2
    assert sorted(ended)[len(ended) // 2] < 50


def test_the_confidence_sequence_holds_the_true_ratio_at_every_look() -> None:
    """B brings 1.5 times as much as A: 150 campaigns, a look after every 40th hit."""
    rng = np.random.default_rng(4)
    part = 1 / 2.5
    missed = 0
    for _ in range(150):
        hits = np.concatenate([[0], (rng.random(600) < part).cumsum()[39::40]])
        looks = [(int(a), 40 * n - int(a)) for n, a in enumerate(hits)]
        bounds = [judge(arms(*each), ALPHA).comparisons[0] for each in looks]
        missed += any(not (c.least <= 1 / 1.5 <= (c.most or math.inf)) for c in bounds)
    assert missed <= 150 * ALPHA


def test_the_interval_rules_out_no_difference_just_when_the_p_value_does() -> None:
    for first in range(0, 80, 3):
        found = judge(arms(first, 30), ALPHA).comparisons[0]
        outside = not (found.least <= 1 <= (found.most or math.inf))
        assert outside == (found.p_value <= ALPHA)


def test_weights_are_allowed_for() -> None:
    alike = judge(arms(300, 100, weights=(3, 1)), ALPHA)
    assert alike.winner is None
    assert alike.comparisons[0].ratio == pytest.approx(1)
    assert judge(arms(300, 300, weights=(3, 1)), ALPHA).winner == "b"


def test_more_hits_of_the_same_kind_only_say_more() -> None:
    values = [judge(arms(30 * n, 20 * n), ALPHA).comparisons[0].p_value for n in range(1, 20)]
    assert all(a >= b for a, b in pairwise(values))


def test_nothing_said_is_nothing_won() -> None:
    assert judge(arms(0, 0), ALPHA).winner is None
    assert judge(arms(5), ALPHA).winner is None
    found = judge(arms(0, 0), ALPHA).comparisons[0]
    assert (found.p_value, found.ratio, found.least, found.most) == (1, None, 0, None)
    assert judge(arms(0, 60), ALPHA).winner == "b"
    assert leader([Arm("a", 1, 10, 1), Arm("b", 1, 5, 1)]) == "b"
    assert leader([Arm("a", 1, 0, 0), Arm("b", 1, 0, 0)]) == "a"
