"""Group commit: what waits goes together, errors reach who waits, nothing is lost when it is cut short."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.queue.batching import GroupCommit


class Disk:
    """Where batches go: held while `open` is not set, failing while `error` is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.began = asyncio.Event()
        self.error: Exception | None = None

    async def write(self, batch: Sequence[int]) -> None:
        self.began.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.batches.append(list(batch))

    @property
    def written(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


@contextlib.asynccontextmanager
async def running(group: GroupCommit[int]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(group.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def soon(group: GroupCommit[int]) -> None:
    await asyncio.wait_for(group.drained(), 5)


async def test_what_comes_alone_goes_at_once() -> None:
    disk = Disk()
    group = GroupCommit(disk.write)
    async with running(group):
        await asyncio.wait_for(group.submit(1), 1)
        assert disk.batches == [[1]]


async def test_what_comes_during_a_write_shares_the_next() -> None:
    disk = Disk()
    group = GroupCommit(disk.write, most=4)
    async with running(group):
        disk.open.clear()
        group.put(0)
        await disk.began.wait()
        for item in range(1, 10):
            group.put(item)
        assert (len(group), group.pending()) == (9, list(range(10)))
        disk.open.set()
        await soon(group)
    assert disk.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert group.pending() == []


async def test_who_waits_returns_after_the_write_and_not_before() -> None:
    disk = Disk()
    disk.open.clear()
    group = GroupCommit(disk.write)
    async with running(group):
        waiting = asyncio.create_task(group.submit(1))
        await disk.began.wait()
        await asyncio.sleep(0)
        assert not waiting.done()
        disk.open.set()
        await asyncio.wait_for(waiting, 1)
        assert disk.written == [1]


async def test_an_error_reaches_everybody_who_waits_and_the_next_batch_goes_on() -> None:
    disk = Disk()
    disk.error = ValueError("the disk is full")
    group = GroupCommit(disk.write)
    async with running(group) as task:
        found = await asyncio.gather(*(group.submit(n) for n in range(3)), return_exceptions=True)
        assert [str(each) for each in found] == ["the disk is full"] * 3
        disk.error = None
        await asyncio.wait_for(group.submit(4), 1)
        assert not task.done()
    assert disk.written == [4]


async def test_an_error_that_nobody_waits_for_is_raised() -> None:
    disk = Disk()
    disk.error = ValueError("the disk is full")
    group = GroupCommit(disk.write)
    task = asyncio.create_task(group.run())
    waiting = asyncio.create_task(group.submit(1))
    await asyncio.sleep(0)
    group.put(2)
    with pytest.raises(ValueError, match="the disk is full"):
        await asyncio.wait_for(task, 1)
    with pytest.raises(ValueError, match="the disk is full"):
        await waiting


async def test_an_error_for_one_who_gave_up_waiting_kills_nobody() -> None:
    """A callback's sender gets its 503 after some seconds; that the write fails later is no death."""
    disk = Disk()
    disk.open.clear()
    disk.error = ValueError("the disk is full")
    group = GroupCommit(disk.write)
    async with running(group) as task:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await group.submit(1)
        disk.open.set()
        await soon(group)
        assert not task.done()


async def test_one_who_gives_up_waiting_takes_nothing_back() -> None:
    disk = Disk()
    disk.open.clear()
    group = GroupCommit(disk.write)
    async with running(group):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await group.submit(1)
        disk.open.set()
        await asyncio.wait_for(group.submit(2), 1)
    assert disk.written == [1, 2]


async def test_a_writer_cut_short_keeps_its_items_in_order() -> None:
    disk = Disk()
    disk.open.clear()
    group = GroupCommit(disk.write, most=2)
    for item in range(5):
        group.put(item)
    async with running(group):
        await disk.began.wait()
    assert group.pending() == [0, 1, 2, 3, 4]
    assert disk.written == []
    disk.open.set()
    async with running(group):
        await soon(group)
    assert disk.written == [0, 1, 2, 3, 4]


async def test_drained_waits_for_the_write_under_way() -> None:
    disk = Disk()
    group = GroupCommit(disk.write)
    await soon(group)  # nothing was ever there
    async with running(group):
        disk.open.clear()
        group.put(1)
        await disk.began.wait()
        drained = asyncio.create_task(group.drained())
        await asyncio.sleep(0)
        assert not drained.done()
        disk.open.set()
        await asyncio.wait_for(drained, 1)
        assert disk.written == [1]


async def test_lingering_makes_small_batches_wait_for_company() -> None:
    disk = Disk()
    group = GroupCommit(disk.write, most=100, linger_seconds=0.2)
    async with running(group):
        group.put(1)
        await asyncio.sleep(0.01)
        group.put(2)
        await soon(group)
        assert disk.batches == [[1, 2]]
        disk.batches.clear()
        for item in range(30):  # more than a quarter of a batch: no company is needed
            group.put(item)
        async with asyncio.timeout(0.15):
            await group.drained()
        assert disk.batches == [list(range(30))]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 7),
    st.lists(st.sampled_from(["put", "submit", "turn", "restart", "fail"]), max_size=60),
)
async def test_whatever_happens_each_item_is_written_once_or_its_error_told(
    most: int, steps: list[str]
) -> None:
    disk = Disk()
    group = GroupCommit(disk.write, most=most)
    task = asyncio.create_task(group.run())
    told: dict[int, asyncio.Task[None]] = {}
    left = set[int]()
    for number, step in enumerate(steps):
        match step:
            case "put":
                group.put(number)
                left.add(number)
            case "submit":
                told[number] = asyncio.create_task(group.submit(number))
                await asyncio.sleep(0)
            case "turn":
                await asyncio.sleep(0)
            case "restart":
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                task = asyncio.create_task(group.run())
            case _ if not left:  # only where everybody who could lose something waits
                await soon(group)
                disk.error = ValueError("no")
                told[number] = asyncio.create_task(group.submit(number))
                await asyncio.gather(told[number], return_exceptions=True)
                disk.error = None
    await soon(group)
    outcomes = dict(zip(told, await asyncio.gather(*told.values(), return_exceptions=True), strict=True))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    written = disk.written
    assert len(written) == len(set(written))
    assert set(written) == left | {number for number, error in outcomes.items() if error is None}
    assert written == sorted(written)
    assert all(len(batch) <= most for batch in disk.batches)
