"""The supervisor with actors that do as they are told, and systemd's socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from daemon.supervisor import Supervisor, Systemd, TooManyDeaths
from tests.support import until


class FakeActor:
    """Runs until it is stopped or told to die, and writes down what happens to it."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.diary = diary
        self.runs = 0
        self.hangs_in_stop = False
        self.returns_by_itself = False
        self.dies_at_once: BaseException | None = None
        self._killed = asyncio.Event()
        self._error: BaseException = RuntimeError("told to")
        self._stopping = asyncio.Event()

    def die(self, error: BaseException | None = None) -> None:
        self._error = error or RuntimeError("told to")
        self._killed.set()

    async def run(self) -> None:
        self.runs += 1
        self.diary.append(f"{self.name} runs")
        if self.dies_at_once is not None:
            raise self.dies_at_once
        if self.returns_by_itself:
            return
        waiting = [asyncio.create_task(event.wait()) for event in (self._killed, self._stopping)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if self._killed.is_set():
            self._killed.clear()
            raise self._error

    async def stop(self) -> None:
        self.diary.append(f"{self.name} stops")
        self._stopping.set()
        if self.hangs_in_stop:
            await asyncio.Event().wait()

    def health(self) -> str | None:
        return None


class Stage:
    """Three actors under a supervisor that runs for the length of a test."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.actors = [FakeActor(name, self.diary) for name in ("first", "second", "third")]
        self.first, self.second, self.third = self.actors
        self.supervisor = Supervisor(
            self.actors, max_restarts=3, restart_window_seconds=60, shutdown_seconds=0.2, grace_seconds=0.2
        )
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(self.supervisor.run())

        async def all_run() -> bool:
            return all(actor.runs for actor in self.actors)

        await until(all_run)

    async def end(self, seconds: float = 10) -> None:
        assert self.task is not None
        self.supervisor.stop()
        async with asyncio.timeout(seconds):
            await self.task

    async def runs(self, actor: FakeActor, times: int) -> None:
        async def enough() -> bool:
            return actor.runs >= times

        await until(enough)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage()
    yield found
    if found.task is not None and not found.task.done():
        found.task.cancel()
        await asyncio.gather(found.task, return_exceptions=True)


async def test_actors_start_in_order_and_stop_back_to_front(stage: Stage) -> None:
    await stage.start()
    await stage.end()
    assert stage.diary == [
        *("first runs", "second runs", "third runs"),
        *("third stops", "second stops", "first stops"),
    ]


async def test_an_actor_that_dies_is_restarted_and_the_others_go_on(stage: Stage) -> None:
    await stage.start()
    stage.second.die()
    await stage.runs(stage.second, 2)
    await stage.end()
    assert (stage.first.runs, stage.second.runs, stage.third.runs) == (1, 2, 1)


async def test_an_actor_that_returns_by_itself_is_restarted(stage: Stage) -> None:
    stage.second.returns_by_itself = True
    await stage.start()
    await stage.runs(stage.second, 2)


async def test_an_actor_whose_run_ends_in_a_stray_cancellation_is_restarted(stage: Stage) -> None:
    await stage.start()
    stage.second.die(asyncio.CancelledError())
    await stage.runs(stage.second, 2)
    await stage.end()


async def test_each_death_makes_the_pause_before_the_next_run_longer(stage: Stage) -> None:
    stage.supervisor.max_restarts = 100
    began: list[float] = []
    loop = asyncio.get_running_loop()
    await stage.start()
    for times in range(2, 6):
        stage.second.die()
        died = loop.time()
        await stage.runs(stage.second, times)
        began.append(loop.time() - died)
    assert began == sorted(began)
    assert began[-1] > 3 * began[0]


async def test_too_many_deaths_stop_the_others_in_order_and_say_who_and_why(stage: Stage) -> None:
    stage.second.dies_at_once = RuntimeError("no such table")
    stage.supervisor.max_restarts = 2
    await stage.start()
    assert stage.task is not None
    with pytest.raises(TooManyDeaths, match="second died 3 times within 60 s") as raised:
        async with asyncio.timeout(10):
            await stage.task
    assert str(raised.value.__cause__) == "no such table"
    assert stage.diary[-3:] == ["third stops", "second stops", "first stops"]


async def test_deaths_long_ago_are_forgiven() -> None:
    stage = Stage()
    now = 0.0
    stage.supervisor = Supervisor(
        stage.actors,
        max_restarts=1,
        restart_window_seconds=60,
        shutdown_seconds=1,
        monotonic=lambda: now,
    )
    await stage.start()
    for times in range(2, 5):
        now += 61
        stage.second.die()
        await stage.runs(stage.second, times)
    await stage.end()


async def test_an_actor_whose_stop_hangs_is_cut_off_and_the_others_are_stopped(stage: Stage) -> None:
    stage.second.hangs_in_stop = True
    await stage.start()
    await stage.end()
    assert stage.diary[-3:] == ["third stops", "second stops", "first stops"]


async def test_actors_that_all_hang_share_one_deadline() -> None:
    stage = Stage()
    for actor in stage.actors:
        actor.hangs_in_stop = True
    stage.supervisor = Supervisor(
        stage.actors, max_restarts=3, restart_window_seconds=60, shutdown_seconds=1.5, grace_seconds=0.5
    )
    await stage.start()
    loop = asyncio.get_running_loop()
    asked = loop.time()
    await stage.end()
    assert loop.time() - asked < 5, "each was given the whole time"


async def test_an_actor_that_waits_for_its_restart_does_not_hold_up_the_end(stage: Stage) -> None:
    stage.supervisor.max_restarts = 100
    stage.supervisor.shutdown_seconds = 60
    stage.second.dies_at_once = RuntimeError("again and again")
    await stage.start()
    await stage.runs(stage.second, 5)  # the next pause is over three seconds
    loop = asyncio.get_running_loop()
    asked = loop.time()
    await stage.end()
    assert loop.time() - asked < 2
    assert stage.second.runs == 6, "it had its last chance to finish what it holds"


async def test_an_actor_that_fails_to_stop_does_not_keep_the_others_from_it(stage: Stage) -> None:
    await stage.start()

    async def fail() -> None:
        raise RuntimeError("cannot")

    stage.second.stop = fail  # type: ignore[method-assign]
    await stage.end()
    assert stage.diary[-2:] == ["third stops", "first stops"]


class NotifySocket:
    """Where systemd listens."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(4096).decode())
        return found


@pytest.fixture
def notify_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    found = NotifySocket(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield found
    found.socket.close()


@pytest.fixture
def systemd(notify_socket: NotifySocket) -> Iterator[Systemd]:
    found = Systemd()
    yield found
    found.close()


def test_systemd_hears_of_ready_reloading_and_stopping(systemd: Systemd, notify_socket: NotifySocket) -> None:
    systemd.ready("up")
    systemd.reloading()
    systemd.stopping()
    ready, reloading, stopping = notify_socket.heard()
    assert ready == "READY=1\nSTATUS=up"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert int(reloading.rsplit("=", 1)[1]) > 0
    assert stopping == "STOPPING=1"


async def test_the_watchdog_is_fed_more_than_once_an_interval(
    systemd: Systemd, notify_socket: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    fed: list[str] = []

    async def thrice() -> bool:
        fed.extend(notify_socket.heard())
        return len(fed) >= 3

    feeding = asyncio.create_task(systemd.watchdog())
    await until(thrice)
    feeding.cancel()
    assert set(fed) == {"WATCHDOG=1"}


async def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(
    systemd: Systemd, notify_socket: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    await systemd.watchdog()
    assert notify_socket.heard() == []


def test_without_systemd_nothing_is_said_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Systemd().ready("up")
