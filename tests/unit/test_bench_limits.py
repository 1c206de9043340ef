"""The judge of the limits' benchmark finds what exceeds a limit, and takes no bunched arrival for it."""

from __future__ import annotations

from typing import Any

from tests.bench.limits import _calls, _windows


def marks(per_second: float, seconds: float, daemons: int = 2) -> list[dict[str, Any]]:
    return [
        {"segments": 1, "node": nth % daemons, "marked": 1000 + nth / per_second}
        for nth in range(int(per_second * seconds))
    ]


def test_a_rate_that_is_kept_is_not_over() -> None:
    assert max(_windows(_calls(marks(200, 5)), 1.0)) <= 200


def test_a_rate_that_is_exceeded_is_over() -> None:
    assert max(_windows(_calls(marks(260, 5)), 1.0)) > 220


def test_calls_that_waited_for_one_slow_commit_are_not_over() -> None:
    """A daemon's batch was let through at some moment since its batch before, which nobody can tell."""
    even = marks(200, 5, daemons=1)
    late = [{**mark, "marked": max(mark["marked"], 1002.9)} for mark in even if mark["marked"] > 1002]
    assert max(_windows(_calls([mark for mark in even if mark["marked"] <= 1002] + late), 1.0)) <= 201
