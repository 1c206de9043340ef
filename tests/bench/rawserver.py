"""A raw stand-in: answers every POST with a 201 and a fresh sid, as fast as a Python protocol can.

`python -m tests.bench.rawserver [MS]` answers after so many milliseconds.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 75\r\n\r\n"
_COUNT = count()


class Raw(asyncio.Protocol):
    """Reads requests with a Content-Length, one after the other on a connection."""

    delay_seconds = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            stop = head.find(b"\r\n", at)
            length = int(head[at + 15 : stop if stop > 0 else None])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            body = b'{"sid": "SM%032x", "status": "queued"}' % next(_COUNT)
            answer = _HEAD.replace(b"75", b"%d" % len(body)) + body
            if self.delay_seconds:
                asyncio.get_running_loop().call_later(self.delay_seconds, self._answer, answer)
            else:
                self._transport.write(answer)

    def _answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():  # as it is where the client was killed meanwhile
            self._transport.write(answer)


async def serve(delay_ms: float) -> None:
    """Listens until stdin ends, and says where on stdout."""
    Raw.delay_seconds = delay_ms / 1000
    server = await asyncio.get_running_loop().create_server(Raw, "127.0.0.1", 0)
    print(f'{{"url": "http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}}', flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
