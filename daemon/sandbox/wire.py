"""A lean HTTP/1.1 client that posts forms: a fifth of the CPU of a general one.

Callbacks are several times as many as messages, and the sandbox shares its machine with what it tests.
It knows what a webhook needs and no more: keep-alive, TLS, one answer's status line and length.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

_Origin = tuple[str, int, bool]


class ClientClosedError(ConnectionError):
    """The client was closed."""


class FormClient:
    """Posts forms over connections that are kept open. Any failure is an `OSError` or `TimeoutError`."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._idle: dict[_Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._closed = False

    async def post(self, url: str, form: bytes, headers: Mapping[str, str]) -> int:
        """Post an encoded form and return the answer's status."""
        async with asyncio.timeout(self._timeout_seconds):
            origin, head = _request_head(url, len(form), headers)
            connection = await self._connection(origin)
            try:
                status = await connection.exchange(head + form)
            except BaseException:
                connection.close()
                raise
            finally:
                if not connection.reusable:
                    self._open.discard(connection)
            if connection.reusable:
                self._idle.setdefault(origin, []).append(connection)
            return status

    def close(self) -> None:
        """Close every connection; calls under way fail."""
        self._closed = True
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()

    async def _connection(self, origin: _Origin) -> _Connection:
        if self._closed:
            raise ClientClosedError
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
            self._open.discard(connection)
        host, port, secure = origin
        context = ssl.create_default_context() if secure else None
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, host, port, ssl=context)
        self._open.add(connection)
        return connection


def _request_head(url: str, length: int, headers: Mapping[str, str]) -> tuple[_Origin, bytes]:
    """Where to connect, and the request's head. Raises `ConnectionError` for a URL that cannot be called."""
    origin, start = _target(url)
    lines = [f"{start}{length}", *(f"{name}: {value}" for name, value in headers.items()), "\r\n"]
    return origin, "\r\n".join(lines).encode()


@lru_cache(maxsize=8192)  # a message's callbacks share their URL
def _target(url: str) -> tuple[_Origin, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConnectionError(f"not a URL: {error}") from None
    if not parts.hostname:
        raise ConnectionError("not a URL: no host")
    secure = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    start = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: "
    return (parts.hostname, port or (443 if secure else 80), secure), start


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""
        self._keep = True

    @property
    def reusable(self) -> bool:
        """Whether another exchange can follow."""
        return self._transport is not None and self._keep and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> int:
        """Write a request and wait for its answer's status."""
        if self._transport is None:
            raise ConnectionResetError("closed before the request")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close it, whatever is under way."""
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed without an answer"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        status, length = _answer_head(head)
        if length is None or status is None:  # no length told: take the status and do without the rest
            self.close()
        elif len(body) < length:
            return
        self._buffer = b""
        if b"connection: close" in head.lower():
            self.close()
        if status is None:
            self._answer.set_exception(ConnectionError("not an HTTP answer"))
        else:
            self._answer.set_result(status)


def _answer_head(head: bytes) -> tuple[int | None, int | None]:
    """The status and the body's length, None where they are not told."""
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        return None, None
    status = int(parts[1])
    if status in (204, 304):
        return status, 0
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return status, int(value)
    return status, None
