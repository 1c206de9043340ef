"""A style is chosen by what was called helpful: the person's own first, and never one that is not allowed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.planning.styles import Words, choose_style

STYLES = ("supportive", "snarky", "chaotic")
words = st.builds(Words, st.integers(0, 100), st.integers(0, 100))
counts = st.dictionaries(st.sampled_from([*STYLES, "gone"]), words)


def chosen(preferred: str, own: dict[str, Words], cohort: dict[str, Words]) -> Counter[str]:
    return Counter(choose_style(preferred, STYLES, own, cohort, Random(seed))[0] for seed in range(200))


@given(
    st.sampled_from([*STYLES, "gone"]),
    st.sets(st.sampled_from(STYLES), min_size=1),
    counts,
    counts,
    st.integers(),
)
def test_it_is_an_allowed_one_and_the_same_each_time(
    preferred: str, allowed: set[str], own: dict[str, Words], cohort: dict[str, Words], seed: int
) -> None:
    style, because = choose_style(preferred, allowed, own, cohort, Random(seed))
    assert style in allowed
    assert because["chosen"] == style
    assert choose_style(preferred, sorted(allowed), own, cohort, Random(seed)) == (style, because)


def test_without_a_word_it_is_the_persons_own() -> None:
    assert chosen("snarky", {}, {}) == {"snarky": 200}


def test_the_persons_own_choice_counts_for_something() -> None:
    even = dict.fromkeys(STYLES, Words(50, 50))
    assert chosen("snarky", {}, even)["snarky"] > 100


def test_a_style_that_does_not_help_fades_and_one_that_helps_comes() -> None:
    found = chosen("snarky", {"snarky": Words(0, 8), "supportive": Words(6, 0)}, {})
    assert found["supportive"] > 140
    assert found["snarky"] < 30


def test_what_the_cohort_likes_is_where_the_others_begin() -> None:
    found = chosen("snarky", {"snarky": Words(0, 6)}, {"supportive": Words(90, 10), "chaotic": Words(10, 90)})
    assert found["supportive"] > 5 * found["chaotic"]


def test_there_must_be_one() -> None:
    with pytest.raises(ValueError, match=r"^styles: "):
        choose_style("snarky", (), {}, {}, Random(1))
