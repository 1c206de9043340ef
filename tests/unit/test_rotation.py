"""No text is said to a person again before all of the set have been."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from daemon.content.rotation import pick
from daemon.content.templates import Text

_BEGAN = datetime(2026, 1, 4, 18, tzinfo=UTC)


def _texts(count: int) -> list[Text]:
    return [Text(uuid4(), "accountability@1", "", "", "snarky", n + 1, f"text {n}") for n in range(count)]


def _said(texts: list[Text], times: int, seed: object, begins: int = 0) -> list[Text]:
    used: dict[UUID, tuple[int, datetime | None]] = {}
    said = []
    for n in range(times):
        text = pick(texts, used, seed)
        used[text.id] = (used.get(text.id, (0, None))[0] + 1, _BEGAN + timedelta(weeks=begins + n))
        said.append(text)
    return said


@given(st.integers(1, 8), st.integers(1, 4), st.text())
def test_each_round_says_every_text_once(count: int, rounds: int, seed: str) -> None:
    said = _said(_texts(count), count * rounds, seed)
    for n in range(0, len(said), count):
        assert len({text.id for text in said[n : n + count]}) == count
    for before, after in pairwise(said):
        assert count == 1 or before.id != after.id


def test_a_new_text_of_the_set_is_said_next_and_then_takes_its_turn() -> None:
    texts = _texts(3)
    used: dict[UUID, tuple[int, datetime | None]] = {
        text.id: (5, _BEGAN + timedelta(days=n)) for n, text in enumerate(texts)
    }
    (new,) = _texts(1)
    assert pick([*texts, new], used, "Ann") is new
    used[new.id] = (1, _BEGAN + timedelta(days=9))
    assert pick([*texts, new], used, "Ann") is texts[0]


def test_people_begin_with_different_texts_and_each_always_with_the_same() -> None:
    texts = _texts(5)
    first = {seed: pick(texts, {}, seed).number for seed in range(1000)}
    assert first == {seed: pick(list(reversed(texts)), {}, seed).number for seed in range(1000)}
    assert len(set(first.values())) == 5
    assert min(Counter(first.values()).values()) > 140
