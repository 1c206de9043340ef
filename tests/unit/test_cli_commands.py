"""The command line as a whole: every name leads to its command, and brings no other's weight."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from daemon.cli import app

COMMANDS = typer.main.get_group(app)


@pytest.mark.parametrize("name", COMMANDS.list_commands(None))  # type: ignore[arg-type]
def test_every_command_explains_itself(name: str) -> None:
    found = CliRunner().invoke(app, [name, "--help"])
    assert found.exit_code == 0
    assert name in found.output.split("\n")[1]
    assert "completion" not in found.output


def test_a_command_loads_no_other() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from daemon.cli import app; "
        "CliRunner().invoke(app, ['consent', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('daemon.runtime', 'daemon.chaos', 'twilio', 'aiohttp')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
