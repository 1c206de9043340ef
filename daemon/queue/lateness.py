"""How late this process is: what a timer of its own says, so that our slowness is not taken for a platform's."""

from __future__ import annotations

import asyncio
from collections import deque

_EVERY_SECONDS = 0.1
_REMEMBERED_SECONDS = 10.0


class Lateness:
    """Looks only while it is asked: a timer each tenth of a second, and none in an idle daemon."""

    __slots__ = ("_pending", "_seen")

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = (
            deque()
        )  # when, how late; the latest of them last, the most first
        self._pending = False

    def seconds(self) -> float:
        """The most in the last seconds, as far as anybody asked."""
        loop = asyncio.get_running_loop()
        if not self._pending:
            self._pending = True
            due = loop.time() + _EVERY_SECONDS
            loop.call_at(due, self._look, due)
        while self._seen and self._seen[0][0] < loop.time() - _REMEMBERED_SECONDS:
            self._seen.popleft()
        return self._seen[0][1] if self._seen else 0.0

    def _look(self, due: float) -> None:
        self._pending = False
        now = asyncio.get_running_loop().time()
        late = now - due
        while self._seen and self._seen[-1][1] <= late:
            self._seen.pop()
        self._seen.append((now, late))
