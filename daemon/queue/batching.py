"""Group commit: what arrives while one write is under way shares the next.

It is right for both ends of the load. An idle system writes each item at once, so it adds no latency; a
busy one writes ever larger batches, so the database's cost per item falls as the load grows. There is no
timer to tune: the database's own speed sets the size. Only where nobody waits for an item (`linger_seconds`)
may a small batch wait a few milliseconds for company, because a statement costs more than its rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Collects items and hands them to `write` in batches of at most `most`, one batch at a time.

    `write` either commits the whole batch or raises. Whoever waits in `submit` sees what it raised.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[None]],
        *,
        most: int = 500,
        linger_seconds: float = 0.0,
    ) -> None:
        self._linger_seconds = linger_seconds
        self._write = write
        self._most = most
        self._items: deque[tuple[T, asyncio.Future[None] | None]] = deque()
        self._writing: list[T] = []
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        """Items not yet committed, without those of the write under way."""
        return len(self._items)

    def pending(self) -> list[T]:
        """Items not yet committed, those of the write under way included."""
        return self._writing + [item for item, _ in self._items]

    def put(self, item: T) -> None:
        """Leaves an item; `write` must see to it that it is not lost."""
        self._add(item, None)

    async def submit(self, item: T) -> None:
        """Returns once the item's batch has been written; raises what the write raised."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(item, done)
        await done

    async def drained(self) -> None:
        """Returns when nothing is left to write."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Writes batches until cancelled. A failed write fails those who wait for it, and goes on."""
        while True:
            if not self._items:
                self._filled.clear()
                self._emptied.set()
            await self._filled.wait()
            if self._linger_seconds and len(self._items) < self._most // 4:
                await asyncio.sleep(self._linger_seconds)
            batch = [self._items.popleft() for _ in range(min(self._most, len(self._items)))]
            self._writing = [item for item, _ in batch]
            try:
                await self._write(self._writing)
            except asyncio.CancelledError:
                self._items.extendleft(reversed(batch))
                raise
            except Exception as error:
                self._settle(batch, error)
            else:
                self._settle(batch, None)
            finally:
                self._writing = []

    def _add(self, item: T, done: asyncio.Future[None] | None) -> None:
        self._items.append((item, done))
        self._filled.set()
        self._emptied.clear()

    @staticmethod
    def _settle(batch: list[tuple[T, asyncio.Future[None] | None]], error: Exception | None) -> None:
        waiting = [done for _, done in batch if done is not None and not done.done()]
        for done in waiting:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
        if error is not None and any(done is None for _, done in batch):
            raise error  # nobody ever waited for these: the supervisor must hear of it
