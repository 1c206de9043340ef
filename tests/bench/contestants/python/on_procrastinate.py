"""procrastinate: one async worker at the bench's concurrency. It takes a job a statement, one after the other.

Nothing in its documentation fetches or finishes in batches. Measured here: larger pools are no faster, nor is
`delete_jobs="successful"`; uvloop is.
"""

from __future__ import annotations

import logging

import uvloop
from common import Send, asked, messages, ready, sender
from procrastinate import App, PsycopgConnector

_POOL = 4
_SETTINGS = {"concurrency": asked["concurrency"]}
_app = App(connector=PsycopgConnector(conninfo=asked["dsn"], min_size=_POOL, max_size=_POOL))
_senders: list[Send] = []


@_app.task(name="send")
async def on_send(**message: str) -> None:
    """The job."""
    await _senders[0](message)


async def main() -> None:
    """Fills its queue, says so, and works until it is killed."""
    logging.disable(logging.WARNING)
    async with _app.open_async(), sender() as send:
        _senders.append(send)
        await _app.schema_manager.apply_schema_async()
        await on_send.batch_defer_async(*messages())
        async with _app.connector.pool.connection() as conn:
            await conn.set_autocommit(True)
            await conn.execute("vacuum analyze procrastinate_jobs")
            await conn.set_autocommit(False)
        await ready("procrastinate", {**_SETTINGS, "pool": _POOL, "loop": "uvloop"})
        await _app.run_worker_async(**_SETTINGS, install_signal_handlers=False)


if __name__ == "__main__":
    uvloop.run(main())
