"""`duly chaos --scenario opt-out`: a short race, and what its command refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.chaos.opt_out.plan import Stop
from tests.chaos.test_chaos import chaos


def test_nothing_is_sent_that_was_stopped_nor_over_a_cap_nor_in_quiet_hours_nor_early(tmp_path: Path) -> None:
    done = chaos(
        "--scenario", "opt-out", "--pairs", "150", "--seconds", "10", "--seed", "5", "--json",
        "--logs", str(tmp_path / "run"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads(done.stdout)
    kept = ("sent_after_opt_out", "over_cap", "in_quiet_hours", "early", "contradicted", "lost", "duplicates")
    assert [figures[name] for name in kept] == [0] * len(kept)
    assert (figures["pairs"], figures["kills"], figures["deadlocks"]) == (150, 2, 0)
    assert figures["sent"] + figures["stopped"] == figures["raced"] >= 150
    assert set(figures["stopped_by"]) == {stop.value for stop in Stop}
    assert min(figures["in_flight"], figures["capped"], figures["before_quiet"], figures["after_quiet"]) > 0
    assert 10 < figures["seconds"] < 60
    assert (tmp_path / "run" / "logs" / "stops.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--scenario", "opt-out", "--messages", "9"), "--pairs"),
        (("--pairs", "9"), "--messages"),
        (("--scenario", "weather"), "opt-out"),
    ],
)
def test_what_belongs_to_the_other_scenario_is_refused(words: tuple[str, ...], complaint: str) -> None:
    done = chaos(*words, seconds=20)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
