"""`duly bench`: what it prints, and how it ends. Its figures are for people."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.bench import __main__ as bench
from tests.bench.harness import Result, compared
from tests.support import ROOT


def duly(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", "bench", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def test_one_quick_line_prints_its_entry_as_json_and_its_progress_elsewhere() -> None:
    done = duly("--json", "--quick", "--only", "backlog")
    assert done.returncode == 0, done.stderr
    assert "backlog …" in done.stderr
    (entry,) = json.loads(done.stdout).values()
    assert list(json.loads(done.stdout)) == ["backlog"]
    low, high = entry["spread"]
    assert 0 < low <= entry["ratio"] <= high
    assert isinstance(entry["goal"], float)
    assert isinstance(entry["met"], bool)
    assert isinstance(entry["unit"], str)
    assert entry["walks"] == "none"


def test_an_unknown_line_is_refused_with_the_names_of_those_there_are() -> None:
    done = duly("--only", "everything")
    assert done.returncode == 2
    assert done.stdout == ""
    for name in map(bench.name_of, bench._ALL):
        assert name in done.stderr


def test_an_installed_package_says_that_the_benchmarks_are_in_the_source(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "daemon", tmp_path / "daemon", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "bench"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "source checkout" in done.stderr


@pytest.fixture
def terminate_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def line(name: str, ratios: list[float]) -> ModuleType:
    """A line with these figures; one without any fails."""

    async def run(*, quick: bool) -> dict[str, Result]:
        assert quick
        if not ratios:
            raise ValueError("the stand-in said no")
        return {name: compared(ratios, 0.8, "of something", rows=3)}

    found = ModuleType(f"tests.bench.{name}")
    found.__dict__["run"] = run
    return found


@pytest.mark.usefixtures("terminate_as_before")
def test_a_line_that_fails_is_reported_and_loses_no_other_lines_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        bench, "_ALL", (line("first", [0.9, 0.7, 0.8]), line("broken", []), line("last", [0.1]))
    )
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--json"])
    assert bench.main() == 1
    found = json.loads(capsys.readouterr().out)
    assert found["first"] == {
        "ratio": 0.8,
        "goal": 0.8,
        "met": True,
        "spread": [0.7, 0.9],
        "unit": "of something",
        "rows": 3,
    }
    assert found["broken"]["error"] == "ValueError: the stand-in said no"
    assert found["broken"]["met"] is False
    assert found["last"]["met"] is False
    monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
    assert bench.main() == 1
    table = capsys.readouterr().out
    assert all(word in table for word in ("first", "broken", "the stand-in said no", "last", "rows 3"))


@pytest.mark.usefixtures("terminate_as_before")
def test_a_missed_goal_is_a_figure_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "_ALL", (line("slow", [0.1]), line("other", [])))
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--only", "slow"])
    assert bench.main() == 0
    assert "NO" in capsys.readouterr().out
