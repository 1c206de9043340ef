"""Templates in the database: the same rules in SQL as in the daemon, versions that are pinned, nothing left empty."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.content.documents import checked
from daemon.content.language import TemplateProblem, compiled
from daemon.content.library import list_templates, load_templates, load_version, put_template
from daemon.content.preparing import prepare
from daemon.content.smart import REPLACED, smart_replaced
from daemon.content.templates import TemplateVersion, Text
from daemon.content.values import Type, Variable, checked_value, is_blank
from daemon.queue.sealer import Sealer
from daemon.sealing.envelope import KeyRing
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection, Database
from daemon.store.sql import query

TO = "+14155550123"
WRONG = asyncpg.InvalidParameterValueError
FAST = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
words = st.text(letters, max_size=20)


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """A database of this test's own, with a workspace."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


async def put(conn: Connection, *texts: dict[str, Any], name: str = "hello", **more: Any) -> str:
    document = checked({"name": name, "texts": list(texts), **more})
    return (await put_template(conn, "clinic", document)).template


async def put_sql(conn: Connection, body: str | None, **more: Any) -> str:
    """By the function that applications call."""
    names = "".join(f", {name} => ${n}" for n, name in enumerate(more, start=2))
    values = [json.dumps(value) if isinstance(value, dict | list) else value for value in more.values()]
    found: str = await conn.fetchval(f"select duly.put_template('clinic', 'hello', $1{names})", body, *values)
    return found


async def enqueue(
    conn: Connection, template: str = "hello", channel: str = "sms", to: str = TO, **more: Any
) -> asyncpg.Record:
    """Queues one, and returns its message."""
    values = {"variables": {}, "metadata": {}, **more}
    names = "".join(f", {name} => ${n}" for n, name in enumerate(values, start=4))
    arguments = [json.dumps(value) if isinstance(value, dict) else value for value in values.values()]
    id = await conn.fetchval(
        f"select duly.enqueue('clinic', $1, $2, null, template => $3{names})",
        channel,
        to,
        template,
        *arguments,
    )
    row = await conn.fetchrow("select * from duly.message where id = $1", id)
    assert row is not None
    return row


async def ann(conn: Connection, **more: Any) -> None:
    item = {
        "external_id": "p-1", "first_name": "Ann", "name": "Ann Lee", "locale": "pt-BR",
        "attributes": {"city": "Rio"}, "addresses": [{"channel": "sms", "address": TO}], **more,
    }  # fmt: skip
    await conn.execute("select duly.put_contacts('clinic', $1)", json.dumps([item]))


# The database and the daemon: one language.

names = st.sampled_from(
    ["a", "FirstName", "user.first_name", "user.last", "_x", "naïve", "1a", "true", "a.not", "a..b"]
)
pieces = st.one_of(
    words,
    st.sampled_from(
        ["{", "}", "{{", "}}", "{%", "%}", "{#", "#}", "\r\n", "\r", "{{}}", "{{-", "-}}", "{% raw %}"]
    ),
    st.builds(
        "{{{{{}{}{}}}}}".format, st.sampled_from(["", " ", "\n"]), names, st.sampled_from(["", "  ", "\t"])
    ),
)


@FAST
@given(st.lists(st.lists(pieces, max_size=6).map("".join), min_size=1, max_size=40))
@example(
    [
        "",
        "{{a}}",
        "{{ a }}}",
        "{{{a}}",
        "{ {{a}} }",
        "{{a}}{{b}}",
        "{{a\n}}",
        "x{{a}}y\r\n",
        "{{ a.not }}",
        "{{true}}",
    ]
)
async def test_sql_splits_a_text_as_the_daemon_does_or_refuses_it(
    conn: Connection, sources: list[str]
) -> None:
    for source in sources:
        try:
            theirs = json.loads(await conn.fetchval("select duly.text_parts($1, 'body')", source))
        except WRONG:
            theirs = None
        try:
            ours = compiled(source).parts
        except TemplateProblem:
            ours = None
        if theirs is not None:
            assert theirs == ours
        elif ours is not None:  # what SQL does not take though it only puts values in: marks of Jinja's own
            assert any(mark in source for mark in ("{%", "{#", "{{-", "-}}", "{{")), source


values = st.fixed_dictionaries(
    {},
    optional={
        "text": st.one_of(words, st.none(), st.integers(), st.sampled_from(["<&>'\"", " ", "\u00a0", "é" * 3, "“…”"])),
        "number": st.one_of(
            st.integers(-(10**15), 10**15),
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from([3.50, 1e3, 0, -0.0, 1e22, 1e39, 1e40, 1e-30, 1e-45, "3", True, None]),
        ),
        "user": st.one_of(
            st.none(), st.just("x"), st.fixed_dictionaries({}, optional={"name": words, "age": st.integers()})
        ),
        "user.name": st.one_of(st.none(), words),
        "link": st.sampled_from(
            ["https://e.com/é", "https://e.com/ a", "http://e.com/?a=1&b='", "ftp://x", "https://", ""]
        ),
        "day": st.sampled_from(["2026-01-31", "2026-02-32", "2026-1-1", "2026-01-31\n"]),
        "hour": st.sampled_from(["18:00", "24:00", "6:00"]),
    },
)  # fmt: skip
VARIABLES = {
    "text": {"default": "friend"},
    "number": {"type": "number", "default": 3.50},
    "user.name": {"default": ""},
    "user.age": {"type": "number", "default": 7},
    "link": {"type": "url", "default": "https://example.com/?q='1'"},
    "day": {"type": "date", "default": "2026-01-31"},
    "hour": {"type": "time", "default": "18:00"},
}
EVERYTHING = "".join("<{{ " + name + " }}>" for name in VARIABLES) + "“…”"
BUTTONS = [
    {"label": "See {{text}}", "url": "https://e.com/{{user.name}}/{{number}}?{{text}}"},
    {"label": "L", "url": "{{link}}"},
]


@FAST
@given(
    st.lists(
        st.tuples(values, st.sampled_from(["sms", "email", "in_app", "push", "telegram"])),
        min_size=1,
        max_size=15,
    )
)
async def test_sql_renders_as_the_daemon_does(
    conn: Connection, cases: list[tuple[dict[str, Any], str]]
) -> None:
    if await load_version(conn, "clinic", "all") is None:
        text = {
            "body": EVERYTHING,
            "subject": "S {{text}}",
            "html": f"<b>{EVERYTHING}</b>",
            "buttons": BUTTONS,
        }
        await put(conn, text, name="all", variables=VARIABLES, smart_replacement=True)
    version = (await load_templates(conn, 1, ["all"]))["all"]
    for variables, channel in cases:
        row = await conn.fetchrow(
            "select * from duly.rendered(1, 'all', $1, 'x', $2, '{}')", channel, json.dumps(variables)
        )
        assert row is not None
        found: tuple[object, ...]
        try:
            content = version.render(version.texts[0], json.loads(json.dumps(variables)), channel=channel)
            found = (None, content.body, content.metadata())
        except TemplateProblem as problem:
            found = (str(problem), None, None)
        assert (row["error"], row["body"], row["content"] and json.loads(row["content"])) == found


@FAST
@given(st.lists(st.one_of(words, st.text(st.sampled_from([*REPLACED, *"aé€`[ \n", "🎉", "ж"]))), max_size=60))
@example([*REPLACED, "".join(REPLACED), "“Hi” 🎉", "`", "ab\tc", ""])
async def test_sql_replaces_what_the_daemon_replaces(conn: Connection, bodies: list[str]) -> None:
    rows = await conn.fetch(
        "select duly.smart_replaced(b) as body from unnest($1::text[]) with ordinality t (b, n) order by n",
        bodies,
    )
    assert [row["body"] for row in rows] == [smart_replaced(body) for body in bodies]


async def test_each_character_is_the_same_to_both(conn: Connection) -> None:
    everything = list(map(chr, [*range(1, 0x3400), *range(0xFB00, 0x10000)]))
    rows = await conn.fetch(
        "select duly.smart_replaced(c) as smart, duly.is_blank(to_jsonb(c)) as blank, duly.in_url(c) as url,"
        " duly.value_problem('url', to_jsonb('https://' || c)) as problem"
        " from unnest($1::text[]) with ordinality t (c, n) order by n",
        everything,
    )
    wrong = []
    for character, row in zip(everything, rows, strict=True):
        try:
            checked_value(Variable("v", Type.URL), f"https://{character}")
            problem = None
        except TemplateProblem as error:
            problem = str(error).removeprefix("variables.v: ")
        ours = (smart_replaced(character), is_blank(character), quote(character, safe=""), problem)
        if tuple(row) != ours:
            wrong.append((character, tuple(row), ours))
    assert wrong == []


# Versions.


async def test_a_delivery_pins_the_version_and_the_text_it_was_written_from(conn: Connection) -> None:
    assert await put_sql(conn, "Hi {{FirstName}}") == "hello@1"
    first = await enqueue(conn, variables={"FirstName": "Ann"})
    assert await put_sql(conn, "Dear {{FirstName}}") == "hello@2"
    second = await enqueue(conn, variables={"FirstName": "Ann"})
    old = await enqueue(conn, "hello@1", variables={"FirstName": "Bo"})
    assert [(row["template"], row["body"]) for row in (first, second, old)] == [
        ("hello@1", "Hi Ann"), ("hello@2", "Dear Ann"), ("hello@1", "Hi Bo"),
    ]  # fmt: skip
    assert first["text_id"] == old["text_id"] != second["text_id"]


async def test_the_same_again_is_no_new_version(conn: Connection) -> None:
    text = {"body": "Hi {{FirstName}}", "style": "kind"}
    assert [await put(conn, text), await put(conn, text)] == ["hello@1"] * 2
    assert await put(conn, {**text, "body": "Ho"}) == "hello@2"
    assert await put(conn, text) == "hello@3"  # the newest is what counts
    together = await asyncio.gather(*[put_sql(conn, "one")])
    assert together == ["hello@4"]


async def test_two_who_put_at_once_get_one_version_each(conn: Connection, dsn: str) -> None:
    other = await asyncpg.connect(dsn)
    found = await asyncio.gather(put_sql(conn, "one"), put_sql(other, "two"), return_exceptions=True)
    assert sorted(map(str, found)) == ["hello@1", "hello@2"]
    await other.close()


async def test_what_was_used_is_never_changed_or_removed(conn: Connection) -> None:
    await put_sql(conn, "Hi")
    await enqueue(conn)
    for statement in (
        "update duly.template_text set body = 'x'",
        "delete from duly.template_text",
        "update duly.template set variables = '{}', smart_replacement = true",
        "delete from duly.template",
        "insert into duly.template_text (id, workspace_id, template_id, number, body)"
        " select duly.new_id(), 1, id, 2, 'x' from duly.template",
        "select duly.delete_template('clinic', 'hello@1')",
    ):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=r"^template: version 1 of hello"):
            await conn.execute(statement)
    assert await conn.fetchval(query("set_template_state"), "clinic", "hello", "retired") == "hello@1"
    with pytest.raises(WRONG, match=r"^template: 'hello' is no live template"):
        await enqueue(conn)
    assert (await enqueue(conn, "hello@1"))["body"] == "Hi"


async def test_a_draft_waits_for_its_publishing_and_goes_while_unused(conn: Connection) -> None:
    await put_sql(conn, "Hi")
    assert await put_sql(conn, "Ho", draft=True) == "hello@2"
    assert (await enqueue(conn))["body"] == "Hi"
    with pytest.raises(WRONG, match="no live template"):
        await enqueue(conn, "hello@2")
    listed = await list_templates(conn, "clinic")
    assert [(row.version, row.state, row.used_at is not None) for row in listed] == [
        (1, "live", True), (2, "draft", False),
    ]  # fmt: skip
    await conn.execute(query("set_template_state"), "clinic", "hello@2", "live")
    assert (await enqueue(conn))["body"] == "Ho"
    assert await put_sql(conn, "Hm", draft=True) == "hello@3"
    assert await put_sql(conn, "Hm") == "hello@3"  # put as live, it is published
    assert await conn.fetchval(query("delete_template"), "clinic", "hello@3") == "hello@3"
    with pytest.raises(asyncpg.NoDataFoundError, match=r"^template: there is no template 'hello@3'"):
        await conn.fetchval(query("delete_template"), "clinic", "hello@3")
    with pytest.raises(asyncpg.NoDataFoundError):
        await conn.fetchval(query("set_template_state"), "shop", "hello", "live")


# What is wrong is named, and nothing is left empty.


WRONG_VARIABLES: list[tuple[dict[str, Any], str]] = [
    ({}, r"variables\.who: is missing; template hello needs it"),
    ({"who": None}, r"variables\.who: is missing"),
    ({"who": " "}, r"variables\.who: is empty"),
    ({"who": 3}, r"variables\.who: must be a text"),
    ({"who": "a", "n": "3"}, r"variables\.n: must be a number"),
    ({"who": "x" * 60_000, "more": "x" * 80_000}, "variables: must be a JSON object of at most"),
    ({"who": "x" * 2000}, "body: has"),
]


async def test_a_missing_or_wrong_variable_is_an_error_and_no_gap(conn: Connection) -> None:
    await put_sql(conn, "Hi {{who}} {{n}}", variables={"who": {}, "n": {"type": "number", "default": 1}})
    for variables, said in WRONG_VARIABLES:
        with pytest.raises(WRONG, match=f"^{said}"):
            await enqueue(conn, variables=variables)
    assert await conn.fetchval("select count(*) from duly.message") == 0


async def test_a_huge_result_is_refused_before_it_is_made(conn: Connection) -> None:
    await put_sql(conn, "{{x}}" * 900)
    with pytest.raises(WRONG, match=r"^body: would have more than 500000"):
        await enqueue(conn, channel="in_app", to="a", variables={"x": "y" * 60_000})


WRONG_TEMPLATES: list[tuple[str | None, dict[str, Any], str]] = [
    ("Hi {{ x", {}, "body: line 1"),
    ("a\n{% if x %}", {}, "body: line 2"),
    ("{{ x }}" * 1001, {}, "body: puts values into too many"),
    ("{{ x }}", {"variables": {"y": {}}}, "variables: x is used in a text and not declared"),
    ("{{ x }}", {"variables": {"x": {"type": "flag"}}}, r"variables\.x: is a flag"),
    ("{{ x }}", {"variables": {"x": {"type": "int"}}}, r"variables\.x\.type: is none of"),
    ("{{ x }}", {"variables": {"x": {"default": 3}}}, r"variables\.x\.default: must be a text"),
    ("{{ x }}", {"variables": {"x": {"more": 3}}}, r"variables\.x\.more: is no field"),
    ("{{ x }}", {"variables": {"x": {}, "x.y": {}}}, r"variables\.x: is also the beginning"),
    ("{{ x }}", {"variables": ["x"]}, "variables: must be a JSON object"),
    (" ", {}, "body: is missing"),
    (None, {}, "body: is missing"),
    ("x", {"texts": [{"body": "x"}]}, "texts: has the texts"),
    (None, {"texts": [{"body": "x", "channel": "fax"}]}, r"texts\.1\.channel"),
    (None, {"texts": [{"body": "x"}, {"body": 1}]}, r"texts\.2\.body: must be a text"),
    (None, {"texts": [{"body": "x"}, {"body": "y"}]}, "texts: two are for the same"),
    (None, {"texts": [{"body": "x", "buttons": []}]}, r"texts\.1\.buttons: is no field"),
    (None, {"texts": [{"body": "x", "channel": "email"}]}, r"texts\.1\.subject: is missing"),
    (None, {"texts": [{"body": "x", "channel": "sms", "html": "x"}]}, r"texts\.1\.subject: sms has neither"),
    (None, {"texts": []}, "texts: must be a list"),
    (None, {"texts": {}}, "texts: must be a list"),
]


async def test_sql_names_what_is_wrong_with_a_template(conn: Connection) -> None:
    for body, more, said in WRONG_TEMPLATES:
        with pytest.raises(WRONG, match=f"^{said}"):
            await put_sql(conn, body, **more)
    assert await conn.fetchval("select count(*) from duly.template") == 0


async def test_what_is_known_of_the_recipient_fills_in(conn: Connection) -> None:
    await ann(conn)
    await put_sql(conn, "{{FirstName}}/{{Name}}/{{contact.city}}/{{contact.locale}}")
    assert (await enqueue(conn))["body"] == "Ann/Ann Lee/Rio/pt-BR"
    said = await enqueue(conn, variables={"FirstName": "Annie", "contact.city": "Bonn"})
    assert said["body"] == "Annie/Ann Lee/Bonn/pt-BR"
    with pytest.raises(WRONG, match=r"^variables\.Name: is missing"):
        await enqueue(conn, to="+14155550124")
    await put(conn, {"body": "Hi {{FirstName}}"}, variables={"FirstName": {"default": "friend"}})
    assert (await enqueue(conn, to="+14155550124"))["body"] == "Hi friend"
    assert (await enqueue(conn, channel="whatsapp"))["body"] == "Hi Ann"  # one number, whatever goes there


async def test_the_language_and_style_are_those_of_the_recipient_where_none_is_asked_for(
    conn: Connection,
) -> None:
    await ann(conn)
    await put(
        conn, {"body": "Hello"}, {"body": "Olá", "language": "pt"}, {"body": "Yo", "style": "snarky"},
        {"body": "E aí", "language": "pt", "style": "snarky"},
    )  # fmt: skip
    assert (await enqueue(conn))["body"] == "Olá"
    await conn.execute(
        "insert into duly.preference (contact_id, workspace_id, style) select id, 1, 'snarky' from duly.contact"
    )
    found = await enqueue(conn)
    assert (found["body"], json.loads(found["metadata"])) == ("E aí", {"language": "pt"})
    assert (await enqueue(conn, metadata={"language": "en", "style": "kind"}))["body"] == "Hello"
    assert (await enqueue(conn, to="+14155550124"))["body"] == "Hello"


async def test_no_text_is_said_to_somebody_again_before_all_have_been(conn: Connection) -> None:
    await put(conn, {"bodies": ["a", "b", "c"], "style": "snarky"})
    with pytest.raises(
        WRONG, match=r"^template: hello has no text for sms without metadata\.style; give one of snarky"
    ):
        await enqueue(conn)
    said = [
        (
            await enqueue(
                conn,
                metadata={"style": "snarky"},
                due_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n),
            )
        )["body"]
        for n in range(7)
    ]
    assert said == [*"abcabca"]
    assert (await enqueue(conn, to="+14155550124", metadata={"style": "snarky"}))["body"] == "a"


async def test_media_of_the_template_go_with_those_of_the_application(conn: Connection) -> None:
    picture = {"url": "https://e.com/{{x}}.png", "type": "image/png"}
    await put(conn, {"body": "See", "attachments": [picture]}, variables={"x": {}})
    found = await enqueue(
        conn, variables={"x": "a b"}, metadata={"media_urls": ["https://e.com/1"], "mine": 1}
    )
    assert json.loads(found["metadata"]) == {
        "mine": 1,
        "media_urls": ["https://e.com/a%20b.png", "https://e.com/1"],
    }
    leased = await conn.fetchval("select metadata ->> 'media_urls' from duly.message")
    assert "a%20b" in leased
    with pytest.raises(WRONG, match=r"^template: hello: attachments: push takes none"):
        await enqueue(conn, channel="push", to="t", variables={"x": "a"})
    with pytest.raises(WRONG, match=r"^template: hello: subject: is missing; an email needs one"):
        await enqueue(conn, channel="email", to="a@example.com", variables={"x": "a"})


async def test_smart_replacement_is_in_the_segments_of_the_row(conn: Connection) -> None:
    body = "“Hi” " + "x" * 80
    counts = []
    for smart in (False, True):
        await put_sql(conn, body, smart_replacement=smart)
        id = (await enqueue(conn))["id"]
        counts.append(await conn.fetchval("select segments from duly.delivery_row where id = $1", id))
    assert counts == [2, 1]


async def test_a_key_is_compared_by_what_was_asked_and_not_by_what_it_came_to(conn: Connection) -> None:
    await put_sql(conn, "Hi {{x}}")
    first = await enqueue(conn, variables={"x": "a"}, idempotency_key="k")
    await put_sql(conn, "Ho {{x}}")
    again = await enqueue(conn, variables={"x": "a"}, idempotency_key="k")
    assert (again["id"], again["body"]) == (first["id"], "Hi a")
    with pytest.raises(WRONG, match=r"^idempotency_key: was already used"):
        await enqueue(conn, variables={"x": "b"}, idempotency_key="k")


async def test_what_a_template_came_to_is_sealed_and_erased_like_the_rest(
    conn: Connection, database: Database
) -> None:
    ring = KeyRing({"a": bytes(32)}, "a")
    keys = DataKeys(database, lambda: ring)
    sealer = Sealer(database, keys, lambda: {"clinic": True}, asyncio.Event())
    await sealer.once()
    await ann(conn)
    await sealer.once()  # the address, which the name is still found by
    picture = {"url": "https://e.com/{{x}}.png", "type": "image/png"}
    text = {
        "body": "Hi {{FirstName}} {{x}}",
        "subject": "S {{x}}",
        "html": "<b>{{x}}</b>",
        "attachments": [picture],
    }
    await put(conn, text, variables={"x": {}})
    sms = await enqueue(conn, variables={"x": "secret"})
    mail = await enqueue(
        conn, channel="email", to="a@example.com", variables={"x": "secret", "FirstName": "Ann"}
    )
    assert await sealer.once() == 4
    for before in (sms, mail):
        row = await conn.fetchrow("select * from duly.message where id = $1", before["id"])
        assert row is not None
        assert "secret" not in repr(dict(row))
        parts = await keys.try_open(1, "message", str(row["id"]), row["sealed"])
        assert parts is not None
        assert (parts[0], json.loads(parts[2] or ""), json.loads(parts[3] or "")) == (
            before["body"], json.loads(before["variables"]), json.loads(before["metadata"]),
        )  # fmt: skip
    assert sms["body"] == "Hi Ann secret"
    assert json.loads(mail["metadata"])["html"] == "<b>secret</b>"
    await conn.execute("select duly.erase('clinic', 'me', 'asked', 'sms', $1)", TO)
    row = await conn.fetchrow(
        "select body, variables, metadata, sealed from duly.message where id = $1", sms["id"]
    )
    assert tuple(row or ()) == ("", "{}", "{}", None)


# What only the daemon renders.


async def queue(conn: Connection, *items: dict[str, Any]) -> list[Any]:
    given = [
        {"workspace": "clinic", "channel": "sms", "to": TO, "template": "hello", **item} for item in items
    ]
    prepared = await prepare(conn, given)
    rows = await conn.fetch(query("enqueue_rendered"), json.dumps(given), json.dumps(prepared))
    return [
        await conn.fetchrow(
            "select body, template, text_id, metadata from duly.message where id = $1", row["id"]
        )
        if row["error"] is None
        else row["error"]
        for row in rows
    ]


async def test_the_daemon_renders_conditions_and_one_wrong_item_holds_nobody_back(conn: Connection) -> None:
    await ann(conn)
    await put(
        conn, {"bodies": ["{{FirstName}}{% if n > 1 %} {{n}} times{% endif %}"]}, {"body": "plain", "style": "plain"},
        variables={"n": {"type": "number", "default": 1}},
    )  # fmt: skip
    with pytest.raises(WRONG, match=r"^template: hello has conditions, which only the daemon renders"):
        await enqueue(conn)
    many, one, plain, missing, wrong, other, absent, both = await queue(
        conn, {"variables": {"n": 2.50}}, {}, {"metadata": {"style": "plain"}}, {"to": "+14155550124"},
        {"variables": {"n": "x"}}, {"workspace": "nowhere"}, {"template": "none"}, {"body": "x"},
    )  # fmt: skip
    assert (many["body"], one["body"], plain["body"]) == ("Ann 2.5 times", "Ann", "plain")
    assert many["template"] == "hello@1"
    assert many["text_id"] == one["text_id"] != plain["text_id"]
    assert missing == "variables.FirstName: is missing; template hello needs it"
    assert wrong == "variables.n: must be a number"
    assert "workspace: 'nowhere'" in other
    assert absent == "template: 'none' is no live template of this workspace"
    assert both == "template: has the text; leave out body, or the template"
    assert await conn.fetchval("select used_at is not null from duly.template") is True


async def test_a_key_of_what_the_daemon_rendered_is_compared_by_what_was_asked(conn: Connection) -> None:
    await put(conn, {"body": "{% if n > 1 %}many{% endif %}one"}, variables={"n": {"type": "number"}})
    item = {"variables": {"n": 2}, "idempotency_key": "k"}
    first, again, other = await queue(conn, item, item, {**item, "variables": {"n": 3}})
    assert first["body"] == again["body"] == "manyone"
    assert other.startswith("idempotency_key: was already used")
    await put(conn, {"body": "{% if n > 1 %}some{% endif %}one"}, variables={"n": {"type": "number"}})
    assert (await queue(conn, item))[0]["body"] == "manyone"


async def test_a_template_that_goes_between_rendering_and_queueing_is_an_error(conn: Connection) -> None:
    await put(conn, {"body": "{% if n > 1 %}many{% endif %}one"}, variables={"n": {"type": "number"}})
    item = {"workspace": "clinic", "channel": "sms", "to": TO, "template": "hello", "variables": {"n": 1}}
    prepared = await prepare(conn, [item])
    await conn.execute("select duly.delete_template('clinic', 'hello')")
    (row,) = await conn.fetch(query("enqueue_rendered"), json.dumps([item]), json.dumps(prepared))
    assert row["error"] == "template: was taken away meanwhile"
    assert await conn.fetchval("select count(*) from duly.message") == 0


async def test_texts_that_people_got_are_counted_over_all_versions(conn: Connection) -> None:
    await put(conn, {"bodies": ["a", "b"]})
    old = {text.body: text.id for text in (await load_templates(conn, 1, ["hello"]))["hello"].texts}
    await put(conn, {"bodies": ["b", "a", "c"]})
    new = {text.body: text.id for text in (await load_templates(conn, 1, ["hello"]))["hello"].texts}
    people = [uuid4(), uuid4()]
    wished = datetime(2026, 1, 4, 18, tzinfo=UTC)

    async def planned(person: UUID, text: UUID, days: int, delivery: UUID | None) -> None:
        await conn.execute(
            "insert into duly.planned (source_id, contact_id, occurrence, workspace_id, source, text_id, wished_at,"
            " delivery_id) values ($1, $2, $3, 1, 'check_in', $4, $5, $6)",
            uuid4(), person, datetime(2026, 1, 4, 18), text, wished + timedelta(days=days), delivery,  # noqa: DTZ001
        )  # fmt: skip

    await planned(people[0], old["a"], 0, uuid4())
    await planned(people[0], new["a"], 7, uuid4())
    await planned(people[0], new["b"], 8, None)  # was not sent
    await planned(people[1], old["b"], 1, uuid4())
    rows = await conn.fetch(query("texts_used"), 1, people, list(new.values()))
    assert {(r["contact_id"], r["text_id"]): (r["times"], r["last_at"]) for r in rows} == {
        (people[0], new["a"]): (2, wished + timedelta(days=7)),
        (people[1], new["b"]): (1, wished + timedelta(days=1)),
    }


def test_a_decimal_is_a_number_for_the_daemon() -> None:
    version = TemplateVersion(uuid4(), "t", 1, {"n": Variable("n", Type.NUMBER)})
    text = Text(uuid4(), "t@1", "", "", "", 1, "{{n}}")
    assert version.render(text, {"n": Decimal("3.50")}).body == "3.5"
