"""How calls leave: the form's encoding, and twilio's own client redirected."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from twilio.http.async_http_client import AsyncTwilioHttpClient
from yarl import URL

_NO_QUERY = URL("/")


class RedirectedHttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]
    """twilio's client, pointed at `base_url`."""

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        super().__init__(pool_connections=True, timeout=timeout_seconds)
        self._base = urlsplit(base_url)

    async def request(
        self, method: str, url: str, *args: Any, auth: Any = None, headers: Any = None, **kwargs: Any
    ) -> Any:
        if auth is not None:  # the way twilio hands it on is deprecated in aiohttp
            headers = {**(headers or {}), "Authorization": aiohttp.encode_basic_auth(*auth)}
        asked = urlsplit(url)
        path = self._base.path.rstrip("/") + asked.path
        there = urlunsplit((self._base.scheme, self._base.netloc, path, asked.query, ""))
        return await super().request(method, there, *args, headers=headers, **kwargs)


def encode(fields: list[tuple[str, str]]) -> bytes:
    """Fields as application/x-www-form-urlencoded. yarl's quoting is C, four times as fast as urllib's."""
    return _NO_QUERY.with_query(fields).raw_query_string.encode()
