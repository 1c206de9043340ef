"""What people make of messages: links in texts, answers, words of feedback; and nothing by a program that only looks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from daemon.planning.links import LinkProblem, make_links, with_links
from daemon.sandbox.app import Sandbox
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from daemon.store.export import document, find
from daemon.store.sql import query
from daemon.store.timeline import load
from tests.integration import people
from tests.integration.people import NUMBER, sent, wrote
from tests.support import DaemonProcess, free_port, running, toml

REFUSED = asyncpg.InvalidParameterValueError
TARGET = "https://clinic.example/book?slot=17&x=%20y"
PERSON = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1"
KEYS = 'keys = { a = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }\ncurrent = "a"'


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """The owner's connection, with two workspaces and a URL for links."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    await conn.execute("select duly.register_link_base('https://d.example')")
    return conn


async def linked(conn: Connection, target: str | None = None, workspace: str = "clinic") -> tuple[UUID, str]:
    """A delivery that was sent with a link, and the link's path."""
    row = await conn.fetchrow(
        """select l.url, duly.enqueue($1, 'sms', $2, 'Hello ' || l.url, metadata => l.metadata) as id
           from duly.make_link($1, $3) l""",
        workspace,
        NUMBER,
        target,
    )
    assert row is not None
    await sent(conn, row["id"])
    return row["id"], row["url"].removeprefix("https://d.example")


async def came(conn: Connection, delivery: UUID) -> dict[str, int]:
    """How often each kind of response came to it."""
    rows = await conn.fetch("select kind, times from duly.response where delivery_id = $1", delivery)
    return {row["kind"]: row["times"] for row in rows}


async def word(conn: Connection, delivery: UUID) -> tuple[bool, str] | None:
    """What was said of it, and how."""
    row = await conn.fetchrow("select helpful, via from duly.feedback where delivery_id = $1", delivery)
    return None if row is None else (row["helpful"], row["via"])


# Links from SQL.


async def test_a_link_is_short_and_bound_to_the_delivery_that_names_it(conn: Connection) -> None:
    delivery, path = await linked(conn, TARGET)
    assert len(path) == len("/l/") + 11
    assert await conn.fetchval("select delivery_id from duly.link") == delivery
    other = await conn.fetchval(
        "select duly.enqueue('clinic', 'sms', $1, 'again', metadata => $2::text::jsonb)",
        NUMBER,
        json.dumps({"links": [path[3:], 7, None, {"a": "b"}]}),
    )
    await conn.execute(
        "select duly.enqueue('shop', 'sms', $1, 'mine?', metadata => $2::text::jsonb)",
        NUMBER,
        json.dumps({"links": [path[3:]]}),
    )
    assert await conn.fetchval("select array_agg(delivery_id) from duly.link") == [delivery]
    assert other != delivery


async def test_no_two_tokens_are_the_same_and_a_key_gives_the_same_again(conn: Connection) -> None:
    rows = await conn.fetch("select (duly.make_link('clinic')).token from generate_series(1, 300)")
    assert len({row["token"] for row in rows}) == 300
    make = "select token from duly.make_link($1, $2, $3)"
    assert await conn.fetchval(make, "clinic", TARGET, "order-1") == await conn.fetchval(
        make, "clinic", TARGET, "order-1"
    )
    found = {
        await conn.fetchval(make, *given)
        for given in (
            ("clinic", TARGET, "order-1"),
            ("clinic", TARGET, "order-2"),
            ("shop", TARGET, "order-1"),
            ("clinic", None, "order-1"),
            ("clinic", TARGET + "x", "order-1"),
        )
    }
    assert len(found) == 5


NO_TARGETS = ("javascript:alert(1)", "//evil.example", "ftp://x.example", "https://", "https://a b", "https://a\r\nX: y",
              "https://bücher.example", "https://x.example/" + "a" * 2000, "")  # fmt: skip


async def test_a_target_must_be_a_url_that_a_browser_takes(conn: Connection) -> None:
    for target in NO_TARGETS:
        with pytest.raises(REFUSED, match=r"^target: "):
            await conn.execute("select duly.make_link('clinic', $1)", target)
        with pytest.raises(LinkProblem, match=r"^target: "):
            await make_links(conn, 1, [target], "https://d.example")


async def test_what_is_wrong_with_a_link_is_said(conn: Connection) -> None:
    for call, field in (
        ("duly.make_link('nowhere')", "workspace"),
        ("duly.make_link('clinic', key => '')", "key"),
        ("duly.make_link('clinic', days => 0)", "days"),
        ("duly.make_link('clinic', days => null)", "days"),
    ):
        with pytest.raises(REFUSED, match=f"^{field}: "):
            await conn.execute(f"select {call}")
    await conn.execute("delete from duly.link_base")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=r"web\.public_url"):
        await conn.execute("select duly.make_link('clinic')")


async def test_the_daemon_makes_many_at_once(conn: Connection) -> None:
    targets = [None, TARGET, None]
    links = await make_links(conn, 1, targets, "https://d.example")
    assert [link.url.split("/")[3] for link in links] == ["f", "l", "f"]
    item = {
        "source_id": str(uuid4()), "source": "check_in", "contact": str(uuid4()), "occurrence": "2026-11-01T18:00",
        "channel": "sms", "to": NUMBER, "body": f"Hi {links[0].url} {links[1].url}", "style": "snarky",
        "due_at": "2026-11-01T18:00:00Z", "metadata": with_links({"a": 1}, links[:2]),
    }  # fmt: skip
    delivery = await conn.fetchval(
        "select id from duly.enqueue_planned(1, $1::text::jsonb)", json.dumps([item])
    )
    assert await conn.fetchval("select count(*) from duly.link where delivery_id = $1", delivery) == 2
    assert await conn.fetchval("select duly.feedback_by_link($1, true)", links[0].token)
    row = await conn.fetchrow("select style, contact_id from duly.feedback")
    assert row is not None
    assert (row["style"], str(row["contact_id"])) == ("snarky", item["contact"])


# Answers.


async def test_an_answer_is_to_the_last_message_and_may_say_whether_it_helped(
    conn: Connection, database: Database
) -> None:
    for text, found in (
        ("👍", (True, "reply")), ("Thanks so much!", (True, "reply")), ("not helpful", (False, "reply")),
        ("Can we move it?", None), ("1", None), ("yes", None),
    ):  # fmt: skip
        older = await people.enqueue(conn)
        await sent(conn, older)
        delivery = await people.enqueue(conn)
        await sent(conn, delivery)
        waiting = await people.enqueue(conn)
        await wrote(database, 1, text)
        assert await came(conn, delivery) == {"reply": 1}
        assert await word(conn, delivery) == found
        assert not await came(conn, older)
        assert not await came(conn, waiting)


async def test_a_bare_number_says_so_to_who_has_asked(conn: Connection, database: Database) -> None:
    asking = """select duly.enqueue('clinic', 'sms', $1, 'Did it help? Reply 1 for yes, 2 for no',
                  metadata => '{"feedback": true}')"""
    for text, found in (("1", (True, "reply")), ("2.", (False, "reply"))):
        delivery = await conn.fetchval(asking, NUMBER)
        await sent(conn, delivery)
        await wrote(database, 1, text)
        assert await word(conn, delivery) == found


async def test_the_last_word_counts_and_belongs_to_the_contact(conn: Connection, database: Database) -> None:
    ada = await people.contact(conn)
    delivery = await people.enqueue(conn)
    await sent(conn, delivery)
    for text, helpful in (("👍", True), ("👎", False), ("👍", True)):
        await wrote(database, 1, text)
        assert await word(conn, delivery) == (helpful, "reply")
    assert await conn.fetchval("select array_agg(contact_id) from duly.feedback") == [ada]
    assert await came(conn, delivery) == {"reply": 3}


async def test_a_keyword_is_no_answer_and_an_opt_out_is_noted(conn: Connection, database: Database) -> None:
    for text in ("HELP", "START", "STOP", "stop texting me"):
        delivery = await people.enqueue(conn)
        await sent(conn, delivery)
        await wrote(database, 1, text)
        assert await came(conn, delivery) == ({"opt_out": 1} if "stop" in text.lower() else {})
        assert await word(conn, delivery) is None


async def test_an_opt_out_by_another_way_belongs_to_the_last_message_and_one_from_a_file_to_none(
    conn: Connection,
) -> None:
    delivery = await people.enqueue(conn)
    await sent(conn, delivery)
    say = "select duly.record_consent('clinic', 'sms', $1, 'withdrawn', source => $2)"
    await conn.execute(say, NUMBER, "csv")
    assert await came(conn, delivery) == {}
    await conn.execute(say, NUMBER, "http")
    assert await came(conn, delivery) == {"opt_out": 1}


async def test_an_answer_after_a_week_or_to_a_confirmation_is_to_none(
    conn: Connection, database: Database
) -> None:
    old = await people.enqueue(conn)
    await sent(conn, old)
    await conn.execute("update duly.attempt set began_at = now() - interval '8 days'")
    confirmation = await conn.fetchval(
        "select duly.answer_keyword(1, $1, 'sms', $2, 'You are out.')", uuid4(), NUMBER
    )
    await sent(conn, confirmation)
    await wrote(database, 1, "thanks")
    await wrote(database, 0, "thanks")
    assert await conn.fetchval("select count(*) from duly.response") == 0
    assert await conn.fetchval("select count(*) from duly.feedback") == 0


async def test_a_producer_says_what_it_was_told(conn: Connection) -> None:
    delivery = await people.enqueue(conn)
    await conn.execute("select duly.give_feedback('clinic', $1, false)", delivery)
    assert await word(conn, delivery) == (False, "api")
    for given in (("shop", delivery), ("clinic", uuid4()), ("clinic", None)):
        with pytest.raises(asyncpg.NoDataFoundError, match=r"^delivery: "):
            await conn.execute("select duly.give_feedback($1, $2, true)", *given)
    with pytest.raises(REFUSED, match=r"^helpful: "):
        await conn.execute("select duly.give_feedback('clinic', $1, null)", delivery)


async def test_the_receipt_tells_what_came(conn: Connection, database: Database) -> None:
    delivery, _ = await linked(conn)
    await wrote(database, 1, "👍")
    await wrote(database, 1, "when?")
    timeline = await load(conn, delivery)
    assert timeline is not None
    found = {step.what: step.detail for step in timeline.steps}
    assert found["was answered"] == "2 times"
    assert found["was called helpful"] == "by reply"
    rows = await conn.fetch(query("responses"), 1, [delivery, uuid4()])
    mine = next(row for row in rows if row["delivery_id"] == delivery)
    assert (mine["helpful"], mine["clicked_at"], mine["opted_out"]) == (True, None, False)
    assert mine["replied_at"] is not None
    assert len(rows) == 2


# What goes with a person, a text, a delivery.


async def test_links_go_with_the_text_and_the_rest_with_the_delivery(
    conn: Connection, database: Database
) -> None:
    delivery, path = await linked(conn, TARGET)
    await wrote(database, 1, "👍")
    await conn.execute("select duly.blank(1, array[$1::uuid])", delivery)
    assert await conn.fetchval("select count(*) from duly.link") == 0
    assert await conn.fetch(query("follow_link"), path[3:], "click") == []
    assert await word(conn, delivery) == (True, "reply")
    await conn.execute("delete from duly.delivery_row where id = $1", delivery)
    for table in ("link", "response", "feedback", "feedback_request"):
        assert await conn.fetchval(f"select count(*) from duly.{table}") == 0


async def test_a_word_of_who_is_erased_is_nobodys(conn: Connection, database: Database) -> None:
    ada = await people.contact(conn)
    delivery, _ = await linked(conn, TARGET)
    await wrote(database, 1, "👍")
    await conn.execute("update duly.delivery_row set state = 'delivered'")
    await conn.execute(
        "insert into duly.habit (contact_id, hour, workspace_id, active) values ($1, 3, 1, 2)", ada
    )
    await conn.execute("select duly.erase('clinic', 'me', 'asked', 'sms', $1)", NUMBER)
    row = await conn.fetchrow(
        "select contact_id, helpful from duly.feedback where delivery_id = $1", delivery
    )
    assert tuple(row or ()) == (None, True)
    assert await conn.fetchval("select count(*) from duly.habit") == 0
    assert await conn.fetchval("select count(*) from duly.link") == 0


async def test_what_seals_has_its_targets_sealed(conn: Connection, database: Database) -> None:
    keys = DataKeys(database, lambda: KeyRing({"a": bytes(32)}, "a"))
    await conn.execute("select duly.set_sealing('clinic', true)")
    await keys.renew(1)
    (link,) = await make_links(conn, 1, [TARGET], "https://d.example", keys)
    assert "clinic.example" not in await people.everything(conn)
    row = await conn.fetchrow(query("follow_link"), link.token, None)
    assert row is not None
    assert await keys.open(1, "link", link.token, row["sealed"]) == [TARGET]
    delivery = await conn.fetchval(
        "select duly.enqueue('clinic', 'sms', $1, 'Hello', metadata => $2::text::jsonb)",
        NUMBER,
        json.dumps(with_links({}, [link])),
    )
    await sent(conn, delivery)
    whose = await find(conn, "clinic", "sms", NUMBER, None)
    assert whose is not None
    async with conn.transaction():
        found = json.loads(b"".join([piece async for piece in document(conn, whose, Counter(), keys)]))
    assert [each["target"] for each in found["links"]] == [TARGET]
    assert (found["deliveries"][0]["responses"], found["deliveries"][0]["feedback"]) == ([], None)
    with pytest.raises(REFUSED, match=r"^target: this workspace seals"):
        await conn.execute("select duly.make_link('clinic', $1)", TARGET)
    assert await conn.fetchval("select url from duly.make_link('clinic')")


# Over HTTP.


@pytest_asyncio.fixture
async def daemon(work_dir: Path, dsn: str, sandbox: Sandbox) -> AsyncIterator[DaemonProcess]:
    port = free_port()
    path = work_dir / "duly.toml"
    web = 'link_url = "https://d.example"\npassword = "pw"'
    path.write_text(
        toml(dsn, sandbox.url, port, web=web, extra=f"[workspaces.vault]\nseal = true\n[privacy]\n{KEYS}")
    )
    async with running(path, port) as process:
        yield process


async def test_links_and_the_api_over_http(daemon: DaemonProcess, conn: Connection) -> None:
    """One daemon for all of it, as its start is what takes time."""
    async with aiohttp.ClientSession(daemon.url, headers={"User-Agent": PERSON}) as session:
        await _a_look_says_nothing_and_a_press_does(session, conn)
        await _a_click_is_counted_and_leads_to_the_stored_target_only(session, conn)
        await _nonsense_is_refused(session)
        await _the_api(session, conn)


async def _a_look_says_nothing_and_a_press_does(session: aiohttp.ClientSession, conn: Connection) -> None:
    delivery, path = await linked(conn)
    for _ in range(2):
        async with session.get(path, headers={"Accept-Language": "de-AT,en;q=0.5"}) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert 'lang="de"' in text
            assert "War unsere Nachricht hilfreich?" in text
            assert "script" not in text
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
    async with session.head(path) as answer:
        assert answer.status == 200
    async with session.get("/f/duly.css") as answer:
        assert (answer.status, answer.content_type) == (200, "text/css")
    assert await word(conn, delivery) is None
    for button, helpful in (("no", False), ("yes", True)):
        async with session.post(path, data={"helpful": button}) as answer:
            assert answer.status == 200
            assert "Thank you." in await answer.text()
        assert await word(conn, delivery) == (helpful, "link")
    async with session.post(path, data={"helpful": "maybe"}) as answer:
        assert answer.status == 400
    assert await word(conn, delivery) == (True, "link")
    await conn.execute("update duly.link set expires_at = now() - interval '1 second'")
    for method, data in (("GET", None), ("POST", {"helpful": "no"})):
        async with session.request(method, path, data=data) as answer:
            assert answer.status == 404
    assert await word(conn, delivery) == (True, "link")


async def _a_click_is_counted_and_leads_to_the_stored_target_only(
    session: aiohttp.ClientSession, conn: Connection
) -> None:
    delivery, path = await linked(conn, TARGET)
    # Who only looks: without a name, by name, before the person has pressed, without the body.
    looks: list[tuple[str, dict[str, str]]] = [
        ("GET", {"User-Agent": ""}),
        ("GET", {"User-Agent": "facebookexternalhit/1.1 Facebot Twitterbot/1.0"}),
        ("GET", {"User-Agent": "WhatsApp/2.23"}),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}),
    ]
    for method, headers in [*looks, ("HEAD", {}), ("GET", {}), ("GET", {})]:
        async with session.request(
            method, path + "?target=https://evil.example", headers=headers, allow_redirects=False
        ) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, TARGET)
            assert answer.headers["Cache-Control"] == "no-store"
    assert await came(conn, delivery) == {"click": 2, "preview": len(looks)}
    assert await conn.fetchval("select clicks from duly.link where delivery_id = $1", delivery) == 2
    async with session.post(path, data={}) as answer:
        assert answer.status == 405
    # A link of one kind is none of the other.
    async with session.get(path.replace("/l/", "/f/")) as answer:
        assert answer.status == 404
    # One whose message was never queued leads on, and nothing is counted.
    unbound = await conn.fetchval("select token from duly.make_link('clinic', $1)", TARGET)
    async with session.get(f"/l/{unbound}", allow_redirects=False) as answer:
        assert answer.status == 302
    assert await conn.fetchval("select count(*) from duly.response where kind = 'click'") == 1


async def _nonsense_is_refused(session: aiohttp.ClientSession) -> None:
    for path in ("/f/11111111111", "/l/11111111111", "/f/x", "/l/..%2f..", "/l/%00", "/f/" + "a" * 500,
                 "/l/https://evil.example", "/f/1111111111O", "/f/"):  # fmt: skip
        async with session.get(path, allow_redirects=False) as answer:
            assert answer.status in (401, 404), path
            assert "Location" not in answer.headers
    async with session.get("/") as answer:
        assert answer.status == 401


async def _the_api(session: aiohttp.ClientSession, conn: Connection) -> None:
    headers = {"Authorization": aiohttp.encode_basic_auth("duly", "pw")}

    async def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
        url = f"/api/v1/workspaces/{path}"
        async with session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    status, made = await ask("POST", "clinic/links", {"target": TARGET, "key": "k"})
    assert (status, made["url"]) == (201, f"https://d.example/l/{made['metadata']['links'][0]}")
    assert await ask("POST", "clinic/links", {"target": TARGET, "key": "k"}) == (201, made)
    status, sealed = await ask("POST", "vault/links", {"target": "https://vault.example/secret"})
    assert status == 201
    assert "vault.example" not in await people.everything(conn)
    async with session.get(f"/l/{sealed['metadata']['links'][0]}", allow_redirects=False) as answer:
        assert answer.headers["Location"] == "https://vault.example/secret"
    delivery = str(await people.enqueue(conn))
    assert (await ask("POST", "clinic/feedback", {"delivery": delivery, "helpful": True}))[0] == 200
    assert await word(conn, UUID(delivery)) == (True, "api")
    status, found = await ask("GET", "clinic/analytics?by=channel&since=2020-01-01T00:00:00Z")
    assert status == 200
    assert list(found["by"]) == ["channel"]
    for method, path, body, expected in (
        ("POST", "clinic/links", {"target": "javascript:x"}, (422, "target")),
        ("POST", "clinic/links", {"target": 7}, (422, "target")),
        ("POST", "clinic/links", {"days": "x"}, (422, "days")),
        ("POST", "clinic/links", {"key": "a\0b"}, (422, None)),
        ("POST", "nowhere/links", {}, (404, "workspace")),
        ("POST", "vault/links", {"target": TARGET, "key": "k"}, (422, "key")),
        ("POST", "vault/links", {"target": "javascript:x"}, (422, "target")),
        ("POST", "clinic/links", {"url": TARGET}, (422, "url")),
        ("POST", "clinic/feedback", {"delivery": delivery}, (422, "helpful")),
        ("POST", "clinic/feedback", {"delivery": "x", "helpful": True}, (422, "delivery")),
        ("POST", "clinic/feedback", {"delivery": str(uuid4()), "helpful": True}, (404, "delivery")),
        ("POST", "clinic/feedback", [], (422, "body")),
        ("GET", "clinic/analytics?by=age", None, (422, "by")),
        ("GET", "clinic/analytics?since=yesterday", None, (422, "since")),
        ("GET", "clinic/analytics?since=2026-01-01T00:00:00", None, (422, "since")),
        ("GET", "clinic/analytics?since=2030-01-01T00:00:00Z", None, (422, "since")),
        ("GET", "nowhere/analytics", None, (404, "workspace")),
    ):  # fmt: skip
        status, found = await ask(method, path, body)
        assert (status, found.get("field")) == expected, (path, body, found)
    for method, path in (("POST", "links"), ("POST", "feedback"), ("GET", "analytics")):
        async with session.request(method, f"/api/v1/workspaces/clinic/{path}", json={}) as answer:
            assert answer.status == 401


async def test_a_link_that_is_followed_by_many_at_once_is_counted_by_each(conn: Connection, dsn: str) -> None:
    delivery, path = await linked(conn, TARGET)
    database = Database(lambda: dsn)
    await asyncio.gather(*(database.fetchrow(query("follow_link"), path[3:], "click") for _ in range(20)))
    await database.close()
    assert await came(conn, delivery) == {"click": 20}
