"""How far an upload is, while it runs: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from rich import progress
from rich.console import Console

_LINE_SECONDS = 5.0


class Progress:
    """As a context: draws until it ends. Without a terminal it writes no control sequences."""

    def __init__(
        self, stream: TextIO, name: str, rows: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._rows = rows
        self._monotonic = monotonic
        self._began = self._last_line = monotonic()
        self._bar: progress.Progress | None = None
        if stream.isatty():
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows"),
                progress.TimeRemainingColumn(),
                console=Console(file=stream),
                transient=True,
            )
            self._task = self._bar.add_task(name, total=rows)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, rows: int) -> None:
        """The rows that are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=rows)
            return
        now = self._monotonic()
        if now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            speed = rows / (now - self._began)
            print(f"{rows:,} of {self._rows:,} rows, {speed:,.0f}/s", file=self._stream, flush=True)
