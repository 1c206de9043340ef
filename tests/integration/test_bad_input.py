"""Bad input: hostile SQL calls, callbacks and requests meet a clear word, never a crash, a leak or a traceback."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import asyncpg
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from daemon.store.embedded import EmbeddedHandle
from tests.integration.stage import NUMBER, Stage
from tests.support import ACCOUNT_SID, AUTH_TOKEN, ROOT, DaemonProcess, dsn_of, free_port, toml

T = TypeVar("T")
PASSWORD_IN_DSN = "dsn-passw0rd"
FEW = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))

ANY_TEXT = st.text(max_size=60)
HOSTILE_TEXT = st.one_of(
    ANY_TEXT,
    st.sampled_from(
        [
            "",
            " ",
            "'; drop schema duly cascade; --",
            "%s %L %I $1 \\",
            "\u202e\u0000"[:1],
            "é" * 5000,
            "🤷" * 1600,
            "\x7f\x1b[2J",
            "a" * 200_000,
            "null",
            "{}",
        ]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


def maybe(right: st.SearchStrategy[Any], wrong: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly right, so that what is wrong elsewhere is reached."""
    return st.one_of(right, right, right, wrong)


# ── SQL ──


@dataclass
class Sql:
    """A database of this module's own, asked from tests that are not async."""

    runner: asyncio.Runner
    conn: Connection

    def value(self, query: str, *args: object) -> Any:
        """One value, in a transaction that is undone if it fails."""
        return self.runner.run(self.conn.fetchval(query, *args))

    def rows(self, query: str, *args: object) -> list[Any]:
        return list(self.runner.run(self.conn.fetch(query, *args)))


async def _own_database(postgres: EmbeddedHandle) -> str:
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres.server.dsn)
    await admin.execute(f"create database {name} template duly_template")
    await admin.close()
    return dsn_of(postgres.server.dsn, name)


@pytest.fixture(scope="module")
def own_dsn(postgres: EmbeddedHandle) -> str:
    return asyncio.run(_own_database(postgres))


@pytest.fixture(scope="module")
def sql(own_dsn: str) -> Iterator[Sql]:
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(own_dsn))
        runner.run(conn.execute("select duly.register_workspace('clinic', '1 hour')"))
        yield Sql(runner, conn)
        runner.run(conn.close())


def clear(call: Callable[[], T], *, nul: bool = False) -> T | None:
    """The call's value; None where it was refused with a clear word. Anything else fails the test."""
    try:
        return call()
    except asyncpg.InvalidParameterValueError as error:  # 22023
        refusal = str(error)
    except asyncpg.CharacterNotInRepertoireError:
        if not nul:
            raise
        return None  # Postgres itself takes no NUL in a text, before our function is asked
    field, colon, what = refusal.partition(": ")
    assert all((field, colon, what)), refusal
    return None


def has_nul(value: object) -> bool:
    return "\0" in json.dumps(value, default=str).replace("\\u0000", "\0")


MOMENTS = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(
        ["infinity", "-infinity", "epoch", "294276-12-31", "4713-01-01 BC", "now", "2026-02-29"[:7] + "-28"]
    ),
)
CALLS = st.fixed_dictionaries(
    {
        "workspace": maybe(st.just("clinic"), HOSTILE_TEXT),
        "channel": maybe(st.sampled_from(["sms", "email", "push", "telegram"]), HOSTILE_TEXT),
        "to": maybe(st.sampled_from(["+14155550123", "a@b.example", "token"]), HOSTILE_TEXT),
        "body": maybe(st.text(min_size=1, max_size=200), HOSTILE_TEXT),
    },
    optional={
        "due_at": MOMENTS,
        "priority": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([1, 2, 3]),
        "idempotency_key": HOSTILE_TEXT,
        "category": maybe(st.just("urgent"), HOSTILE_TEXT),
        "expires_at": MOMENTS,
        "template": HOSTILE_TEXT,
        "variables": JSON,
        "metadata": JSON
        | st.fixed_dictionaries(
            {"media_urls": JSON | st.lists(st.just("https://a.example/b.png"), max_size=12)}
        ),
    },
)
CASTS = {
    "due_at": "::text::timestamptz",
    "expires_at": "::text::timestamptz",
    "variables": "::text::jsonb",
    "metadata": "::text::jsonb",
}


@given(
    call=CALLS,
    absent=st.sets(st.sampled_from([*CASTS, "to", "body", "category", "priority"]), max_size=2),
)
@example(
    call={
        "workspace": "clinic",
        "channel": "sms",
        "to": "+14155550123",
        "body": "x",
        "metadata": {"media_urls": ["https://a.example/" + "b" * 3000]},
    },
    absent=set(),
)
@MANY
def test_whatever_is_given_to_enqueue_it_queues_or_says_what_is_wrong(
    sql: Sql, call: dict[str, Any], absent: set[str]
) -> None:
    given_ = {**call, **dict.fromkeys(absent & call.keys())}
    args = [
        json.dumps(v) if k in ("variables", "metadata") and v is not None else v for k, v in given_.items()
    ]
    assume("\\u0000" not in "".join(a for a in args if isinstance(a, str)))  # no jsonb can hold it
    names = ", ".join(f'"{k}" => ${i}{CASTS.get(k, "")}' for i, k in enumerate(given_, start=1))
    found = clear(lambda: sql.value(f"select duly.enqueue({names})", *args), nul=has_nul(args))
    if found is not None:
        row = sql.rows('select state, "to" from duly.delivery where id = $1', found)[0]
        assert tuple(row) == ("queued", given_["to"])


ITEMS = st.lists(
    CALLS | JSON | st.dictionaries(st.sampled_from([*CASTS, "to", "x"]), JSON, max_size=4), max_size=6
)


@given(items=ITEMS | JSON)
@MANY
def test_whatever_is_in_a_batch_each_item_gets_an_id_or_what_is_wrong_with_it(sql: Sql, items: Any) -> None:
    text = json.dumps(items)
    assume("\\u0000" not in text and "\0" not in text)
    rows = clear(lambda: sql.rows("select * from duly.enqueue_batch($1::text::jsonb)", text))
    if rows is None:
        assert not isinstance(items, list)
        return
    assert [row["position"] for row in rows] == list(range(1, len(items) + 1))
    for row in rows:
        assert (row["id"] is None) == (row["error"] is not None)
        assert row["error"] is None or ": " in row["error"], row["error"]


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("metadata", "fits"),
    [(nested(3000), True), (json.dumps({"a": "x" * 60_000}), True), (json.dumps({"a": "x" * 70_000}), False)],
    ids=["deep", "large", "too large"],
)
def test_deep_and_large_json_is_taken_or_refused_with_a_word(sql: Sql, metadata: str, fits: bool) -> None:
    found = clear(
        lambda: sql.value(
            "select duly.enqueue('clinic', 'sms', '+14155550123', $1, metadata => $2::text::jsonb)",
            uuid.uuid4().hex,
            metadata,
        )
    )
    assert (found is not None) is fits


def test_a_huge_batch_is_answered_item_by_item(sql: Sql) -> None:
    items = [
        {"workspace": "clinic", "channel": "sms", "to": f"+1415555{i:04}" if i % 3 else "?", "body": f"{i}"}
        for i in range(9000)
    ]
    rows = sql.rows("select * from duly.enqueue_batch($1::text::jsonb)", json.dumps(items))
    assert sum(row["id"] is not None for row in rows) == 6000
    assert {row["error"].split(":")[0] for row in rows if row["error"]} == {"to"}


@given(
    who=HOSTILE_TEXT, why=HOSTILE_TEXT, workspace=st.none() | HOSTILE_TEXT, reason=st.none() | HOSTILE_TEXT,
    ids=st.none() | st.lists(st.uuids(), max_size=3),
)  # fmt: skip
@FEW
def test_whatever_is_asked_to_be_replayed_or_dismissed_is_counted_or_refused(
    sql: Sql, who: str, why: str, workspace: str | None, reason: str | None, ids: list[uuid.UUID] | None
) -> None:
    for function in ("replay", "dismiss"):
        found = clear(
            lambda function=function: sql.value(  # type: ignore[misc]
                f"select duly.{function}($1, $2, workspace => $3, reason => $4, ids => $5)",
                who,
                why,
                workspace,
                reason,
                ids,
            ),
            nul=has_nul([who, why, workspace, reason]),
        )
        assert found in (None, 0)


# ── HTTP ──


@dataclass
class Target:
    """A running daemon and how to reach it without a client's manners."""

    daemon: DaemonProcess
    port: int

    def raw(self, data: bytes, *, seconds: float = 10) -> int | None:
        """Sends bytes as they are; the status that comes back, None where the connection just closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            answer = b""
            try:
                connection.sendall(data)
                while chunk := connection.recv(65536):
                    answer += chunk
            except (ConnectionError, TimeoutError):
                pass  # it hung up on us while we were still talking, or waits for more
        assert AUTH_TOKEN.encode() not in answer
        assert PASSWORD_IN_DSN.encode() not in answer
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None

    def post(self, path: str, body: bytes, headers: Mapping[str, str] = {}) -> int | None:
        """One POST on a connection of its own."""
        lines = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return self.raw(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "replace") + body)

    def signed(self, path: str, values: Mapping[str, str], *, body: bytes | None = None) -> int | None:
        """A POST that Twilio may have signed."""
        signature = RequestValidator(AUTH_TOKEN).compute_signature(self.daemon.url + path, values)
        form = urlencode(values).encode() if body is None else body
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
        return self.post(path, form, headers)

    @property
    def resident_mib(self) -> float:
        """The daemon's memory."""
        assert self.daemon.process is not None
        for line in Path(f"/proc/{self.daemon.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


async def _login(dsn: str) -> str:
    conn = await asyncpg.connect(dsn)
    name = f"d_{uuid.uuid4().hex[:12]}"
    await conn.execute(f"create role {name} login superuser password '{PASSWORD_IN_DSN}'")
    await conn.close()
    head, _, rest = dsn.partition("@")
    return f"{head.split('://')[0]}://{name}:{PASSWORD_IN_DSN}@{rest}"


@pytest.fixture(scope="module")
def target(own_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    dsn, port = asyncio.run(_login(own_dsn)), free_port()
    path = tmp_path_factory.mktemp("target") / "duly.toml"
    path.write_text(toml(dsn, "http://127.0.0.1:1", port))
    daemon = DaemonProcess(path, port)
    daemon.start()
    try:
        asyncio.run(daemon.ready())
        yield Target(daemon, port)
    finally:
        assert daemon.process is not None
        daemon.process.kill()
        daemon.process.wait()


STATUS, INBOUND = "/hooks/twilio/main/status", "/hooks/twilio/main/inbound"
PATHS = st.sampled_from([STATUS, INBOUND])
GOOD = {
    "MessageSid": "SM" + "1" * 32,
    "MessageStatus": "delivered",
    "From": "+14155550123",
    "To": "+15005550006",
    "Body": "Hi",
}


def fine(status: int | None) -> bool:
    """No fault of ours: an answer below 500, or that a method or version is not known, or a closed connection."""
    return status is None or status < 500 or status in (501, 505)


@pytest.mark.parametrize(
    ("path", "changed", "status"),
    [
        (STATUS, {}, 204),
        (STATUS, {"MessageStatus": "flying"}, 400),
        (STATUS, {"MessageSid": ""}, 400),
        (STATUS, {"MessageSid": "S" * 300}, 400),
        (STATUS, {"MessageSid": "S\0"}, 400),
        (STATUS, {"MessageStatus": "failed", "ErrorCode": "99999"}, 204),
        (STATUS, {"ErrorMessage": "\0" * 2000}, 204),
        (f"{STATUS}?delivery=x&attempt=1", {}, 400),
        (f"{STATUS}?delivery={uuid.UUID(int=5)}&attempt=1", {}, 204),
        (f"{STATUS}?delivery={uuid.UUID(int=5)}&attempt=0", {}, 400),
        (f"{STATUS}?delivery={uuid.UUID(int=5)}&attempt=99999", {}, 400),
        (f"{STATUS}?delivery={uuid.UUID(int=5)}&attempt=%D9%A1", {}, 400),
        (INBOUND, {}, 200),
        (INBOUND, {"NumMedia": "-1"}, 400),
        (INBOUND, {"NumMedia": "1000000"}, 400),
        (INBOUND, {"NumMedia": "²"}, 400),
        (INBOUND, {"Body": "\0" * 1600}, 200),
        (INBOUND, {"From": ""}, 400),
    ],
)
def test_a_signed_callback_that_makes_no_sense_is_refused(
    target: Target, path: str, changed: dict[str, str], status: int
) -> None:
    assert target.signed(path, {**GOOD, "MessageSid": f"SM{uuid.uuid4().hex}", **changed}) == status


@given(
    path=PATHS,
    query=st.dictionaries(st.sampled_from(["delivery", "attempt", "bodySHA256", "x"]), ANY_TEXT, max_size=3),
    values=st.dictionaries(
        st.sampled_from([*GOOD, "ErrorCode", "ErrorMessage", "NumMedia", "MediaUrl0", "OptOutType"]), ANY_TEXT
    ),
)
@example(path=INBOUND, query={}, values={"NumMedia": "1", "MediaUrl0": "https://a.example/\0"})
@example(path=INBOUND, query={}, values={"NumMedia": "9" * 5000})
@example(path=STATUS, query={}, values={"MessageStatus": "failed", "ErrorCode": "\0"})
@example(path=STATUS, query={}, values={"MessageStatus": "failed", "ErrorCode": "1" * 5000})
@example(path=STATUS, query={"delivery": str(uuid.UUID(int=5)), "attempt": "0000019999999999"}, values={})
@MANY
def test_whatever_a_signed_callback_says_it_is_taken_or_refused(
    target: Target, path: str, query: dict[str, str], values: dict[str, str]
) -> None:
    asked = f"{path}?{urlencode(query)}" if query else path
    assert target.signed(asked, {**GOOD, **values}) in (200, 204, 400, 403)


@given(
    path=PATHS,
    body=st.binary(max_size=400),
    signature=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60),
)
@FEW
def test_a_forged_signature_is_refused_whatever_the_body(
    target: Target, path: str, body: bytes, signature: str
) -> None:
    for content_type in (
        "application/x-www-form-urlencoded",
        "application/json",
        "text/plain; charset=no-such",
    ):
        headers = {"Content-Type": content_type, "X-Twilio-Signature": signature}
        assert target.post(path, body, headers) in (400, 403)


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"MessageSid=SM1&" + b"&".join(b"p%d=1" % i for i in range(10_000)), {403, 413}),
        (b"MessageSid=a&MessageSid=b&MessageStatus=sent", {403}),
        (b"x" * 1_000_000, {413}),
        (b"Body=" + b"%F0%9F%A4%B7" * 4000, {403}),
        (b"\xff\xfe" * 100, {403}),
        (b"=&=&=&;;;%%%", {403}),
        (nested(20_000).encode()[:60_000], {403}),
        (b"", {403}),
    ],
    ids=["parameters", "repeated", "huge", "wide", "not UTF-8", "no form", "deep", "empty"],
)
def test_a_monstrous_body_is_refused(target: Target, body: bytes, statuses: set[int]) -> None:
    for content_type in ("application/x-www-form-urlencoded", "application/json"):
        headers = {"Content-Type": content_type, "X-Twilio-Signature": "c2lnbmF0dXJl"}
        assert target.post(STATUS + "?bodySHA256=" + "0" * 64, body, headers) in statuses


def test_a_parameter_that_is_there_twice_with_two_values_is_refused_though_signed(target: Target) -> None:
    values = MultiDict([*GOOD.items(), ("MessageSid", "SM2")])
    signature = RequestValidator(AUTH_TOKEN).compute_signature(target.daemon.url + STATUS, values)
    body = urlencode(list(values.items())).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    assert target.post(STATUS, body, headers) == 400


def test_a_signed_json_body_that_is_deep_or_none_is_refused(target: Target) -> None:
    for body in (nested(5000).encode(), b"[" * 30_000, b"[1]", b"nul", b'{"MessageSid": {"a": 1}}'):
        path = f"{STATUS}?bodySHA256={hashlib.sha256(body).hexdigest()}"
        signature = RequestValidator(AUTH_TOKEN).compute_signature(target.daemon.url + path, {})
        headers = {"Content-Type": "application/json", "X-Twilio-Signature": signature}
        assert target.post(path, body, headers) == 400


@given(
    method=st.sampled_from(["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW", "post"]),
    path=st.sampled_from(
        [
            STATUS,
            "/hooks",
            "/hooks/",
            "/hooks/twilio/none/status",
            "/hooks/smtp/main/status",
            "/api/v1/nothing",
            "*",
        ]
    )
    | st.text(max_size=30).map(lambda t: "/hooks/twilio/main/" + quote(t))
    | st.binary(max_size=20).map(lambda b: "/" + "".join(f"%{c:02x}" for c in b)),
)
@FEW
def test_odd_methods_and_paths_are_refused(target: Target, method: str, path: str) -> None:
    status = target.raw(
        f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert fine(status), (method, path, status)


START = b"POST " + STATUS.encode() + b" HTTP/1.1\r\n"
HOST, SIGNED, EMPTY = b"Host: a\r\n", b"X-Twilio-Signature: x\r\n", b"Content-Length: 0\r\n\r\n"
RAW = {
    "nothing": b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "version": b"GET / HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.0": START.replace(b"1.1", b"1.0") + SIGNED + b"\r\n",
    "truncated": START + HOST + b"Content-Length: 10\r\n\r\nabc",
    "negative length": START + HOST + b"Content-Length: -1\r\n\r\n",
    "two lengths": START + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "chunk": START + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "large chunk": START + HOST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
    "br": START + HOST + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
    "expect": START + HOST + b"Expect: tea\r\n" + EMPTY,
    "long host": START + b"Host: " + b"a" * 100_000 + b"\r\n\r\n",
    "open host": START + b"Host: [::1\r\n" + SIGNED + EMPTY,
    "long path": b"POST /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + EMPTY,
    "other host": START.replace(b"/hooks", b"http://evil.example/hooks") + HOST + SIGNED + EMPTY,
    "many headers": START + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
    "signature": START + HOST + b"X-Twilio-Signature: \xff\xfe\r\n" + EMPTY,
    "type": START + HOST + b"Content-Type: \xc3\x28;;;=\r\n" + SIGNED + EMPTY,
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW)
def test_what_is_hardly_http_is_refused(target: Target, data: bytes) -> None:
    assert fine(target.raw(data, seconds=1))


@given(data=st.binary(max_size=300))
@FEW
def test_any_bytes_are_refused(target: Target, data: bytes) -> None:
    assert fine(target.raw(data + b"\r\n\r\n", seconds=3))


def test_a_body_that_unpacks_to_much_is_refused_without_taking_the_memory(target: Target) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    before = target.resident_mib
    for _ in range(5):
        headers = {"Content-Encoding": "gzip", "X-Twilio-Signature": "x"}
        assert fine(target.post(STATUS, bomb, headers))
    assert target.resident_mib < before + 60


def test_many_slow_and_large_bodies_neither_block_it_nor_fill_its_memory(target: Target) -> None:
    before = target.resident_mib
    slow = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(150)]
    try:
        head = f"POST {STATUS} HTTP/1.1\r\nHost: a\r\nX-Twilio-Signature: x\r\nContent-Length: 60000\r\n\r\n"
        for connection in slow:
            connection.sendall(head.encode() + b"a" * 30_000)
        for _ in range(30):
            assert target.post(STATUS, b"x" * 2_000_000, {"X-Twilio-Signature": "x"}) in (413, None)
        assert target.signed(STATUS, GOOD) == 204
        assert target.resident_mib < before + 60
    finally:
        for connection in slow:
            connection.close()
    assert target.signed(STATUS, GOOD) == 204


# ── What a producer may queue and only Postgres can read ──


async def test_metadata_that_only_postgres_can_read_holds_up_neither_its_delivery_nor_others(
    dsn: str, conn: Connection, sandbox: Sandbox, work_dir: Path
) -> None:
    stage = Stage(dsn, conn, sandbox, work_dir)
    async with stage.daemon() as daemon:
        deliveries = [
            await conn.fetchval(
                "select duly.enqueue('clinic', 'sms', $1, 'Hi', metadata => $2::text::jsonb)",
                NUMBER.format(5000 + i),
                metadata,
            )
            for i, metadata in enumerate(
                [nested(2000), '{"a": 1e999}', '{"a": -1234567890123456789012}', "{}"]
            )
        ]
        for delivery in deliveries:
            await stage.reaches(delivery, "delivered")
        stage.assert_once(deliveries)
        assert "an actor died" not in daemon.log


# ── Configuration ──


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\0",
        b"[" * 10_000,
        b"a = " + b"[" * 20_000,
        b"[platforms.main]\nauth_token = 'hunter2'\n",
        b"x" * 2_000_000,
    ],
    ids=["not UTF-8", "brackets", "deep", "incomplete", "huge"],
)
def test_a_broken_toml_fails_the_check_and_a_reload_with_a_word_and_leaves_the_daemon_at_work(
    target: Target, tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(text)
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "check-config", "--config", str(path)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert "broken.toml" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    good = target.daemon.config.read_bytes()
    refused = target.daemon.log.count("reload refused")
    target.daemon.config.write_bytes(text)
    try:
        target.daemon.signal(signal.SIGHUP)
        for _ in range(500):
            if target.daemon.log.count("reload refused") > refused:
                break
            target.post(STATUS, b"")
        assert target.daemon.log.count("reload refused") > refused
    finally:
        target.daemon.config.write_bytes(good)
    assert target.signed(STATUS, GOOD) == 204


# ── And after all that ──


def hardly_http(line: str) -> bool:
    """What aiohttp itself says of bytes that are no request."""
    return '"Error handling request from' in line


def test_after_all_that_it_is_at_work_and_its_log_has_no_traceback_and_no_secret(target: Target) -> None:
    assert target.raw(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == 200
    log = target.daemon.log
    faults = [line for line in log.splitlines() if "Traceback" in line and not hardly_http(line)]
    assert not faults, faults[0][:3000]
    for secret in (AUTH_TOKEN, PASSWORD_IN_DSN, "hunter2"):
        assert secret not in log
    assert "an actor died" not in log
    assert "database unavailable" not in log
    assert ACCOUNT_SID not in log


def test_bytes_that_are_no_request_leave_no_traceback_in_the_log(target: Target) -> None:
    before = target.daemon.log.count("Traceback")
    for _ in range(3):
        assert target.raw(RAW["version"]) == 400
    assert target.daemon.log.count("Traceback") == before


def test_a_body_that_does_not_unpack_is_refused(target: Target) -> None:
    assert target.post(STATUS, b"abcd", {"Content-Encoding": "gzip"}) in (400, 415)
