"""`duly demo`: everything together, as a newcomer meets it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT, free_port

COMMAND = [sys.executable, "-m", "daemon", "demo"]


def running_in(directory: Path) -> list[int]:
    """The processes whose command line or working directory is in `directory`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            if str(directory) in words or (process / "cwd").readlink().is_relative_to(directory):
                found.append(int(process.name))
    return found


@pytest.fixture
def directory(work_dir: Path) -> Iterator[Path]:
    """A data directory; nothing may run in it in the end."""
    found = work_dir / "demo"
    yield found
    left = running_in(found)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


class Demo:
    """A demo that keeps running."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [*COMMAND, "--messages", "30", "--sunday-people", "30", "--data-dir", str(directory), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def delivering(self) -> str:
        """Waits for the first delivered message; returns what was printed so far."""
        assert self.process.stdout is not None
        printed = ""
        for line in self.process.stdout:
            printed += line
            if " delivered" in line and " 0 delivered" not in line:
                return printed
        raise AssertionError(printed + self.process.communicate()[1])

    def end(self, *numbers: signal.Signals) -> tuple[int, str, str]:
        """Sends signals; the status, and what else was printed."""
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(0.2)
        out, err = self.process.communicate(timeout=40)
        return self.process.returncode, out, err

    def child(self, mark: str) -> int:
        """The process of a part."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and mark in (process / "cmdline").read_text():
                    return int(process.name)
        raise AssertionError(f"no process with {mark}")


async def test_once_delivers_everything_and_prints_one_json_object(tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, "--once", "--json", "--messages", "60"],
        capture_output=True, text=True, cwd=ROOT, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["queued", "delivered", "failed", "skipped", "duplicates", "seconds"]
    assert found["queued"] == 60 == found["delivered"] + found["failed"] + found["skipped"]
    assert found["delivered"] >= 50
    assert found["failed"] >= 4  # 0001, 0002, 0003 and 0004
    assert found["duplicates"] == 0
    assert 0 < found["seconds"] < 15
    assert not list(tmp_path.glob("duly-demo-*"))
    assert "\x1b" not in done.stdout + done.stderr


def test_the_sunday_is_planned_spread_and_sent_and_late_goals_are_congratulated() -> None:
    words = [
        "--once",
        "--json",
        "--sunday",
        "--messages",
        "20",
        "--sunday-people",
        "60",
        "--sunday-hour-seconds",
        "5",
    ]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["queued"] == 20 == found["delivered"]
    sunday = found["sunday"]
    assert 40 < sunday["planned"] == sunday["sent"] <= 60
    assert sunday["slots_over_capacity"] == sunday["beyond_tolerance"] == 0
    assert 0 < sunday["reached_late"] == sunday["congratulated_late"]
    assert sunday["earliest"] < f"{sunday['day']}T18:00:00" < sunday["latest"]
    assert "get the congratulation instead" in done.stderr


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGINT], id="ctrl-c"),
        pytest.param([signal.SIGTERM], id="sigterm"),
        pytest.param([signal.SIGINT, signal.SIGINT], id="ctrl-c-twice"),
    ],
)
def test_a_running_demo_ends_in_order_when_told_to(directory: Path, signals: list[signal.Signals]) -> None:
    demo = Demo(directory)
    printed = demo.delivering()
    assert "The page: http://127.0.0.1:" in printed
    assert "\x1b" not in printed
    status, _, errors = demo.end(*signals)
    assert (status, errors) == (0, "")
    assert running_in(directory) == []


def test_a_demo_can_be_ended_while_it_starts(directory: Path) -> None:
    demo = Demo(directory)
    assert demo.process.stdout is not None
    assert demo.process.stdout.readline().startswith("Starting")
    status, _, errors = demo.end(signal.SIGINT)
    assert (status, errors) == (0, "")


def test_the_second_run_in_a_directory_goes_on_with_its_database(directory: Path) -> None:
    for _ in range(2):
        demo = Demo(directory)
        demo.delivering()
        assert demo.end(signal.SIGINT)[0] == 0


@pytest.mark.parametrize(
    ("mark", "name"),
    [("daemon.demo.leash", "the daemon"), ("daemon.sandbox", "the stand-in for Twilio")],
)
def test_a_part_that_dies_ends_the_demo_and_is_named(directory: Path, mark: str, name: str) -> None:
    demo = Demo(directory)
    demo.delivering()
    os.kill(demo.child(mark), signal.SIGKILL)
    status, _, errors = demo.end()
    assert status == 1
    assert f"duly: {name} ended with status -9" in errors


def test_a_dead_postgres_ends_the_demo_with_the_end_of_its_log(directory: Path) -> None:
    demo = Demo(directory)
    demo.delivering()
    postmaster = int((directory / "postgres" / "pgdata" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    status, _, errors = demo.end()
    assert status == 1
    assert "duly: Postgres does not answer" in errors
    assert "immediate shutdown" in errors


def test_a_killed_demo_leaves_nothing_behind(directory: Path) -> None:
    demo = Demo(directory)
    demo.delivering()
    assert demo.end(signal.SIGKILL)[0] == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while running_in(directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running_in(directory) == []


def test_a_port_in_use_gives_way_to_the_next(directory: Path) -> None:
    port = free_port()
    with contextlib.closing(_listen(port)):
        demo = Demo(directory, "--port", str(port))
        printed = demo.delivering()
        demo.end(signal.SIGINT)
    assert f"The page: http://127.0.0.1:{port}/" not in printed
    assert "The page: http://127.0.0.1:" in printed


def test_two_demos_do_not_share_a_directory(directory: Path) -> None:
    demo = Demo(directory)
    demo.delivering()
    status, _, errors = Demo(directory).end()
    assert status == 1
    assert "another demo runs in" in errors
    assert demo.end(signal.SIGINT)[0] == 0


def test_json_without_once_is_a_wrong_call() -> None:
    done = subprocess.run([*COMMAND, "--json"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "--once" in done.stderr


def _listen(port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken
