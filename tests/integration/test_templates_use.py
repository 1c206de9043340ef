"""Templates from the command line, from files of recipients and over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from daemon.cli import app
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from daemon.store.sql import query
from tests.support import DaemonProcess, free_port, running, toml

TO = "+14155550123"
HELLO = """
name = "hello"
smart_replacement = true
[variables]
FirstName = { default = "friend", example = "Ann" }
n = { type = "number", default = 1 }
[[texts]]
body = "Hi {{FirstName}}{% if n > 1 %}, “{{n}}” times{% endif %}"
[[texts]]
style = "snarky"
bodies = ["Oh, {{FirstName}}", "You, {{FirstName}}?"]
[[texts]]
channel = "email"
subject = "{{n}}"
body = "Dear {{FirstName}}"
"""


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    await conn.execute("select duly.register_workspace('clinic')")
    people = [
        {"external_id": "a", "first_name": "Ann", "addresses": [{"channel": "sms", "address": TO}]},
        {
            "external_id": "b",
            "first_name": "Bo",
            "addresses": [{"channel": "sms", "address": "+14155550124"}],
        },
    ]
    await conn.execute("select duly.put_contacts('clinic', $1)", json.dumps(people))
    return conn


@pytest.fixture
def config(work_dir: Path, dsn: str) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, "http://127.0.0.1:1", 1))
    return path


class Commands:
    """Runs commands in this process."""

    def __init__(self, config: Path) -> None:
        self._config = str(config)

    async def __call__(self, *words: str, stdin: str | None = None) -> tuple[int, str]:
        """The exit status, and what was said."""
        found = await asyncio.to_thread(
            CliRunner().invoke, app, [*words, "--config", self._config], input=stdin
        )
        return found.exit_code, found.output

    async def json(self, *words: str, stdin: str | None = None) -> Any:
        status, out = await self(*words, "--json", stdin=stdin)
        assert status == 0, out
        return json.loads(out)


@pytest.fixture
def duly(config: Path) -> Commands:
    return Commands(config)


@pytest_asyncio.fixture
async def hello(duly: Commands, conn: Connection, work_dir: Path) -> Path:
    path = work_dir / "hello.toml"
    path.write_text(HELLO)
    status, out = await duly("template", "put", str(path), "--workspace", "clinic")
    assert (status, out) == (0, "hello@1\n")
    return path


def facts_of(out: str) -> Any:
    """The JSON of a command that has complained, too."""
    return json.JSONDecoder().raw_decode(out[out.index("{\n") :])[0]


async def bodies(conn: Connection) -> dict[str, str]:
    rows = await conn.fetch(
        'select d."to", m.body from duly.delivery_row d join duly.message m on m.id = d.message_id'
    )
    return {row["to"]: row["body"] for row in rows}


async def test_a_template_is_put_listed_shown_changed_and_deleted(duly: Commands, hello: Path) -> None:
    at = ("--workspace", "clinic")
    assert await duly("template", "put", str(hello), *at) == (0, "hello@1 (as it was)\n")
    shown = await duly.json("template", "show", "hello", *at)
    assert (shown["version"], shown["state"], len(shown["texts"])) == (1, "live", 4)
    del shown["version"], shown["state"]
    again = await duly.json("template", "put", "-", *at, stdin=json.dumps(shown))
    assert again == [{"template": "hello@1", "created": False}]
    shown["texts"].pop()
    assert await duly.json("template", "put", "-", "--draft", *at, stdin=json.dumps(shown)) == [
        {"template": "hello@2", "created": True}
    ]
    rows = await duly.json("template", "list", *at)
    assert [(row["version"], row["state"], row["styles"]) for row in rows] == [
        (1, "live", ["snarky"]), (2, "draft", ["snarky"]),
    ]  # fmt: skip
    status, out = await duly("template", "list", *at)
    assert "sms" not in out
    assert "email" in out
    assert await duly("template", "publish", "hello@2", *at) == (0, "hello@2 is live.\n")
    assert await duly("template", "retire", "hello@1", *at) == (0, "hello@1 is retired.\n")
    assert await duly("template", "delete", "hello@2", *at) == (0, "hello@2 is deleted.\n")
    status, out = await duly("template", "delete", "hello@2", *at)
    assert (status, "there is no template 'hello@2'" in out) == (1, True)
    status, out = await duly("template", "put", "-", *at, stdin='name = "x"\n[[texts]]\nbody = "{{ y }}"')
    assert (status, "texts.1.body: line 1: y is not declared" in out) == (2, True)
    assert (await duly("template", "show", "none", *at))[0] == 1


async def test_a_preview_tells_of_each_text_and_needs_no_database_for_a_file(
    duly: Commands, hello: Path
) -> None:
    status, out = await duly(
        "template", "preview", "--file", str(hello), "--var", "n=3", "--var", "FirstName=Ж"
    )
    assert status == 0
    assert "Hi Ж, “3” times\n  [15 characters, UCS-2, 1 segment, because of Ж “ ”]" in out
    found = await duly.json("template", "preview", "hello", "--workspace", "clinic", "--style", "snarky")
    assert [(each["body"], each["encoding"], each["segments"]) for each in found] == [
        ("Oh, Ann", "gsm7", 1), ("You, Ann?", "gsm7", 1),
    ]  # fmt: skip
    assert (await duly("template", "preview", "--file", str(hello), "--var", "n=x"))[0] == 1
    assert (await duly("template", "preview", "--file", str(hello), "--var", "n"))[0] == 2


async def test_the_starter_set_is_put_once(duly: Commands, conn: Connection) -> None:
    first = await duly.json("template", "import-starter", "--workspace", "clinic")
    assert [each["template"] for each in first] == ["accountability@1", "partial@1", "congratulatory@1"]
    again = await duly.json("template", "import-starter", "--workspace", "clinic")
    assert [each["created"] for each in again] == [False] * 3


async def test_a_message_is_sent_from_a_template_and_its_receipt_says_which(
    duly: Commands, hello: Path, conn: Connection
) -> None:
    said = ("send", "--workspace", "clinic", "--to", TO, "--template", "hello")
    id = (await duly.json(*said, "--var", "n=3"))["id"]
    assert await bodies(conn) == {TO: 'Hi Ann, "3" times'}
    facts = await duly.json("explain", id)
    assert facts["template"] == "hello@1"
    status, out = await duly("explain", id)
    assert "from template hello@1, text number 1" in out
    snarky = (await duly.json(*said, "--style", "snarky"))["id"]
    assert "text snarky number 1" in (await duly("explain", snarky))[1]
    status, out = await duly(*said, "--var", "n=x")
    assert (status, out) == (2, "duly: variables.n: must be a number\n")
    status, out = await duly(*said, "--body", "x")
    assert (status, "--template: has the text" in out) == (2, True)
    status, out = await duly("send", "--workspace", "clinic", "--to", TO, "--body", "x", "--var", "n=1")
    assert (status, "belong to --template" in out) == (2, True)


async def test_a_file_is_written_from_a_template_with_columns_for_its_variables(
    duly: Commands, hello: Path, conn: Connection, work_dir: Path
) -> None:
    path = work_dir / "people.csv"
    path.write_text(
        "to,var.n,var.FirstName,idempotency_key,metadata\n"
        f"{TO},2,,,\n"
        '+14155550124,,,k,"{""mine"": 1}"\n'
        "+14155550125,,Cy,,\n"
        "+14155550126,x,,,\n"
        "+14155550127,1,Di,,not json\n"
        f"{TO},2,,,\n"
        f"{TO},3,,,\n"
    )
    words = (
        "send",
        "--workspace",
        "clinic",
        "--csv",
        str(path),
        "--template",
        "hello",
        "--vars",
        '{"n": 4}',
        "--json",
    )
    status, out = await duly(*words)
    facts = facts_of(out)
    assert status == 1
    assert (facts["queued"], facts["wrong"], facts["repeated"]) == (4, 2, 1)
    assert [(e["line"], e["error"]) for e in facts["errors"]] == [
        (5, "variables.n: must be a number"), (6, "metadata: must be a JSON object"),
    ]  # fmt: skip
    rows = await conn.fetch(
        'select d."to", m.body, m.template, m.variables, m.metadata, m.text_id is not null as pinned'
        ' from duly.delivery_row d join duly.message m on m.id = d.message_id order by d."to", m.body'
    )
    assert [(row["to"][-1], row["body"], json.loads(row["metadata"])) for row in rows] == [
        ("3", 'Hi Ann, "2" times', {}), ("3", 'Hi Ann, "3" times', {}), ("4", 'Hi Bo, "4" times', {"mine": 1}),
        ("5", 'Hi Cy, "4" times', {}),
    ]  # fmt: skip
    assert {(row["template"], row["pinned"]) for row in rows} == {("hello@1", True)}
    assert json.loads(rows[0]["variables"]) == {"n": 2}
    # The version it began with is the version it goes on with.
    hello.write_text(HELLO.replace("Hi ", "Ho "))
    await duly("template", "put", str(hello), "--workspace", "clinic")
    status, out = await duly(*words)
    assert facts_of(out)["queued_before"] == 4
    assert len(await conn.fetch("select from duly.delivery_row")) == 4


MISFITS: list[tuple[str, list[str], str]] = [
    ("to,var.n", ["--body", "x"], "has columns var.NAME, which belong to --template"),
    ("to,body", ["--template", "hello"], "has a column body"),
    ("to,var.n,VAR.n", ["--template", "hello"], "is there twice"),
    ("to", ["--template", "none"], "template: 'none' is no live template of this workspace"),
]


async def test_a_file_that_does_not_fit_the_template_is_refused_whole(
    duly: Commands, hello: Path, work_dir: Path
) -> None:
    path = work_dir / "people.csv"
    for columns, words, said in MISFITS:
        path.write_text(f"{columns}\n{TO}{',x' * columns.count(',')}\n")
        status, out = await duly("send", "--workspace", "clinic", "--csv", str(path), *words)
        assert status == 2
        assert said in out


async def test_lines_that_nobody_rendered_are_rendered_by_the_database(conn: Connection) -> None:
    """For a program of one's own, which may not read templates."""
    await conn.execute("select duly.put_template('clinic', 'plain', 'Hi {{FirstName}} {{x}}')")
    begun = await conn.fetchrow(
        query("upload_begin"),
        "clinic",
        "k",
        bytes(32),
        "sms",
        None,
        None,
        3,
        "transactional",
        None,
        "{}",
        "plain",
    )
    assert begun is not None
    assert begun["pinned"] == "plain@1"
    columns = [[TO, "+14155550129"], *[None] * 8, ['{"x": 1}', '{"x": "y"}'], None]
    columns[9] = ['{"x": "a"}', '{"x": "b"}']
    rows = await conn.fetch(query("upload_lines"), begun["id"], 0, 2, [1, 2], *columns)
    assert [tuple(row) for row in rows] == [(2, "variables.FirstName: is missing; template plain needs it")]
    assert await bodies(conn) == {TO: "Hi Ann a"}


# Over HTTP.


@pytest_asyncio.fixture
async def daemon(
    work_dir: Path, dsn: str, conn: Connection, sandbox: Sandbox
) -> AsyncIterator[DaemonProcess]:
    port = free_port()
    path = work_dir / "http.toml"
    path.write_text(toml(dsn, sandbox.url, port))
    async with running(path, port) as process:
        yield process


async def test_templates_are_put_looked_at_and_queued_from_over_http(
    daemon: DaemonProcess, conn: Connection
) -> None:
    async with aiohttp.ClientSession(f"{daemon.url}/api/v1/") as session:

        async def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
            async with session.request(method, path, json=body) as response:
                return response.status, await response.json(content_type=None)

        base = "workspaces/clinic/templates"
        document: dict[str, Any] = {
            "name": "hello", "variables": {"n": {"type": "number", "default": 1}},
            "texts": [{"body": "Hi {{FirstName}}{% if n > 1 %}!{% endif %}"}],
        }  # fmt: skip
        assert await ask("POST", base, document) == (201, {"template": "hello@1", "created": True})
        assert await ask("POST", base, document) == (200, {"template": "hello@1", "created": False})
        assert (await ask("POST", base, document | {"draft": True, "texts": [{"body": "x"}]}))[0] == 201
        status, found = await ask("GET", base)
        assert (status, [row["state"] for row in found["templates"]]) == (200, ["live", "draft"])
        status, found = await ask("GET", f"{base}/hello@1")
        assert (status, found["state"], found["texts"][0]["body"]) == (
            200,
            "live",
            document["texts"][0]["body"],
        )
        status, found = await ask(
            "POST", f"{base}/hello@1/preview", {"variables": {"FirstName": "Ann", "n": 2}}
        )
        assert (status, found["texts"][0]["body"], found["texts"][0]["segments"]) == (200, "Hi Ann!", 1)
        for path, body, said in (
            (base, {"name": "x", "texts": [{"body": "{{ y }}"}]}, "texts.1.body: line 1: y is not declared"),
            (base, [], "document: must be an object"),
            (base, document | {"draft": 1}, "draft: must be"),
            (f"{base}/hello/preview", {"more": 1}, "more: is none of"),
            (f"{base}/hello/preview", {"channel": "fax"}, "channel: 'fax' is none of"),
            (f"{base}/hello/preview", {"variables": [1]}, "variables: must be a JSON object"),
        ):
            status, found = await ask("POST", path, body)
            assert (status, found["detail"][: len(said)]) == (422, said)
        assert (await ask("GET", f"{base}/none"))[0] == 404
        assert (await ask("GET", "workspaces/nowhere/templates"))[0] == 404

        item = {"workspace": "clinic", "channel": "sms", "to": TO, "template": "hello", "variables": {"n": 2}}
        assert (await ask("POST", "deliveries", item))[0] == 201
        status, found = await ask(
            "POST", "deliveries", [item | {"to": "+14155550129"}, item | {"template": "no"}]
        )
        assert (status, [each["error"] for each in found["results"]]) == (
            200, ["variables.FirstName: is missing; template hello needs it",
                  "template: 'no' is no live template of this workspace"],
        )  # fmt: skip
        assert await bodies(conn) == {TO: "Hi Ann!"}
        assert (await ask("DELETE", f"{base}/hello@1"))[0] == 409
        assert await ask("POST", f"{base}/hello@1/retire", {}) == (200, {"template": "hello@1"})
        assert await ask("POST", f"{base}/hello@2/publish", {}) == (200, {"template": "hello@2"})
        assert await ask("DELETE", f"{base}/hello@2") == (200, {"template": "hello@2"})
