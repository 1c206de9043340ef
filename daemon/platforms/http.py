"""POSTs to one URL over kept connections, for platforms whose calls must not be made twice.

A client of our own, in front of httptools' parser, for two reasons. It knows whether a byte of a call has left: no
library says so, and it decides between "refused, try again" and "uncertain, ask". And it costs a third of the
leanest aiohttp session, which is most of what a message costs (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httptools
from aiohappyeyeballs import AddrInfoType, start_connection
from yarl import URL

_KEEP_IDLE_SECONDS = 30.0
_LONGEST_CONNECT_SECONDS = 10.0
_RESOLVED_SECONDS = 60.0
# What an answer may have: headers as Twilio's and ten times that; a body that fits a page of its lists.
_MOST_HEADER_BYTES = 16_384
_MOST_BODY_BYTES = 16 * 2**20


class NotMade(Exception):
    """No byte of the call has left, nor will it."""


class HeldBack(NotMade):
    """`may_begin` said no."""


class NotConnected(NotMade):
    """There was no connection, or none in time. The text says why."""


class NoAnswer(Exception):
    """The call was made and not answered: it may have been taken. The text says why."""


class NoAnswerInTime(NoAnswer):
    """The time for the call ran out first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whole. The headers' names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PostClient:
    """POSTs to one URL. Any number of calls may be under way, each on a connection of its own."""

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout_seconds: float) -> None:
        """`headers` go with every call, besides Host and Content-Length; values must have no control characters."""
        at = URL(url, encoded=True)
        assert at.host is not None
        self._host, self._port = at.host, at.port or 0
        self._ssl = ssl.create_default_context() if at.scheme == "https" else None
        named = at.host_port_subcomponent if not at.is_default_port() else at.host_subcomponent
        lines = [f"POST {at.raw_path_qs} HTTP/1.1", f"Host: {named}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any(not line.isprintable() for line in lines):
            raise ValueError("a header or the URL has control characters")
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._idle: deque[_Connection] = deque()  # the one used last is taken first
        self._open: set[_Connection] = set()
        self._resolving: asyncio.Future[list[AddrInfoType]] | None = None
        self._resolved_at = 0.0

    async def post(self, body: bytes, may_begin: Callable[[], bool]) -> Answer:
        """Makes one call; `may_begin` is asked last, right before the first byte is written.

        Raises `NotMade` where nothing has left, `NoAnswer` where something has and no whole answer came.
        """
        deadline = self._loop.time() + self._timeout_seconds
        connection = self._kept() or await self._connect()
        if not may_begin():
            self._keep(connection)
            raise HeldBack("held back")
        timer = self._loop.call_at(deadline, connection.give_up)
        try:
            answer = await connection.call(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            timer.cancel()
        self._keep(connection)
        return answer

    async def close(self) -> None:
        """Closes all connections; what is under way ends with `NoAnswer`."""
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)  # the transports close in the loop's next turn

    def _kept(self) -> _Connection | None:
        """A connection that is open and was used a moment ago, so that the other end has hardly given it up."""
        oldest = self._loop.time() - _KEEP_IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        if connection.usable:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        else:
            connection.close()
        oldest = self._loop.time() - _KEEP_IDLE_SECONDS
        while self._idle and not (self._idle[0].usable and self._idle[0].idle_since > oldest):
            self._idle.popleft().close()

    async def _connect(self) -> _Connection:
        seconds = min(_LONGEST_CONNECT_SECONDS, self._timeout_seconds)
        try:
            async with asyncio.timeout(seconds):
                sock = await start_connection(await self._addresses(), happy_eyeballs_delay=0.25)
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self._loop, self._open),
                    sock=sock,
                    ssl=self._ssl,
                    server_hostname=self._host if self._ssl else None,
                )
        except TimeoutError as error:
            raise NotConnected(f"no connection within {seconds:g} s") from error
        except (OSError, UnicodeError) as error:  # TLS' own errors and names that are none among them
            self._resolving = None  # the next one looks the host up anew
            raise NotConnected(_words(error)) from error
        return connection

    async def _addresses(self) -> list[AddrInfoType]:
        """The host's addresses: looked up once for all who ask meanwhile, and again after a minute."""
        now = self._loop.time()
        if self._resolving is None or (
            self._resolving.done() and now - self._resolved_at > _RESOLVED_SECONDS
        ):
            self._resolving = asyncio.ensure_future(self._resolve())
            self._resolved_at = now
        return await asyncio.shield(self._resolving)

    async def _resolve(self) -> list[AddrInfoType]:
        found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return cast("list[AddrInfoType]", found)


class _Connection(asyncio.Protocol):
    """One connection with at most one call on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, open_ones: set[_Connection]) -> None:
        self._loop = loop
        self._open_ones = open_ones
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answered: asyncio.Future[Answer] | None = None  # set while a call is under way
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._head_is_whole = False
        self.idle_since = 0.0
        self.usable = True

    def call(self, request: bytes) -> asyncio.Future[Answer]:
        """Writes a request; the future has its answer or raises `NoAnswer`."""
        assert self._transport is not None
        self._answered = self._loop.create_future()
        self._transport.write(request)
        return self._answered

    def give_up(self) -> None:
        """The call's time is over."""
        self._fail(NoAnswerInTime("no answer in time"))

    def close(self) -> None:
        """Cuts the connection."""
        self._fail(NoAnswer("closed by us"))

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answered is None:
            self._fail(NoAnswer("it spoke without being asked"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(NoAnswer(f"an answer that is no HTTP: {error}"))
        if self._answered is not None and not self._head_is_whole:
            self._count_header(len(data))  # the parser collects a line until its end, however far that is

    def eof_received(self) -> None:
        self.usable = False
        if self._head_is_whole and not {"content-length", "transfer-encoding"} & self._headers.keys():
            self._done()  # an answer that ends with the connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        self._fail(NoAnswer(_words(exc) if exc else "the connection ended before the answer did"))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._head_is_whole = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > _MOST_BODY_BYTES:
            self._fail(NoAnswer(f"an answer of more than {_MOST_BODY_BYTES} bytes"))

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:  # else it only says that the answer is still to come
            self.usable = self.usable and self._parser.should_keep_alive()
            self._done()
        self._forget()

    def _done(self) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            answered.set_result(Answer(self._parser.get_status_code(), self._headers, b"".join(self._parts)))

    def _forget(self) -> None:
        self._headers, self._header_bytes, self._head_is_whole = {}, 0, False
        self._parts, self._body_bytes = [], 0

    def _count_header(self, more: int) -> None:
        self._header_bytes += more
        if self._header_bytes > _MOST_HEADER_BYTES:
            self._fail(NoAnswer(f"an answer with more than {_MOST_HEADER_BYTES} bytes of headers"))

    def _fail(self, error: NoAnswer) -> None:
        self.usable = False
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            answered.set_exception(error)
        if self._transport is not None:
            self._transport.abort()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
