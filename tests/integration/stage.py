"""The stage of the tests that kill, cut and starve: one database, one stand-in, daemons on both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from daemon.sandbox.app import Sandbox
from daemon.sandbox.messages import Message
from daemon.store.database import Connection
from daemon.store.timeline import load
from tests.support import ROOT, DaemonProcess, free_port, toml, until

NUMBER = "+1415556{:04}"


@dataclass
class Stage:
    """A migrated database, a connection of the test's own to it, the stand-in, and a directory for TOMLs."""

    dsn: str
    conn: Connection
    sandbox: Sandbox
    directory: Path

    def config(
        self,
        name: str = "a",
        *,
        timeout: float = 1,
        patience: float = 2,
        dsn: str | None = None,
        **parts: str,
    ) -> DaemonProcess:
        """Writes a TOML and returns its daemon, not started. `parts` are those of `support.toml`."""
        path, port = self.directory / f"{name}.toml", free_port()
        text = self.text(port, timeout=timeout, patience=patience, dsn=dsn, node=name, **parts)
        path.write_text(text)
        return DaemonProcess(path, port)

    def text(
        self,
        port: int,
        *,
        timeout: float = 1,
        patience: float = 2,
        dsn: str | None = None,
        node: str = "a",
        **parts: str,
    ) -> str:
        """A TOML for one account whose calls time out after `timeout` seconds."""
        parts["daemon"] = f'node = "{node}"\npoll_seconds = 1\n' + parts.get("daemon", "")
        parts["account"] = f"patience_seconds = {patience}\n" + parts.get("account", "")
        text = toml(dsn or self.dsn, self.sandbox.url, port, **parts)
        return text.replace("timeout_seconds = 3\n", f"timeout_seconds = {timeout}\n")

    @contextlib.asynccontextmanager
    async def daemon(
        self, name: str = "a", *, wait_ready: bool = True, **parts: Any
    ) -> AsyncIterator[DaemonProcess]:
        """A running daemon; killed at the end of the block if it still runs."""
        found = self.config(name, **parts)
        async with self.running(found, wait_ready=wait_ready):
            yield found

    @contextlib.asynccontextmanager
    async def running(self, daemon: DaemonProcess, *, wait_ready: bool = True) -> AsyncIterator[None]:
        """Starts a configured daemon for the length of a block."""
        daemon.start()
        try:
            if wait_ready:
                await daemon.ready()
            yield
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.process.kill()  # also ends one that is stopped
                await daemon.wait()

    async def enqueue(self, to: str, body: str = "Your appointment: 9:00", **more: Any) -> UUID:
        """Queues one message for the workspace `clinic`, or that of `workspace`."""
        given = {"workspace": "clinic", "channel": "sms", "to": to, "body": body, **more}
        names = ", ".join(f'"{name}" => ${i}' for i, name in enumerate(given, start=1))
        found: UUID = await self.conn.fetchval(f"select duly.enqueue({names})", *given.values())
        return found

    async def many(self, count: int, *, workspace: str = "clinic", first: int = 1000) -> list[UUID]:
        """Queues so many messages, each to a number of its own."""
        return [
            await self.enqueue(NUMBER.format(first + i), f"Message {i}", workspace=workspace)
            for i in range(count)
        ]

    async def row(self, delivery: UUID) -> asyncpg.Record:
        """The delivery's row."""
        found = await self.conn.fetchrow("select * from duly.delivery_row where id = $1", delivery)
        assert found is not None
        return found

    async def state(self, delivery: UUID) -> str:
        """Where it stands."""
        return str(await self.conn.fetchval("select state from duly.delivery_row where id = $1", delivery))

    async def reaches(self, delivery: UUID, *states: str, seconds: float = 25) -> str:
        """Waits until it stands at one of these."""

        async def there() -> str | None:
            state = await self.state(delivery)
            return state if state in states else None

        try:
            return str(await until(there, seconds=seconds))
        except AssertionError:
            raise AssertionError(f"not {states}: {await self.story(delivery)}") from None

    async def all_reach(self, *states: str, seconds: float = 40) -> None:
        """Waits until every delivery stands at one of these."""

        async def there() -> bool:
            return not await self.conn.fetchval(
                "select count(*) from duly.delivery_row where state::text <> all ($1::text[])", list(states)
            )

        try:
            await until(there, seconds=seconds, every=0.1)
        except AssertionError:
            raise AssertionError(f"not all {states}: {await self.counts()}") from None

    async def counts(self) -> dict[str, int]:
        """How many deliveries stand where."""
        rows = await self.conn.fetch(
            "select state::text || coalesce(' ' || reason, '') as at, count(*) from duly.delivery_row group by 1"
        )
        return {row["at"]: row["count"] for row in rows}

    async def story(self, delivery: UUID) -> str:
        """What happened to it, a step a line."""
        found = await load(self.conn, delivery)
        assert found is not None
        return "\n".join(f"{step.at:%S.%f} {step.what} {step.detail}" for step in found.steps)

    async def explain(self, daemon: DaemonProcess, delivery: UUID) -> dict[str, Any]:
        """What `duly explain --json` says of it."""
        found = await self.duly(daemon, "explain", str(delivery), "--json")
        assert found.returncode == 0, found.stderr
        return dict(json.loads(found.stdout))

    def taken(self, delivery: UUID) -> list[Message]:
        """What the stand-in has accepted for it, in order."""
        return [m for m in self.sandbox.ledger.messages if m.delivery == str(delivery)]

    def calls(self, delivery: UUID) -> int:
        """How many calls for it the stand-in has answered or taken."""
        refused = [r for r in self.sandbox.ledger.rejections if r.delivery == str(delivery)]
        return len(self.taken(delivery)) + len(refused)

    def assert_once(self, deliveries: list[UUID]) -> None:
        """The stand-in has exactly one message for each."""
        assert {d: len(self.taken(d)) for d in deliveries} == dict.fromkeys(deliveries, 1)
        assert self.sandbox.ledger.duplicates == 0

    async def duly(self, daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command with a daemon's configuration."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "daemon", *words, "--config", str(daemon.config)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )


async def readyz(daemon: DaemonProcess) -> tuple[int, dict[str, Any]]:
    """/readyz: the status and the answer; 0 and nothing while nobody answers."""
    try:
        async with aiohttp.ClientSession() as session, session.get(daemon.url + "/readyz") as response:
            return response.status, await response.json()
    except aiohttp.ClientError:
        return 0, {}


async def unready(daemon: DaemonProcess, part: str, *words: str, seconds: float = 15) -> str:
    """Waits until /readyz answers 503 and says all these words of a part; returns what it says."""

    async def told() -> str | None:
        status, found = await readyz(daemon)
        says = str(found.get("parts", {}).get(part, ""))
        return says if status == 503 and all(word in says for word in words) else None

    try:
        return str(await until(told, seconds=seconds))
    except AssertionError:
        raise AssertionError(f"/readyz never said {words} of {part}: {await readyz(daemon)}") from None


async def metric(daemon: DaemonProcess, line: str) -> float:
    """The value of one line of /metrics, 0 where it is not there."""
    async with aiohttp.ClientSession() as session, session.get(daemon.url + "/metrics") as response:
        for each in (await response.text()).splitlines():
            if each.startswith(line + " "):
                return float(each.rsplit(" ", 1)[1])
    return 0.0
