"""Whether an automatic answer may be sent, or would feed a loop: a robot that answers our answers.

Twilio's own brake comes late: it fails messages with error 14107 after more than 30 replies between two numbers
that follow each other within 30 seconds, and asks whoever turns it off to keep a guard of their own. This one
holds much earlier. It counts what we answered, whatever was asked, and sees the same text coming again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How much one address may make us answer."""

    answers: int = 3
    window_seconds: float = 86_400.0
    repeats: int = 3
    repeat_window_seconds: float = 60.0


_USUAL = Patience()


def may_answer(
    answered: Iterable[float], repeated: Iterable[float] = (), patience: Patience = _USUAL
) -> bool:
    """Whether one more automatic answer may go to an address.

    `answered`: how many seconds ago each automatic answer to it was made, in any order. `repeated`: how many
    seconds ago the text that is to be answered came from it before, without this time. No answer goes where
    `patience.answers` are within the window, or where the text came `patience.repeats` times or more within
    its own. A moment that a clock puts in the future counts as now.
    """
    if _within(repeated, patience.repeat_window_seconds) >= patience.repeats:
        return False
    return _within(answered, patience.window_seconds) < patience.answers


def _within(ages: Iterable[float], seconds: float) -> int:
    return sum(age < seconds for age in ages)
