"""What the demo shows while it runs: a live table in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daemon.demo.producer import Counts, total

_COLUMNS = ("queued", "sending", "sent", "delivered", "failed", "canceled")
_RATE_SECONDS = 5.0
_LINE_SECONDS = 2.0


class Speed:
    """Messages a second that came to their end, over the last seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, final: int) -> float:
        """The speed now, given how many have ended so far."""
        now = self._monotonic()
        self._seen.append((now, final))
        while len(self._seen) > 2 and self._seen[0][0] < now - _RATE_SECONDS:
            self._seen.popleft()
        (then, before), passed = self._seen[0], now - self._seen[0][0]
        return (final - before) / passed if passed > 0 and then < now else 0.0


class Progress:
    """As a context: draws until it ends. Without a terminal it writes no control sequences."""

    def __init__(self, stream: TextIO, page: str, hint: str) -> None:
        terminal = stream.isatty()
        self._console = Console(
            file=stream, force_terminal=terminal, no_color=None if terminal else True, highlight=False
        )
        self._live: Live | None = None
        if terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._speed = Speed()
        self._began = time.monotonic()
        self._last_line: tuple[float, str] = (0.0, "")
        self._page = page
        self._hint = hint
        self.note = ""  # what else goes on

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, counts: Mapping[str, Counts]) -> None:
        """The numbers as they are now."""
        every = total(counts.values())
        speed = self._speed.update(every.final)
        if self._live is not None:
            self._live.update(self._table(counts, every, speed), refresh=True)
        else:
            self._line(every, speed)

    def _table(self, counts: Mapping[str, Counts], every: Counts, speed: float) -> Group:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("workspace")
        for name in _COLUMNS:
            table.add_column(name, justify="right", min_width=6)
        table.add_column("done")
        for name, mine in counts.items():
            table.add_row(name, *_cells(mine), _bar(mine))
        table.add_section()
        table.add_row("together", *_cells(every), _bar(every), style="bold")
        note = f"{self.note}\n" if self.note else ""
        links = Text.assemble(
            ("Page     ", "dim"),
            f"{self._page}/\n",
            ("Phones   ", "dim"),
            f"{self._page}/sandbox\n",
            (self._hint, "dim"),
        )
        return Group(table, Text(f"{speed:,.0f} messages/s\n{note}"), links)

    def _line(self, every: Counts, speed: float) -> None:
        """At most every two seconds, and only if something has changed."""
        numbers = ", ".join(f"{count:,} {name}" for name, count in _numbers(every).items())
        seen = numbers + self.note
        now = time.monotonic()
        if now - self._last_line[0] >= _LINE_SECONDS and seen != self._last_line[1]:
            self._last_line = (now, seen)
            note = f"; {self.note}" if self.note else ""
            self.say(f"{now - self._began:5.0f} s  {numbers}; {speed:,.0f} messages/s{note}")


def _numbers(counts: Counts) -> dict[str, int]:
    numbers = {name: counts[name] for name in _COLUMNS}
    return {**numbers, "failed": counts.failed, "canceled": counts.skipped}


def _cells(counts: Counts) -> list[str]:
    return [f"{count:,}" for count in _numbers(counts).values()]


def _bar(counts: Counts) -> ProgressBar:
    return ProgressBar(total=max(1, counts.total), completed=counts.final, width=24, complete_style="cyan")
