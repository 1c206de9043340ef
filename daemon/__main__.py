"""`python -m daemon` is `duly`."""

from __future__ import annotations

import sys

from daemon.cli import app


def main() -> None:
    """Runs the command line. Exit status 0, 1 (it failed) or 2 (called wrongly)."""
    sys.exit(app())


if __name__ == "__main__":
    main()
