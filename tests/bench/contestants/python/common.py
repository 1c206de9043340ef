"""What the Python peers share: the talk with the bench, the messages, and the POST of Duly's Twilio adapter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import aiohttp
import orjson
from yarl import URL

asked: dict[str, Any] = json.loads(sys.argv[1])  # dsn, url, path, jobs, concurrency
Send = Callable[[dict[str, str]], Awaitable[str]]

_HEADERS = {
    "Authorization": "Basic " + "x" * 44,
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    "User-Agent": "bench",
}
_NO_QUERY = URL("/")


def messages() -> list[dict[str, str]]:
    """The messages to queue."""
    return [
        {
            "to": "+14155550100",
            "body": f"Hello number {i}, your appointment is tomorrow at nine",
            "delivery": f"01a20d9b-6828-7792-9c2a-{i:012x}",
        }
        for i in range(asked["jobs"])
    ]


@contextlib.asynccontextmanager
async def sender() -> AsyncIterator[Send]:
    """A function that posts a message over one lean session and returns the provider's id."""
    target = URL(asked["url"] + asked["path"], encoded=True)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept", "Content-Type"),
        auto_decompress=False,
    ) as session:

        async def send(message: dict[str, str]) -> str:
            callback = "http://127.0.0.1:1/hooks/twilio/main/status"
            form = [
                ("To", message["to"]),
                ("From", "+15005550006"),
                ("Body", message["body"]),
                ("StatusCallback", f"{callback}?delivery={message['delivery']}&attempt=1"),
            ]
            body = _NO_QUERY.with_query(form).raw_query_string.encode()
            async with (
                asyncio.timeout(15),
                session.post(target, data=body, headers=_HEADERS, allow_redirects=False) as response,
            ):
                assert response.status == 201
                sid: str = orjson.loads(await response.read())["sid"]
                return sid

        await asyncio.gather(*(send(message) for message in messages()[: asked["concurrency"]]))
        yield send


async def ready(package: str, settings: dict[str, Any]) -> None:
    """Says that all is filled and connected, and returns when the bench says go."""
    runtime = "python " + sys.version.split()[0]
    print(json.dumps({"version": version(package), "settings": settings, "runtime": runtime}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
