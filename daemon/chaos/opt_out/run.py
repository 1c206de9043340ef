"""One opt-out race from its start to its verdict."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daemon.chaos.cluster import DAEMONS, Cluster
from daemon.chaos.evidence import Outcome
from daemon.chaos.node import ChaosError
from daemon.chaos.opt_out import gathering
from daemon.chaos.opt_out.phone import Phone
from daemon.chaos.opt_out.plan import plan
from daemon.chaos.opt_out.racing import Racer
from daemon.chaos.opt_out.rules import quiet, tuned
from daemon.chaos.rest import all_of, rest
from daemon.chaos.schedule import LEASE_SECONDS, PATIENCE_SECONDS
from daemon.chaos.settings import Tuning

# The quiet hours stand in the TOML that the daemons start with: so long at least until they begin.
_START_SECONDS = 14.0
_BEFORE_QUIET_SECONDS = 1.0
# Calls that take a while, and few at once: so leased deliveries wait in memory, and marked ones for their call.
_SLOW = {"latency_ms": 40, "jitter_ms": 40}
# What a killed daemon had under way is asked about before the race's end, or little later.
_SETTLED_SECONDS = LEASE_SECONDS + 2 * PATIENCE_SECONDS
_DOWN_SECONDS = (0.2, 1.0)
_WRONG_CLOCK_MINUTES = (3, 90)


@dataclass(frozen=True, slots=True)
class RaceSettings:
    """What a race is asked for."""

    pairs: int
    kills: int
    seconds: float
    seed: int
    tuning: Tuning
    directory: Path  # absolute; the logs stay in it


class Race:
    """Starts, races, waits for rest and judges. `tell` is given a line for people now and then."""

    def __init__(self, wanted: RaceSettings, tell: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._tell_line = tell
        self._began = time.monotonic()
        self._kills = 0
        self._rng = random.Random(f"race {wanted.seed}")
        self._cluster = Cluster(wanted.directory, self._tell)

    async def run(self) -> Outcome:
        """The whole. Raises `EmbeddedError`, `ChaosError` or `ConfigError` where it cannot be done."""
        cluster, wanted = self._cluster, self._wanted
        async with cluster:
            await cluster.start_servers(wanted.seed)
            await cluster.set_faults(_SLOW)
            until_quiet = max(_START_SECONDS, wanted.seconds / 2)
            quiet_at = (datetime.now(UTC) + timedelta(seconds=until_quiet)).replace(microsecond=0)
            tuning = tuned(wanted.tuning, quiet_at)
            await cluster.start_daemons(tuning, self._skew())
            left = (quiet_at - datetime.now(UTC)).total_seconds()
            self._tell(f"{DAEMONS} daemons are ready; quiet hours begin in {left:.1f} s")
            if left < _BEFORE_QUIET_SECONDS:
                raise ChaosError(
                    f"the daemons took {until_quiet - left:.0f} s to start: the quiet hours began"
                )
            planned = plan(seed=wanted.seed, pairs=wanted.pairs, seconds=wanted.seconds, quiet_at=left)
            async with Phone([node.url for node in cluster.nodes], wanted.seed) as phone:
                racer = Racer(cluster.dsn, planned, tuning, phone)
                self._began = time.monotonic()
                await all_of(racer.run(asyncio.get_running_loop().time()), self._kill())
            self._tell(f"{len(planned)} deliveries are queued and {len(racer.stopped)} stops answered")
            await cluster.set_faults({})
            await cluster.ready()
            conn = await cluster.connect()
            try:
                stuck = await rest(conn, cluster, self._tell)
                evidence = await gathering.gather(
                    conn,
                    planned=planned,
                    queued=racer.queued,
                    stopped=racer.stopped,
                    arrivals=await cluster.arrivals(),
                    quiet=quiet(quiet_at),
                    logs=cluster.logs,
                )
                return await gathering.outcome(
                    conn,
                    evidence,
                    pairs=wanted.pairs,
                    stuck=stuck,
                    kills=self._kills,
                    seconds=time.monotonic() - self._began,
                    logs=cluster.logs,
                )
            finally:
                await conn.close()

    def _skew(self) -> list[float]:
        """One daemon's wall clock is wrong: nothing may depend on it."""
        skew = [0.0] * DAEMONS
        wrong = self._rng.choice((-1, 1)) * self._rng.uniform(*_WRONG_CLOCK_MINUTES)
        skew[self._rng.randrange(DAEMONS)] = wrong
        return skew

    async def _kill(self) -> None:
        """kill -9, one daemon after the other, each with a start thereafter."""
        seconds = self._wanted.seconds
        last = max(seconds * 0.4, seconds - _SETTLED_SECONDS)
        moments = sorted(self._rng.uniform(0.3, last) for _ in range(self._wanted.kills))
        for moment in moments:
            node = self._cluster.nodes[self._rng.randrange(DAEMONS)]
            down = self._rng.uniform(*_DOWN_SECONDS)
            await asyncio.sleep(self._began + moment - time.monotonic())
            await node.kill(down, functools.partial(self._killed, node.name))

    def _killed(self, name: str) -> None:
        self._kills += 1
        self._tell(f"kill -9 {name}")

    def _tell(self, line: str) -> None:
        told = f"{time.monotonic() - self._began:6.1f} s  {line}"
        self._tell_line(told)
        with (self._cluster.logs / "run.log").open("a", encoding="utf-8") as log:
            log.write(told + "\n")
