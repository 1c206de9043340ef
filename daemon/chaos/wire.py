"""The wire between one daemon and Postgres, with a fault that no server can make: an answer that gets lost.

A statement whose answer never came may have committed. Ending a session rarely hits that moment; this wire
lets the statement through, waits for the answer and cuts the connection instead of passing it on.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

_CHUNK = 65_536
_GONE = (OSError, asyncio.IncompleteReadError)


class Wire:
    """Listens on a port of the loopback and passes all on to Postgres' socket."""

    def __init__(self, socket: Path) -> None:
        self.port = 0
        self.swallowed = 0
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._swallow_until = 0.0
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listens; `port` is known afterwards."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cuts every connection and listens no more."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0)

    def swallow(self, seconds: float) -> None:
        """For so long, each answer of the database cuts its connection instead of arriving."""
        self._swallow_until = asyncio.get_running_loop().time() + seconds

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        self._open.add(client_out)
        server_out: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(*_GONE):
                server_in, server_out = await asyncio.open_unix_connection(str(self._socket))
                self._open.add(server_out)
                there = asyncio.create_task(self._pass(client_in, server_out, answers=False))
                back = asyncio.create_task(self._pass(server_in, client_out, answers=True))
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                for task in (there, back):
                    task.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            for writer in (client_out, server_out):
                if writer is not None:
                    self._open.discard(writer)
                    writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await source.read(_CHUNK):
            if answers and asyncio.get_running_loop().time() < self._swallow_until:
                self.swallowed += 1
                return
            to.write(data)
            await to.drain()
