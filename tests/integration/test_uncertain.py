"""Calls whose end nobody saw: asked about, never guessed, neither lost nor doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from daemon.content.rendering import Renderer
from daemon.model import State, StatusUpdate
from daemon.platforms.twilio import Twilio, TwilioAccount
from daemon.queue.membership import Membership
from daemon.queue.policies import Policies
from daemon.queue.reconciler import Asking, Reconciler
from daemon.queue.recorder import Recorder
from daemon.sandbox.app import Sandbox
from daemon.sandbox.messages import Message, Status
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection, Database
from tests.integration.stage import NUMBER, Stage
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER

# twilio's own client, in this process: see aiohttp 3.14.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ERROR_NOT_TAKEN, ERROR_TAKEN, CUT_TAKEN, HANG_TAKEN = (NUMBER.format(n) for n in (10, 11, 12, 13))
ORDINARY = NUMBER.format(5000)


@pytest.fixture
def settings() -> SandboxSettings:
    """The stand-in's; a test may override it by its own parameters."""
    return SandboxSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, seed=1, speed=10)


@pytest_asyncio.fixture
async def stage(
    dsn: str, conn: Connection, settings: SandboxSettings, work_dir: Path
) -> AsyncIterator[Stage]:
    async with Sandbox(settings) as sandbox:
        yield Stage(dsn, conn, sandbox, work_dir)


# ── The reconciler against the stand-in, without a daemon ──


class Scene:
    """Deliveries made uncertain by hand, messages put into the stand-in's ledger by hand."""

    def __init__(self, stage: Stage, database: Database, platform: Twilio) -> None:
        self.stage, self.platform = stage, platform
        self.database = database
        render = Renderer(None, {}, lambda: True)
        asking = Asking(platform, render, 60.0, resend=False, max_attempts=5)
        membership = Membership(database, "test", 30)
        self.reconcilers = [Reconciler(database, membership, lambda: {"main": asking}) for _ in range(2)]
        self.recorder = Recorder(database, lambda _: Policies(lambda _: [], 5))
        self._tokens = 0

    async def uncertain(self, *, attempts: int = 1, to: str = ORDINARY, body: str = "Hello") -> UUID:
        """A delivery whose last call was marked just now and has no end."""
        self._tokens += 1
        delivery = await self.stage.enqueue(to, body)
        await self.stage.conn.execute(
            "update duly.delivery_row set state = 'uncertain', reason = 'timed_out', account = 'main',"
            " lease_token = $2, attempts = $3, sending_at = now(), ask_at = now() where id = $1",
            delivery,
            self._tokens,
            attempts,
        )
        return delivery

    async def had_attempt(self, delivery: UUID, number: int, provider_id: str) -> None:
        """An earlier call of it, whose end is known."""
        await self.stage.conn.execute(
            "insert into duly.attempt (delivery_id, lease_token, workspace_id, number, account, address_hash,"
            " outcome, provider_id, began_at, took_ms) select id, 1000 + $2, workspace_id, $2, 'main', 0, 'accepted',"
            " $3, now(), 5 from duly.delivery_row where id = $1",
            delivery,
            number,
            provider_id,
        )

    def listed(self, sid: str, *, to: str = ORDINARY, body: str = "Hello") -> str:
        """A message that the platform has."""
        ledger = self.stage.sandbox.ledger
        ledger.accept(
            Message(
                sid=sid,
                to=to,
                sender=SENDER,
                service=None,
                body=body,
                media=(),
                status=Status.QUEUED,
                segments=1,
                created=ledger.wall(),
                accepted_monotonic=ledger.monotonic(),
                updated=ledger.wall(),
            )
        )
        return sid

    async def ask(self) -> None:
        """Both reconcilers ask at once about all that is uncertain."""
        await self.stage.conn.execute("update duly.delivery_row set ask_at = now() where state = 'uncertain'")
        await asyncio.gather(*(reconciler.once() for reconciler in self.reconcilers))

    async def callback(self, delivery: UUID, sid: str, word: State) -> None:
        """A status callback for its first attempt."""
        update = StatusUpdate(delivery, 1, sid, word.value, word)
        writing = asyncio.create_task(self.recorder.run())
        try:
            await self.recorder.status("main", update)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def provider_ids(self) -> list[str]:
        rows = await self.stage.conn.fetch("select provider_id from duly.delivery_row where state = 'sent'")
        return sorted(row["provider_id"] for row in rows)


@pytest_asyncio.fixture
async def scene(stage: Stage, database: Database) -> AsyncIterator[Scene]:
    platform = Twilio(
        TwilioAccount(
            account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, sender=SENDER, base_url=stage.sandbox.url
        )
    )
    await platform.open()
    await stage.conn.execute("select duly.register_workspace('clinic')")
    yield Scene(stage, database, platform)
    await platform.close()


async def test_equal_deliveries_that_were_all_taken_get_a_message_each_however_many_ask_at_once(
    scene: Scene,
) -> None:
    sids = [scene.listed(f"SM{i:032}") for i in range(6)]
    for _ in sids:
        await scene.uncertain()
    for _ in range(8):  # who loses a message to another asks again
        await scene.ask()
    assert await scene.provider_ids() == sids


async def test_a_message_of_an_earlier_attempt_of_the_same_delivery_is_not_taken_for_the_last_one(
    scene: Scene,
) -> None:
    delivery = await scene.uncertain(attempts=2)
    await scene.had_attempt(delivery, 1, scene.listed("SM" + "1" * 32))
    await scene.ask()
    assert await scene.stage.state(delivery) == "uncertain"
    second = scene.listed("SM" + "2" * 32)
    await scene.ask()
    assert await scene.provider_ids() == [second]


async def test_a_callback_corrects_which_of_two_equal_messages_is_whose(scene: Scene) -> None:
    mine, others = "SM" + "2" * 32, scene.listed("SM" + "1" * 32)
    scene.listed(mine)
    first = await scene.uncertain()
    other = await scene.uncertain()
    await scene.ask()
    await scene.ask()
    assert await scene.provider_ids() == [others, mine]
    for word in (State.SENT, State.DELIVERED):
        await scene.callback(first, mine, word)
        await scene.callback(other, others, word)
    attempts = await scene.stage.conn.fetch("select delivery_id, provider_id from duly.attempt")
    assert {row["delivery_id"]: row["provider_id"] for row in attempts} == {first: mine, other: others}


async def test_a_message_that_a_callback_has_named_as_anothers_is_not_found_for_an_equal_delivery(
    scene: Scene,
) -> None:
    late = await scene.uncertain()
    await scene.stage.conn.execute(
        "update duly.delivery_row set state = 'queued', lease_token = null, due_at = now() + interval '1 hour'"
    )
    await scene.callback(late, scene.listed("SM" + "1" * 32), State.SENT)
    assert await scene.stage.state(late) == "sent"
    equal = await scene.uncertain()
    await scene.ask()
    assert await scene.stage.state(equal) == "uncertain"
