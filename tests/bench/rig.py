"""What the lines about whole daemons share: the daemon as a process, backlogs, a steady producer, a provider
that notes arrivals, and what processes use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import orjson

from daemon.store.database import Connection
from tests.bench.rawserver import Raw
from tests.support import DaemonProcess, free_port, running, toml

BODY = "Your appointment is tomorrow at nine"
_TICK_SECONDS = 0.02
_FILL = """
insert into duly.delivery_row (id, workspace_id, message_id, channel, "to", address_key, priority, due_at)
select uuidv7(), w.id, m.id, 'sms', '+14155550100', md5(n::text)::uuid, 2,
       now() - make_interval(secs => ($2 - n) / 1000.0)
from generate_series($1::int + 1, $2::int) n
join (select id, row_number() over (order by id) - 1 as place from duly.workspace where name like $3) w
  on w.place = n % $4
join duly.message m on m.workspace_id = w.id and m.idempotency_key = 'bench'
order by n
"""


@contextlib.asynccontextmanager
async def daemon_process(
    dsn: str, url: str, *, concurrency: int = 100, account: str = "", default_lease: bool = False
) -> AsyncIterator[DaemonProcess]:
    """A daemon of its own process, ready, without limits unless `account` sets some; stopped in order.

    Its lease is short, so that several soon know each other, unless it shall ask as rarely as an operator's does.
    """
    with TemporaryDirectory(prefix="duly-bench-") as directory:
        port = free_port()
        config = Path(directory) / "duly.toml"
        text = toml(dsn, url, port, account=f"concurrency = {concurrency}\n{account}")
        if default_lease:
            text = text.replace("lease_seconds = 5\n", "")
        config.write_text(text)
        async with running(config, port) as process:
            yield process
            await process.stop()


async def backlog(dsn: str, rows: int, workspaces: int, prefix: str = "w") -> None:
    """Queues so many due deliveries, evenly over workspaces `w1`, `w2` …, oldest first, as fast as it goes.

    One message a workspace is shared by its deliveries: the queue is measured, not the texts.
    """
    parts = 2 if rows > 10_000 else 1
    connections = [await asyncpg.connect(dsn) for _ in range(parts)]
    conn = connections[0]
    try:
        for each in connections:
            await each.execute("set synchronous_commit = off")
        await register(conn, workspaces, prefix)
        await conn.execute(
            """insert into duly.message (id, workspace_id, body, category, idempotency_key)
               select uuidv7(), id, $2, 'transactional', 'bench' from duly.workspace where name like $1
               on conflict do nothing""",
            f"{prefix}%",
            BODY,
        )
        bounds = [rows * n // parts for n in range(parts + 1)]
        await asyncio.gather(
            *(
                each.execute(_FILL, bounds[n], bounds[n + 1], f"{prefix}%", workspaces, timeout=600)
                for n, each in enumerate(connections)
            )
        )
        await conn.execute("analyze duly.delivery_row, duly.message")
        await conn.execute("notify duly, 'look'")
    finally:
        for each in connections:
            await each.close()


async def register(conn: Connection, workspaces: int, prefix: str = "w") -> list[str]:
    """Makes the workspaces `w1`, `w2` … known; returns their names."""
    names = [f"{prefix}{n}" for n in range(1, workspaces + 1)]
    await conn.execute("select duly.register_workspace(name) from unnest($1::text[]) name", names)
    return names


class Arrivals:
    """A provider in this process that notes when each delivery's first request was there.

    It listens where the producer is, so that one clock tells both moments.
    """

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._awaited: dict[str, asyncio.Future[float]] = {}

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        """The URL to send to."""
        arrivals = self

        class Noting(Raw):
            def data_received(self, data: bytes) -> None:
                now = time.time()
                for found in re.finditer(rb"delivery%3D([0-9a-f-]{36})", data):
                    arrivals._came(found[1].decode(), now)
                super().data_received(data)

        server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0, backlog=4096)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def of(self, delivery: str, *, seconds: float = 30) -> float:
        """When that delivery's request came, in seconds since the epoch; waits for it."""
        if delivery not in self.at:
            waiting = self._awaited.setdefault(delivery, asyncio.get_running_loop().create_future())
            async with asyncio.timeout(seconds):
                await waiting
        return self.at[delivery]

    def _came(self, delivery: str, now: float) -> None:
        self.at.setdefault(delivery, now)
        waiting = self._awaited.pop(delivery, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(now)


@dataclass
class Producer:
    """Queues `per_second` deliveries, in turn for each of the workspaces, a small transaction every 20 ms."""

    conn: Connection
    workspaces: list[str]
    per_second: float
    committed: dict[str, float] = field(default_factory=dict)  # delivery → when its commit was answered

    async def run(self, seconds: float) -> None:
        """Keeps its times whatever a transaction takes: after a late one the next is as much larger."""
        names = cycle(self.workspaces)
        begun, queued = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            count = int(passed * self.per_second) - queued
            if count > 0:
                items = [
                    {"workspace": next(names), "channel": "sms", "to": "+14155550100", "body": BODY}
                    for _ in range(count)
                ]
                rows = await self.conn.fetch(
                    "select id::text, error from duly.enqueue_batch($1)", orjson.dumps(items).decode()
                )
                now = time.time()
                assert not any(row["error"] for row in rows), rows
                self.committed.update((row["id"], now) for row in rows)
                queued += count
            await asyncio.sleep(max(0.0, _TICK_SECONDS - (time.monotonic() - begun - passed)))


@contextlib.contextmanager
def producing(producer: Producer, seconds: float) -> Iterator[asyncio.Task[None]]:
    """A producer at work in the background for so long, or to the end of the block."""
    task = asyncio.create_task(producer.run(seconds))
    try:
        yield task
    finally:
        task.cancel()


# What processes use, from /proc.


def resident_mb(pid: int, *, peak: bool = False) -> float:
    """Resident memory of a process now, or the most there ever was."""
    field_name = "VmHWM" if peak else "VmRSS"
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field_name}:")]
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """CPU that a process has used, and if asked its living and dead children."""
    stat = _stat(pid)
    used = sum(int(x) for x in stat[11:13])
    if with_children:
        used += sum(int(x) for x in stat[13:15])
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it ended while we looked
                if entry.name.isdigit() and int(_stat(int(entry.name))[1]) == pid:
                    used += sum(int(x) for x in _stat(int(entry.name))[11:13])
    return used / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
