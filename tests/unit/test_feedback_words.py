"""Words that say whether a message was helpful: exact, in many languages, and never a keyword's."""

from __future__ import annotations

import pytest

from daemon.rules.feedback import _SIGNS, _WORDS, Helpfulness, helpfulness
from daemon.rules.keywords import recognise

YES, NO = Helpfulness(True), Helpfulness(False)


@pytest.mark.parametrize("entry", sorted([*_WORDS, *_SIGNS]))
def test_no_entry_is_a_keyword_and_each_is_understood(entry: str) -> None:
    """With courtesies and a name beside it, too: those are what a keyword may have beside it."""
    for text in (entry, f"{entry}, thanks", f"{entry} please", f"{entry} Acme"):
        assert recognise(text, names=["Acme"]) is None
    assert helpfulness(entry) == (_WORDS | _SIGNS)[entry]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("👍", YES), ("👍🏽", YES), (" 👍👍👍 ", YES), ("❤️", YES), ("👎🏿", NO), ("Thanks!", YES), ("Thanks 🙏", YES),
        ("THANK YOU SO MUCH!!", YES), ("Not helpful.", NO), ("That wasn’t helpful", NO), ("Ça m’a aidé", YES),
        ("inútil", NO), ("謝謝", YES), ("+1", YES), ("-1", NO), ("1", Helpfulness(True, short=True)),
        (" 2. ", Helpfulness(False, short=True)),
    ],
)  # fmt: skip
def test_what_says_so(text: str, found: Helpfulness) -> None:
    assert helpfulness(text) == found


@pytest.mark.parametrize(
    "text",
    ["", " ", "12", "1 pm works", "-2", "3", "ok", "yes", "thanks, but can we move it to 3?", "great 🙄", "helpful?!x",
     "is this helpful or not", "👍👎", "x" * 10_000, "thanks " * 20, "1" * 61],
)  # fmt: skip
def test_everything_else_says_nothing(text: str) -> None:
    assert helpfulness(text) is None
