"""Callbacks over HTTP: written before they are answered, and a state that only ever moves forward."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from multidict import MultiDict
from structlog.testing import capture_logs
from twilio.request_validator import RequestValidator

from daemon import metrics
from daemon.model import Accepted, Channel, Delivery, InboundMessage, State, StatusUpdate
from daemon.platforms.twilio import Twilio, TwilioAccount
from daemon.queue.backoff import Next
from daemon.queue.policies import Policies
from daemon.queue.recorder import Done, Recorder
from daemon.store.database import Connection, Database
from daemon.web.hooks import HookAccount, Hooks
from daemon.web.problems import problems
from tests.support import ACCOUNT_SID, AUTH_TOKEN, SENDER

LARGEST = 64 * 1024
PERSON = "+14155550123"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


class Inbox:
    """As the runtime hands callbacks on, with a workspace that owns a number."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.owners: dict[str, int] = {}

    async def status(self, account: str, update: StatusUpdate) -> None:
        await self.recorder.status(account, update)

    async def inbound(self, account: str, message: InboundMessage) -> None:
        owner = self.owners.get(message.to_address)
        await self.recorder.inbound(account, message, owner, uuid.uuid4())


@dataclass
class Answer:
    status: int
    kind: str
    body: Any
    headers: dict[str, str]


class Site:
    """The hooks on a real socket, and Twilio's side of it."""

    def __init__(self, url: str, hooks: Hooks, inbox: Inbox, session: aiohttp.ClientSession) -> None:
        self.url, self.hooks, self.inbox, self._session = url, hooks, inbox, session

    async def ask(self, method: str, path: str, **rest: Any) -> Answer:
        async with self._session.request(method, self.url + path, **rest) as response:
            kind = response.content_type
            body = await (response.json(content_type=None) if kind.endswith("json") else response.text())
            return Answer(response.status, kind, body, dict(response.headers))

    async def post(self, path: str, fields: dict[str, str], *, token: str = AUTH_TOKEN) -> Answer:
        """Signs and posts a form."""
        signature = RequestValidator(token).compute_signature(self.url + path, MultiDict(fields))
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        return await self.ask("POST", path, data=urlencode(fields).encode(), headers=headers)

    async def status(
        self, delivery: object, word: str, *, attempt: int = 1, code: str = "30006", account: str = "main"
    ) -> Answer:
        fields = {"MessageSid": f"SM{delivery}-{attempt}", "MessageStatus": word}
        if word in ("failed", "undelivered"):
            fields["ErrorCode"] = code
        query = f"?delivery={delivery}&attempt={attempt}"
        return await self.post(f"/hooks/twilio/{account}/status{query}", fields)

    async def inbound(self, sid: str = "SMin1", text: str = "Thanks", to: str = SENDER) -> Answer:
        fields = {"MessageSid": sid, "From": PERSON, "To": to, "Body": text, "NumMedia": "0"}
        return await self.post("/hooks/twilio/main/inbound", fields)


def account(name: str, token: str = AUTH_TOKEN) -> HookAccount:
    login = TwilioAccount(account_sid=ACCOUNT_SID, auth_token=token, sender=SENDER)
    return HookAccount(name, "twilio", Twilio(login))


def policies(_account: str) -> Policies:
    return Policies(lambda _workspace: [], max_attempts=3)


@pytest.fixture
def counted() -> Any:
    """How often a counter has grown since the test began."""

    def read(counter: Any, *labels: str) -> float:
        return float(counter.labels(*labels)._value.get())

    known: dict[tuple[int, tuple[str, ...]], float] = {}

    def since(counter: Any, *labels: str) -> float:
        before = known.setdefault((id(counter), labels), read(counter, *labels))
        return read(counter, *labels) - before

    return since


@contextlib.asynccontextmanager
async def site_on(database: Database) -> AsyncIterator[Site]:
    recorder = Recorder(database, policies)
    writing = asyncio.create_task(recorder.run())
    inbox = Inbox(recorder)
    hooks = Hooks(inbox)
    hooks.accounts = {"main": account("main"), "other": account("other")}
    app = web.Application(middlewares=[problems], client_max_size=LARGEST)
    app.add_routes(hooks.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}", hooks, inbox, session)
    await runner.cleanup()
    await recorder.stop()
    await writing


@pytest_asyncio.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    async with site_on(database) as found:
        yield found


@pytest_asyncio.fixture
async def bare_site() -> AsyncIterator[Site]:
    """For what is refused before any database is asked."""
    async with site_on(Database(lambda: NOWHERE, connect_timeout_seconds=1)) as found:
        yield found


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


TOKEN = 4711


async def delivery_in(
    conn: Connection, state: str, *, attempts: int = 1, workspace: str = "clinic", to: str = PERSON
) -> uuid.UUID:
    """A delivery whose call number `attempts` was marked."""
    found: uuid.UUID = await conn.fetchval("select duly.enqueue($1, 'sms', $2, 'Hello')", workspace, to)
    await conn.execute(
        """update duly.delivery_row set state = $2::text::duly.state, attempts = $3, account = 'main', lease_token = $4,
                  node_id = 1, sending_at = now() where id = $1""",
        found,
        state,
        attempts,
        TOKEN,
    )
    return found


async def row_of(conn: Connection, delivery: uuid.UUID) -> Any:
    return await conn.fetchrow(
        "select *, state::text as state from duly.delivery_row where id = $1", delivery
    )


async def callbacks_of(conn: Connection, delivery: uuid.UUID) -> list[tuple[str, bool]]:
    rows = await conn.fetch(
        "select provider_status, moved from duly.callback where delivery_id = $1 order by id", delivery
    )
    return [(row["provider_status"], row["moved"]) for row in rows]


async def record_accepted(site: Site, conn: Connection, delivery: uuid.UUID) -> None:
    """The answer to the call's POST is written: Twilio took it."""
    row = await row_of(conn, delivery)
    call = Delivery(
        id=delivery, workspace_id=row["workspace_id"], workspace="clinic", channel=Channel.SMS, to=row["to"],
        body="Hello", category="transactional", priority=2, attempts=0, segments=1, lease_token=TOKEN, leased_at=0.0,
        address_key=row["address_key"],
    )  # fmt: skip
    site.inbox.recorder.put(Done(call, "main", Accepted(f"SM{delivery}-1"), Next(State.SENT), 0.0, 0.01))


# Only forward.

STEPS = ("recorded", "queued", "sent", "delivered", "failed")
FORWARD = {
    "sent": ("sending",),
    "delivered": ("sending", "sent"),
    "failed": ("sending", "sent"),
    "queued": (),
}


def expected(steps: tuple[str, ...]) -> str:
    """What becomes of a delivery that is being sent: the first end stays."""
    state = "sending"
    for step in steps:
        word = "sent" if step == "recorded" else step
        if state in FORWARD[word]:
            state = word
    return state


async def test_in_whatever_order_they_come_a_state_only_moves_forward(site: Site, conn: Connection) -> None:
    """Also where the callbacks overtake the answer to the POST itself."""
    orders = list(permutations(STEPS))
    ids = [await delivery_in(conn, "sending") for _ in orders]

    async def step(delivery: uuid.UUID, what: str) -> None:
        if what == "recorded":
            await record_accepted(site, conn, delivery)
        else:
            answer = await site.status(delivery, what)
            assert answer.status == 204

    for place in range(len(STEPS)):
        for delivery, order in zip(ids, orders, strict=True):
            if order[place] == "recorded":
                await record_accepted(site, conn, delivery)
        await site.inbox.recorder._outcomes.drained()
        posts = [site.status(d, o[place]) for d, o in zip(ids, orders, strict=True) if o[place] != "recorded"]
        for each in await asyncio.gather(*posts):
            assert each.status == 204
    for delivery, order in zip(ids, orders, strict=True):
        row = await row_of(conn, delivery)
        assert row["state"] == expected(order), order
        assert row["reason"] == ("not_mobile" if row["state"] == "failed" else None)
        assert (row["delivered_at"] is not None) == (row["state"] == "delivered")
        assert row["provider_id"] == f"SM{delivery}-1"
        assert row["sent_at"] is not None
        assert len(await callbacks_of(conn, delivery)) == 4
    attempts = await conn.fetch("select outcome, provider_id from duly.attempt")
    assert len(attempts) == len(ids)
    assert {row["outcome"] for row in attempts} == {"accepted"}


async def test_a_read_one_was_delivered_too(site: Site, conn: Connection) -> None:
    delivery = await delivery_in(conn, "sent")
    for word in ("read", "delivered", "sent"):
        assert (await site.status(delivery, word)).status == 204
    row = await row_of(conn, delivery)
    assert (row["state"], row["delivered_at"] is not None, row["sent_at"] is not None) == ("read", True, True)
    assert await callbacks_of(conn, delivery) == [("read", True), ("delivered", False), ("sent", False)]


async def test_what_is_repeated_changes_nothing(site: Site, conn: Connection) -> None:
    delivery = await delivery_in(conn, "sending")
    await site.status(delivery, "delivered")
    before = await row_of(conn, delivery)
    answers = await asyncio.gather(*(site.status(delivery, "delivered") for _ in range(20)))
    assert {answer.status for answer in answers} == {204}
    assert await row_of(conn, delivery) == before
    assert sum(moved for _, moved in await callbacks_of(conn, delivery)) == 1


async def test_an_end_that_we_decided_stays(site: Site, conn: Connection) -> None:
    for state in ("canceled", "expired", "skipped", "failed"):
        delivery = await delivery_in(conn, state)
        await site.status(delivery, "delivered")
        await site.status(delivery, "failed", code="30003")
        assert (await row_of(conn, delivery))["state"] == state


async def test_a_word_about_an_earlier_attempt_never_touches_a_later_one(
    site: Site, conn: Connection
) -> None:
    delivery = await delivery_in(conn, "sending", attempts=2)
    before = await row_of(conn, delivery)
    for word in ("sent", "delivered", "failed", "undelivered", "canceled"):
        assert (await site.status(delivery, word, attempt=1)).status == 204
    for word in ("delivered", "failed"):
        assert (await site.status(delivery, word, attempt=3)).status == 204
    assert await row_of(conn, delivery) == before
    assert all(not moved for _, moved in await callbacks_of(conn, delivery))
    await site.status(delivery, "delivered", attempt=2)
    assert (await row_of(conn, delivery))["state"] == "delivered"


async def test_without_an_attempt_it_is_kept_and_moves_nothing(site: Site, conn: Connection) -> None:
    delivery = await delivery_in(conn, "sent")
    answer = await site.post(
        f"/hooks/twilio/main/status?delivery={delivery}", {"MessageSid": "SM1", "MessageStatus": "delivered"}
    )
    assert answer.status == 204
    assert (await row_of(conn, delivery))["state"] == "sent"
    assert await callbacks_of(conn, delivery) == [("delivered", False)]


# A failure that may pass.


async def test_a_temporary_failure_queues_it_again_later(site: Site, conn: Connection) -> None:
    delivery = await delivery_in(conn, "sent")
    await site.status(delivery, "undelivered", code="30003")
    row = await row_of(conn, delivery)
    assert (row["state"], row["reason"], row["attempts"]) == ("queued", "unreachable_now", 1)
    assert (row["lease_token"], row["node_id"], row["provider_id"]) == (None, None, None)
    assert await conn.fetchval("select due_at > now() from duly.delivery_row where id = $1", delivery)
    await site.status(delivery, "undelivered", code="30003")  # said twice: one retry
    assert await row_of(conn, delivery) == row


async def test_the_last_attempts_failure_is_the_end(site: Site, conn: Connection) -> None:
    delivery = await delivery_in(conn, "sent", attempts=3)
    await site.status(delivery, "undelivered", attempt=3, code="30003")
    row = await row_of(conn, delivery)
    assert (row["state"], row["reason"]) == ("failed", "unreachable_now")


async def test_what_arrived_after_all_is_not_sent_again(site: Site, conn: Connection) -> None:
    """The platform's word of success about the last attempt wins over the retry that waits."""
    for state in ("queued", "leased"):
        delivery = await delivery_in(conn, "sent")
        await site.status(delivery, "undelivered", code="30003")
        await conn.execute(
            "update duly.delivery_row set state = $2::text::duly.state, lease_token = 9, node_id = 1 where id = $1",
            delivery,
            state,
        )
        await site.status(delivery, "delivered")
        row = await row_of(conn, delivery)
        assert (row["state"], row["lease_token"], row["node_id"]) == ("delivered", None, None)


async def test_an_uncertain_one_is_settled_by_its_callback(site: Site, conn: Connection) -> None:
    for word, state in (("sent", "sent"), ("delivered", "delivered"), ("failed", "failed")):
        delivery = await delivery_in(conn, "uncertain")
        await site.status(delivery, word)
        row = await row_of(conn, delivery)
        assert (row["state"], row["provider_id"]) == (state, f"SM{delivery}-1")


async def test_an_opt_out_told_by_callback_is_the_end(site: Site, conn: Connection) -> None:
    delivery = await delivery_in(conn, "sent")
    await site.status(delivery, "failed", code="21610")
    row = await row_of(conn, delivery)
    assert (row["state"], row["reason"]) == ("failed", "opted_out")


# What nobody here knows.


async def test_a_delivery_that_is_not_ours_is_taken_and_counted(site: Site, counted: Any) -> None:
    counted(metrics.CALLBACKS, "main", "delivered")
    with capture_logs() as logs:
        assert (await site.status(uuid.uuid4(), "delivered")).status == 204
        answer = await site.post(
            "/hooks/twilio/main/status", {"MessageSid": "SM1", "MessageStatus": "delivered"}
        )
        assert answer.status == 204
    assert counted(metrics.CALLBACKS, "main", "delivered") == 2
    unknown = [entry for entry in logs if entry["event"] == "callbacks for deliveries we do not have"]
    assert [entry["count"] for entry in unknown] == [1]


async def test_many_of_which_some_are_unknown_write_the_others(site: Site, conn: Connection) -> None:
    ids = [await delivery_in(conn, "sending") for _ in range(30)]
    mixed = [d for each in ids for d in (each, uuid.uuid4())]
    answers = await asyncio.gather(*(site.status(d, "delivered") for d in mixed))
    assert {answer.status for answer in answers} == {204}
    assert await conn.fetchval("select count(*) from duly.delivery where state = 'delivered'") == 30


# Refused.

PATH = f"/hooks/twilio/main/status?delivery={uuid.UUID(int=1)}&attempt=1"
GOOD = {"MessageSid": "SM1", "MessageStatus": "sent"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GARBAGE = {**FORM, "X-Twilio-Signature": "garbage"}


@pytest.mark.parametrize(
    ("status", "label", "method", "path", "rest"),
    [
        (403, "main", "POST", PATH, {"data": b"MessageSid=SM1", "headers": FORM}),
        (403, "main", "POST", PATH, {"data": b"MessageSid=SM1", "headers": GARBAGE}),
        (403, "main", "POST", PATH, {"data": b"\xff\xfe", "headers": GARBAGE}),
        (
            403,
            "main",
            "POST",
            PATH,
            {"data": b"{}", "headers": {**GARBAGE, "Content-Type": "application/json"}},
        ),
        (403, "main", "POST", "/hooks/twilio/main/inbound", {"data": b"From=%2B1", "headers": GARBAGE}),
        (404, "", "POST", "/hooks/twilio/nobody/status", {"data": b"x"}),
        (404, "", "POST", "/hooks/telegram/main/status", {"data": b"x"}),
        (404, "", "POST", "/hooks/twilio/nobody/inbound", {"data": b"x" * (LARGEST + 1)}),
        (405, "", "GET", PATH, {}),
        (405, "", "PUT", "/hooks/twilio/main/inbound", {"data": b"x"}),
        (413, "main", "POST", PATH, {"data": b"x" * (LARGEST + 1), "headers": GARBAGE}),
    ],
)
async def test_a_refusal_is_a_problem_and_counted_and_no_trace_in_the_log(
    bare_site: Site, counted: Any, status: int, label: str, method: str, path: str, rest: dict[str, Any]
) -> None:
    counted(metrics.REFUSED_CALLBACKS, label, str(status))
    with capture_logs() as logs:
        answer = await bare_site.ask(method, path, **rest)
    assert (answer.status, answer.kind) == (status, "application/problem+json")
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert answer.body["detail"]
    assert AUTH_TOKEN not in str(answer.body)
    assert counted(metrics.REFUSED_CALLBACKS, label, str(status)) == 1
    assert all(entry["log_level"] != "error" and "exc_info" not in entry for entry in logs)
    if status == 405:
        assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (PATH, {"MessageSid": "SM1", "MessageStatus": "exploded"}),
        (PATH, {"MessageSid": "SM1"}),
        (PATH, {"MessageStatus": "sent"}),
        ("/hooks/twilio/main/status?delivery=7&attempt=1", GOOD),
        (PATH.replace("attempt=1", "attempt=many"), GOOD),
        ("/hooks/twilio/main/inbound", {"MessageSid": "SM1", "From": PERSON}),
    ],
)
async def test_signed_nonsense_is_400(
    bare_site: Site, counted: Any, path: str, fields: dict[str, str]
) -> None:
    counted(metrics.REFUSED_CALLBACKS, "main", "400")
    with capture_logs() as logs:
        answer = await bare_site.post(path, fields)
    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert counted(metrics.REFUSED_CALLBACKS, "main", "400") == 1
    assert [entry["event"] for entry in logs] == ["callback refused"]


async def test_an_accounts_token_opens_no_other_account(site: Site, conn: Connection) -> None:
    site.hooks.accounts = {"main": account("main"), "other": account("other", "another-token")}
    delivery = await delivery_in(conn, "sent")
    assert (await site.status(delivery, "delivered", account="other")).status == 403
    assert (await row_of(conn, delivery))["state"] == "sent"


async def test_bytes_that_are_no_text_are_refused_like_any_other(bare_site: Site) -> None:
    host, port = bare_site.url.removeprefix("http://").split(":")
    for head in (
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nX-Twilio-Signature: \xff\xfe\r\n",
        b"POST " + PATH.encode() + b"&x=\xff HTTP/1.1\r\nX-Twilio-Signature: abc\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head + b"Host: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=1")
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.split(b" ")[1] in (b"403", b"400")
        writer.close()


async def test_behind_a_proxy_the_public_url_is_what_was_signed(site: Site, conn: Connection) -> None:
    site.hooks.public_url = "https://duly.example/behind"
    delivery = await delivery_in(conn, "sent")
    path = f"/hooks/twilio/main/status?delivery={delivery}&attempt=1"
    fields = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    assert (await site.post(path, fields)).status == 403  # signed for the address that only we see
    signature = RequestValidator(AUTH_TOKEN).compute_signature(f"https://duly.example/behind{path}", fields)
    headers = {**FORM, "X-Twilio-Signature": signature}
    answer = await site.ask("POST", path, data=urlencode(fields).encode(), headers=headers)
    assert answer.status == 204
    assert (await row_of(conn, delivery))["state"] == "delivered"


# While the database is away.


async def test_while_the_database_is_away_nothing_is_confirmed(dsn: str, conn: Connection) -> None:
    delivery = await delivery_in(conn, "sent")
    present = [NOWHERE]
    database = Database(lambda: present[0], connect_timeout_seconds=1)
    async with site_on(database) as site:
        with capture_logs() as logs:
            for answer in (await site.status(delivery, "delivered"), await site.inbound()):
                assert (answer.status, answer.kind) == (503, "application/problem+json")
                assert int(answer.headers["Retry-After"]) > 0
        assert all("exc_info" not in entry for entry in logs)
        present[0] = dsn
        assert (await site.status(delivery, "delivered")).status == 204
        assert (await site.inbound()).status == 200
    await database.close()
    assert (await row_of(conn, delivery))["state"] == "delivered"
    assert await conn.fetchval("select count(*) from duly.inbound") == 1


async def test_a_database_that_does_not_answer_in_time_is_away(
    site: Site, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.web.hooks._COMMIT_SECONDS", 0.1)
    delivery = await delivery_in(conn, "sent")
    async with conn.transaction():
        await conn.execute("select 1 from duly.delivery_row where id = $1 for update", delivery)
        assert (await site.status(delivery, "delivered")).status == 503
    for _ in range(2):  # Twilio comes again
        assert (await site.status(delivery, "delivered")).status == 204
    assert (await row_of(conn, delivery))["state"] == "delivered"


# Messages from people.


async def stored(conn: Connection) -> list[tuple[str, str | None, str]]:
    rows = await conn.fetch(
        """select i.provider_id, w.name as workspace, i.body from duly.inbound i
           left join duly.workspace w on w.id = i.workspace_id order by i.received_at"""
    )
    return [(row["provider_id"], row["workspace"], row["body"]) for row in rows]


async def test_a_message_is_stored_once_and_answered_with_nothing_to_say(
    site: Site, conn: Connection
) -> None:
    answers = [await site.inbound() for _ in range(3)]
    answers += await asyncio.gather(*(site.inbound() for _ in range(5)))
    assert {(a.status, a.kind, a.body) for a in answers} == {(200, "text/xml", "<Response/>")}
    assert await stored(conn) == [("SMin1", None, "Thanks")]
    assert await conn.fetchval("select count(*) from duly.conversation") == 1


async def test_it_belongs_to_the_workspace_that_owns_the_number(site: Site, conn: Connection) -> None:
    shop = await conn.fetchval("select id from duly.workspace where name = 'shop'")
    site.inbox.owners = {SENDER: shop}
    await record_for(site, conn, "clinic")
    await site.inbound()
    assert await stored(conn) == [("SMin1", "shop", "Thanks")]


async def record_for(site: Site, conn: Connection, workspace: str) -> None:
    """That workspace has written to the person through this account."""
    delivery = await delivery_in(conn, "sending", workspace=workspace)
    await record_accepted(site, conn, delivery)
    await site.inbox.recorder._outcomes.drained()


async def test_else_to_the_one_that_wrote_to_them_last(site: Site, conn: Connection) -> None:
    await site.inbound("SMin0")
    for number, workspace in enumerate(("clinic", "shop", "clinic"), start=1):
        await record_for(site, conn, workspace)
        await conn.execute("update duly.attempt set began_at = began_at - interval '1 minute'")
        await site.inbound(f"SMin{number}", "Hé 😀")
    assert await stored(conn) == [
        ("SMin0", None, "Thanks"),  # nobody had
        ("SMin1", "clinic", "Hé 😀"),
        ("SMin2", "shop", "Hé 😀"),
        ("SMin3", "clinic", "Hé 😀"),
    ]
    conversations = await conn.fetch("select workspace_id, channel::text, address from duly.conversation")
    assert len(conversations) == 3
    assert {(c["channel"], c["address"]) for c in conversations} == {("sms", PERSON)}


async def test_a_message_posted_again_stays_where_it_is_also_when_the_person_has_become_anothers(
    site: Site, conn: Connection
) -> None:
    await site.inbound()
    before = await conn.fetchval("select last_inbound_at from duly.conversation")
    await record_for(site, conn, "clinic")
    await site.inbound()
    assert await stored(conn) == [("SMin1", None, "Thanks")]
    assert await conn.fetchval("select last_inbound_at from duly.conversation") == before


async def test_a_message_has_its_conversation(site: Site, conn: Connection) -> None:
    for number in range(3):
        await site.inbound(f"SMin{number}")
    rows = await conn.fetch(
        """select k.id, count(*) as messages, max(i.received_at) = k.last_inbound_at as last from duly.inbound i
           join duly.conversation k on k.id = i.conversation_id and k.workspace_id = i.workspace_id group by k.id,
           k.last_inbound_at"""
    )
    assert [(row["messages"], row["last"]) for row in rows] == [(3, True)]


async def test_a_nul_in_a_message_is_dropped_and_the_message_kept(site: Site, conn: Connection) -> None:
    assert (await site.inbound(text="a\0b")).status == 200
    assert await stored(conn) == [("SMin1", None, "ab")]
