"""What is logged, and that a log is never worth more than the daemon."""

import io
import sys

import pytest
import structlog

from daemon import logs


def test_a_line_nobody_can_take_is_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure("info")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    structlog.get_logger().warning("the lease ran out")


def test_lines_go_to_stderr_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure("info")
    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    structlog.get_logger().warning("joined", body="Your appointment: 9:00")
    assert '"event":"joined"' in now.getvalue()
    assert "appointment" not in now.getvalue()
