"""The pool of connections, and what is known about the database's health.

Whatever goes wrong between us and Postgres comes out as `DatabaseDown`; what Postgres has against a
statement itself comes out as asyncpg's own error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias, TypeVar, cast

import asyncpg
import structlog

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")

log = structlog.get_logger(__name__)

# The connection, the server or the login failed, not the statement: the same call may succeed later.
_OUTAGE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ended the connection just as we began to speak
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
)


class DatabaseDown(Exception):
    """The database could not be asked now. The text has no secrets and fits a log line."""


async def _as_it_is(_conn: object) -> None:
    """How a connection goes back to the pool: asyncpg has rolled back what was open, and nobody leaves a setting or
    a lock behind. Its default, RESET ALL and the like, is a second round trip for each statement."""


@contextlib.contextmanager
def _ended_amidst(conn: object) -> Iterator[None]:
    """Where the pool was dropped between two steps of a statement, asyncpg's connection has lost its protocol and
    stumbles over that. It is an outage like any other.
    """
    try:
        yield
    except AttributeError as error:
        if getattr(conn, "_protocol", None) is not None:
            raise
        raise asyncpg.ConnectionDoesNotExistError("the connection was ended amidst a statement") from error


def describe(error: BaseException) -> str:
    """An error of the database in one line, without the DSN or a password."""
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Database:
    """A pool that comes back by itself.

    `dsn` is read anew for each try to connect, so that a rotated password takes effect without a restart.
    """

    def __init__(
        self,
        dsn: Callable[[], str],
        *,
        pool_size: int = 8,
        connect_timeout_seconds: float = 10,
        statement_timeout_seconds: float = 30,
        application_name: str = "duly",
    ) -> None:
        self._dsn = dsn
        self._pool_size = pool_size
        self._connect_timeout = connect_timeout_seconds
        self._statement_timeout = statement_timeout_seconds
        self._application_name = application_name
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()
        self.problem: str | None = "not connected yet"

    @property
    def up(self) -> bool:
        """Whether the last thing asked of the database was answered."""
        return self.problem is None

    def connect_options(self) -> dict[str, Any]:
        """asyncpg's arguments for a connection of ours, the DSN included."""
        dsn = self._dsn()
        several_hosts = "," in dsn.split("?", 1)[0].rsplit("@", 1)[-1]
        return {
            "dsn": dsn,
            "timeout": self._connect_timeout,
            "command_timeout": self._statement_timeout + 5,
            "target_session_attrs": "read-write" if several_hosts else None,
            "server_settings": {
                "application_name": self._application_name,
                "statement_timeout": str(int(self._statement_timeout * 1000)),
                "idle_in_transaction_session_timeout": "60000",
                "timezone": "UTC",
                "jit": "off",
            },
        }

    async def open(self) -> None:
        """Connects once. Raises `DatabaseDown`."""
        async with self._outage():
            await self._ensure_pool()

    async def close(self) -> None:
        """Closes the pool; gives connections in use a moment, then cuts them."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except (TimeoutError, *_OUTAGE):
            pool.terminate()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection. Raises `DatabaseDown` for any outage, also inside the block."""
        async with self._outage():
            pool = await self._ensure_pool()
            async with pool.acquire(timeout=self._connect_timeout) as conn:
                with _ended_amidst(conn):
                    yield cast("Connection", conn)
        self.problem = None

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """All rows of one statement, in a transaction of its own. Raises `DatabaseDown`."""
        async with self.acquire() as conn:
            return await conn.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """The first row or None. Raises `DatabaseDown`."""
        async with self.acquire() as conn:
            return await conn.fetchrow(query, *args)

    async def execute(self, query: str, *args: object) -> int:
        """How many rows the statement touched. Raises `DatabaseDown`."""
        async with self.acquire() as conn:
            return int((await conn.execute(query, *args)).rsplit(" ", 1)[-1])

    async def insist(self, action: Callable[[], Awaitable[T]], *, pause_seconds: float = 0.1) -> T:
        """Repeats `action` until the database answers, with growing pauses up to 5 s. It must be idempotent."""
        while True:
            try:
                return await action()
            except DatabaseDown:
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 5.0)

    async def _ensure_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                options = self.connect_options()
                options.pop("timeout")
                pool = asyncpg.create_pool(min_size=1, max_size=self._pool_size, reset=_as_it_is, **options)
                async with asyncio.timeout(self._connect_timeout):
                    await pool
                self._pool = pool
            return self._pool

    @contextlib.asynccontextmanager
    async def _outage(self) -> AsyncIterator[None]:
        try:
            yield
        except asyncpg.InvalidPasswordError as error:
            await self._drop_pool(error)  # the password may have been rotated: read the DSN again
        except asyncpg.ReadOnlySQLTransactionError as error:
            await self._drop_pool(error)  # this host has become a standby: find the new primary
        except asyncpg.TransactionRollbackError as error:
            raise DatabaseDown(describe(error)) from error  # a deadlock: no outage, but try again
        except _OUTAGE as error:
            if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
                raise  # an argument that cannot be encoded: no repetition will make it fit
            self._failed(error)
            raise DatabaseDown(describe(error)) from error

    async def _drop_pool(self, error: BaseException) -> None:
        self._failed(error)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
        raise DatabaseDown(describe(error)) from error

    def _failed(self, error: BaseException) -> None:
        problem = describe(error)
        if self.problem != problem:
            log.warning("database unavailable", error=problem)
        self.problem = problem
