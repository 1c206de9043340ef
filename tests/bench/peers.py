"""peers: the same job on other queues, each at its best documented settings, against Duly's daemon.

Take a queued message, make the POST that Duly's Twilio adapter makes, read the answer, mark the job done. Each
contestant is one process with 100 calls under way at most. Its program (contestants/) connects, fills its queue and
opens its connections to the stand-in; then it waits for our word, and the clock runs until its own table says that
every job is done. The stand-in's count of requests must agree.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from daemon import logs
from tests.bench import environments
from tests.bench.contest import Peer, Place, Standing, requests, turn
from tests.bench.environments import CannotTakePart, Environment
from tests.bench.harness import Result, compared, fresh_database, raw_stand_in
from tests.bench.send import duly

PEERS = (
    Peer(
        "pgqueuer",
        "on_pgqueuer.py",
        environments.python_environment,
        "select count(*) from pgqueuer_log where status = 'successful'",
    ),
    Peer(
        "procrastinate",
        "on_procrastinate.py",
        environments.python_environment,
        "select count(*) from procrastinate_jobs where status = 'succeeded'",
        share=0.1,
    ),
    Peer(
        "graphile_worker",
        "on_graphile_worker.mjs",
        environments.node_environment,
        "select {jobs} - count(*) from graphile_worker._private_jobs",  # it deletes what is done
    ),
    Peer(
        "pg_boss",
        "on_pg_boss.mjs",
        environments.node_environment,
        "select count(*) from pgboss.job where name = 'send' and state = 'completed'",
    ),
    Peer(
        "bullmq",
        "on_bullmq.mjs",
        environments.node_environment,
        "ZCARD bull:send:completed",
        needs_redis=True,
    ),
)


def entrants(peers: Sequence[Peer], has_redis: bool) -> tuple[dict[Peer, Environment], dict[str, str]]:
    """Those that can take part here, with what runs them, and why the others cannot."""
    ready: dict[Peer, Environment] = {}
    skipped: dict[str, str] = {}
    for peer in peers:
        try:
            if peer.needs_redis and not has_redis:
                raise CannotTakePart("redis-server is not installed, or does not start")
            ready[peer] = peer.environment()
        except CannotTakePart as why:
            skipped[peer.name] = str(why)
    return ready, skipped


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `peers`: Duly's messages/s to those of the fastest peer of the round."""
    messages, rounds = (2_000, 1) if quick else (20_000, 5)
    with contextlib.ExitStack() as stack:
        redis: Path | None = None
        with contextlib.suppress(CannotTakePart):
            redis = stack.enter_context(environments.redis())
        ready, skipped = await asyncio.to_thread(entrants, PEERS, redis is not None)
        url = stack.enter_context(raw_stand_in())
        async with fresh_database() as dsn:
            return {"peers": await _rounds(Place(dsn, url, redis), ready, skipped, messages, rounds)}


async def _rounds(
    place: Place, ready: dict[Peer, Environment], skipped: dict[str, str], messages: int, rounds: int
) -> Result:
    ours, theirs = Standing(), {peer.name: Standing() for peer in ready}
    ratios: list[float] = []
    for _ in range(rounds):
        turns: list[Peer | None] = [None, *ready]
        random.shuffle(turns)  # whoever comes after the busiest one is not always the same
        for peer in turns:
            if peer is None:
                await _our_turn(place, ours, messages)
                continue
            if peer.name in skipped:
                continue
            try:
                jobs = round(messages * peer.share)
                await turn(place, peer, ready[peer], theirs[peer.name], jobs)
            except CannotTakePart as why:
                skipped[peer.name] = str(why)
                theirs[peer.name].per_second.clear()
        rivals = [standing.per_second[-1] for standing in theirs.values() if standing.per_second]
        if rivals:
            ratios.append(ours.per_second[-1] / max(rivals))
    return standings(ours, theirs, skipped, ratios, messages)


def standings(
    ours: Standing, theirs: dict[str, Standing], skipped: dict[str, str], ratios: list[float], messages: int
) -> Result:
    """The entry, from what the rounds noted."""
    facts: dict[str, Any] = {"messages": messages, "duly": ours.as_json()}
    facts |= {name: standing.as_json() for name, standing in theirs.items() if name not in skipped}
    facts |= {name: {"skipped": why} for name, why in skipped.items()}
    if "bullmq" in theirs and "bullmq" not in skipped:
        facts["bullmq"]["redis"] = environments.REDIS_SETTINGS
    unit = "of the fastest peer's messages/s"
    middles = {n: statistics.median(s.per_second) for n, s in theirs.items() if n not in skipped}
    if not middles:
        return Result(0.0, 1.0, None, (0.0, 0.0), f"{unit}: none could take part", facts)
    result = compared(ratios, 1.0, unit, fastest=max(middles, key=lambda name: middles[name]), **facts)
    # The goal is to be ahead of every one: against only some of them it can be missed, not met.
    return replace(result, met=None) if skipped and result.met else result


async def _our_turn(place: Place, standing: Standing, messages: int) -> None:
    conn = await asyncpg.connect(place.dsn)
    try:
        before = await asyncio.to_thread(requests, place.url)
        took = await duly(place.dsn, place.url, conn, messages)
        made = await asyncio.to_thread(requests, place.url) - before - 1
    finally:
        await conn.close()
    assert made == messages, f"Duly made {made} requests for {messages} messages"
    standing.add(messages, took.wall, took.cpu)


def main() -> int:
    """Only these figures: `python -m tests.bench.peers [--quick] [--json]`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, in one round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logs.configure("warning")
    facts = asyncio.run(run(quick=options.quick))["peers"].as_json()
    if options.json:
        print(orjson.dumps({"peers": facts}, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, value in facts.items():
            print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
