"""Helpers for tests that are no fixtures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from daemon.queue.unsealing import Unsealer
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys, Source
from daemon.store.database import Database

ACCOUNT_SID = "AC0123456789abcdef0123456789abcdef"
AUTH_TOKEN = "0123456789abcdef-auth-token"
SENDER = "+15005550006"
ROOT = Path(__file__).resolve().parent.parent


def dsn_of(dsn: str, database: str) -> str:
    """The same server, another database."""
    parts = urlsplit(dsn)
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))


_ports = count()


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on.

    Below the range that the system takes clients' ports from, and each test worker has its own part of it, so
    that nobody takes the port between this answer and its use.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 12_000 + worker * 1_000 + (os.getpid() + next(_ports)) % 1_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


async def until(condition: Callable[[], Awaitable[Any]], *, seconds: float = 15, every: float = 0.02) -> Any:
    """Waits for a truthy answer and returns it. Fails the test where none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"nothing came of it within {seconds:g} s"
        await asyncio.sleep(every)


def toml(
    dsn: str,
    sandbox_url: str,
    port: int,
    *,
    extra: str = "",
    daemon: str = "",
    account: str = "",
    web: str = "",
) -> str:
    """A configuration for one account on the stand-in, without workspace limits; the parts are added to it."""
    return f"""
[database]
url = "{dsn}"
[daemon]
lease_seconds = 5
shutdown_seconds = 5
{daemon}
[web]
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"
{web}
[limits]
workspace_per_second = 100000
workspace_burst = 100000
[platforms.main]
kind = "twilio"
base_url = "{sandbox_url}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
from = "{SENDER}"
timeout_seconds = 3
{account}
[workspaces.clinic]
[workspaces.shop]
{extra}
"""


def no_keys(source: Source) -> DataKeys:
    """The data keys of an installation that has no key for them."""
    return DataKeys(source, lambda: KeyRing({}, None))


def plain_unsealer(database: Database) -> Unsealer:
    """An unsealer of a daemon that has no keys."""
    return Unsealer(database, no_keys(database))


class DaemonProcess:
    """`duly run` as a process of its own, with what it logged."""

    def __init__(
        self, config: Path, port: int, environ: dict[str, str] | None = None, *, log_path: Path | None = None
    ) -> None:
        self.config = config
        self.url = f"http://127.0.0.1:{port}"
        self._log_path = log_path or config.with_suffix(f".{time.monotonic_ns()}.log")
        self._environ = {**os.environ, **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; see `ready`."""
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environ,
            )

    @property
    def log(self) -> str:
        """Everything it has written."""
        return self._log_path.read_text(encoding="utf-8")

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self, seconds: float = 20) -> int:
        """Its exit status."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, seconds)

    async def stop(self) -> int:
        """SIGTERM and its exit status."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def ready(self, seconds: float = 20) -> None:
        """Waits until /readyz says so."""
        await until(lambda: self.get("/readyz", expect=200), seconds=seconds)

    async def unfit(self, part: str, words: str) -> None:
        """Waits until /readyz says these words of a part: before its first try a part cannot know them."""

        async def said() -> bool:
            answer = await self.get("/readyz", expect=503)
            return answer is not None and words in answer["parts"][part]

        await until(said)

    async def get(self, path: str, *, expect: int | None = None) -> Any:
        """A GET's JSON; None while nobody answers or with another status than expected."""
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
                if expect is not None and response.status != expect:
                    return None
                return await response.json(content_type=None)
        except aiohttp.ClientError:
            assert self.process is None or self.process.poll() is None, self.log
            return None


@contextlib.asynccontextmanager
async def running(
    config: Path, port: int, *, wait_ready: bool = True, log_path: Path | None = None
) -> AsyncIterator[DaemonProcess]:
    """A daemon process for the length of a block; killed at its end if it still runs."""
    daemon = DaemonProcess(config, port, log_path=log_path)
    daemon.start()
    try:
        if wait_ready:
            await daemon.ready()
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.send_signal(signal.SIGCONT)
            daemon.process.kill()
            await daemon.wait()
