"""The parts of a chaos run: Postgres, the stand-in, the daemons and the wires between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import orjson

from daemon.chaos import settings
from daemon.chaos.messages import WORKSPACES
from daemon.chaos.node import HOME, ChaosError, Node
from daemon.chaos.settings import Place, Tuning
from daemon.chaos.verdict import Arrival
from daemon.chaos.wire import Wire
from daemon.store import migrations
from daemon.store.database import Connection
from daemon.store.embedded import EmbeddedHandle, start
from daemon.store.sql import query

DAEMONS = 3
# More than the wrong clock, the wires and the daemons' pools need.
_POSTGRES = {"max_connections": "100"}
_STAND_IN_SPEED = "3"


class Cluster:
    """All of it, as an async context: whatever happens inside, nothing runs after it."""

    def __init__(self, directory: Path, tell: Callable[[str], None]) -> None:
        self.logs = directory / "logs"
        self.nodes: list[Node] = []
        self.wires: list[Wire] = []
        self.sandbox_url = ""
        self._directory = directory
        self._tell = tell
        self._postgres: asyncio.Future[EmbeddedHandle] | None = None
        self._restarting = asyncio.Lock()
        self._sandbox: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        calm = kind is None
        await asyncio.gather(*((node.close() if calm else node.destroy()) for node in self.nodes))
        for wire in self.wires:
            await wire.close()
        if self._http is not None:
            await self._http.close()
        if self._sandbox is not None and self._sandbox.returncode is None:
            self._sandbox.kill()
            await self._sandbox.wait()
        if self._postgres is not None:
            with contextlib.suppress(Exception):  # it never came up: said already
                handle = await self._postgres
                await asyncio.to_thread(handle.stop)
        with contextlib.suppress(OSError):
            shutil.copyfile(self._directory / "postgres" / "log", self.logs / "postgres.log")
        shutil.rmtree(self._directory / "postgres", ignore_errors=True)

    async def start_servers(self, seed: int) -> None:
        """Starts Postgres and the stand-in. Raises `EmbeddedError` or `ChaosError`."""
        await self._start_postgres()
        await self._start_sandbox(seed)

    async def start_daemons(self, tuning: Tuning, skew_minutes: Sequence[float]) -> None:
        """Starts the daemons; returns when each is ready. Raises `ChaosError` or `ConfigError`."""
        for number, skew in enumerate(skew_minutes):
            wire = Wire(self._socket())
            await wire.start()
            self.wires.append(wire)
            name = f"chaos-{number + 1}"
            place = Place(name, _free_port(), self._wired_dsn(wire), self.sandbox_url)
            path = self._directory / f"{name}.toml"
            path.write_text(settings.toml(place, tuning), encoding="utf-8")
            url = f"http://127.0.0.1:{place.port}"
            self.nodes.append(Node(name, path, url, self.logs / f"{name}.log", self._tell, skew_minutes=skew))
        await asyncio.gather(*(node.start() for node in self.nodes))
        await self.ready()

    async def ready(self) -> None:
        """Returns when every daemon is."""
        await asyncio.gather(*(node.ready() for node in self.nodes))

    @property
    def dsn(self) -> str:
        """Postgres itself, past the wires."""
        assert self._postgres is not None, "start() comes first"
        return self._postgres.result().server.dsn

    async def connect(self) -> Connection:
        """A connection of our own."""
        return await asyncpg.connect(self.dsn, timeout=10, command_timeout=60)

    async def restart_database(self, mode: str) -> None:
        """Stops Postgres under everyone and starts it again."""
        assert self._postgres is not None, "start() comes first"
        how: Literal["immediate", "fast"] = "immediate" if mode == "immediate" else "fast"
        async with self._restarting:
            await asyncio.to_thread(self._postgres.result().restart, how)

    async def cut_database(self, number: int) -> int:
        """Ends the database sessions of one daemon; how many there were."""
        conn = await self.connect()
        try:
            return int(await conn.fetchval(query("chaos_cut"), f"duly {self.nodes[number].name}"))
        finally:
            await conn.close()

    async def set_faults(self, faults: Mapping[str, float]) -> None:
        """What the stand-in does to calls and callbacks from now on."""
        assert self._http is not None
        async with self._http.put(f"{self.sandbox_url}/_sandbox/faults", json=dict(faults)) as response:
            if response.status != 200:
                raise ChaosError(f"the stand-in refused {dict(faults)}: {await response.text()}")

    async def pending(self) -> int:
        """Status changes and callbacks that are still to come from the stand-in."""
        assert self._http is not None
        async with self._http.get(f"{self.sandbox_url}/_sandbox/stats") as response:
            return int(orjson.loads(await response.read())["pending"])

    async def arrivals(self) -> list[Arrival]:
        """The stand-in's ledger; a copy is left with the logs."""
        assert self._http is not None
        async with self._http.get(f"{self.sandbox_url}/_sandbox/ledger") as response:
            lines = await response.read()
        (self.logs / "ledger.jsonl").write_bytes(lines)
        return [Arrival(**orjson.loads(line)) for line in lines.splitlines()]

    async def _start_postgres(self) -> None:
        begun = asyncio.to_thread(start, self._directory / "postgres", settings=_POSTGRES)
        self._postgres = asyncio.ensure_future(begun)
        await asyncio.shield(self._postgres)
        conn = await self.connect()
        try:
            await migrations.migrate(conn)
            for workspace in WORKSPACES:
                await conn.execute(query("register_workspace"), workspace, 0.0, None, None)
        finally:
            await conn.close()

    async def _start_sandbox(self, seed: int) -> None:
        arguments = ["--account-sid", settings.ACCOUNT_SID, "--auth-token", settings.AUTH_TOKEN]
        arguments += ["--seed", str(seed), "--speed", _STAND_IN_SPEED, "--exit-with-parent"]
        with (self.logs / "stand-in.log").open("ab") as log:
            self._sandbox = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "daemon.sandbox",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                cwd=HOME,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        assert self._sandbox.stdout is not None
        line = await self._sandbox.stdout.readline()
        if not line:
            raise ChaosError(f"the stand-in did not start; see {self.logs / 'stand-in.log'}")
        self.sandbox_url = orjson.loads(line)["url"]

    def _socket(self) -> Path:
        query_part = parse_qs(urlsplit(self.dsn).query)
        return Path(query_part["host"][0]) / f".s.PGSQL.{query_part['port'][0]}"

    def _wired_dsn(self, wire: Wire) -> str:
        parts = urlsplit(self.dsn)
        return f"postgresql://{parts.netloc.rpartition('@')[0]}@127.0.0.1:{wire.port}{parts.path}?sslmode=disable"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
