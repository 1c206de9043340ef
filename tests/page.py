"""A daemon in the test's own process, and a browser of sorts to look at its page with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from yarl import URL

from daemon.config import parse_config
from daemon.runtime import Runtime
from daemon.store.database import Connection, Database
from tests.support import free_port, toml, until

PERSON = "+14155550123"


class Page:
    """A daemon in this process and a browser of sorts: `get` and `post` return status, headers and text."""

    def __init__(
        self, dsn: str, sandbox_url: str, *, sandbox: bool = True, account: str = "", routes: str = ""
    ) -> None:
        self._dsn, self._sandbox_url = dsn, sandbox_url
        self._port = free_port()
        self._extra = (f'[sandbox]\nurl = "{sandbox_url}"\n' if sandbox else "") + f"[routes]\n{routes}"
        self._account = account
        self.runtime = Runtime(self.config(), Database(lambda: dsn))
        self._task: asyncio.Task[None] | None = None

    def config(self, *, web: str = "", listen: str = "") -> Any:
        text = toml(
            self._dsn, self._sandbox_url, self._port, web=web, extra=self._extra, account=self._account
        )
        return parse_config(text.replace(f'listen = "127.0.0.1:{self._port}"', listen) if listen else text)

    @property
    def url(self) -> str:
        return self.runtime.web.url

    async def __aenter__(self) -> Page:
        await self.runtime.start()
        self._task = asyncio.create_task(self.runtime.supervisor.run())
        await until(self._ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.runtime.supervisor.stop()
        assert self._task is not None
        await self._task
        await self.runtime.close()

    async def _ready(self) -> bool:
        return self.runtime.web.listening.is_set() and not any(self.runtime.parts().values())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, URL(self.url + path, encoded=True), allow_redirects=False, **options
            ) as response,
        ):
            return Answer(response.status, response.headers, await response.text())


class Answer:
    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status, self.headers, self.text = status, headers, text


async def enqueue(conn: Connection, body: str = "Hello", to: str = PERSON, workspace: str = "clinic") -> UUID:
    found: UUID = await conn.fetchval("select duly.enqueue($1, 'sms', $2, $3)", workspace, to, body)
    return found


async def reached(conn: Connection, delivery: UUID, *states: str) -> None:
    async def there() -> bool:
        return await conn.fetchval("select state from duly.delivery where id = $1", delivery) in states

    await until(there)


async def plan(
    conn: Connection, count: int, at: datetime, *, priority: int = 3, later: timedelta = timedelta(hours=4)
) -> None:
    """Plans messages to as many people for a time, as the planner does."""
    owner = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    first = await conn.fetchval("select count(*) from duly.planned")
    items = [
        {
            "source_id": str(UUID(int=7)),
            "source": "check_in",
            "contact": str(uuid4()),
            "occurrence": at.replace(tzinfo=None).isoformat(),
            "channel": "sms",
            "to": f"+1415{5550000 + first + nth}",
            "body": "How was your week?",
            "category": "accountability",
            "priority": priority,
            "due_at": at.isoformat(),
            "earliest": at.isoformat(),
            "latest": (at + later).isoformat(),
        }
        for nth in range(count)
    ]
    rows = await conn.fetch("select error from duly.enqueue_planned($1, $2::jsonb)", owner, json.dumps(items))
    assert not any(row["error"] for row in rows)


def counts(html: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r'data-count="(\w+)">(\d+)<', html)}


class Events:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                line = await self._response.content.readline()
                assert line, "the stream ended"
                if line.startswith(b"data: "):
                    found: dict[str, Any] = json.loads(line[6:])
                    return found

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            with contextlib.suppress(aiohttp.ClientError):
                while await self._response.content.readline():
                    pass
        return True


@contextlib.asynccontextmanager
async def watching(page: Page, **options: Any) -> AsyncIterator[Events]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{page.url}/live", timeout=aiohttp.ClientTimeout(total=60), **options) as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Events(response)
