"""A failed write ends the actor only where an item would be forgotten by it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from daemon.queue.batching import GroupCommit


async def test_a_failed_write_whose_waiters_have_gone_does_not_end_the_actor() -> None:
    """Twilio gives up waiting for a callback's answer, then the database's outage is known: nothing is forgotten."""
    writing, fail = asyncio.Event(), asyncio.Event()

    async def write(_: Sequence[str]) -> None:
        writing.set()
        await fail.wait()
        raise RuntimeError("the database is away")

    group: GroupCommit[str] = GroupCommit(write)
    running = asyncio.create_task(group.run())
    waiter = asyncio.create_task(group.submit("a callback"))
    await writing.wait()
    waiter.cancel()
    fail.set()
    await asyncio.wait_for(group.drained(), 5)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, waiter, return_exceptions=True)
