"""What producers call: duly.enqueue, duly.enqueue_batch, duly.cancel, duly.register_workspace."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.rules.segments import GSM7_BASIC, GSM7_EXTENSION, segments
from daemon.store.database import Connection
from daemon.store.embedded import EmbeddedHandle
from tests.support import dsn_of

TO = "+14155550123"
PARAMETERS = {
    "workspace": "text",
    "channel": "text",
    "to": "text",
    "body": "text",
    "due_at": "timestamptz",
    "priority": "integer",
    "idempotency_key": "text",
    "category": "text",
    "expires_at": "timestamptz",
    "template": "text",
    "variables": "jsonb",
    "metadata": "jsonb",
}
JSON_PARAMETERS = ("variables", "metadata")


def name_of(value: object) -> str:
    """A parameter in a test's name, the same in every run: without the times that are reckoned from now."""
    return re.sub(r"datetime\.datetime\([^)]*\)+", "a time", str(value))[:60]


def days(count: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=count)


async def enqueue(conn: Connection, **fields: Any) -> UUID:
    """duly.enqueue by named arguments, with what is not given left to its defaults."""
    given_ = {"workspace": "clinic", "channel": "sms", "to": TO, "body": "Hello"} | fields
    arguments = ", ".join(f'"{name}" => ${n}::{PARAMETERS[name]}' for n, name in enumerate(given_, start=1))
    values = [json.dumps(v) if k in JSON_PARAMETERS and v is not None else v for k, v in given_.items()]
    found: UUID = await conn.fetchval(f"select duly.enqueue({arguments})", *values)
    return found


async def batch(conn: Connection, items: Any) -> list[tuple[int, UUID | None, str | None]]:
    rows = await conn.fetch("select * from duly.enqueue_batch($1::jsonb)", json.dumps(items))
    return [(row["position"], row["id"], row["error"]) for row in rows]


def item(**fields: Any) -> dict[str, Any]:
    return {"workspace": "clinic", "channel": "sms", "to": TO, "body": "Hello"} | fields


async def queued(conn: Connection) -> int:
    found: int = await conn.fetchval("select count(*) from duly.delivery_row")
    assert found == await conn.fetchval("select count(*) from duly.message")
    return found


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """A database of this test's own, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


@pytest.fixture(scope="module")
def shared_dsn(postgres: EmbeddedHandle) -> str:
    """One database for all the lines of the tables below."""

    async def make() -> None:
        admin = await asyncpg.connect(postgres.server.dsn)
        await admin.execute("create database enqueue_tables template duly_template")
        await admin.close()

    asyncio.run(make())
    return dsn_of(postgres.server.dsn, "enqueue_tables")


@pytest_asyncio.fixture
async def shared(shared_dsn: str) -> AsyncIterator[Connection]:
    """It, in a transaction that leaves nothing."""
    connection: Connection = await asyncpg.connect(shared_dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    yield connection
    await transaction.rollback()
    await connection.close()


# What is wrong with a delivery.

MEDIA = "https://example.com/a.png"
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("workspace", {"workspace": "nowhere"}),
    ("workspace", {"workspace": None}),
    ("workspace", {"workspace": ""}),
    ("channel", {"channel": "fax"}),
    ("channel", {"channel": "SMS"}),
    ("channel", {"channel": ""}),
    ("channel", {"channel": None}),
    ("to", {"to": ""}),
    ("to", {"to": None}),
    ("to", {"to": "14155550123"}),
    ("to", {"to": "+04155550123"}),
    ("to", {"to": "+1 415 555 0123"}),
    ("to", {"to": "+1415555012345678"}),
    ("to", {"to": "+123456"}),
    ("to", {"to": "+14155550123\n"}),
    ("to", {"to": " +14155550123"}),
    ("to", {"to": "+١٤١٥٥٥٥٠١٢٣"}),
    ("to", {"to": "whatsapp:+14155550123"}),
    ("to", {"channel": "whatsapp", "to": "4155550123"}),
    ("to", {"channel": "rcs", "to": "4155550123"}),
    ("to", {"channel": "email", "to": "nobody"}),
    ("to", {"channel": "email", "to": "a b@example.com"}),
    ("to", {"channel": "email", "to": "a@b@example.com"}),
    ("to", {"channel": "email", "to": "@example.com"}),
    ("to", {"channel": "email", "to": "a@example.com\nBcc: b@example.com"}),
    ("to", {"channel": "email", "to": "a" * 65 + "@example.com"}),
    ("to", {"channel": "telegram", "to": "x" * 1001}),
    ("to", {"channel": "push", "to": "to\x07ken"}),
    ("body", {"body": None}),
    ("body", {"body": ""}),
    ("body", {"body": " \n\t "}),
    ("body", {"body": "x" * 1601}),
    ("body", {"channel": "whatsapp", "body": "x" * 1601}),
    ("body", {"channel": "telegram", "to": "1", "body": "x" * 4097}),
    ("body", {"channel": "push", "to": "1", "body": "x" * 4001}),
    ("body", {"channel": "in_app", "to": "1", "body": "x" * 20_001}),
    ("body", {"channel": "email", "to": "a@example.com", "body": "x" * 500_001}),
    ("due_at", {"due_at": None}),
    ("due_at", {"due_at": datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)}),
    ("due_at", {"due_at": days(5 * 366 + 1)}),
    ("due_at", {"due_at": datetime.max.replace(tzinfo=UTC)}),  # asyncpg's infinity
    ("due_at", {"due_at": datetime.min.replace(tzinfo=UTC)}),
    ("expires_at", {"expires_at": days(-1), "due_at": days(-2)}),
    ("expires_at", {"expires_at": days(1), "due_at": days(2)}),
    ("expires_at", {"expires_at": datetime(2030, 1, 1, tzinfo=UTC), "due_at": datetime(2030, 1, 1, tzinfo=UTC)}),
    ("expires_at", {"expires_at": datetime.max.replace(tzinfo=UTC)}),
    ("expires_at", {"expires_at": datetime.min.replace(tzinfo=UTC)}),
    ("priority", {"priority": None}),
    ("priority", {"priority": 0}),
    ("priority", {"priority": 4}),
    ("priority", {"priority": -1}),
    ("priority", {"priority": 2_000_000_000}),
    ("idempotency_key", {"idempotency_key": ""}),
    ("idempotency_key", {"idempotency_key": "k" * 256}),
    ("category", {"category": None}),
    ("category", {"category": ""}),
    ("category", {"category": "Marketing"}),
    ("category", {"category": "1st"}),
    ("category", {"category": "a" * 41}),
    ("category", {"category": "two words"}),
    ("category", {"category": "late\n"}),
    ("template", {"template": "welcome"}),
    ("variables", {"variables": None}),
    ("variables", {"variables": ["a"]}),
    ("variables", {"variables": "text"}),
    ("metadata", {"metadata": None}),
    ("metadata", {"metadata": [1]}),
    ("metadata", {"metadata": 5}),
    ("metadata", {"metadata": {"k": "x" * 66_000}}),
    ("metadata", {"variables": {"k": "x" * 40_000}, "metadata": {"k": "x" * 40_000}}),
    ("metadata.media_urls", {"metadata": {"media_urls": None}}),
    ("metadata.media_urls", {"metadata": {"media_urls": []}}),
    ("metadata.media_urls", {"metadata": {"media_urls": {}}}),
    ("metadata.media_urls", {"metadata": {"media_urls": MEDIA}}),
    ("metadata.media_urls", {"metadata": {"media_urls": [MEDIA] * 11}}),
    ("metadata.media_urls", {"metadata": {"media_urls": [5]}}),
    ("metadata.media_urls", {"metadata": {"media_urls": ["ftp://example.com/a.png"]}}),
    ("metadata.media_urls", {"metadata": {"media_urls": [MEDIA + " "]}}),
    ("metadata.media_urls", {"metadata": {"media_urls": ["https://"]}}),
    ("metadata.media_urls", {"metadata": {"media_urls": ["https://" + "x" * 1993]}}),
    ("metadata.media_urls", {"channel": "email", "to": "a@example.com", "metadata": {"media_urls": [MEDIA]}}),
]  # fmt: skip

RIGHT: list[dict[str, Any]] = [
    {"to": "+1234567"},
    {"to": "+123456789012345"},
    {"channel": "whatsapp"},
    {"channel": "rcs"},
    {"channel": "email", "to": "a" * 64 + "@example.com"},
    {"channel": "email", "to": "zoë@exämple.com"},
    {"channel": "telegram", "to": "x" * 1000},
    {"channel": "push", "to": "token"},
    {"channel": "in_app", "to": "user 7"},
    {"body": "x" * 1600},
    {"body": "😀" * 1600},
    {"channel": "telegram", "to": "1", "body": "x" * 4096},
    {"channel": "push", "to": "1", "body": "x" * 4000},
    {"channel": "in_app", "to": "1", "body": "x" * 20_000},
    {"channel": "email", "to": "a@example.com", "body": "x" * 500_000},
    {"due_at": datetime(2000, 1, 1, tzinfo=UTC)},
    {"due_at": days(-400)},
    {"due_at": days(5 * 365 - 1)},
    {"expires_at": days(0.01)},
    {"priority": 1},
    {"priority": 3},
    {"idempotency_key": "k"},
    {"idempotency_key": "é" * 255},
    {"category": "a" * 40},
    {"category": "marketing"},
    {"variables": {"name": "Ada"}, "metadata": {"order": 5}},
    {"metadata": {"k": "x" * 60_000}},
    {"metadata": {"media_urls": [MEDIA]}},
    {"metadata": {"media_urls": [MEDIA] * 10}},
    {"metadata": {"media_urls": ["http://" + "x" * 1993]}},
    {"body": "", "metadata": {"media_urls": [MEDIA]}},
]


@pytest.mark.parametrize(("field", "fields"), WRONG, ids=name_of)
async def test_what_is_wrong_is_named_by_its_field(
    shared: Connection, field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError) as caught:
        async with shared.transaction():
            await enqueue(shared, **fields)
    assert str(caught.value).startswith(f"{field}: ")
    assert len(str(caught.value)) < 300
    assert await queued(shared) == 0


@pytest.mark.parametrize("fields", RIGHT, ids=name_of)
async def test_what_is_at_the_limit_is_taken(shared: Connection, fields: dict[str, Any]) -> None:
    delivery = await enqueue(shared, **fields)
    row = await shared.fetchrow(
        """select d.*, m.body, m.category, m.idempotency_key, m.variables::text, m.metadata::text from duly.delivery_row d
           join duly.message m on m.id = d.message_id where d.id = $1""",
        delivery,
    )
    assert row is not None
    for name, value in fields.items():
        assert (json.loads(row[name]) if name in JSON_PARAMETERS else row[name]) == value


@pytest.mark.parametrize(
    ("field", "fields"),
    [(f, v) for f, v in WRONG if all(not isinstance(x, datetime) and x is not None for x in v.values())],
    ids=name_of,
)
async def test_a_batch_names_the_same_fields(shared: Connection, field: str, fields: dict[str, Any]) -> None:
    (position, delivery, error), (_, neighbour, _) = await batch(shared, [item(**fields), item()])
    assert (position, delivery) == (1, None)
    assert error is not None
    assert error.startswith(f"{field}: ")
    assert neighbour is not None
    assert await queued(shared) == 1


async def test_the_defaults_are_those_of_the_design(conn: Connection) -> None:
    delivery = await conn.fetchval("select duly.enqueue('clinic', 'sms', '+14155550123', 'Hello')")
    row = await conn.fetchrow(
        """select d.state, d.priority, d.due_at = now() - interval '0' as at_once, d.expires_at, m.category,
                  m.variables::text, m.metadata::text, d.attempts, d.message_id = d.id as one, d.created_at
           from duly.delivery_row d join duly.message m on m.id = d.message_id where d.id = $1""",
        delivery,
    )
    assert row is not None
    assert (row["state"], row["priority"], row["expires_at"], row["attempts"]) == ("queued", 2, None, 0)
    assert (row["category"], row["variables"], row["metadata"], row["one"]) == (
        "transactional",
        "{}",
        "{}",
        True,
    )


@pytest.mark.parametrize("literal", ["1", "1::smallint", "1::integer"])
async def test_a_plain_priority_works(shared: Connection, literal: str) -> None:
    found = await shared.fetchval(
        f"select duly.enqueue('clinic', 'sms', '{TO}', 'Hello', priority => {literal})"
    )
    assert await shared.fetchval("select priority from duly.delivery where id = $1", found) == 1


# Once per key.


async def test_the_same_key_and_content_answer_the_same_id(conn: Connection) -> None:
    first = await enqueue(conn, idempotency_key="k", metadata={"a": 1, "b": 2})
    again = await enqueue(conn, idempotency_key="k", metadata={"b": 2, "a": 1}, due_at=days(1), priority=1)
    assert again == first
    assert await queued(conn) == 1


async def test_a_key_belongs_to_its_workspace(conn: Connection) -> None:
    first = await enqueue(conn, idempotency_key="k")
    assert await enqueue(conn, idempotency_key="k", workspace="shop", body="Other") != first


@pytest.mark.parametrize(
    "other",
    [
        {"body": "Goodbye"}, {"to": "+14155550124"}, {"channel": "whatsapp"}, {"category": "marketing"},
        {"metadata": {"a": 1}}, {"variables": {"a": 1}},
    ],
)  # fmt: skip
async def test_the_same_key_with_other_content_is_an_error(shared: Connection, other: dict[str, Any]) -> None:
    await enqueue(shared, idempotency_key="k")
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^idempotency_key: "):
        async with shared.transaction():
            await enqueue(shared, idempotency_key="k", **other)
    assert await queued(shared) == 1


async def test_one_key_from_many_connections_at_once_is_one_delivery(conn: Connection, dsn: str) -> None:
    connections: list[Connection] = [await asyncpg.connect(dsn) for _ in range(8)]
    try:
        for key in ("a", "b", "c"):
            ids = await asyncio.gather(*(enqueue(c, idempotency_key=key) for c in connections))
            assert len(set(ids)) == 1
        assert await queued(conn) == 3
    finally:
        for each in connections:
            await each.close()


async def test_a_key_whose_first_use_is_rolled_back_is_free_for_who_waited(
    conn: Connection, dsn: str
) -> None:
    other: Connection = await asyncpg.connect(dsn)
    try:
        transaction = conn.transaction()
        await transaction.start()
        lost = await enqueue(conn, idempotency_key="k", body="First")
        waiting = asyncio.create_task(enqueue(other, idempotency_key="k", body="Second"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await transaction.rollback()
        assert await waiting != lost
        assert await conn.fetchval("select body from duly.message") == "Second"
    finally:
        await other.close()


# Equal content within a while.


async def test_equal_content_is_refused_within_the_window_and_forgotten_after_it(conn: Connection) -> None:
    await conn.execute("select duly.register_workspace('clinic', interval '10 minutes')")
    first = await enqueue(conn)
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^body: equal content"):
        await enqueue(conn)
    for other in ({"body": "Hello!"}, {"to": "+14155550124"}, {"channel": "whatsapp"}, {"workspace": "shop"}):
        await enqueue(conn, **other)
    await enqueue(conn, workspace="shop")  # it has no window
    assert await queued(conn) == 6
    await conn.execute("update duly.recent_content set at = at - interval '10 minutes'")
    assert await enqueue(conn) != first
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^body: equal content"):
        await enqueue(conn)


async def test_a_refused_copy_leaves_its_key_free(conn: Connection) -> None:
    await conn.execute("select duly.register_workspace('clinic', interval '10 minutes')")
    first = await enqueue(conn, idempotency_key="one")
    assert await enqueue(conn, idempotency_key="one") == first  # asked twice, not said twice
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^body: equal content"):
        await enqueue(conn, idempotency_key="two")
    await enqueue(conn, idempotency_key="two", body="Something else")


async def test_equal_content_from_many_connections_at_once_is_queued_once(conn: Connection, dsn: str) -> None:
    await conn.execute("select duly.register_workspace('clinic', interval '10 minutes')")
    connections: list[Connection] = [await asyncpg.connect(dsn) for _ in range(6)]
    try:
        found = await asyncio.gather(*(enqueue(c) for c in connections), return_exceptions=True)
        assert sum(isinstance(each, UUID) for each in found) == 1
        assert await queued(conn) == 1
    finally:
        for each in connections:
            await each.close()


# Many at once.


async def test_a_batch_answers_each_item_in_order(conn: Connection) -> None:
    found = await batch(
        conn,
        [
            item(body="one"),
            "text",
            item(body=""),
            item(workspace="nowhere"),
            None,
            item(body="two", workspace="shop", priority=1, category="urgent", metadata={"a": 1}),
            [],
            7,
            item(body=5),
            item(to=["+14155550123"]),
            item(priority="1"),
            item(priority=1.5),
            item(due_at="tomorrow-ish"),
            item(due_at=1_700_000_000),
            item(due_at="infinity"),
            item(expires_at="2001-01-01"),
            item(variables="no"),
            item(metadata=[]),
            item(colour="red"),
            {"channel": "sms", "to": TO, "body": "x"},
            item(workspace=None),
            item(workspace=5),
            {},
            item(
                body="three", due_at=None, priority=None, idempotency_key=None, category=None,
                expires_at=None, template=None, variables=None, metadata=None,
            ),
            item(body="four", due_at="2031-01-31T18:00:00+01:00", expires_at="2031-02-01T00:00:00Z"),
        ],
    )  # fmt: skip
    assert [position for position, _, _ in found] == list(range(1, 26))
    assert {position for position, delivery, _ in found if delivery} == {1, 6, 24, 25}
    fields = {position: (error or "").split(":")[0] for position, _, error in found}
    assert fields == {
        1: "", 2: "item", 3: "body", 4: "workspace", 5: "item", 6: "", 7: "item", 8: "item", 9: "body",
        10: "to", 11: "priority", 12: "priority", 13: "due_at", 14: "due_at", 15: "due_at",
        16: "expires_at", 17: "variables", 18: "metadata", 19: "colour", 20: "workspace",
        21: "workspace", 22: "workspace", 23: "workspace", 24: "", 25: "",
    }  # fmt: skip
    bodies = await conn.fetch("select id, body from duly.message")
    by_id = {row["id"]: row["body"] for row in bodies}
    assert [by_id[delivery] for _, delivery, _ in found if delivery] == ["one", "two", "three", "four"]
    assert await conn.fetchval("select due_at from duly.delivery where id = $1", found[24][1]) == datetime(
        2031, 1, 31, 17, tzinfo=UTC
    )


async def test_one_key_twice_in_a_batch(conn: Connection) -> None:
    found = await batch(
        conn,
        [
            item(idempotency_key="k"),
            item(idempotency_key="k"),
            item(idempotency_key="k", body="Other"),
            item(idempotency_key="k", workspace="shop", body="Other"),
        ],
    )
    assert found[0][1] == found[1][1] is not None
    assert (found[2][1], (found[2][2] or "").split(":")[0]) == (None, "idempotency_key")
    assert found[3][1] not in (None, found[0][1])
    assert await queued(conn) == 2


@pytest.mark.parametrize("wrong", [{}, "text", 5, None])
async def test_what_is_no_list_is_refused_whole(shared: Connection, wrong: Any) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^items: must be a JSON array"):
        await batch(shared, wrong)


async def test_a_batch_that_is_null_is_refused(shared: Connection) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^items: must be a JSON array"):
        await shared.fetch("select * from duly.enqueue_batch(null)")


async def test_an_empty_batch_is_no_error(conn: Connection) -> None:
    assert await batch(conn, []) == []


async def test_a_nul_in_json_is_refused_with_a_word_about_it(conn: Connection) -> None:
    """jsonb itself cannot hold it, so Postgres refuses it before any function of ours is asked."""
    with pytest.raises(asyncpg.UntranslatableCharacterError, match="Unicode escape"):
        await batch(conn, [item(), item(body="a\0b")])
    with pytest.raises(asyncpg.CharacterNotInRepertoireError):
        await enqueue(conn, body="a\0b")
    with pytest.raises(asyncpg.UntranslatableCharacterError):
        await enqueue(conn, metadata={"a": "\0"})
    assert await queued(conn) == 0


async def test_five_thousand_in_one_batch(conn: Connection) -> None:
    found = await batch(conn, [item(body=f"number {n}", idempotency_key=str(n)) for n in range(5000)])
    assert [position for position, _, _ in found] == list(range(1, 5001))
    assert all(error is None for _, _, error in found)
    assert await queued(conn) == 5000


# In the caller's transaction.


async def test_what_is_rolled_back_leaves_nothing(conn: Connection, dsn: str) -> None:
    await conn.execute("select duly.register_workspace('clinic', interval '10 minutes')")
    listener: Connection = await asyncpg.connect(dsn)
    heard: list[object] = []
    await listener.add_listener("duly", lambda *found: heard.append(found[3]))
    try:
        transaction = conn.transaction()
        await transaction.start()
        await enqueue(conn, idempotency_key="k")
        await batch(conn, [item(body="Another")])
        await transaction.rollback()
        assert await queued(conn) == 0
        assert await conn.fetchval("select count(*) from duly.recent_content") == 0
        await listener.execute("select 1")
        assert heard == []
    finally:
        await listener.close()


async def test_a_commit_tells_the_daemons_which_lane_is_due_when(conn: Connection, dsn: str) -> None:
    listener: Connection = await asyncpg.connect(dsn)
    heard: asyncio.Queue[str] = asyncio.Queue()
    await listener.add_listener("duly", lambda *found: heard.put_nowait(str(found[3])))
    try:
        clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
        await enqueue(conn, priority=1, due_at=days(-1))
        assert await asyncio.wait_for(heard.get(), 5) == f"{clinic} sms 1 0"
        await enqueue(conn, channel="whatsapp", priority=3, due_at=datetime.now(UTC) + timedelta(seconds=9))
        workspace, channel, priority, due_in_ms = (await asyncio.wait_for(heard.get(), 5)).split()
        assert (workspace, channel, priority) == (str(clinic), "whatsapp", "3")
        assert 5000 < int(due_in_ms) <= 9000
        await enqueue(conn, due_at=days(1))  # the fetcher's own look finds it in time
        await batch(conn, [item() for _ in range(50)])  # equal news of one transaction is told once
        assert await asyncio.wait_for(heard.get(), 5) == f"{clinic} sms 2 0"
        await listener.execute("select 1")
        assert heard.empty()
    finally:
        await listener.close()


async def test_ids_are_version_7_and_grow_with_time(conn: Connection) -> None:
    before = datetime.now(UTC)
    ids = []
    for _ in range(20):
        ids.append(await enqueue(conn))
        await asyncio.sleep(0.002)
    assert ids == sorted(ids)
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    made = datetime.fromtimestamp((ids[0].int >> 80) / 1000, UTC)
    assert abs((made - before).total_seconds()) < 5
    assert await conn.fetchval(
        "select count(*) from duly.delivery_row where id >= duly.first_id_at(created_at - interval '5 ms')"
    ) == 20  # fmt: skip


# Taking it back.


async def test_what_waits_can_be_canceled_and_stays_canceled(conn: Connection) -> None:
    delivery = await enqueue(conn)
    assert await conn.fetchval("select duly.cancel($1)", delivery) is True
    assert await conn.fetchval("select duly.cancel($1)", delivery) is True
    row = await conn.fetchrow("select state, reason from duly.delivery where id = $1", delivery)
    assert tuple(row or ()) == ("canceled", "canceled")


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("leased", True), ("sending", False), ("uncertain", False), ("sent", False), ("delivered", False),
        ("read", False), ("failed", False), ("expired", False), ("skipped", False),
    ],
)  # fmt: skip
async def test_a_cancel_says_whether_it_came_in_time(shared: Connection, state: str, answer: bool) -> None:
    delivery = await enqueue(shared)
    await shared.execute(
        "update duly.delivery_row set state = $2::text::duly.state, lease_token = 7, node_id = 1 where id = $1",
        delivery,
        state,
    )
    assert await shared.fetchval("select duly.cancel($1)", delivery) is answer
    row = await shared.fetchrow("select state::text, lease_token from duly.delivery_row")
    assert tuple(row or ()) == (("canceled", None) if answer else (state, 7))


async def test_canceling_what_is_not_there_is_an_error(conn: Connection) -> None:
    with pytest.raises(asyncpg.NoDataFoundError, match=r"^id: there is no delivery"):
        await conn.fetchval("select duly.cancel(gen_random_uuid())")


# Workspaces.


@pytest.mark.parametrize("name", ["", None, "a b", "ä", "x" * 101, "a/b", "a\n"])
async def test_a_workspaces_name_is_checked(shared: Connection, name: str | None) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^name: "):
        await shared.fetchval("select duly.register_workspace($1)", name)


async def test_registering_again_keeps_the_id_and_changes_the_window(conn: Connection) -> None:
    first = await conn.fetchval("select duly.register_workspace('lab')")
    same = await conn.fetchval("select duly.register_workspace('lab', interval '1 hour')")
    assert same == first
    window = await conn.fetchval("select duplicate_window from duly.workspace where name = 'lab'")
    assert window == timedelta(hours=1)
    assert await conn.fetchval("select duly.register_workspace($1)", "x" * 100) != first


@pytest.mark.parametrize("window", ["0 seconds", "-1 hour"])
async def test_a_window_that_is_none_refuses_nothing(conn: Connection, window: str) -> None:
    await conn.fetchval("select duly.register_workspace('clinic', $1::text::interval)", window)
    await enqueue(conn)
    await enqueue(conn)


# Segments: the database counts as the daemon does.


BASIC, EXTENSION = "".join(sorted(GSM7_BASIC)), "".join(sorted(GSM7_EXTENSION))
GSM = st.sampled_from(BASIC)
EXTENDED = st.sampled_from(EXTENSION)
WIDE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ASTRAL = st.characters(min_codepoint=0x10000)


def texts(*alphabets: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Short ones, and long ones around the limits: a few characters over and over."""
    alphabet = st.one_of(*alphabets)
    repeated = st.tuples(st.text(alphabet, min_size=1, max_size=12), st.integers(1, 400)).map(
        lambda pair: (pair[0] * pair[1])[:1600]
    )
    return st.one_of(st.text(alphabet, max_size=400), repeated, st.tuples(repeated, repeated).map("".join))


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.one_of(texts(GSM), texts(GSM, EXTENDED), texts(WIDE), texts(ASTRAL, GSM), texts(EXTENDED, ASTRAL)),
        max_size=25,
    )
)
@example(["", " ", "\n\r\f", "\x1b", "`", "'", '"', "\\", "]", "[", "^", "-", "ç", "Ç", "\u00a0", "\uffff"])
@example(["a" * n for n in (79, 80, 159, 160, 161, 305, 306, 307, 1530, 1531)])
@example(["€" * n for n in (40, 79, 80, 81, 152, 153, 154, 800)])
@example(["ж" * n for n in (35, 69, 70, 71, 133, 134, 135, 1600)])
@example(["😀" * n for n in (17, 35, 36, 66, 67, 68, 800)])
@example([f"{'a' * n}€{'a' * m}" for n in (151, 152, 153) for m in (150, 151, 152, 153)])
@example([f"{'a' * n}😀{'a' * m}" for n in (65, 66, 67) for m in (65, 66, 67)])
@example([BASIC, EXTENSION, BASIC + EXTENSION])
async def test_the_database_counts_segments_as_the_daemon_does(conn: Connection, bodies: list[str]) -> None:
    counted = await conn.fetch(
        "select duly.segments(body) as n from unnest($1::text[]) with ordinality as t(body, at) order by at",
        bodies,
    )
    assert [row["n"] for row in counted] == [segments(body).count for body in bodies]


async def test_a_delivery_carries_its_segments(conn: Connection) -> None:
    for body, channel, counted in (("a" * 161, "sms", 2), ("ж" * 71, "sms", 2), ("a" * 161, "whatsapp", 1)):
        delivery = await enqueue(conn, body=body, channel=channel)
        assert await conn.fetchval("select segments from duly.delivery where id = $1", delivery) == counted
