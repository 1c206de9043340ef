"""What the page asks of a stand-in: its phones, a conversation, a reply. See daemon/sandbox/control.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class StandInDown(Exception):
    """The stand-in did not answer, or made no sense. The text is fit for the page."""


def is_number(text: str) -> bool:
    """Whether this is a phone's number."""
    return _E164.fullmatch(text) is not None


class StandIn:
    """A client of the stand-in that the present configuration names, if it names one."""

    def __init__(self, url: Callable[[], str | None]) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    @property
    def configured(self) -> bool:
        """Whether there is one to ask."""
        return self._url() is not None

    async def phones(self, search: str, limit: int, offset: int) -> dict[str, Any]:
        """`total`, and a page of `phones`, the one that moved last first. Raises `StandInDown`."""
        found = await self._ask("GET", "/phones", {"q": search, "limit": str(limit), "offset": str(offset)})
        return found or {"total": 0, "phones": []}

    async def phone(self, number: str) -> dict[str, Any] | None:
        """A phone with its `messages`, oldest first; None if there never was one. Raises `StandInDown`."""
        return await self._ask("GET", f"/phones/{quote(number, safe='')}")

    async def reply(self, number: str, body: str) -> bool:
        """Lets the person answer. Whether the stand-in had anywhere to post it to. Raises `StandInDown`."""
        found = await self._ask("POST", f"/phones/{quote(number, safe='')}/reply", json={"body": body})
        return bool(found and found["posted"])

    async def close(self) -> None:
        """Closes the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(
        self, method: str, path: str, query: dict[str, str] | None = None, json: Any = None
    ) -> dict[str, Any] | None:
        url = self._url()
        if url is None:
            raise StandInDown("there is none: set sandbox.url")
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with self._session.request(method, f"{url}/_sandbox{path}", params=query, json=json) as got:
                if got.status == 404:
                    return None
                answer = orjson.loads(await got.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise StandInDown(f"{type(error).__name__} at {url}") from error
        if got.status >= 400 or not isinstance(answer, dict):
            raise StandInDown(f"it answered {got.status} at {url}")
        return answer
