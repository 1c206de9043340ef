"""What is handed over to Twilio ahead of its time: sent there once, and taken back when it must not go."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from daemon.config import parse_config
from daemon.planning.campaign_drafts import draft, make
from daemon.runtime import Runtime
from daemon.sandbox.app import Sandbox
from daemon.sandbox.faults import Faults
from daemon.sandbox.messages import Message, Status
from daemon.sandbox.settings import SandboxSettings
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from daemon.store.status import snapshot
from daemon.store.timeline import load
from tests.integration.stage import NUMBER, Stage
from tests.integration.test_sealing_daemon import privacy
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER, free_port, toml, until

# twilio's own client, in this process: see aiohttp 3.14.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SERVICE = "MG0123456789abcdef0123456789abcdef"
ANN = NUMBER.format(5001)
CUT_TAKEN, HANG_TAKEN = NUMBER.format(12), NUMBER.format(13)


def scheduling(text: str) -> str:
    """A TOML whose account sends by a messaging service and hands over."""
    sender = f'from = "{SENDER}"\n'
    assert sender in text
    return text.replace(sender, f'messaging_service_sid = "{SERVICE}"\nnative_scheduling = true\n')


class House:
    """A daemon in this process that hands over, its database and its stand-in."""

    def __init__(self, dsn: str, conn: Connection, sandbox: Sandbox, **parts: str) -> None:
        self.conn, self.sandbox = conn, sandbox
        self._port = free_port()
        self.text = scheduling(toml(dsn, sandbox.url, self._port, **parts)).replace(
            "timeout_seconds = 3\n", "timeout_seconds = 1\npatience_seconds = 1\n"
        )
        self.runtime = Runtime(parse_config(self.text), Database(lambda: dsn))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        """For the length of a block."""
        self.sandbox.lifecycle.inbound_url = f"http://127.0.0.1:{self._port}/hooks/twilio/main/inbound"
        await self.runtime.start()
        task = asyncio.create_task(self.runtime.supervisor.run())
        try:
            await until(self._ready)
            yield self
        finally:
            self.runtime.supervisor.stop()
            await task
            await self.runtime.close()

    async def _ready(self) -> bool:
        named = await self.conn.fetchval("select count(*) from duly.workspace")
        return named >= 2 and not any(self.runtime.parts().values())

    async def enqueue(self, to: str = ANN, *, minutes: float = 20, **more: Any) -> UUID:
        """Queues one for later."""
        given = {
            "workspace": "clinic",
            "channel": "sms",
            "to": to,
            "body": "Your appointment: 9:00",
            "due_at": datetime.now(UTC) + timedelta(minutes=minutes),
            **more,
        }
        names = ", ".join(f'"{name}" => ${i}' for i, name in enumerate(given, start=1))
        found: UUID = await self.conn.fetchval(f"select duly.enqueue({names})", *given.values())
        return found

    async def handed_over(self, to: str = ANN, **more: Any) -> UUID:
        """Queues one and waits until the platform is known to have it."""
        delivery = await self.enqueue(to, **more)
        await self.runtime.forwarder.once()
        await until(lambda: self.open(delivery))
        return delivery

    async def open(self, delivery: UUID) -> bool:
        """Whether the platform is known to have it."""
        return bool(
            await self.conn.fetchval(
                "select exists (select from duly.handed_over where delivery_id = $1 and ended_at is null"
                " and provider_id is not null)",
                delivery,
            )
        )

    async def row(self, delivery: UUID) -> asyncpg.Record:
        """The delivery."""
        found = await self.conn.fetchrow("select * from duly.delivery_row where id = $1", delivery)
        assert found is not None
        return found

    async def becomes(self, delivery: UUID, state: str, reason: str | None = None) -> None:
        """Waits until it is so."""

        async def is_so() -> bool:
            self.runtime.recaller.wake()
            row = await self.row(delivery)
            return (row["state"], row["reason"]) == (state, reason)

        try:
            await until(is_so, seconds=10)
        except AssertionError:
            raise AssertionError(f"not {state} {reason}: {dict(await self.row(delivery))}") from None
        assert not await self.open(delivery)

    def there(self, delivery: UUID) -> list[Message]:
        """What the stand-in has taken for it."""
        return [m for m in self.sandbox.ledger.messages if m.delivery == str(delivery)]

    def statuses(self, delivery: UUID) -> list[Status]:
        """Where that stands."""
        return [message.status for message in self.there(delivery)]

    async def told(self, delivery: UUID) -> list[str]:
        """What `duly explain` says, a line a step."""
        found = await load(self.conn, delivery)
        assert found is not None
        return [f"{step.what}: {step.detail}" for step in found.steps]


@pytest.fixture
def settings() -> dict[str, Any]:
    """The stand-in's; a test may override it. An hour takes six minutes."""
    return {}


@pytest_asyncio.fixture
async def sandbox(settings: dict[str, Any]) -> AsyncIterator[Sandbox]:
    wanted = {"seed": 1, "speed": 10.0, **settings}
    async with Sandbox(SandboxSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, **wanted)) as found:
        yield found


@pytest.fixture
def parts() -> dict[str, str]:
    """Of the TOML; a test may override it."""
    return {}


@pytest_asyncio.fixture
async def house(dsn: str, conn: Connection, sandbox: Sandbox, parts: dict[str, str]) -> AsyncIterator[House]:
    async with House(dsn, conn, sandbox, **parts).running() as found:
        yield found


@pytest.mark.parametrize("settings", [{"speed": 4000.0}])
async def test_what_is_due_later_is_handed_over_and_sent_at_its_time_once(house: House) -> None:
    delivery = await house.enqueue(minutes=20, expires_at=datetime.now(UTC) + timedelta(minutes=30))
    due_at = (await house.row(delivery))["due_at"]
    await house.runtime.forwarder.once()
    await house.becomes(delivery, "delivered")
    (message,) = house.there(delivery)
    assert message.service == SERVICE
    assert message.send_at is not None
    assert 0 <= message.send_at - due_at.timestamp() < 1  # whole seconds, and never before
    told = await house.told(delivery)
    assert any(line.startswith(f"handed over: to main for {due_at:%Y-%m-%d %H:%M}") for line in told), told
    assert (await house.row(delivery))["attempts"] == 1


async def test_what_waits_at_the_platform_counts_as_handed_over_and_as_nothing_that_is_stuck(
    house: House,
) -> None:
    delivery = await house.handed_over()
    await house.conn.execute("update duly.delivery_row set state_at = now() - interval '3 days'")
    async with asyncio.timeout(5):
        found = await snapshot(house.conn, 5)
    assert found.together.states == {"handed_over": 1}
    assert not found.together.stuck.total()
    assert await house.conn.fetch(query("doctor_stuck"), 5.0, 60.0) == []
    await house.runtime.rescuer.once()
    assert (await house.row(delivery))["state"] == "sending"
    await house.conn.execute(
        "update duly.handed_over set send_at = now() - interval '1 hour', ask_at = 'infinity'"
    )
    assert [r["kind"] for r in await house.conn.fetch(query("doctor_stuck"), 5.0, 60.0)] == ["silent"]


async def _stop(house: House) -> None:
    house.sandbox.lifecycle.reply(ANN, "STOP", ())


def _sql(statement: str) -> Callable[[House], Any]:
    async def act(house: House) -> None:
        await house.conn.execute(statement)

    return act


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        pytest.param(_stop, "opted_out", id="STOP"),
        pytest.param(
            _sql(f"select duly.record_consent('clinic', 'sms', '{ANN}', 'withdrawn')"),
            "opted_out",
            id="withdrawn",
        ),
        pytest.param(
            _sql(f"select duly.do_not_contact('clinic', 'sms', '{ANN}')"), "do_not_contact", id="list"
        ),
        pytest.param(
            _sql(f"select duly.do_not_contact(null, 'sms', '{ANN}')"), "do_not_contact", id="list of all"
        ),
        pytest.param(
            _sql(f"select duly.erase('clinic', 'me', 'asked for it', 'sms', '{ANN}')"), "erased", id="erasure"
        ),
        pytest.param(
            _sql(
                "select duly.consent_recorded(0, duly.address_key('sms', '"
                + ANN
                + "'), 'sms', '', 'main', 'withdrawn', 'provider', null, '{}', 'duly', now())"
            ),
            "opted_out",
            id="by the account",
        ),
    ],
)
async def test_who_must_not_be_written_to_gets_nothing_that_was_handed_over(
    house: House, act: Callable[[House], Any], reason: str
) -> None:
    delivery, other = await house.handed_over(), await house.handed_over(NUMBER.format(5002))
    await act(house)
    await house.becomes(delivery, "skipped", reason)
    assert house.statuses(delivery) == [Status.CANCELED]
    assert house.statuses(other) == [Status.SCHEDULED]
    assert any(line.startswith("asked back: skipped") for line in await house.told(delivery))


async def test_a_cancel_is_true_when_twilio_has_answered(house: House) -> None:
    delivery = await house.handed_over()
    assert await house.conn.fetchval("select duly.cancel($1)", delivery) is None
    await house.becomes(delivery, "canceled", "canceled")
    assert house.statuses(delivery) == [Status.CANCELED]
    assert await house.conn.fetchval("select duly.cancel($1)", delivery) is True


@pytest.mark.parametrize("settings", [{"callbacks": False}])
@pytest.mark.parametrize("trouble", ["cut_taken", "cut_not_taken", "error_not_taken"])
async def test_a_cancel_without_an_answer_is_asked_again_until_it_has_one(house: House, trouble: str) -> None:
    delivery = await house.handed_over()
    house.sandbox.dice.set(Faults(**{trouble: 1.0}))
    await house.conn.fetchval("select duly.cancel($1)", delivery)
    await house.runtime.recaller.once()
    asked = "select asks from duly.handed_over where delivery_id = $1"
    await until(lambda: house.conn.fetchval(asked, delivery))
    assert (await house.row(delivery))["state"] == "sending"  # nobody can say yet
    house.sandbox.dice.set(Faults())
    await house.becomes(delivery, "canceled", "canceled")
    assert house.statuses(delivery) == [Status.CANCELED]


@pytest.mark.parametrize("settings", [{"callbacks": False}])
async def test_a_cancel_that_comes_too_late_leaves_it_sent_and_says_so(house: House) -> None:
    delivery = await house.handed_over()
    (message,) = house.there(delivery)
    house.sandbox.lifecycle._release(message)
    await until(lambda: asyncio.sleep(0, message.status is Status.DELIVERED))
    await house.conn.fetchval("select duly.cancel($1)", delivery)
    await house.becomes(delivery, "delivered")
    assert any(line.startswith("asked back by") for line in await house.told(delivery))
    assert await house.conn.fetchval("select duly.cancel($1)", delivery) is False


async def test_another_time_goes_through_twilio(house: House) -> None:
    delivery = await house.handed_over(minutes=20)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=60)
    assert await house.conn.fetchval("select duly.reschedule($1, $2)", delivery, later) is None
    await house.becomes(delivery, "queued")
    assert (await house.row(delivery))["due_at"] == later
    await house.runtime.forwarder.once()
    await until(lambda: house.open(delivery))
    first, second = house.there(delivery)
    assert (first.status, second.status) == (Status.CANCELED, Status.SCHEDULED)
    assert (second.send_at, second.attempt) == (later.timestamp(), 2)
    assert house.sandbox.ledger.duplicates == 0
    await house.conn.execute(f"select duly.do_not_contact('clinic', 'sms', '{ANN}')")
    await house.becomes(delivery, "skipped", "do_not_contact")


async def test_of_what_is_only_queued_the_time_is_changed_at_once_and_checked(house: House) -> None:
    later = datetime.now(UTC) + timedelta(days=50)
    delivery = await house.enqueue(minutes=1, expires_at=later + timedelta(days=1))
    assert await house.conn.fetchval("select duly.reschedule($1, $2)", delivery, later) is True
    assert (await house.row(delivery))["due_at"] == later
    for wrong in (None, later + timedelta(days=2), later + timedelta(days=6000)):
        with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^due_at: must be "):
            await house.conn.fetchval("select duly.reschedule($1, $2)", delivery, wrong)
    await house.conn.fetchval("select duly.cancel($1)", delivery)
    assert await house.conn.fetchval("select duly.reschedule($1, $2)", delivery, later) is False
    with pytest.raises(asyncpg.NoDataFoundError):
        await house.conn.fetchval("select duly.reschedule(gen_random_uuid(), $1)", later)
    assert [line.split(":")[0] for line in await house.told(delivery)][1].startswith("rescheduled by")


async def _campaign(house: House, *numbers: str) -> None:
    """A campaign whose members go in different quarters of an hour, as spreading wants it."""
    people = [{"external_id": to, "addresses": [{"channel": "sms", "address": to}]} for to in (ANN, *numbers)]
    await house.conn.fetch(query("put_contacts"), "clinic", json.dumps(people))
    given = {
        "name": "spring",
        "segment": {},
        "body": "Spring!",
        "category": "transactional",
        "later": "5 hours",
    }
    await make(house.conn, "clinic", draft(given))
    await house.conn.execute(query("campaign_act_start"), "clinic", "spring")


async def _handed_over(house: House) -> list[UUID]:
    """What of the campaign is due later and the platform has."""
    found: list[UUID] = []

    async def there() -> bool:
        await house.runtime.campaigner.once()
        await house.runtime.spreader.once()
        await house.runtime.forwarder.once()
        found[:] = [
            row["delivery_id"]
            for row in await house.conn.fetch(
                "select delivery_id from duly.handed_over where ended_at is null and provider_id is not null"
            )
        ]
        left = await house.conn.fetchval(
            "select count(*) from duly.delivery_row"
            " where state in ('queued', 'leased') and due_at > now() + interval '7 min'"
        )
        return len(found) > 1 and not left

    await until(there)
    return found


async def _progress(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        await house.conn.fetchval(query("campaign_progress"), "clinic", "spring")
    )
    assert found["audience"] == found["sent"] + found["waiting"] + sum(found["skipped"].values()) == 3, found
    return found


@pytest.mark.parametrize("parts", [{"account": "planned_per_hour = 4\n"}])
async def test_a_stopped_campaign_gets_back_what_was_handed_over(house: House) -> None:
    await _campaign(house, NUMBER.format(5011), NUMBER.format(5012))
    first = await _handed_over(house)
    assert (await _progress(house))["sending"] == len(first)
    await house.conn.execute(query("campaign_act_pause"), "clinic", "spring")
    await house.conn.execute(query("campaign_act_pause"), "clinic", "spring")  # asks once
    assert await house.conn.fetchval("select count(*) from duly.recall") == len(first)

    async def waits() -> bool:
        house.runtime.recaller.wake()
        await house.runtime.campaigner.once()
        found = await _progress(house)
        return bool(found["to_come"] == found["waiting"])

    await until(waits)
    for delivery in first:
        assert house.statuses(delivery) == [Status.CANCELED]
        row = await house.row(delivery)
        assert (row["state"], row["detail"]) == ("canceled", "campaign spring was paused")
    await house.conn.execute(query("campaign_act_resume"), "clinic", "spring")
    second = await _handed_over(house)
    assert not {*first} & {*second}
    await house.conn.execute(query("campaign_act_cancel"), "clinic", "spring")
    for delivery in second:
        await house.becomes(delivery, "canceled", "canceled")
        assert house.statuses(delivery) == [Status.CANCELED]
    found = await _progress(house)
    went = [m for m in house.sandbox.ledger.messages if m.status is not Status.CANCELED]
    assert len(went) == found["sent"] == 3 - found["skipped"]["canceled"] < 2


async def test_an_end_goes_before_another_time(house: House) -> None:
    delivery = await house.handed_over()
    later = datetime.now(UTC) + timedelta(hours=1)
    async with house.conn.transaction():
        await house.conn.fetchval("select duly.reschedule($1, $2)", delivery, later)
        await house.conn.fetchval("select duly.cancel($1)", delivery)
    await house.becomes(delivery, "canceled", "canceled")


@pytest.mark.parametrize("to", [CUT_TAKEN, HANG_TAKEN])
async def test_a_hand_over_without_an_answer_is_found_and_not_doubled(house: House, to: str) -> None:
    delivery = await house.handed_over(to)
    assert [m.attempt for m in house.there(delivery)] == [1]
    row = await house.row(delivery)
    assert (row["state"], row["attempts"], row["node_id"]) == ("sending", 1, None)
    assert any("asked the platform: found" in line for line in await house.told(delivery))
    await house.conn.fetchval("select duly.cancel($1)", delivery)
    await house.becomes(delivery, "canceled", "canceled")


async def test_a_hand_over_that_never_happened_waits_for_its_time_with_us(house: House) -> None:
    house.sandbox.dice.set(Faults(cut_not_taken=1.0))
    delivery = await house.enqueue()
    due_at = (await house.row(delivery))["due_at"]
    await house.runtime.forwarder.once()
    await until(lambda: _is(house, delivery, "uncertain"))
    house.sandbox.dice.set(Faults())
    await house.becomes(delivery, "queued")
    assert (await house.row(delivery))["due_at"] == due_at
    await house.runtime.forwarder.once()
    assert house.there(delivery) == []
    assert (await house.row(delivery))["state"] == "queued"


async def _is(house: House, delivery: UUID, state: str) -> bool:
    return bool((await house.row(delivery))["state"] == state)


@pytest.mark.parametrize("settings", [{"schedule_least_seconds": 7200.0}])
async def test_what_twilio_does_not_take_ahead_is_sent_by_ourselves(house: House) -> None:
    delivery = await house.enqueue()
    due_at = (await house.row(delivery))["due_at"]
    await house.runtime.forwarder.once()
    await house.becomes(delivery, "queued", "not_scheduled")
    assert (await house.row(delivery))["due_at"] == due_at
    await house.runtime.forwarder.once()
    assert [r.code for r in house.sandbox.ledger.rejections] == [35114]  # not asked a second time
    await house.conn.execute("update duly.delivery_row set due_at = now()")
    house.runtime.fetcher.look_soon()
    await house.becomes(delivery, "delivered")


@pytest.mark.parametrize(
    "parts",
    [
        {
            "extra": """
[rules.quiet_hours]
alert = "00:00-23:59"
[rules.caps]
recipient = { limit = 5, days = 30, categories = ["capped"] }
"""
        }
    ],
)
async def test_what_may_not_go_then_or_may_still_change_is_not_handed_over(house: House) -> None:
    conn = house.conn
    await conn.execute(
        "select duly.put_contact('clinic', 'c', addresses => $1::text::jsonb, max_per_week => 3)",
        f'[{{"channel": "sms", "address": "{NUMBER.format(5009)}"}}]',
    )
    kept = [
        await house.enqueue(minutes=6),  # too soon
        await house.enqueue(minutes=35 * 24 * 60),  # too far
        await house.enqueue(category="alert"),  # quiet hours then
        await house.enqueue(category="capped"),
        await house.enqueue(
            NUMBER.format(5009), category="coaching"
        ),  # counted against the person's own maximum
        await house.enqueue(expires_at=datetime.now(UTC) + timedelta(minutes=20, seconds=5)),
        await house.enqueue(),  # planned, and not yet spread
        await house.enqueue(),  # a check-in
    ]
    await conn.execute(
        "insert into duly.planned (source_id, contact_id, occurrence, workspace_id, source, delivery_id, spread_at)"
        " select gen_random_uuid(), gen_random_uuid(), now(), d.workspace_id, p.source, d.id, p.spread_at"
        " from (values ($1::uuid, 'campaign', null), ($2::uuid, 'check_in', now())) p (id, source, spread_at)"
        " join duly.delivery_row d on d.id = p.id",
        *kept[-2:],
    )
    goes = [await house.enqueue(), await house.enqueue(NUMBER.format(5003), category="coaching")]
    await house.runtime.forwarder.once()
    for delivery in goes:
        await until(partial(house.open, delivery))
    assert [(await house.row(d))["state"] for d in kept] == ["queued"] * len(kept)
    assert house.sandbox.ledger.received == len(goes)


@pytest.mark.parametrize("parts", [{"account": "rate_per_second = 1\n"}])
async def test_an_opt_out_between_the_lease_and_the_call_wins(house: House) -> None:
    first = await house.enqueue(NUMBER.format(5004))
    delivery = await house.enqueue(minutes=21)
    walking = asyncio.create_task(house.runtime.forwarder.once())
    await until(lambda: _is(house, delivery, "leased"))
    # As if it had committed just now, without looking for what is leased: only the mark can find it.
    await house.conn.execute(
        "insert into duly.suppression (address_key, workspace_id, reason, source)"
        " select address_key, workspace_id, 'opted_out', 'sql' from duly.delivery_row where id = $1",
        delivery,
    )
    await house.becomes(delivery, "skipped", "opted_out")
    await walking
    assert house.there(delivery) == []
    await until(lambda: house.open(first))


async def test_a_stop_that_commits_during_the_hand_over_is_found_by_the_last_look(
    house: House, dsn: str
) -> None:
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await other.execute(f"select duly.do_not_contact('clinic', 'sms', '{ANN}')")
        delivery = await house.enqueue()
        await house.runtime.forwarder.once()
        await until(lambda: house.open(delivery))  # nobody could see the other's transaction
    await other.close()
    assert not await house.conn.fetchval("select exists (select from duly.recall)")
    await house.conn.execute("update duly.handed_over set send_at = now() + interval '2 minutes'")
    await house.becomes(delivery, "skipped", "do_not_contact")
    assert house.statuses(delivery) == [Status.CANCELED]


async def test_what_the_rules_allow_no_more_comes_back_and_waits_for_them(house: House) -> None:
    delivery = await house.handed_over()
    text = house.text + '\n[rules.quiet_hours]\ntransactional = "00:00-23:59"\n'
    await house.runtime.reload(parse_config(text))
    await house.conn.execute("update duly.handed_over set send_at = now() + interval '2 minutes'")
    await house.becomes(delivery, "queued")
    assert house.statuses(delivery) == [Status.CANCELED]


@pytest.mark.parametrize("settings", [{"callbacks": False}])
async def test_what_is_silent_after_its_time_is_asked_about(house: House) -> None:
    delivery = await house.handed_over()
    house.sandbox.lifecycle._release(house.there(delivery)[0])
    await until(lambda: asyncio.sleep(0, house.statuses(delivery) == [Status.DELIVERED]))
    await house.conn.execute("update duly.handed_over set send_at = now() - interval '2 minutes'")
    await house.becomes(delivery, "delivered")


@pytest.mark.parametrize("settings", [{"callbacks": False}])
async def test_what_twilio_has_lost_is_sent_by_ourselves(house: House) -> None:
    delivery = await house.handed_over()
    (lost,) = house.there(delivery)
    del house.sandbox.ledger.by_sid[lost.sid]
    await house.conn.execute(
        "update duly.delivery_row set due_at = now() - interval '2 minutes' where id = $1", delivery
    )
    await house.conn.execute("update duly.handed_over set send_at = now() - interval '2 minutes', asks = 4")
    await house.becomes(delivery, "queued", "provider_unavailable")
    await house.conn.execute("update duly.delivery_row set due_at = now()")
    house.runtime.fetcher.look_soon()
    await house.becomes(delivery, "sent")
    assert [m.attempt for m in house.there(delivery)] == [1, 2]


async def test_what_somebody_cancels_at_twilio_is_a_dead_letter(house: House) -> None:
    delivery = await house.handed_over()
    house.sandbox.lifecycle.cancel(house.there(delivery)[0])
    await house.becomes(delivery, "failed", "canceled")


async def test_switched_off_nothing_new_is_handed_over_and_what_is_there_is_followed(house: House) -> None:
    delivery, other = await house.handed_over(), await house.handed_over(NUMBER.format(5005))
    await house.runtime.reload(parse_config(house.text.replace("native_scheduling = true\n", "")))
    queued = await house.enqueue(NUMBER.format(5006))
    assert await house.runtime.forwarder.once() == 0
    await house.conn.fetchval("select duly.cancel($1)", delivery)
    await house.becomes(delivery, "canceled", "canceled")
    assert await house.open(other)
    assert (await house.row(queued))["state"] == "queued"


@pytest.mark.parametrize("parts", [{"extra": privacy({"k": bytes(range(32))}, "k")}])
async def test_what_is_sealed_is_opened_for_it_and_taken_back_as_well(house: House) -> None:
    named = "select exists (select from duly.workspace where name = 'private' and seal)"
    await until(lambda: house.conn.fetchval(named))
    delivery = await house.enqueue(workspace="private")
    await until(lambda: house.conn.fetchval("select sealed is not null from duly.delivery_row"))
    await house.runtime.forwarder.once()
    await until(lambda: house.open(delivery))
    (message,) = house.there(delivery)
    assert (message.to, message.body) == (ANN, "Your appointment: 9:00")
    await house.conn.execute("update duly.handed_over set send_at = now() + interval '2 minutes'")
    looked = "select looked_at is not null from duly.handed_over"
    house.runtime.recaller.wake()
    await until(lambda: house.conn.fetchval(looked))
    assert await house.open(delivery)  # it opened for the last look, too
    await house.conn.execute(f"select duly.do_not_contact('private', 'sms', '{ANN}')")
    await house.becomes(delivery, "skipped", "do_not_contact")


async def test_a_killed_daemons_hand_over_is_found_by_the_next(
    dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Path
) -> None:
    stage = Stage(dsn, conn, sandbox, work_dir)
    await conn.execute("select duly.register_workspace('clinic')")
    later = datetime.now(UTC) + timedelta(minutes=20)
    delivery = await stage.enqueue(HANG_TAKEN, due_at=later)
    first = stage.config("a", timeout=30)
    first.config.write_text(scheduling(first.config.read_text()))
    async with stage.running(first):
        await until(lambda: asyncio.sleep(0, stage.taken(delivery)))
        assert await conn.fetchval("select state from duly.delivery_row where id = $1", delivery) == "sending"
        assert first.process is not None
        first.process.kill()
        await first.wait()
    await conn.execute("update duly.node set alive_until = now()")  # as after its lease_seconds
    async with House(dsn, conn, sandbox).running() as second:
        await until(lambda: second.open(delivery))
        done = await stage.duly(first, "cancel", str(delivery), "--json")
        assert (done.returncode, json.loads(done.stdout)) == (
            0,
            {"id": str(delivery), "canceled": False, "asked": True},
        )
        await second.becomes(delivery, "canceled", "canceled")
    assert [m.status for m in stage.taken(delivery)] == [Status.CANCELED]
