"""A count of what is still to come, and a way to wait until nothing is."""

from __future__ import annotations

import asyncio


class Backlog:
    """Status changes, replies and webhooks that are still to come. Scheduled messages are not counted."""

    def __init__(self) -> None:
        self.count = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self) -> None:
        """One more is to come."""
        self.count += 1
        self._empty.clear()

    def done(self) -> None:
        """One of them came, or never will. Whatever it leads to has to be added first."""
        self.count -= 1
        if not self.count:
            self._empty.set()

    async def settled(self) -> None:
        """Wait until nothing is to come."""
        await self._empty.wait()
