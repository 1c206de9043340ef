"""One chaos run from its start to its verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.chaos import messages, schedule
from daemon.chaos.cluster import DAEMONS, Cluster
from daemon.chaos.evidence import Outcome, gather
from daemon.chaos.producer import GONE, Producer
from daemon.chaos.rest import all_of, rest
from daemon.chaos.schedule import WEATHER, Action, Event
from daemon.chaos.settings import Tuning

_QUEUED_IN = 0.95  # of the disturbance

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ChaosSettings:
    """What a run is asked for."""

    messages: int
    kills: int
    seconds: float
    seed: int
    tuning: Tuning
    directory: Path  # absolute; the logs stay in it


class Run:
    """Starts, disturbs, waits for rest and judges. `tell` is given a line for people now and then."""

    def __init__(self, wanted: ChaosSettings, tell: Tell) -> None:
        self._wanted = wanted
        self._tell_line = tell
        self._began = time.monotonic()
        self._done: Counter[Action] = Counter()
        self._plan = schedule.plan(
            seed=wanted.seed, kills=wanted.kills, seconds=wanted.seconds, daemons=DAEMONS
        )
        self._cluster = Cluster(wanted.directory, self._tell)
        self._producer = Producer(
            lambda: self._cluster.dsn,
            messages.plan(seed=wanted.seed, messages=wanted.messages, seconds=wanted.seconds * _QUEUED_IN),
        )

    async def run(self) -> Outcome:
        """The whole. Raises `EmbeddedError`, `ChaosError` or `ConfigError` where it cannot be done."""
        cluster = self._cluster
        async with cluster:
            await cluster.start_servers(self._wanted.seed)
            await cluster.start_daemons(self._wanted.tuning, self._plan.skew_minutes)
            for node in cluster.nodes:
                wrong = f", its clock wrong by {node.skew_minutes:+.0f} minutes" if node.skew_minutes else ""
                self._tell(f"{node.name} is ready{wrong}")
            self._began = time.monotonic()
            await all_of(self._producer.run(), self._disturb())
            self._tell("all faults are off; waiting for rest")
            await cluster.ready()
            conn = await cluster.connect()
            try:
                return await gather(
                    conn,
                    stuck=await rest(conn, cluster, self._tell),
                    told=list(self._producer.told.values()),
                    arrivals=await cluster.arrivals(),
                    done=self._done,
                    seconds=time.monotonic() - self._began,
                    logs=cluster.logs,
                )
            finally:
                await conn.close()

    async def _disturb(self) -> None:
        """Every blow at its time, those at one daemon one after the other; at the end all faults off."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            for event in self._plan.events:
                await asyncio.sleep(self._began + event.at - time.monotonic())
                under_way.add(asyncio.create_task(self._strike(event)))
                for task in [t for t in under_way if t.done()]:
                    under_way.remove(task)
                    task.result()
            await asyncio.sleep(self._began + self._wanted.seconds - time.monotonic())
            await self._cluster.set_faults({})
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _strike(self, event: Event) -> None:
        cluster = self._cluster
        node = cluster.nodes[event.daemon] if event.daemon is not None else cluster.nodes[0]
        match event.action:
            case Action.KILL:
                await node.kill(event.seconds, lambda: self._note(event, node.name))
            case Action.TERMINATE:
                await node.terminate(event.seconds, lambda: self._note(event, node.name))
            case Action.STOP:
                await node.suspend(
                    event.seconds, lambda: self._note(event, f"{node.name} for {event.seconds:.1f} s")
                )
            case Action.RESTART_DATABASE:
                self._note(event, event.detail)
                await cluster.restart_database(event.detail)
            case Action.CUT_DATABASE:
                with contextlib.suppress(*GONE):
                    self._note(event, f"{node.name}: {await cluster.cut_database(event.daemon or 0)}")
            case Action.SWALLOW_ANSWERS:
                self._note(event, f"to {node.name} for {event.seconds * 1000:.0f} ms")
                cluster.wires[event.daemon or 0].swallow(event.seconds)
            case Action.WEATHER:
                self._note(event, event.detail)
                await cluster.set_faults(WEATHER[event.detail])

    def _note(self, event: Event, what: str) -> None:
        self._done[event.action] += 1
        self._tell(f"{event.action.value} {what}")

    def _tell(self, line: str) -> None:
        told = f"{time.monotonic() - self._began:6.1f} s  {self._producer.queued:6,} queued  {line}"
        self._tell_line(told)
        with (self._cluster.logs / "run.log").open("a", encoding="utf-8") as log:
            log.write(told + "\n")
