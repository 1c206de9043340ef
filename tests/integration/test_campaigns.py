"""`duly send --csv`: everybody exactly once, whatever interrupts it, by the same rules as `duly.enqueue`."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.bulk.chunks import Chunk, chunks
from daemon.bulk.reading import RecipientFile
from daemon.bulk.repeats import repeats
from daemon.bulk.uploading import Turns
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from daemon.store.sql import query, sql_dir
from tests.support import ROOT, free_port, running, toml, until

BODY = "Your appointment is tomorrow at nine"
FIRST = 5_000_100  # the stand-in has no fault for such numbers
STALL = 42  # an advisory lock


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """A database of this test's own, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


@pytest.fixture
def config(work_dir: Path, dsn: str) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, "http://127.0.0.1:1", 1))
    return path


class Command:
    """`duly send --csv` as a process."""

    def __init__(self, config: Path, path: Path, *words: str) -> None:
        self._command = [
            sys.executable, "-m", "daemon", "send", "--config", str(config), "--workspace", "clinic",
            "--csv", str(path), "--json", *words,
        ]  # fmt: skip
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        return self.process

    async def end(self) -> tuple[int, dict[str, Any], str]:
        """Its exit status, its facts and what it complained of."""
        process = self.process or self.start()
        out, err = await asyncio.to_thread(process.communicate)
        return process.returncode, json.loads(out) if out else {}, err


async def send(config: Path, path: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    return await Command(config, path, *words).end()


def people(directory: Path, count: int, *, own: bool = False, name: str = "people.csv") -> Path:
    path = directory / name
    with path.open("w") as file:
        file.write("to,body\n" if own else "to\n")
        for number in range(count):
            file.write(f"+1415{FIRST + number}" + (f",Hello number {number}\n" if own else "\n"))
    return path


async def assert_everybody_once(conn: Connection, count: int) -> None:
    row = await conn.fetchrow('select count(*) as all, count(distinct "to") as people from duly.delivery_row')
    assert row is not None
    assert (row["all"], row["people"]) == (count, count)


# What is queued.


async def test_one_text_for_all_is_one_message(conn: Connection, config: Path, work_dir: Path) -> None:
    status, facts, _ = await send(config, people(work_dir, 6_000), "--body", BODY, "--category", "marketing")
    assert (status, facts["queued"], facts["wrong"], facts["rows"]) == (0, 6_000, 0, 6_000)
    assert facts["key"] == "people.csv"
    await assert_everybody_once(conn, 6_000)
    message = await conn.fetchrow("select * from duly.message")
    assert message is not None
    assert (message["body"], message["category"]) == (BODY, "marketing")
    assert (
        await conn.fetchval("select count(*) from duly.delivery_row where message_id = $1", message["id"])
        == 6_000
    )
    assert await conn.fetchval("select array_agg(distinct priority) from duly.delivery_row") == [3]
    in_order = await conn.fetch('select "to" from duly.delivery_row order by due_at, id')
    assert [row["to"] for row in in_order] == [f"+1415{FIRST + n}" for n in range(6_000)]


async def test_a_text_for_each_is_a_message_for_each(conn: Connection, config: Path, work_dir: Path) -> None:
    status, facts, _ = await send(config, people(work_dir, 6_000, own=True))
    assert (status, facts["queued"]) == (0, 6_000)
    await assert_everybody_once(conn, 6_000)
    wrong = await conn.fetchval(
        """select count(*) from duly.delivery_row d left join duly.message m on m.id = d.message_id
           where m.id is distinct from d.id
              or m.body is distinct from 'Hello number ' || (right(d."to", 7)::int - $1::int)""",
        FIRST,
    )
    assert wrong == 0


async def test_each_column_says_what_the_option_says_for_all(
    conn: Connection, config: Path, work_dir: Path
) -> None:
    path = work_dir / "all.csv"
    path.write_text(
        "to;body;due_at;priority;expires_at;idempotency_key;category;metadata;media\n"
        '+14155550100;Hi;2031-01-31T18:00:00+01:00;high;2031-02-01T00:00:00Z;k;urgent;"{""a"": 1}";'
        "https://example.com/a.png  https://example.com/b.png\n"
        "+14155550101;Ho;;;;;;;\n"
        "+14155550102;;;;;;;;https://example.com/c.png\n"
    )
    options = ("--at", "2030-01-01T00:00:00Z", "--expires", "2032-01-01T00:00:00Z", "--priority", "normal")
    status, facts, err = await send(config, path, *options, "--media", "https://example.com/d.png")
    assert (status, facts["queued"]) == (0, 3), err
    rows = await conn.fetch(
        """select d.due_at, d.priority, d.expires_at, m.idempotency_key, m.category, m.metadata::text, m.body
           from duly.delivery_row d join duly.message m on m.id = d.message_id order by "to" """
    )
    first, second = datetime(2030, 1, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC)
    urls = [[f"https://example.com/{letter}.png" for letter in letters] for letters in ("ab", "d", "c")]
    assert [tuple(row)[:5] for row in rows] == [
        (datetime(2031, 1, 31, 17, tzinfo=UTC), 1, datetime(2031, 2, 1, tzinfo=UTC), "k", "urgent"),
        (first, 2, second, None, "transactional"),
        (first, 2, second, None, "transactional"),
    ]
    assert [json.loads(row["metadata"]) for row in rows] == [
        {"a": 1, "media_urls": urls[0]}, {"media_urls": urls[1]}, {"media_urls": urls[2]},
    ]  # fmt: skip
    assert [row["body"] for row in rows] == ["Hi", "Ho", ""]


async def test_what_is_wrong_is_listed_by_line_and_field_and_keeps_nobody_back(
    conn: Connection, config: Path, work_dir: Path
) -> None:
    path, errors = work_dir / "mixed.csv", work_dir / "errors.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        file.write("to,body\r\n")
        for number in range(30):
            file.write(f'+1415555{number:04},"Hello\r\nyou"\r\nnobody {number},"Hi, ""you"""\r\n')
        file.write('+14155550199,Hi,there\r\n+14155550000,"Hello\r\nyou"\r\n')
    status, facts, err = await send(config, path, "--errors", str(errors))
    assert (status, facts["queued"], facts["wrong"], facts["repeated"]) == (1, 30, 31, 1)
    shown = err.splitlines()
    assert shown[0] == "line 4: to: 'nobody 0' is not an E.164 number such as +14155550123"
    assert len([line for line in shown if line.startswith("line ")]) == 20
    assert "… and 11 more" in err
    assert "line 93, which repeats line 2" in err
    with errors.open(newline="") as file:
        found = list(csv.reader(file))
    assert found[0] == ["line", "error", "to", "body"]
    assert found[1] == [
        "4",
        "to: 'nobody 0' is not an E.164 number such as +14155550123",
        "nobody 0",
        'Hi, "you"',
    ]
    assert found[-1] == ["92", "row: has 3 fields where the header has 2", "+14155550199", "Hi", "there"]
    assert len(found) == 32
    assert await conn.fetchval("select count(*) from duly.delivery_row") == 30

    corrected = work_dir / "corrected.csv"  # they are sent as a file of their own
    corrected.write_text(errors.read_text().replace("nobody ", "+1415666000"))
    status, facts, _ = await send(config, corrected)
    assert (status, facts["queued"], facts["wrong"]) == (1, 30, 1)


async def test_the_same_command_again_queues_nobody_and_answers_the_same(
    conn: Connection, config: Path, work_dir: Path
) -> None:
    path = people(work_dir, 5_500)
    with path.open("a") as file:
        file.write("nobody\n")
    first = await send(config, path, "--body", BODY)
    again = await send(config, path, "--body", BODY)
    changing = ("seconds", "queued_before")
    assert [{**f, **dict.fromkeys(changing, 0)} for _, f, _ in (first,)] == [
        {**f, **dict.fromkeys(changing, 0)} for _, f, _ in (again,)
    ]
    assert (first[0], first[1]["queued_before"], again[0], again[1]["queued_before"]) == (1, 0, 1, 5_500)
    assert first[2] == again[2]
    await assert_everybody_once(conn, 5_500)

    status, _, err = await send(config, path, "--body", "Another text")
    assert status == 2
    assert "key: 'people.csv' was used at" in err
    assert "5500 deliveries were queued" in err
    await assert_everybody_once(conn, 5_500)
    status, facts, _ = await send(config, path, "--body", "Another text", "--key", "second")
    assert (status, facts["queued"]) == (1, 5_500)


async def test_a_campaign_is_sent_explained_and_canceled_as_other_deliveries(
    conn: Connection, dsn: str, work_dir: Path, sandbox: Sandbox
) -> None:
    port, config = free_port(), work_dir / "duly.toml"
    config.write_text(toml(dsn, sandbox.url, port))
    status, _, _ = await send(config, people(work_dir, 40), "--body", BODY)
    assert status == 0
    ids = [row["id"] for row in await conn.fetch("select id from duly.delivery order by id")]
    assert await conn.fetchval("select duly.cancel($1)", ids[0]) is True
    assert await conn.fetchval("select body from duly.message") == BODY
    async with running(config, port):

        async def delivered() -> bool:
            rows = await conn.fetch("select state, count(*) as n from duly.delivery group by state")
            return {row["state"]: row["n"] for row in rows} == {"canceled": 1, "delivered": 39}

        await until(delivered)
    body = await conn.fetchrow(query("delivery_body"), ids[7])
    assert body is not None
    assert body["body"] == BODY


async def test_daemons_are_told_of_a_campaign_once_a_chunk_and_lane(
    conn: Connection, dsn: str, config: Path, work_dir: Path
) -> None:
    heard: list[str] = []
    listener: Connection = await asyncpg.connect(dsn)
    await listener.add_listener("duly", lambda *found: heard.append(str(found[3])))
    try:
        path = work_dir / "lanes.csv"
        rows = "".join(f"+1415{FIRST + n},{('high', 'bulk')[n % 2]}\n" for n in range(6_000))
        path.write_text(f"to,priority\n{rows}")
        assert (await send(config, path, "--body", BODY))[0] == 0
        assert (await send(config, people(work_dir, 9), "--body", BODY, "--at", "2031-01-01T00:00:00Z"))[
            0
        ] == 0
        await listener.execute("select 1")
        clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
        assert sorted(heard) == [f"{clinic} sms 1 0"] * 2 + [f"{clinic} sms 3 0"] * 2
    finally:
        await listener.close()


# What is called wrongly.


@pytest.mark.parametrize(
    ("content", "words", "complaint"),
    [
        ("to,phone\n+1,+2\n", (), "column 2 ('phone') is no field of a delivery"),
        ("body\nHi\n", (), "column to is missing"),
        ("to\n+14155550100\n", (), "body: is empty"),
        ("to,body\n+14155550100,Hi\n", ("--body", "Ho"), "has a column body: leave out --body"),
        ("to\n+14155550100\n", ("--body", "x" * 1601), "body: has 1601 characters"),
        ("to\n+14155550100\n", ("--body", "Hi", "--category", "No"), "category: must be"),
        ("to\n+14155550100\n", ("--body", "Hi", "--media", "ftp://x"), "metadata.media_urls: each must be"),
        ("to\n+14155550100\n", ("--body", "Hi", "--expires", "2001-01-01T00:00:00Z"), "expires_at: "),
        ("to\n+14155550100\n", ("--body", "Hi", "--to", "+14155550100"), "give either --to"),
        ("to\n+14155550100\n", ("--body", "Hi", "--key", "k" * 256), "key: must have 1 to 255"),
    ],
)
async def test_what_is_wrong_for_all_is_refused_before_anything_is_queued(
    conn: Connection, config: Path, work_dir: Path, content: str, words: tuple[str, ...], complaint: str
) -> None:
    path = work_dir / "people.csv"
    path.write_text(content)
    status, facts, err = await send(config, path, *words)
    assert (status, facts) == (2, {})
    assert complaint in err
    assert "Traceback" not in err
    assert await conn.fetchval("select count(*) from duly.upload") == 0


async def test_the_file_itself_is_not_overwritten_by_its_errors(config: Path, work_dir: Path) -> None:
    path = people(work_dir, 3)
    status, _, err = await send(config, path, "--body", BODY, "--errors", str(work_dir / "." / "people.csv"))
    assert status == 2
    assert "is the file itself" in err
    assert path.read_text().count("\n") == 4


async def test_hostile_rows_are_wrong_one_by_one(conn: Connection, config: Path, work_dir: Path) -> None:
    path = work_dir / "hostile.csv"
    rows = [
        ("+14155550100", "'; drop table duly.message; --", ""),
        ("+14155550101", "x" * 100_000, ""),
        ("+14155550102\x1b[2J", "Hi", ""),
        ("+14155550103", "a\0b", ""),
        ("+14155550104", "Hi", '{"a": "\\u0000"}'),
        ("+14155550105", "Hi", "[" * 100_000),
        ("+14155550106", "Hi", "[1]"),
        ("+14155550107", "Hi", '{"media_urls": "x"}'),
        ("+14155550108", "Hi", json.dumps({"a": "x" * 70_000})),
        ("+14155550109", "\u202e😀", '{"a": [1, 2]}'),
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("to", "body", "metadata"), *rows])
    status, facts, err = await send(config, path)
    assert (status, facts["queued"]) == (1, 2)
    fields = {each["line"]: each["error"].split(":")[0] for each in facts["errors"]}
    assert fields == {
        3: "body", 4: "to", 5: "row", 6: "metadata", 7: "metadata", 8: "metadata", 9: "metadata.media_urls",
        10: "metadata",
    }  # fmt: skip
    assert "\x1b" not in err
    assert await conn.fetchval("select count(*) from duly.message") == 2


# What interrupts it.


async def _stall_after(conn: Connection, line: int) -> None:
    """Makes each upload wait before it commits a line after this one, until the advisory lock is free."""
    await conn.execute(
        f"""create function public.stall() returns trigger language plpgsql as $$
            begin
              if new.line_done > {line} then perform pg_advisory_xact_lock({STALL}); end if;
              return new;
            end $$;
            create trigger stall before update on duly.upload for each row execute function public.stall()"""
    )
    await conn.execute("select pg_advisory_lock($1)", STALL)


async def _stalled(conn: Connection) -> int:
    """The backend that waits."""
    found = await until(
        lambda: conn.fetchval("select pid from pg_locks where locktype = 'advisory' and not granted")
    )
    return int(found)


async def _go_on(conn: Connection) -> None:
    await conn.execute("select pg_advisory_unlock($1)", STALL)
    await conn.execute("drop trigger stall on duly.upload")


@pytest_asyncio.fixture
async def stalled(conn: Connection, config: Path, work_dir: Path) -> AsyncIterator[Command]:
    """An upload of 24,000 that waits in its second chunk of five."""
    await _stall_after(conn, 6_000)
    command = Command(config, people(work_dir, 24_000, own=True))
    process = command.start()
    yield command
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_who_is_killed_and_repeated_queues_everybody_once(
    conn: Connection, config: Path, work_dir: Path, stalled: Command, number: signal.Signals
) -> None:
    await _stalled(conn)
    assert stalled.process is not None
    stalled.process.send_signal(number)
    await _go_on_when_over(conn, stalled, wait=number != signal.SIGINT)
    status, facts, err = await stalled.end()
    assert status != 0
    assert facts == {}
    if number == signal.SIGINT:
        assert "interrupted with 5,000 queued; the same command goes on from there" in err
    before = await conn.fetchval("select count(*) from duly.delivery_row")
    assert 5_000 <= before < 24_000
    status, facts, _ = await send(config, work_dir / "people.csv")
    assert (status, facts["queued"]) == (0, 24_000)
    assert facts["queued_before"] in (5_000, 10_000, 15_000)  # the chunks under way may have been committed
    await assert_everybody_once(conn, 24_000)


async def _go_on_when_over(conn: Connection, command: Command, *, wait: bool) -> None:
    if wait:
        assert command.process is not None
        await asyncio.to_thread(command.process.wait)
    else:  # it takes its statement back by itself
        await until(lambda: conn.fetchval("select not exists (select from pg_locks where not granted)"))
    await _go_on(conn)


async def test_a_lost_connection_is_taken_up_again(conn: Connection, stalled: Command) -> None:
    backend = await _stalled(conn)
    await conn.execute("select pg_terminate_backend($1)", backend)
    await _go_on(conn)
    status, facts, err = await stalled.end()
    assert (status, facts["queued"], facts["queued_before"]) == (0, 24_000, 0), err
    await assert_everybody_once(conn, 24_000)


async def test_two_who_upload_the_same_file_queue_everybody_once(
    conn: Connection, config: Path, work_dir: Path
) -> None:
    path = people(work_dir, 14_000)
    found = await asyncio.gather(*(send(config, path, "--body", BODY) for _ in range(2)))
    assert [(status, facts["queued"]) for status, facts, _ in found] == [(0, 14_000)] * 2
    await assert_everybody_once(conn, 14_000)


async def test_a_file_that_is_changed_meanwhile_is_not_read_on(
    conn: Connection, config: Path, work_dir: Path
) -> None:
    await _stall_after(conn, 6_000)
    command = Command(config, people(work_dir, 40_000), "--body", BODY)
    command.start()
    await _stalled(conn)
    with (work_dir / "people.csv").open("a") as file:
        file.write("+14159999999\n")
    await _go_on(conn)
    status, facts, err = await command.end()
    assert (status, facts) == (1, {})
    assert "was changed while it was read" in err
    queued = await conn.fetchval("select count(*) from duly.delivery_row")
    assert 10_000 <= queued < 40_000
    await assert_everybody_once(conn, queued)


async def test_a_chunk_that_overtakes_another_is_given_again(
    conn: Connection, database: Database, work_dir: Path
) -> None:
    with RecipientFile(people(work_dir, 6_000)) as file, repeats() as seen:
        first, second = chunks(file, seen)
    begun = await conn.fetchrow("select * from duly.upload_begin('clinic', 'k', $1, 'sms', 'Hi')", bytes(32))
    assert begun is not None
    turns, refused = Turns(database, begun), asyncio.Event()

    async def late() -> tuple[Chunk, dict[int, str]]:
        await refused.wait()
        return await turns.queue(first, None)

    overtaking = asyncio.create_task(turns.queue(second, asyncio.create_task(late())))
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):  # what the overtaking one hears, too
        await turns.queue(second, None)
    refused.set()
    await overtaking
    await assert_everybody_once(conn, 6_000)


# The same rules as duly.enqueue.

TO = "+14155550123"
VALUES: dict[str, list[Any]] = {
    "to": [TO, "+14155550124", None, "", "nobody", "+0123456789", "+123456", "+1234567", "+123456789012345",
           "+1234567890123456", TO + "\n", "+١٤١٥٥٥٥٠١٢٣", "a@example.com", "a@b@c", "a b@c", "x" * 1001, "x" * 1000,
           "t\x07k", "a" * 65 + "@b", "a" * 64 + "@" + "b" * 255, "a@" + "b" * 256],
    "body": ["Hi", None, "", " \n\t ", "\u00a0", "x" * 70, "x" * 71, "`" * 71, "€" * 81, "ж" * 71, "😀" * 36, "x" * 1600,
             "x" * 1601, "ж" * 1600, "x" * 4096, "x" * 4097, "x" * 4001, "x" * 20_001, "x" * 500_001],
    "due_at": [None, datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC),
               datetime(2030, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)],
    "priority": [None, 0, 1, 2, 3, 4],
    "idempotency_key": [None, None, None, "k", "l", "", "x" * 255, "x" * 256],
    "category": [None, "marketing", "a", "a" * 40, "a" * 41, "", "Urgent", "1a", "a_1", "ä", "a\n"],
    "expires_at": [None, datetime(2001, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC),
                   datetime(2100, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
    "metadata": [None, {}, {"a": 1}, [], 5, "x", {"a": "x" * 65_600}, {"media_urls": None}, {"media_urls": []},
                 {"media_urls": ["https://a/b"]}, {"media_urls": ["x"]}, {"media_urls": ["https://a/b"] * 11},
                 {"media_urls": [5]}, {"media_urls": "https://a/b"}],
}  # fmt: skip
CHANNELS = ["sms", "sms", "whatsapp", "telegram", "email", "push", "in_app"]
TYPES = {
    "to": "text", "body": "text", "due_at": "timestamptz", "priority": "integer", "idempotency_key": "text",
    "category": "text", "expires_at": "timestamptz", "metadata": "text",
}  # fmt: skip
DEFAULTS = {"priority": 3, "category": "transactional", "metadata": {}}
RIGHT = {name: values[0] for name, values in VALUES.items()}
rows_of_a_file = st.lists(
    st.one_of(
        st.just(RIGHT),
        st.sampled_from(sorted(VALUES)).flatmap(  # one thing is odd
            lambda name: st.sampled_from(VALUES[name]).map(lambda value: {**RIGHT, name: value})
        ),
        st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}),
    ),
    max_size=12,
)
QUEUED = """
select d."to", d.channel::text, d.priority, d.due_at, d.expires_at, d.segments, d.state::text, d.message_id = d.id as own,
       m.body, m.category, m.idempotency_key, m.metadata::text, m.variables::text, m.template
from duly.delivery_row d join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
join duly.workspace w on w.id = d.workspace_id
where w.name = $1 order by d.id
"""
ENQUEUE = """
select (duly.enqueue_checked(w, $2, $3, $4, coalesce($5, now()), $6, $7, $8, $9, null, '{}', $10::text::jsonb)).error
from duly.workspace w where w.name = $1
"""


async def by_enqueue(conn: Connection, channel: str, rows: list[dict[str, Any]]) -> dict[int, str]:
    wrong = {}
    for line, row in enumerate(rows, start=1):
        full = {k: DEFAULTS.get(k) if v is None else v for k, v in row.items()}
        error = await conn.fetchval(
            ENQUEUE, "clinic", channel, full["to"], full["body"], full["due_at"], full["priority"],
            full["idempotency_key"], full["category"], full["expires_at"], json.dumps(full["metadata"]),
        )  # fmt: skip
        if error is not None:
            wrong[line] = error
    return wrong


async def by_upload(conn: Connection, channel: str, rows: list[dict[str, Any]]) -> dict[int, str]:
    upload = await conn.fetchval("select id from duly.upload_begin('shop', 'k', $1, $2)", bytes(32), channel)
    columns = ", ".join(
        f'"{name}" => ${n}::{kind}[]' for n, (name, kind) in enumerate(TYPES.items(), start=4)
    )
    values = [
        [json.dumps(row[name]) if name == "metadata" and row[name] is not None else row[name] for row in rows]
        for name in TYPES
    ]
    text = f"select line, error from duly.upload_lines($1, 0, $2, $3, {columns})"
    arguments = (upload, len(rows), list(range(1, len(rows) + 1)), *values)
    found = await conn.fetch(text, *arguments)
    assert await conn.fetch(text, *arguments) == found  # asked twice, queued once
    return {row["line"]: row["error"] for row in found}


@settings(
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(CHANNELS), rows_of_a_file, st.booleans())
@example("sms", [{**RIGHT, name: value} for name, values in VALUES.items() for value in values], False)
@example("sms", [{**RIGHT, name: value} for name, values in VALUES.items() for value in values], True)
@example(
    "email",
    [{**RIGHT, "to": to} for to in VALUES["to"]] + [{**RIGHT, "body": b} for b in VALUES["body"]],
    False,
)
@example(
    "push",
    [{**RIGHT, "to": to} for to in VALUES["to"]] + [{**RIGHT, "body": b} for b in VALUES["body"]],
    False,
)
async def test_a_file_is_queued_as_enqueue_would_one_by_one(
    conn: Connection, channel: str, rows: list[dict[str, Any]], window: bool
) -> None:
    transaction = conn.transaction()
    await transaction.start()
    try:
        if window:
            for name in ("clinic", "shop"):
                await conn.execute("select duly.register_workspace($1, interval '1 hour')", name)
        assert await by_upload(conn, channel, rows) == await by_enqueue(conn, channel, rows)
        one, other = [sorted(map(repr, await conn.fetch(QUEUED, name))) for name in ("clinic", "shop")]
        assert one == other
    finally:
        await transaction.rollback()


@settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from([*CHANNELS, "rcs", "fax", "", None]),
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}),
    st.sampled_from([{}, None, [], {"a": "x" * 65_000}]),
)
async def test_the_faster_check_answers_as_the_first_one_did(
    conn: Connection, channel: str | None, row: dict[str, Any], variables: Any
) -> None:
    if await conn.fetchval("select to_regproc('public.problem_before') is null"):
        first = (sql_dir() / "migrations" / "0003_functions.sql").read_text()
        begin = first.index("create function duly.problem(")
        text = first[begin : first.index("end $$;", begin) + len("end $$;")]
        await conn.execute(text.replace("duly.problem", "public.problem_before"))
    arguments = "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11::text::jsonb)"
    before, now = await conn.fetchrow(  # type: ignore[misc]
        f"select public.problem_before{arguments}, duly.problem{arguments}",
        channel, row["to"], row["body"], row["due_at"], row["priority"], row["idempotency_key"], row["category"],
        row["expires_at"], None, *(None if j is None else json.dumps(j) for j in (variables, row["metadata"])),
    )  # fmt: skip
    assert now == before


# How chunks may be given.


async def test_chunks_may_overlap_but_leave_no_gap(conn: Connection) -> None:
    upload = await conn.fetchval("select id from duly.upload_begin('shop', 'k', $1, 'sms', 'Hi')", bytes(32))

    async def give(after: int, last: int) -> list[int]:
        lines = list(range(after + 1, last + 1))
        to = [f"+141555{line:05}" if line % 5 else "nobody" for line in lines]
        found = await conn.fetch(
            "select line from duly.upload_lines($1, $2, $3, $4, $5)", upload, after, last, lines, to
        )
        return [row["line"] for row in found]

    assert await give(0, 12) == [5, 10]
    assert await give(0, 12) == [5, 10]
    assert await give(7, 16) == [10, 15]
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="after_line: must be 16 at most"):
        await give(17, 20)
    assert await give(16, 20) == [20]
    await assert_everybody_once(conn, 16)
    assert await conn.fetchval("select queued from duly.upload") == 16
    with pytest.raises(asyncpg.InvalidParameterValueError, match="body: all lines of this upload have one"):
        await conn.execute("select duly.upload_lines($1, 20, 21, '{21}', '{+14155550100}', '{Hi}')", upload)


async def test_what_is_rolled_back_is_not_done(conn: Connection) -> None:
    upload = await conn.fetchval("select id from duly.upload_begin('shop', 'k', $1, 'sms', 'Hi')", bytes(32))
    chunk = "select duly.upload_lines($1, 0, 2, '{1,2}', '{+14155550100,+14155550101}')"
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(chunk, upload)
    await transaction.rollback()
    assert await conn.fetchval("select line_done from duly.upload") == 0
    await conn.execute(chunk, upload)
    await assert_everybody_once(conn, 2)


async def test_a_campaign_that_expired_meanwhile_is_refused_line_by_line(conn: Connection) -> None:
    upload = await conn.fetchval(
        "select id from duly.upload_begin('shop', 'k', $1, 'sms', 'Hi', expires_at => $2)",
        bytes(32),
        datetime.now(UTC) + timedelta(hours=1),
    )
    await conn.execute(
        "update duly.upload set due_at = now() - interval '2 h', expires_at = now() - interval '1 h'"
    )
    row = await conn.fetchrow("select * from duly.upload_lines($1, 0, 1, '{1}', '{+14155550100}')", upload)
    assert row is not None
    assert row["error"] == "expires_at: has passed already"
