"""The main job, whole: from `duly.enqueue` to a delivered text message."""

from pathlib import Path

import pytest

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.support import free_port, running, toml, until


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(work_dir: Path, dsn: str, sandbox: Sandbox, port: int) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, port))
    return path


async def test_an_enqueued_message_is_delivered_once(
    config: Path, port: int, conn: Connection, sandbox: Sandbox
) -> None:
    async with running(config, port) as daemon:
        delivery = await conn.fetchval(
            "select duly.enqueue('clinic', 'sms', '+14155550123', 'Your appointment: 9:00')"
        )

        async def delivered() -> bool:
            state: str = await conn.fetchval("select state from duly.delivery where id = $1", delivery)
            return state == "delivered"

        await until(delivered)
        assert sandbox.ledger.stats()["accepted"] == 1
        assert sandbox.ledger.stats()["duplicates"] == 0
        assert await daemon.stop() == 0
