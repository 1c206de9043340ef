"""limits: segments sent to what the set rate allows while there is work, and whether any window ever saw too much.

Daemons are processes: one; three; three of which one leaves and another joins; three of which one is killed. Beside
the account with a rate there is one with a number a minute, whose windows reach over all of these. Messages have
one to three segments. The provider listens in this process, so that one clock tells every arrival.

How windows are judged. A limit is charged as a call is let through; the call arrives later, by its mark's commit and
its way: some milliseconds, on a busy machine many. So calls that were let through evenly may arrive in a bunch, and
arrivals alone prove nothing. What can be proved: a daemon lets calls of an account through in batches, each after
the mark of the one before has committed and before its own mark begins, and `sending_at` says when a mark began.
Each call was therefore let through between its batch's `sending_at` and that of the daemon's batch before, both by
the database's clock. `over` counts the windows that hold more than is allowed even when only calls are counted whose
whole interval lies within. It must be 0. `at_arrival` is the fullest second, as it arrived, to what a second allows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon import logs
from daemon.store.database import Connection
from tests.bench.harness import Result, fresh_database
from tests.bench.rawserver import Raw
from tests.support import ACCOUNT_SID, AUTH_TOKEN, DaemonProcess, free_port, running, toml

_RATE, _BURST, _A_MINUTE = 200, 20, 300
_LARGEST = 3
_SETTLE_SECONDS = 1.0  # until the burst is used up

_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

_FILL = """
select count(duly.enqueue($1, 'sms', '+14155550100',
         repeat('x', case n % 5 when 0 then 400 when 1 then 200 else 50 end)))
from generate_series(1, $2::int) n
"""
# When each call's mark began, and which daemon made it. What a killed daemon had marked has no attempt yet.
_MARKS = """
select d.id, d.account, d.segments, coalesce(a.lease_token, d.lease_token) >> 32 as node,
       extract(epoch from d.sending_at)::float8 as marked
from duly.delivery_row d left join duly.attempt a on a.delivery_id = d.id and a.number = 1
where d.sending_at is not null order by d.sending_at
"""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that arrived, and between which moments it was let through."""

    segments: int
    earliest: float
    latest: float


class Arrivals:
    """A provider that notes when each delivery's request came."""

    def __init__(self) -> None:
        self.at: dict[UUID, float] = {}

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        """The URL to send to."""
        arrivals = self

        class Noting(Raw):
            def data_received(self, data: bytes) -> None:
                now = time.time()
                if data.startswith(b"GET "):  # what became of a killed daemon's calls: it cannot tell
                    self._transport.write(_UNAVAILABLE)
                    return
                for found in re.finditer(rb"delivery%3D([0-9a-f-]{36})", data):
                    arrivals.at.setdefault(UUID(found[1].decode()), now)
                super().data_received(data)

        server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Fleet:
    """The daemons of one scenario."""

    def __init__(self, stack: contextlib.AsyncExitStack, directory: Path, dsn: str, url: str) -> None:
        self._stack = stack
        self._directory = directory
        self._dsn = dsn
        self._url = url
        self.daemons: list[DaemonProcess] = []

    async def add(self, count: int = 1) -> None:
        """Starts so many; returns when all are ready."""
        made = await asyncio.gather(*(self._start() for _ in range(count)))
        self.daemons += made

    async def _start(self) -> DaemonProcess:
        port = free_port()
        path = self._directory / f"duly-{port}.toml"
        path.write_text(
            toml(
                self._dsn,
                self._url,
                port,
                account=f"rate_per_second = {_RATE}\nburst = {_BURST}",
                extra=f"""routes = {{ sms = "minute" }}
[routes]
sms = "main"
[platforms.minute]
kind = "twilio"
base_url = "{self._url}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
from = "+15005550007"
rate_per_minute = {_A_MINUTE}
""",
            )
        )
        return await self._stack.enter_async_context(running(path, port))


async def _steady(_: Fleet, seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _leave_and_join(fleet: Fleet, seconds: float) -> None:
    async def change() -> None:
        await asyncio.sleep(seconds / 4)
        await fleet.daemons[0].stop()
        await fleet.add()

    await asyncio.gather(asyncio.sleep(seconds), change())


async def _kill(fleet: Fleet, seconds: float) -> None:
    await asyncio.sleep(seconds / 2)
    fleet.daemons[0].signal(signal.SIGKILL)
    await asyncio.sleep(seconds / 2)


Scenario = tuple[str, int, Callable[[Fleet, float], Awaitable[None]]]
_SCENARIOS: Sequence[Scenario] = (
    ("one", 1, _steady),
    ("three", 3, _steady),
    ("leave_and_join", 3, _leave_and_join),
    ("kill", 3, _kill),
)


async def run(*, quick: bool) -> dict[str, Result]:
    """The entry `limits`."""
    seconds, scenarios = (2.0, (_SCENARIOS[3],)) if quick else (14.0, _SCENARIOS)
    arrivals = Arrivals()
    shares: dict[str, float] = {}
    with TemporaryDirectory(prefix="duly-bench-") as directory:
        async with arrivals.listen() as url, fresh_database() as dsn:
            conn = await asyncpg.connect(dsn)
            try:
                for name, daemons, happens in scenarios:
                    async with contextlib.AsyncExitStack() as stack:
                        fleet = Fleet(stack, Path(directory), dsn, url)
                        shares[name] = await _share(conn, arrivals, fleet, daemons, happens, seconds)
                        await asyncio.gather(*(d.stop() for d in fleet.daemons if _runs(d)))
                return {"limits": await _result(conn, arrivals, shares)}
            finally:
                await conn.close()


def _runs(daemon: DaemonProcess) -> bool:
    return daemon.process is not None and daemon.process.poll() is None


async def _share(
    conn: Connection,
    arrivals: Arrivals,
    fleet: Fleet,
    daemons: int,
    happens: Callable[[Fleet, float], Awaitable[None]],
    seconds: float,
) -> float:
    """Of what the rate allows while that happens, how much arrived. There is more work than that throughout."""
    await fleet.add(daemons)
    await conn.execute(_FILL, "clinic", int(_RATE * (seconds + 3)))
    await conn.execute(_FILL, "shop", _A_MINUTE)
    await asyncio.sleep(_SETTLE_SECONDS)
    began = time.time()
    await happens(fleet, seconds)
    ended = time.time()
    rows = await conn.fetch("select id, segments from duly.delivery_row where account = 'main'")
    came = sum(r["segments"] for r in rows if began <= arrivals.at.get(r["id"], 0) < ended)
    return float(came) / (_RATE * (ended - began))


async def _result(conn: Connection, arrivals: Arrivals, shares: dict[str, float]) -> Result:
    marks = [row for row in await conn.fetch(_MARKS) if row["id"] in arrivals.at]
    rated, minute = (_calls(row for row in marks if row["account"] == name) for name in ("main", "minute"))
    allowed = max(_BURST, _LARGEST) + _RATE
    over = sum(count > allowed for count in _windows(rated, 1.0))
    over += sum(count > _A_MINUTE for count in _windows(minute, 60.0))
    arrived = [
        Call(row["segments"], arrivals.at[row["id"]], arrivals.at[row["id"]])
        for row in marks
        if row["account"] == "main"
    ]
    lowest = min(shares.values())
    return Result(
        round(lowest, 3),
        0.97,
        lowest >= 0.97 and over == 0,
        (round(lowest, 3), round(max(shares.values()), 3)),
        "of the set rate while there is work, at worst",
        {
            **{f"share_{name}": round(share, 3) for name, share in shares.items()},
            "over": over,
            "at_arrival": round(max(_windows(sorted(arrived, key=_earliest), 1.0)) / allowed, 3),
            "calls": len(marks),
        },
    )


def _calls(rows: Iterable[Any]) -> list[Call]:
    """Of one account's, by the earliest moment at which each may have been let through."""
    last: dict[int, tuple[float, float]] = defaultdict(
        lambda: (0.0, 0.0)
    )  # a daemon's batch before, and its latest
    found = []
    for row in rows:
        node, marked = row["node"], row["marked"]
        if last[node][1] != marked:
            last[node] = (last[node][1], marked)
        found.append(Call(row["segments"], last[node][0], marked))
    return sorted(found, key=_earliest)


def _earliest(call: Call) -> float:
    return call.earliest


def _windows(calls: Sequence[Call], seconds: float) -> list[int]:
    """For each window that begins with a call's earliest moment: the segments that surely were within."""
    by_latest = sorted(calls, key=lambda call: call.latest)
    counts, place = [], 0
    for first in sorted({call.earliest for call in calls}):
        while place < len(by_latest) and by_latest[place].latest < first:
            place += 1
        count = 0
        for call in by_latest[place:]:
            if call.latest >= first + seconds:
                break
            count += call.segments if call.earliest >= first else 0
        counts.append(count)
    return counts


def main() -> int:
    """Only these figures: `python -m tests.bench.limits [--quick] [--json]`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.limits")
    parser.add_argument("--quick", action="store_true", help="only the kill, and shorter")
    options = parser.parse_args()
    logs.configure("warning")
    results = asyncio.run(run(quick=options.quick))
    facts = {name: result.as_json() for name, result in results.items()}
    print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
