"""A daemon whose workspace seals: it sends, shows, refuses without its key, and goes on while keys are rotated."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest_asyncio

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.integration.people import traces
from tests.integration.stage import NUMBER, Stage, metric, readyz
from tests.support import DaemonProcess, until

OLD, NEW, OTHER = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
TO = "+14155565551"
BODY = "Your knee: 9:00"
MARKS = ("4155565551", "knee")


def privacy(keys: dict[str, bytes], current: str) -> str:
    """The part of the TOML for a workspace `private` that seals."""
    written = ", ".join(f'{name} = "{base64.b64encode(key).decode()}"' for name, key in keys.items())
    return f'[workspaces.private]\nseal = true\n[privacy]\nkeys = {{ {written} }}\ncurrent = "{current}"\n'


@pytest_asyncio.fixture
async def stage(dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Path) -> AsyncIterator[Stage]:
    for name in ("clinic", "private"):
        await conn.execute("select duly.register_workspace($1)", name)
    yield Stage(dsn, conn, sandbox, work_dir)


async def later(stage: Stage, seconds: float, to: str = TO) -> UUID:
    return await stage.enqueue(
        to, BODY, workspace="private", due_at=datetime.now(UTC) + timedelta(seconds=seconds)
    )


async def is_sealed(stage: Stage, delivery: UUID) -> bool:
    return bool(
        await stage.conn.fetchval(
            "select d.sealed is not null and m.sealed is not null from duly.delivery_row d"
            " join duly.message m on m.id = d.message_id where d.id = $1",
            delivery,
        )
    )


async def reload(daemon: DaemonProcess, stage: Stage, extra: str) -> None:
    """Gives a running daemon another TOML."""
    done = daemon.log.count('"reloaded"')
    port = int(daemon.url.rsplit(":", 1)[1])
    daemon.config.write_text(stage.text(port, extra=extra))
    daemon.signal(signal.SIGHUP)

    async def reloaded() -> bool:
        return daemon.log.count('"reloaded"') > done

    await until(reloaded)


async def test_what_is_sealed_within_seconds_is_sent_in_clear_and_shown_where_the_key_is(
    stage: Stage,
) -> None:
    async with stage.daemon(extra=privacy({"old": OLD}, "old")) as daemon:
        stage.sandbox.lifecycle.inbound_url = f"{daemon.url}/hooks/twilio/main/inbound"
        at_once = await stage.enqueue(TO, BODY + "!", workspace="private")
        delivery = await later(stage, 6)
        await until(lambda: is_sealed(stage, delivery))
        await stage.reaches(at_once, "delivered")
        await stage.reaches(delivery, "delivered")
        assert [(m.to, m.body) for m in stage.taken(delivery)] == [(TO, BODY)]
        assert [m.body for m in stage.taken(at_once)] == [BODY + "!"]
        stage.sandbox.lifecycle.reply(TO, "Which knee?")

        async def answered() -> bool:
            return bool(
                await stage.conn.fetchval("select count(*) from duly.inbound where sealed is not null")
            )

        await until(answered)
        await until(lambda: is_sealed(stage, at_once))
        assert await traces(stage.conn, MARKS) == []
        explained = json.loads((await stage.duly(daemon, "explain", str(delivery), "--json")).stdout)
        assert explained["to"] == TO
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{daemon.url}/deliveries/{delivery}") as page,
        ):
            text = await page.text()
        assert TO in text
        assert BODY in text
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{daemon.url}/?to=%2B14155565551") as page,
        ):
            text = await page.text()
        assert text.count("&lt;sealed&gt;") >= 2
        assert all(mark not in daemon.log for mark in MARKS)


async def test_without_its_key_a_delivery_waits_and_the_daemon_does_not(stage: Stage) -> None:
    async with stage.daemon("a", extra=privacy({"old": OLD}, "old")) as daemon:
        delivery = await later(stage, 3600)
        await until(lambda: is_sealed(stage, delivery))
        await daemon.stop()
    await stage.conn.execute("update duly.delivery_row set due_at = now() where id = $1", delivery)
    async with stage.daemon("b", extra=privacy({"old": OTHER}, "old")) as daemon:

        async def put_back() -> bool:
            row = await stage.row(delivery)
            return (row["state"], row["reason"]) == ("queued", "cannot_open")

        await until(put_back)
        other = await stage.enqueue(NUMBER.format(5552), "Hello")
        await stage.reaches(other, "delivered")
        status, found = await readyz(daemon)
        assert status == 200
        why = "key old is not the one that the data key was wrapped with"
        assert found["sealing"] == {"sealer": why, "deliveries of private": why}
        assert await metric(daemon, "duly_unopened_total") >= 1
        assert why in daemon.log
        doctor = await stage.duly(daemon, "doctor", "--offline", "--json")
        (finding,) = [f for f in json.loads(doctor.stdout)["findings"] if f["check"] == "keys"]
        assert (doctor.returncode, finding["level"]) == (1, "problem")
        assert finding["what"] == f"key old is needed by private: {why}"

        await reload(daemon, stage, privacy({"old": OLD}, "old"))
        await stage.conn.execute("update duly.delivery_row set due_at = now() where id = $1", delivery)
        await stage.reaches(delivery, "delivered")
        assert [m.body for m in stage.taken(delivery)] == [BODY]

        async def well() -> bool:
            return not (await readyz(daemon))[1]["sealing"]

        await until(well)


async def test_keys_are_rotated_while_the_daemon_sends(stage: Stage) -> None:
    deliveries: list[UUID] = []
    going = True

    async def produce() -> None:
        while going:
            number = NUMBER.format(1000 + len(deliveries))
            deliveries.append(await later(stage, (len(deliveries) % 4) * 1.5, number))
            await asyncio.sleep(0.02)

    async def keys(name: str) -> str:
        doctor = await stage.duly(daemon, "doctor", "--offline", "--json")
        findings = {
            f["what"].split(" ")[1]: f["what"]
            for f in json.loads(doctor.stdout)["findings"]
            if f["check"] == "keys"
        }
        return str(findings[name])

    async with stage.daemon(extra=privacy({"old": OLD}, "old")) as daemon:
        producer = asyncio.create_task(produce())
        await asyncio.sleep(3)
        await reload(daemon, stage, privacy({"old": OLD, "new": NEW}, "new"))
        assert await keys("old") == "key old is needed by private"
        assert await keys("new") == "key new is current, and nothing needs it yet"
        done = await stage.duly(daemon, "privacy", "rotate", "--json")
        assert json.loads(done.stdout) == {"wrapped": 1}
        assert await keys("old") == "key old is not needed any more"
        done = await stage.duly(daemon, "privacy", "rotate", "--data", "--json")
        rotated = json.loads(done.stdout)
        assert (rotated["wrapped"], rotated["renewed"]) == (0, 1)
        await reload(daemon, stage, privacy({"new": NEW}, "new"))
        await asyncio.sleep(1)
        going = False
        await producer
        await stage.all_reach("delivered")
        stage.assert_once(deliveries)
        assert {m.body for m in stage.sandbox.ledger.messages} == {BODY}

        async def all_sealed_anew() -> bool:
            return not await stage.conn.fetchval(
                "select count(*) from (select sealed_with from duly.message union all"
                " select sealed_with from duly.delivery_row) s where sealed_with <> 2"
            )

        await until(all_sealed_anew)
        assert await stage.conn.fetchval("select count(*) from duly.message where sealed_with = 2") == len(
            deliveries
        )
        assert await metric(daemon, "duly_unopened_total") == 0
        assert await traces(stage.conn, ("+1415556", "knee")) == []
