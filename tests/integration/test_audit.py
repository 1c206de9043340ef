"""The audit in the database: acts leave lines in their own transactions, and the chain shows who tampered with it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.store import audit
from daemon.store.audit import GENESIS, Act, Head, line_hash
from daemon.store.audit_chain import Verdict, verify
from daemon.store.database import Connection, Database

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
MOMENTS = st.datetimes(
    datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
)  # fmt: skip


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with a workspace."""
    await conn.execute("select duly.register_workspace('clinic')")
    return conn


async def enqueue(conn: Connection, workspace: str = "clinic") -> UUID:
    found: UUID = await conn.fetchval("select duly.enqueue($1, 'sms', '+14155550123', 'Hello')", workspace)
    return found


async def failed(conn: Connection, workspace: str = "clinic") -> UUID:
    await conn.execute("select duly.register_workspace($1)", workspace)
    delivery = await enqueue(conn, workspace)
    await conn.execute(
        "update duly.delivery_row set state = 'failed', reason = 'carrier_error' where id = $1", delivery
    )
    return delivery


async def append(conn: Connection, count: int, who: str = "ada") -> None:
    await conn.execute(
        "select duly.audit_append($1, 'exported', subject => 'p' || n) from generate_series(1, $2::int) n",
        who,
        count,
    )


async def chain(conn: Connection, most: int = 1000) -> int:
    found: int = await conn.fetchval("select chained from duly.audit_chain($1)", most)
    return found


async def whole(conn: Connection, count: int) -> Head:
    """Appends so many lines and chains them; the head."""
    await append(conn, count)
    await chain(conn)
    verdict = await verify(conn)
    assert (verdict.problem, verdict.broken, verdict.newest.id) == ("", None, count)
    return verdict.newest


async def waiting(conn: Connection) -> list[dict[str, Any]]:
    """The lines that wait, but for their times."""
    rows = await conn.fetch(
        "select who, what::text, workspace_id, subject, detail::text from duly.audit_intake order by id"
    )
    return [{**row, "detail": json.loads(row["detail"])} for row in rows]


# The hash.


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(min_size=32, max_size=32),
    st.integers(1, 2**63 - 1),
    MOMENTS,
    TEXTS,
    TEXTS,
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | TEXTS,
    st.dictionaries(TEXTS, VALUES, max_size=4),
)
@example(bytes(32), 1, datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), "", "", None, None, {})
@example(
    bytes(32),
    1,
    datetime(2026, 1, 1, tzinfo=UTC),
    "ж😀",
    "x",
    0,
    "",
    {"a": 1.5, "ab": [1e300, -0.0], "b": "\u2028"},
)
async def test_the_database_hashes_a_line_as_the_daemon_does(
    conn: Connection,
    previous: bytes,
    id: int,
    at: datetime,
    who: str,
    what: str,
    workspace_id: int | None,
    subject: str | None,
    detail: dict[str, Any],
) -> None:
    row = await conn.fetchrow(
        "select duly.audit_hash($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb) as hash, $8::text::jsonb::text as detail",
        previous, id, at, who, what, workspace_id, subject, json.dumps(detail),
    )  # fmt: skip
    assert row is not None
    microseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    ours = line_hash(previous, id, microseconds, who, what, workspace_id, subject, row["detail"])
    assert ours == row["hash"]


async def test_the_database_and_the_daemon_know_the_same_acts(conn: Connection) -> None:
    rows = await conn.fetch("select unnest(enum_range(null::duly.act))::text as word")
    assert [row["word"] for row in rows] == list(Act)


# What acts leave behind.


async def test_a_cancel_leaves_a_line_in_its_own_transaction(conn: Connection) -> None:
    kept, undone = await enqueue(conn), await enqueue(conn)
    assert await conn.fetchval("select duly.cancel($1)", kept) is True
    transaction = conn.transaction()
    await transaction.start()
    assert await conn.fetchval("select duly.cancel($1)", undone) is True
    assert len(await waiting(conn)) == 2
    await transaction.rollback()
    login = await conn.fetchval("select session_user::text")
    workspace_id = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    assert await waiting(conn) == [
        {"who": login, "what": "canceled", "workspace_id": workspace_id, "subject": str(kept), "detail": {}}
    ]


async def test_a_cancel_that_changes_nothing_leaves_no_line(conn: Connection) -> None:
    delivery = await enqueue(conn)
    for _ in range(3):
        assert await conn.fetchval("select duly.cancel($1)", delivery) is True
    gone = await enqueue(conn)
    await conn.execute("update duly.delivery_row set state = 'sent' where id = $1", gone)
    assert await conn.fetchval("select duly.cancel($1)", gone) is False
    assert len(await waiting(conn)) == 1


@pytest.mark.parametrize(("function", "what"), [("replay", "replayed"), ("dismiss", "dismissed")])
async def test_a_decision_leaves_a_line_per_workspace_with_how_many_and_the_filter(
    conn: Connection, function: str, what: str
) -> None:
    one, *_ = [await failed(conn), await failed(conn, "shop"), await failed(conn, "shop")]
    since = datetime(2026, 1, 1, tzinfo=UTC)
    statement = f"select duly.{function}('ada', 'Mr Smith called', reason => 'carrier_error', since => $1)"
    transaction = conn.transaction()
    await transaction.start()
    assert await conn.fetchval(statement, since) == 3
    await transaction.rollback()
    assert await waiting(conn) == []
    assert await conn.fetchval(statement, since) == 3
    clinic, shop = await waiting(conn)
    assert (clinic["who"], clinic["what"], clinic["subject"]) == ("ada", what, str(one))
    assert (shop["who"], shop["what"], shop["subject"]) == ("ada", what, None)
    assert [clinic["detail"].pop("count"), shop["detail"].pop("count")] == [1, 2]
    assert clinic["detail"] == shop["detail"]
    assert clinic["detail"]["login"] == await conn.fetchval("select session_user::text")
    assert clinic["detail"]["filter"].keys() == {"reason", "since"}
    assert datetime.fromisoformat(clinic["detail"]["filter"]["since"]) == since
    assert "Smith" not in str(clinic), "people's names must not get where nothing can be erased"


async def test_a_decision_by_ids_names_the_first_of_them_and_how_many_there_were(conn: Connection) -> None:
    ids = [await failed(conn) for _ in range(30)]
    await conn.fetchval("select duly.dismiss('ada', 'why', ids => $1)", ids)
    (line,) = await waiting(conn)
    assert line["detail"]["count"] == 30
    assert line["detail"]["filter"] == {"ids": [str(i) for i in ids[:20]], "ids_given": 30}


async def test_a_decision_that_changes_nothing_leaves_no_line(conn: Connection) -> None:
    assert await conn.fetchval("select duly.replay('ada', 'why', workspace => 'clinic')") == 0
    assert await waiting(conn) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("null, 'exported'", asyncpg.InvalidParameterValueError),
        ("'', 'exported'", asyncpg.InvalidParameterValueError),
        ("repeat('x', 201), 'exported'", asyncpg.InvalidParameterValueError),
        ("'x', 'exported', subject => repeat('x', 201)", asyncpg.InvalidParameterValueError),
        ("'x', 'exported', detail => '[]'", asyncpg.InvalidParameterValueError),
        ("'x', 'exported', detail => null", asyncpg.InvalidParameterValueError),
        ("'x', 'exported', detail => jsonb_build_object('a', repeat('x', 8192))", asyncpg.InvalidParameterValueError),
        ("'x', 'borrowed'", asyncpg.InvalidTextRepresentationError),
        ("'x', null", asyncpg.NotNullViolationError),
    ],
)  # fmt: skip
async def test_a_line_is_bounded_and_says_what_was_done(
    conn: Connection, arguments: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await conn.execute(f"select duly.audit_append({arguments})")


# The chain.


async def test_lines_are_numbered_without_gaps_although_transactions_were_undone(conn: Connection) -> None:
    for number in range(20):
        transaction = conn.transaction()
        await transaction.start()
        await append(conn, 1, f"n{number}")
        await (transaction.rollback() if number % 3 else transaction.commit())
    assert await chain(conn, 4) == 4
    assert await chain(conn, 4) == 3
    assert await chain(conn, 4) == 0
    rows = await conn.fetch("select id, who, previous, hash from duly.audit order by id")
    assert [(row["id"], row["who"]) for row in rows] == [(i + 1, f"n{i * 3}") for i in range(7)]
    assert [row["previous"] for row in rows] == [GENESIS.hash, *(row["hash"] for row in rows[:-1])]
    assert await verify(conn) == Verdict(Head(7, rows[-1]["hash"]), 0, 0.0)


async def test_the_empty_chain_is_whole(conn: Connection) -> None:
    assert await verify(conn) == Verdict(GENESIS, 0, 0.0)
    assert (await verify(conn, GENESIS)).problem == ""


async def test_a_long_transaction_holds_up_nobody(dsn: str, conn: Connection) -> None:
    """A producer that cancels thousands and commits late: others cancel, and are chained, meanwhile."""
    slow: Connection = await asyncpg.connect(dsn)
    try:
        first, second = await enqueue(conn), await enqueue(conn)
        async with slow.transaction():
            await slow.execute("select duly.cancel($1)", first)
            async with asyncio.timeout(5):
                await conn.execute("select duly.cancel($1)", second)
                assert await chain(conn) == 1
        assert await chain(conn) == 1
    finally:
        await slow.close()
    rows = await conn.fetch("select subject from duly.audit order by id")
    assert [row["subject"] for row in rows] == [str(second), str(first)], "in the order of their commits"
    assert (await verify(conn)).problem == ""


async def test_who_chains_while_another_does_waits_for_nobody(dsn: str, conn: Connection) -> None:
    await append(conn, 3)
    other: Connection = await asyncpg.connect(dsn)
    try:
        async with other.transaction():
            assert await chain(other, 2) == 2
            async with asyncio.timeout(5):
                assert await chain(conn) == 0
        assert await chain(conn) == 1
    finally:
        await other.close()
    assert (await verify(conn)).newest.id == 3


async def test_many_writers_and_two_that_chain_make_one_chain(database: Database, conn: Connection) -> None:
    async def write(number: int) -> None:
        for _ in range(40):
            async with database.acquire() as own, own.transaction():
                await append(own, 2, f"w{number}")
                await asyncio.sleep(0)

    written = asyncio.Event()

    async def keep_chaining() -> int:
        total = 0
        while True:
            last = written.is_set()
            chained, _ = await audit.chain(database, 7)
            total += chained
            if last and not chained and not await database.fetch("select id from duly.audit_intake"):
                return total

    async with asyncio.TaskGroup() as group:
        chainers = [group.create_task(keep_chaining()) for _ in range(2)]
        await asyncio.gather(*(write(number) for number in range(4)))
        written.set()
    assert sum(task.result() for task in chainers) == 320
    verdict = await verify(conn)
    assert (verdict.problem, verdict.newest.id, verdict.waiting) == ("", 320, 0)


# Tampering, by somebody who may do everything.


async def test_even_the_owner_changes_no_line_without_breaking_a_rule(conn: Connection) -> None:
    await whole(conn, 3)
    await append(conn, 1)
    for statement in (
        "update duly.audit set who = 'eve'",
        "update duly.audit set who = 'eve' where false",
        "delete from duly.audit where id = 3",
        "truncate duly.audit",
        "insert into duly.audit select * from duly.audit on conflict (id) do update set who = 'eve'",
        "update duly.audit_intake set who = 'eve'",
        "truncate duly.audit_intake",
        "delete from duly.audit_head",
        "truncate duly.audit_head",
        "set session_replication_role = replica; update duly.audit set who = 'eve'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only added to"):
            await conn.execute(statement)
        await conn.execute("reset session_replication_role")
    assert (await verify(conn)).problem == ""


async def tamper(conn: Connection, *statements: str) -> None:
    await conn.execute(
        "alter table duly.audit disable trigger all; alter table duly.audit_head disable trigger all"
    )
    await conn.execute("alter table duly.audit drop constraint audit_pkey")
    for statement in statements:
        await conn.execute(statement)


REHASH = (
    "update duly.audit set hash = duly.audit_hash(previous, id, at, who, what, workspace_id, subject, detail)"
)


@pytest.mark.parametrize(
    ("statements", "broken", "words"),
    [
        (["update duly.audit set who = 'eve' where id = 4"], 4, "was changed"),
        (["update duly.audit set at = at + interval '1 us' where id = 4"], 4, "was changed"),
        (["update duly.audit set at = 'infinity' where id = 4"], 4, "was changed"),
        (["update duly.audit set at = 'epoch'::timestamptz + interval '20000 years' where id = 4"], 4, "was changed"),
        (["update duly.audit set what = 'erased' where id = 1"], 1, "was changed"),
        (["update duly.audit set workspace_id = 1 where id = 9"], 9, "was changed"),
        (["update duly.audit set subject = null where id = 9"], 9, "was changed"),
        (["update duly.audit set detail = '{\"a\": 1}' where id = 9"], 9, "was changed"),
        (["alter table duly.audit alter who drop not null", "update duly.audit set who = null where id = 2"],
         2, "was changed"),
        (["update duly.audit set who = 'eve' where id = 4", f"{REHASH} where id = 4"], 5, "does not follow line 4"),
        (["delete from duly.audit where id = 4"], 4, "is missing: after 3 comes 5"),
        (["delete from duly.audit where id = 1"], 1, "is missing: after 0 comes 2"),
        (["delete from duly.audit where id = 4", "update duly.audit set id = id - 1 where id > 4"], 4, "not follow"),
        (["update duly.audit set id = 9 - id where id in (4, 5)"], 4, "does not follow"),
        (["insert into duly.audit select * from duly.audit where id = 4"], 5, "line 5 is missing: after 4 comes 4"),
        (["insert into duly.audit select 11, at, who, what, workspace_id, subject, detail, hash, hash from duly.audit"
          " where id = 10"], 11, "was changed"),
        (["delete from duly.audit where id > 7"], 8, "ends with line 7, but it was written on to line 10"),
        (["delete from duly.audit"], 1, "ends with line 0, but it was written on to line 10"),
        (["delete from duly.audit_head"], 11, "ends with line 10, but it was written on to line ?"),
    ],
)  # fmt: skip
async def test_the_first_line_that_somebody_tampered_with_is_found(
    conn: Connection, statements: list[str], broken: int, words: str
) -> None:
    await whole(conn, 10)
    await tamper(conn, *statements)
    verdict = await verify(conn)
    assert verdict.broken == broken
    assert words in verdict.problem
    assert verdict.newest.id == broken - 1


async def test_what_is_chained_after_lines_were_removed_does_not_hide_it(conn: Connection) -> None:
    await whole(conn, 10)
    await tamper(conn, "delete from duly.audit where id > 8")
    await append(conn, 5)
    await chain(conn)
    verdict = await verify(conn)
    assert (verdict.broken, verdict.problem) == (9, "line 9 is missing: after 8 comes 11")


CUT = (
    "delete from duly.audit where id > 7",
    "update duly.audit_head set (id, hash) = (select id, hash from duly.audit where id = 7)",
)


async def test_a_head_that_was_kept_shows_that_the_newest_lines_were_removed(conn: Connection) -> None:
    kept = await whole(conn, 10)
    assert (await verify(conn, kept)).problem == ""
    await tamper(conn, *CUT)
    assert (await verify(conn)).problem == "", "by itself a chain cannot show what it never had"
    verdict = await verify(conn, kept)
    assert (verdict.broken, verdict.newest.id) == (8, 7)
    assert "ends with line 7, before line 10" in verdict.problem


async def test_a_head_that_was_kept_shows_that_the_end_was_written_anew(conn: Connection) -> None:
    kept = await whole(conn, 10)
    await tamper(conn, *CUT)
    await append(conn, 6, "eve")
    await chain(conn)
    assert (await verify(conn)).newest.id == 13
    verdict = await verify(conn, kept)
    assert (verdict.broken, verdict.newest.id) == (10, 10)
    assert "line 10 is another than the one" in verdict.problem


async def test_a_head_that_was_kept_long_ago_is_still_in_the_chain(conn: Connection) -> None:
    kept = await whole(conn, 10)
    await append(conn, 10)
    await chain(conn)
    assert (await verify(conn, kept)).newest.id == 20


async def test_a_forged_line_at_the_end_stops_the_chain_and_is_found(conn: Connection) -> None:
    await whole(conn, 3)
    await conn.execute(
        "insert into duly.audit select 4, now(), 'eve', 'exported', null, null, '{}', hash, hash"
        " from duly.audit where id = 3"
    )
    await append(conn, 1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await chain(conn)
    verdict = await verify(conn)
    assert (verdict.broken, verdict.waiting) == (4, 1), "what waits is not lost"
