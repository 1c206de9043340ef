"""Consent in SQL: an append-only log, what follows from it in whatever order it comes, and the double opt-in."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from daemon.contacts.standing import Standing, load
from daemon.store.database import Connection
from daemon.store.sql import query

TO = "+14155550123"
WRONG = asyncpg.InvalidParameterValueError


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """A database of this test's own, with two workspaces; one asks twice."""
    await conn.execute(
        "select duly.register_workspace('clinic'), duly.register_workspace('shop', double_opt_in => true)"
    )
    return conn


async def say(conn: Connection, *items: dict[str, Any], workspace: str = "clinic") -> list[asyncpg.Record]:
    given = [{"channel": "sms", "to": TO, **item} for item in items]
    return await conn.fetch(query("record_consents"), workspace, json.dumps(given))


async def suppressed(conn: Connection, category: str = "marketing", workspace: str = "clinic") -> str | None:
    """What an enqueue makes of it."""
    delivery = await conn.fetchval(
        "select duly.enqueue($1, 'sms', $2, 'Hi', category => $3)", workspace, TO, category
    )
    found: str | None = await conn.fetchval("select reason from duly.delivery_row where id = $1", delivery)
    return found


async def state(conn: Connection, category: str = "", workspace: str = "clinic") -> str | None:
    """What follows, as `duly consent show` says it."""
    standings = (await load(conn, workspace, "sms", TO)).standings
    found = {standing.category: standing for standing in standings}
    return found.get(category, found[""]).state


async def test_a_withdrawal_ends_what_waits_and_a_later_yes_lifts_it(conn: Connection) -> None:
    await conn.execute("select duly.enqueue('clinic', 'sms', $1, 'Hi', category => 'marketing')", TO)
    await conn.execute("select duly.enqueue('clinic', 'sms', $1, 'Hi', category => 'urgent')", TO)
    row, *_ = await say(conn, {"state": "withdrawn", "category": "marketing", "words": "no more"})
    assert (row["state"], row["repeated"], row["skipped"], row["error"]) == ("withdrawn", False, 1, None)
    states = await conn.fetch("select state::text from duly.delivery_row order by id")
    assert [r["state"] for r in states] == ["skipped", "queued"]
    assert await suppressed(conn) == "opted_out"
    assert await suppressed(conn, "urgent") is None
    await say(conn, {"state": "given", "category": "marketing"})
    assert await suppressed(conn) is None
    assert [e["words"] for e in (await load(conn, "clinic", "sms", TO)).log] == ["no more", None]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_in_whatever_order_it_is_recorded_the_last_word_counts(
    conn: Connection, order: tuple[int, ...]
) -> None:
    said = [
        {"state": "given", "at": ago(30)},
        {"state": "withdrawn", "at": ago(20)},
        {"state": "given", "at": ago(10)},
    ]
    for upto, expected in ((3, None), (2, "opted_out")):
        address = f"+141555501{upto}0"
        for i in order:
            if i < upto:
                await say(conn, {**said[i], "to": address})
        delivery = await conn.fetchval("select duly.enqueue('clinic', 'sms', $1, 'Hi')", address)
        found = await conn.fetchval("select reason from duly.delivery_row where id = $1", delivery)
        assert found == expected


async def test_a_late_yes_lifts_only_what_was_said_before_it(conn: Connection) -> None:
    await say(
        conn,
        {"state": "withdrawn", "category": "marketing", "at": ago(5)},
        {"state": "withdrawn", "category": "urgent", "at": ago(15)},
        {"state": "given", "at": ago(10)},
    )
    assert await suppressed(conn, "marketing") == "opted_out"
    assert await suppressed(conn, "urgent") is None


async def test_the_same_word_again_is_not_written_again(conn: Connection) -> None:
    item = {"state": "given", "category": "marketing", "at": ago(3), "words": "I agree", "source": "csv"}
    (first,) = await say(conn, item)
    (again,) = await say(conn, item)
    assert (again["id"], again["repeated"]) == (first["id"], True)
    others = [
        {**item, "words": "yes"},
        {**item, "at": ago(2)},
        {**item, "category": ""},
        {**item, "source": "sql"},
    ]
    assert [row["repeated"] for row in await say(conn, *others)] == [False] * 4
    assert await conn.fetchval("select count(*) from duly.consent") == 5


async def test_what_comes_without_a_time_is_said_now(conn: Connection) -> None:
    await say(conn, {"state": "given"}, {"state": "given", "at": None})
    assert await conn.fetchval("select bool_and(now() - at < interval '1 minute') from duly.consent") is True


# Double opt-in.


@pytest.mark.parametrize("source", ["sql", "http", "csv"])
async def test_a_forms_yes_waits_for_the_persons_own(conn: Connection, source: str) -> None:
    (row,) = await say(conn, {"state": "given", "category": "marketing", "source": source}, workspace="shop")
    assert row["state"] == "requested"
    assert await state(conn, "marketing", "shop") == "requested"
    (own,) = await say(
        conn, {"state": "given", "category": "marketing", "source": "inbound"}, workspace="shop"
    )
    assert own["state"] == "given"
    (later,) = await say(
        conn, {"state": "given", "category": "marketing", "source": source}, workspace="shop"
    )
    assert later["state"] == "given"  # who has confirmed need not again
    assert await state(conn, "marketing", "shop") == "given"


@pytest.mark.parametrize("source", ["inbound", "provider", "person"])
async def test_what_is_no_form_counts_at_once(conn: Connection, source: str) -> None:
    assert (await say(conn, {"state": "given", "source": source}, workspace="shop"))[0]["state"] == "given"


async def test_a_forms_yes_lifts_no_opt_out_before_it_is_confirmed(conn: Connection) -> None:
    await say(conn, {"state": "given", "source": "inbound", "at": ago(9)}, workspace="shop")
    await say(conn, {"state": "withdrawn", "source": "inbound", "at": ago(8)}, workspace="shop")
    (row,) = await say(conn, {"state": "given", "source": "http"}, workspace="shop")
    assert row["state"] == "requested"
    assert await suppressed(conn, workspace="shop") == "opted_out"
    await say(conn, {"state": "given", "source": "inbound"}, workspace="shop")
    assert await suppressed(conn, workspace="shop") is None


async def test_a_repeated_form_is_the_same_one_also_after_it_was_confirmed(conn: Connection) -> None:
    form = {"state": "given", "source": "csv", "at": ago(3)}
    (first,) = await say(conn, form, workspace="shop")
    await say(conn, {"state": "given", "source": "inbound"}, workspace="shop")
    (again,) = await say(conn, form, workspace="shop")
    assert (again["id"], again["repeated"], again["state"]) == (first["id"], True, "requested")
    assert await state(conn, workspace="shop") == "given"


async def test_a_yes_to_one_category_confirms_no_other(conn: Connection) -> None:
    await say(conn, {"state": "given", "category": "news", "source": "inbound"}, workspace="shop")
    (row,) = await say(conn, {"state": "given", "category": "marketing", "source": "sql"}, workspace="shop")
    assert row["state"] == "requested"


async def test_a_workspace_without_it_needs_no_second_yes(conn: Connection) -> None:
    assert (await say(conn, {"state": "given", "source": "http"}))[0]["state"] == "given"
    await conn.execute("select duly.register_workspace('shop')")
    assert (await say(conn, {"state": "given", "source": "http"}, workspace="shop"))[0]["state"] == "given"


async def test_record_consent_stores_the_same_way(conn: Connection) -> None:
    await conn.execute("select duly.record_consent('shop', 'sms', $1, 'given', 'marketing')", TO)
    assert await state(conn, "marketing", "shop") == "requested"
    with pytest.raises(WRONG, match=r"^state: 'yes' is none of"):
        await conn.execute("select duly.record_consent('shop', 'sms', $1, 'yes')", TO)


# What is refused.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"to": "555"}, "to: '555' is not"),
        ({"channel": "pigeon"}, "channel: "),
        ({"channel": None}, "channel: null"),
        ({"state": "yes"}, "state: 'yes' is none of given, requested, withdrawn"),
        ({"state": None}, "state: null"),
        ({"source": "rumour"}, "source: "),
        ({"category": "Marketing"}, "category: "),
        ({"words": "w" * 1001}, "words: "),
        ({"words": 7}, "words: must be a text"),
        ({"proof": []}, "proof: "),
        ({"proof": {"a": "x" * 9000}}, "proof: "),
        ({"at": "yesterday-ish"}, "at: "),
        ({"at": "2999-01-01T00:00:00Z"}, "at: "),
        ({"at": "1970-01-01T00:00:00Z"}, "at: "),
        ({"at": "infinity"}, "at: "),
        ({"at": 7}, "at: must be a text"),
        ({"when": "now"}, "when: is none of the fields"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_by_its_field_and_keeps_no_other_back(
    conn: Connection, change: dict[str, Any], words: str
) -> None:
    wrong, right = await say(conn, {"state": "given", **change}, {"state": "given"})
    assert wrong["error"].startswith(words)
    assert (wrong["id"], wrong["state"], right["error"]) == (None, None, None)
    assert await conn.fetchval("select count(*) from duly.consent") == 1


async def test_the_log_is_never_changed(conn: Connection) -> None:
    await say(conn, {"state": "given"})
    for statement in (
        "update duly.consent set state = 'given'",
        "delete from duly.consent",
        "truncate duly.consent",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changed"):
            await conn.execute(statement)


async def test_what_follows_is_told_for_each_category(conn: Connection) -> None:
    await say(
        conn,
        {"state": "given", "category": "marketing", "at": ago(9), "source": "csv"},
        {"state": "withdrawn", "at": ago(8), "source": "inbound"},
        {"state": "given", "category": "news", "at": ago(7), "source": "http"},
        {"state": "given", "channel": "whatsapp", "at": ago(6)},
    )
    found = await load(conn, "clinic", "sms", TO)
    told = [(s.category, s.state, s.source, s.suppressed) for s in found.standings]
    assert told == [
        ("", "withdrawn", "inbound", "opted_out"),
        ("marketing", "withdrawn", "inbound", "opted_out"),
        ("news", "given", "http", "opted_out"),
    ]
    assert (await load(conn, "shop", "sms", TO)).standings == [Standing("", None, None, None, None)]


# Lists.


async def listed(conn: Connection, *items: Any, workspace: str | None = "clinic") -> list[asyncpg.Record]:
    return await conn.fetch(query("do_not_contact_batch"), workspace, json.dumps(items), True)


async def test_a_list_takes_addresses_and_hashes_and_ends_what_waits(conn: Connection) -> None:
    other = "+14155550124"
    for number in (TO, other):
        await conn.execute("select duly.enqueue('clinic', 'sms', $1, 'Hi')", number)
    key = str(await conn.fetchval("select duly.address_key('sms', $1)", other))
    rows = await listed(conn, {"channel": "sms", "to": TO}, {"hash": key}, {"channel": "sms", "to": TO})
    assert [(r["added"], r["skipped"], r["error"]) for r in rows] == [
        (True, 1, None),
        (True, 1, None),
        (False, 0, None),
    ]
    assert await suppressed(conn) == "do_not_contact"
    assert await suppressed(conn, workspace="shop") is None
    await listed(
        conn, {"hash": str(await conn.fetchval("select duly.address_key('sms', $1)", TO))}, workspace=None
    )
    assert await suppressed(conn, workspace="shop") == "do_not_contact"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (7, "item: "),
        ({}, "channel: null"),
        ({"channel": "sms"}, "to: is missing"),
        ({"channel": "sms", "to": "x"}, "to: 'x'"),
        ({"hash": "x"}, "hash: is not one of an export"),
        ({"hash": "00000000-0000-0000-0000-000000000000", "to": TO}, "hash: give either"),
        ({"hash": "00000000-0000-0000-0000-000000000000", "channel": "pigeon"}, "channel: "),
        ({"channel": "sms", "to": TO, "category": "A B"}, "category: "),
        ({"channel": "sms", "to": TO, "reason": "x"}, "reason: is none"),
    ],
)  # fmt: skip
async def test_a_wrong_line_of_a_list_is_named_and_keeps_no_other_back(
    conn: Connection, item: Any, words: str
) -> None:
    wrong, right = await listed(conn, item, {"channel": "sms", "to": TO})
    assert wrong["error"].startswith(words)
    assert right["added"] is True
