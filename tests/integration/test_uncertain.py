"""Calls whose end nobody saw: asked about, never guessed, neither lost nor doubled."""

from __future__ import annotations

import asyncio
import json
import signal
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
from daemon.sandbox.faults import Faults
from daemon.sandbox.messages import Message, Status
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection, Database
from tests.integration.stage import NUMBER, Stage
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER, plain_unsealer, until

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
        render = Renderer(None, {})
        asking = Asking(platform, render, 60.0, resend=False, max_attempts=5)
        membership = Membership(database, "test", 30)
        self.reconcilers = [
            Reconciler(database, membership, plain_unsealer(database), lambda: {"main": asking})
            for _ in range(2)
        ]
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
            "insert into duly.attempt (delivery_id, lease_token, workspace_id, number, account,"
            " outcome, provider_id, began_at, took_ms) select id, 1000 + $2, workspace_id, $2, 'main', 'accepted',"
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


# ── With a daemon ──

NO_CALLBACKS = SandboxSettings(
    account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, seed=1, speed=10, callbacks=False
)


async def answers(stage: Stage, delivery: UUID) -> list[str]:
    """What the platform's list said of it, each answer once, in order."""
    rows = await stage.conn.fetch(
        "select answer from duly.resolution where delivery_id = $1 order by lease_token, number", delivery
    )
    return list(dict.fromkeys(row["answer"] for row in rows))


async def uncertain_by(stage: Stage, faults: Faults, to: str, body: str = "Hello") -> UUID:
    """Queues a message while the stand-in has these faults, and waits for what comes of the call."""
    stage.sandbox.dice.set(faults)
    delivery = await stage.enqueue(to, body)
    await stage.reaches(delivery, "uncertain")
    return delivery


@pytest.mark.parametrize("settings", [NO_CALLBACKS])
async def test_without_callbacks_the_platforms_list_tells_what_was_taken_and_what_is_sent_again(
    stage: Stage,
) -> None:
    async with stage.daemon() as daemon:
        timed_out = await uncertain_by(stage, Faults(latency_ms=4000), NUMBER.format(5001))
        reset = await uncertain_by(stage, Faults(cut_not_taken=1), NUMBER.format(5002))
        stage.sandbox.dice.set(Faults())
        taken = [await stage.enqueue(to) for to in (ERROR_TAKEN, CUT_TAKEN, HANG_TAKEN)]
        not_taken = [await stage.enqueue(ERROR_NOT_TAKEN), timed_out, reset]
        for delivery in taken + not_taken:
            await stage.reaches(delivery, "sent")
        stage.assert_once(taken + not_taken)
        for delivery in taken:
            row = await stage.row(delivery)
            assert (row["attempts"], row["provider_id"]) == (1, stage.taken(delivery)[0].sid)
            assert await answers(stage, delivery) == ["found"]
        for delivery in not_taken:
            row = await stage.row(delivery)
            assert (row["attempts"], row["provider_id"]) == (2, stage.taken(delivery)[0].sid)
            assert (await answers(stage, delivery))[-1] == "absent"
        told = (await stage.duly(daemon, "explain", str(reset))).stdout
        steps = [line.split(")  ", 1)[1] for line in told.splitlines() if " UTC (" in line]
        assert steps[0].startswith("queued")
        assert steps[1].startswith("leased  by node")
        assert "attempt 1 unknown" in steps[2]
        assert "connection_lost" in steps[2]
        assert any(s.startswith("asked the platform: absent  then queued") for s in steps)
        assert any(s.startswith("attempt 2 accepted") for s in steps)
        assert steps[-1] == "sent"


async def test_a_callback_settles_it_before_the_platform_is_asked_and_the_late_answer_changes_nothing(
    stage: Stage,
) -> None:
    async with stage.daemon():
        deliveries = [await stage.enqueue(to) for to in (ERROR_TAKEN, CUT_TAKEN, HANG_TAKEN)]
        for delivery in deliveries:
            await stage.reaches(delivery, "delivered")
        hung = deliveries[2]

        async def late_answer() -> bool:
            return bool(
                await stage.conn.fetchval(
                    "select count(*) from duly.attempt where delivery_id = $1 and reason = 'timed_out'", hung
                )
            )

        await until(late_answer)
        row = await stage.row(hung)
        assert (row["state"], row["reason"], row["attempts"]) == ("delivered", None, 1)
        assert row["provider_id"] == stage.taken(hung)[0].sid
        assert await stage.conn.fetchval("select count(*) from duly.resolution") == 0
        stage.assert_once(deliveries)


@pytest.mark.parametrize(
    "settings",
    [SandboxSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, speed=0.005, callbacks=False)],
)
async def test_a_message_that_the_platform_has_not_sent_yet_is_found_all_the_same(stage: Stage) -> None:
    async with stage.daemon():
        delivery = await stage.enqueue(ERROR_TAKEN)
        await stage.reaches(delivery, "sent")
        message = stage.taken(delivery)[0]
        assert (message.status, message.sent) == (Status.QUEUED, None)
        assert (await stage.row(delivery))["provider_id"] == message.sid
        stage.assert_once([delivery])


@pytest.mark.parametrize("settings", [NO_CALLBACKS])
async def test_where_the_platform_cannot_tell_the_account_decides_to_hold_or_to_resend(stage: Stage) -> None:
    other = f"""[routes]
sms = "main"
[platforms.other]
kind = "twilio"
base_url = "{stage.sandbox.url}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
from = "{SENDER}"
timeout_seconds = 1
patience_seconds = 1
on_uncertain = "resend"
"""
    extra = other.replace("[routes]", 'routes = { sms = "other" }\n[routes]')
    async with stage.daemon(patience=1, extra=extra) as daemon:
        held, again = [
            await stage.enqueue(ERROR_TAKEN, workspace=workspace) for workspace in ("clinic", "shop")
        ]
        for delivery in (held, again):
            await stage.reaches(delivery, "uncertain")
        stage.sandbox.dice.set(Faults(error_not_taken=1))  # the list answers 500

        async def asked() -> bool:
            count: int = await stage.conn.fetchval("select count(*) from duly.resolution")
            return count >= 2

        await until(asked)
        right = stage.sandbox.twilio._authorization
        stage.sandbox.twilio._authorization = b"Basic other"  # and then 401

        async def decided() -> bool:
            await stage.conn.execute(  # do not wait for the growing pauses between asks
                "update duly.delivery_row set ask_at = now() where ask_at < now() + interval '50 seconds'"
            )
            row = await stage.row(held)
            return row["ask_at"] is None and await stage.state(again) != "uncertain"

        await until(decided, every=0.3)
        stage.sandbox.twilio._authorization = right
        stage.sandbox.dice.set(Faults())
        row = await stage.row(held)
        assert (row["state"], row["attempts"], row["reason"]) == ("uncertain", 1, "provider_error")
        assert "401" in row["detail"]
        assert "a person must decide" in row["detail"]
        listed = json.loads((await stage.duly(daemon, "replay", "--json")).stdout)
        assert [(g["state"], g["reason"], g["count"]) for g in listed["groups"]] == [
            ("uncertain", "provider_error", 1)
        ]
        assert "held for a person" in (await stage.duly(daemon, "explain", str(held))).stdout
        await stage.conn.execute("update duly.delivery_row set due_at = now() where state = 'queued'")
        await stage.reaches(again, "sent")
        assert [len(stage.taken(delivery)) for delivery in (held, again)] == [1, 2]  # as asked for
        assert (await stage.row(again))["attempts"] == 2
        assert await stage.state(held) == "uncertain"


@pytest.mark.parametrize(
    "settings",
    [
        SandboxSettings(
            account_sid=ACCOUNT_SID,
            auth_token=AUTH_TOKEN,
            seed=1,
            speed=10,
            callback_retry_seconds=(4.0,),
        )
    ],
)
async def test_of_two_equal_messages_of_which_one_was_taken_neither_is_lost_or_doubled(stage: Stage) -> None:
    async with stage.daemon():
        taken = await uncertain_by(stage, Faults(error_taken=1, callback_drop=1), ORDINARY)
        lost = await uncertain_by(stage, Faults(error_not_taken=1), ORDINARY)
        stage.sandbox.dice.set(Faults())
        await stage.reaches(taken, "delivered")
        await stage.reaches(lost, "delivered")
        stage.assert_once([taken, lost])
        assert [(await stage.row(d))["attempts"] for d in (taken, lost)] == [1, 2]
        assert (await answers(stage, lost))[-1] == "absent"  # before the other's callback it cannot be told


@pytest.mark.parametrize("settings", [NO_CALLBACKS])
async def test_after_a_kill_in_mid_call_another_daemon_finds_out_what_was_taken(stage: Stage) -> None:
    async with stage.daemon("a", timeout=60) as first:
        taken = await stage.enqueue(HANG_TAKEN)
        await stage.reaches(taken, "sending")
        await until(lambda: _taken(stage, taken))
        stage.sandbox.dice.set(Faults(latency_ms=60_000))
        lost = await stage.enqueue(ORDINARY)
        await stage.reaches(lost, "sending")

        async def arrived() -> bool:
            return stage.sandbox.ledger.received == 2

        await until(arrived)
        first.signal(signal.SIGKILL)
        await first.wait()
    stage.sandbox.dice.set(Faults())
    async with stage.daemon("b") as second:
        await stage.reaches(taken, "sent")
        await stage.reaches(lost, "sent")
        stage.assert_once([taken, lost])
        assert [(await stage.row(d))["attempts"] for d in (taken, lost)] == [1, 2]
        assert "took over from dead daemons" in second.log
        assert (await stage.row(taken))["provider_id"] == stage.taken(taken)[0].sid


async def _taken(stage: Stage, delivery: UUID) -> bool:
    return bool(stage.taken(delivery))
