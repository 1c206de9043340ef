"""`duly chaos` itself: a short run, and its manners as a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT

KEYS = {
    "accepted",
    "delivered",
    "lost",
    "duplicates",
    "early",
    "kills",
    "stops",
    "database_restarts",
    "uncertain",
    "uncertain_resolved",
    "held",
    "seconds",
}
COMMAND = [sys.executable, "-m", "daemon", "chaos"]


def chaos(*words: str, seconds: float = 150) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, cwd=ROOT, check=False, timeout=seconds
    )


def test_nothing_is_lost_nor_sent_twice_nor_early_whatever_is_killed(tmp_path: Path) -> None:
    done = chaos(
        "--messages", "300", "--kills", "6", "--seconds", "22", "--seed", "20", "--json",
        "--logs", str(tmp_path / "run"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads(done.stdout)
    assert set(figures) == KEYS
    assert (figures["lost"], figures["duplicates"], figures["early"]) == (0, 0, 0)
    assert (figures["kills"], figures["database_restarts"]) == (6, 1)
    assert figures["stops"] >= 2
    assert 270 <= figures["accepted"] <= 300
    assert figures["uncertain"] > 10
    assert figures["uncertain"] - figures["uncertain_resolved"] == figures["held"]
    assert (tmp_path / "run" / "logs" / "ledger.jsonl").exists()
    assert not (tmp_path / "run" / "postgres").exists()


def processes_of(mark: str) -> list[str]:
    """The command lines of every process that names `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if mark in line:
                found.append(line)
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    mark = str(tmp_path / "run")
    process = subprocess.Popen(
        [*COMMAND, "--messages", "200", "--kills", "40", "--seconds", "30", "--seed", "3", "--logs", mark],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        # In the middle of it: a daemon is down, or suspended.
        line = next(line for line in process.stdout if "kill -9" in line or "SIGSTOP" in line)
        assert "chaos-" in line
        assert len(processes_of(mark)) >= 4
        process.send_signal(number)
        time.sleep(0.2)
        process.send_signal(number)  # somebody is impatient
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "nothing is left running" in errors
    deadline = time.monotonic() + 5
    while (left := processes_of(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "No such file"),
        ("[platforms", "table declaration"),
        ("[platforms.main]\nkind = 'twilio'\nconcurrency = 'many'\n", "concurrency"),
        ("[database]\nurl = 'postgresql://somewhere/real'\n", "no enabled account"),
    ],
)
def test_a_file_that_cannot_be_tried_is_refused(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "duly.toml"
    if text is not None:
        path.write_text(text)
    done = chaos("--config", str(path), seconds=20)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
