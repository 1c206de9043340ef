"""How fast a Python peer queues one job a call, as its users do: prints jobs a second as JSON.

Asked as JSON in its one argument: `peer`, `dsn` of an empty database, `jobs`, `connections`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version

import asyncpg

asked = json.loads(sys.argv[1])
Enqueue = Callable[[dict[str, str]], Awaitable[object]]


def messages(count: int) -> Iterator[dict[str, str]]:
    """What is queued: the same as Duly's."""
    return (
        {"to": f"+1415{5_000_000 + i}", "body": f"Hello number {i}, your appointment is tomorrow at nine"}
        for i in range(count)
    )


async def timed(each: list[Enqueue]) -> float:
    """Jobs a second, every connection with its own loop of calls."""
    for enqueue in each:
        for message in messages(20):
            await enqueue(message)
    waiting = messages(asked["jobs"])

    async def work(enqueue: Enqueue) -> None:
        for message in waiting:
            await enqueue(message)

    began = time.perf_counter()
    await asyncio.gather(*(work(enqueue) for enqueue in each))
    return asked["jobs"] / (time.perf_counter() - began)


async def procrastinate() -> float:
    """`defer_async`, over its own pool."""
    from procrastinate import App, PsycopgConnector

    logging.disable(logging.WARNING)  # it would rather not be defined in a main module
    size = asked["connections"]
    app = App(connector=PsycopgConnector(conninfo=asked["dsn"], min_size=size, max_size=size))

    @app.task(name="send")
    async def send(to: str, body: str) -> None:
        """Never run."""

    async def enqueue(message: dict[str, str]) -> None:
        await send.defer_async(**message)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        return await timed([enqueue] * size)


async def pgqueuer() -> float:
    """`Queries.enqueue` over asyncpg."""
    from pgqueuer.queries import Queries

    connections = [await asyncpg.connect(asked["dsn"]) for _ in range(asked["connections"])]
    every = [Queries.from_asyncpg_connection(conn) for conn in connections]
    await every[0].install()

    def through(queries: Queries) -> Enqueue:
        return lambda message: queries.enqueue("send", json.dumps(message).encode())

    return await timed([through(queries) for queries in every])


found = asyncio.run({"procrastinate": procrastinate, "pgqueuer": pgqueuer}[asked["peer"]]())
print(json.dumps({"per_second": found, "version": version(asked["peer"])}))
