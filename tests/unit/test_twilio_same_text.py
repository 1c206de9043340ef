"""A listed text that Twilio has changed on the way is still ours: else it would go twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.platforms.twilio.answers import same_text


@pytest.mark.parametrize(
    ("listed", "ours"),
    [
        ("Hello", "Hello"),
        ("Sent from your Twilio trial account - Hello", "Hello"),
        ('"Hi" - it\'s 9...', "\u201cHi\u201d \u2013 it\u2019s 9\u2026"),
        ("Your code 12", "Your\u00a0code 12"),
        ("two lines", "two\nlines "),
    ],
)
def test_a_text_that_twilio_may_have_changed_is_the_same(listed: str, ours: str) -> None:
    assert same_text(listed, ours)


@pytest.mark.parametrize(
    ("listed", "ours"), [("Hello", "Hello!"), ("", "Hello"), ("Your code 12", "Your code 13")]
)
def test_another_text_is_another(listed: str, ours: str) -> None:
    assert not same_text(listed, ours)


@given(st.text())
def test_every_text_is_the_same_as_itself(text: str) -> None:
    assert same_text(text, text)
