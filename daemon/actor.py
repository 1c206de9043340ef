"""What every part of the process is: one class with one `run()`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol


class Actor(Protocol):
    """A part that runs for as long as the process does.

    The supervisor calls `run()` and calls it again if it dies, on the same object: what an actor holds
    (its inbox, its calls in flight) outlives a crash of its loop.
    """

    @property
    def name(self) -> str:
        """Short, unique, for logs and /readyz."""

    async def run(self) -> None:
        """Works until `stop()` or cancellation. Raising is a death; returning before `stop()` is one too."""

    async def stop(self) -> None:
        """Finishes in order: take nothing new, complete or hand back what is held, let `run()` return."""

    def health(self) -> str | None:
        """What keeps it from its work, in a few words; None where nothing does."""


async def either(*events: asyncio.Event) -> None:
    """Returns when one of the events is set: for an actor that waits to begin and may be stopped before."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def at_most(seconds: float | None, event: asyncio.Event) -> None:
    """Returns when the event is set, or after so many seconds (None: not before): for an actor that rests and may be
    woken or stopped.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
