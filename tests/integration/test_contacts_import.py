"""`duly contacts`, `do-not-contact` and `consent`: a file is taken whole or not at all, and again without a change."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from daemon.store.database import Connection
from tests.support import ROOT, toml, until

FIRST = 5_000_100


@pytest_asyncio.fixture
async def conn(conn: Connection) -> Connection:
    """A database of this test's own, with two workspaces."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    return conn


@pytest.fixture
def config(work_dir: Path, dsn: str) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, "http://127.0.0.1:1", 1, extra="[workspaces.shop.rules]\ndouble_opt_in = true"))
    return path


class Duly:
    """The command line, as a process."""

    def __init__(self, config: Path) -> None:
        self._config = config

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "daemon", *words, "--config", str(self._config)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)

    async def __call__(self, *words: str) -> tuple[int, str, str]:
        """Its exit status, what it printed and what it complained of."""
        process = self.start(*words)
        out, err = await asyncio.to_thread(process.communicate)
        return process.returncode, out, err

    async def facts(self, *words: str) -> tuple[int, Any, str]:
        status, out, err = await self(*words, "--json")
        return status, json.loads(out) if out else {}, err

    async def put(self, path: Path, *words: str, workspace: str = "clinic") -> tuple[int, Any, str]:
        return await self.facts("contacts", "import", str(path), "--workspace", workspace, *words)


@pytest.fixture
def duly(config: Path) -> Duly:
    return Duly(config)


def written(directory: Path, text: str | bytes, name: str = "people.csv") -> Path:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def crowd(directory: Path, count: int, *, consent: bool = False) -> Path:
    path = directory / "people.csv"
    with path.open("w") as file:
        file.write(
            "external_id,name,time_zone,sms,email,attr.city"
            + (",consent,consent_at" if consent else "")
            + "\n"
        )
        for n in range(count):
            more = ",given,2026-01-31T18:00:00Z" if consent else ""
            file.write(f"p{n},Ann Lee,America/New_York,+1415{FIRST + n},ann{n}@example.com,Boston{more}\n")
    return path


async def counts(conn: Connection) -> tuple[int, int, int]:
    row = await conn.fetchrow(
        "select (select count(*) from duly.contact), (select count(*) from duly.address),"
        " (select count(*) from duly.consent)"
    )
    assert row is not None
    return tuple(row)


# Contacts.


async def test_every_column_says_something_of_a_person(conn: Connection, duly: Duly, work_dir: Path) -> None:
    path = written(
        work_dir,
        "\ufeffExternal_ID;first_name;name;locale;time_zone;max_per_week;sms;whatsapp;telegram;email;push;in_app;"
        "attributes;attr.City;consent;consent_channel;consent_category;consent_at;consent_words\r\n"
        'p-1;Ann;"Lee; Ann";en-US;Europe/Berlin;3;(415) 555-0123;+44 20 7946 0000;42;Ann@BÜCHER.de;tok;u1;'
        '"{""a"": 1}";Bonn;Given;sms;marketing;2026-01-31T18:00:00+01:00;"Yes, please"\r\n'
        ";;;;;;415-555-0124;;;;;;;;;;;;\r\n",
    )  # fmt: skip
    status, facts, err = await duly.put(path, "--region", "us")
    assert (status, facts["created"], facts["consents"], facts["written"]) == (0, 2, 1, True), err
    row = await conn.fetchrow(
        "select *, attributes::text as said from duly.contact where external_id = 'p-1'"
    )
    assert row is not None
    assert (row["first_name"], row["name"], row["locale"]) == ("Ann", "Lee; Ann", "en-US")
    assert (row["time_zone"], row["max_per_week"]) == ("Europe/Berlin", 3)
    assert json.loads(row["said"]) == {"a": 1, "City": "Bonn"}
    addresses = await conn.fetch("select channel, address from duly.address where contact_id = $1", row["id"])
    assert {r["channel"]: r["address"] for r in addresses} == {
        "sms": "+14155550123", "whatsapp": "+442079460000", "telegram": "42", "email": "Ann@xn--bcher-kva.de",
        "push": "tok", "in_app": "u1",
    }  # fmt: skip
    consent = await conn.fetchrow("select * from duly.consent")
    assert consent is not None
    assert (consent["channel"], consent["category"], consent["source"]) == ("sms", "marketing", "csv")
    assert (consent["words"], consent["at"].isoformat()) == ("Yes, please", "2026-01-31T17:00:00+00:00")
    guest = await conn.fetchval(
        "select address from duly.address a join duly.contact c on c.id = a.contact_id where external_id is null"
    )
    assert guest == "+14155550124"


async def test_the_same_file_again_changes_nothing(conn: Connection, duly: Duly, work_dir: Path) -> None:
    path = crowd(work_dir, 2_000, consent=True)
    status, facts, err = await duly.put(path)
    assert (status, facts["created"], facts["consents"]) == (0, 2_000, 4_000), err

    async def rows() -> list[Any]:
        tables = ("contact", "address", "consent", "suppression")
        return [
            await conn.fetch(f"select t.xmin::text, t.* from duly.{t} t order by t.*::text") for t in tables
        ]

    before = await rows()
    status, facts, _ = await duly.put(path)
    assert (status, facts["created"], facts["changed"], facts["consents"]) == (0, 0, 0, 0)
    assert facts["unchanged"] == 2_000
    assert await rows() == before


async def test_one_wrong_row_and_nothing_at_all_is_written(
    conn: Connection, duly: Duly, work_dir: Path
) -> None:
    await conn.execute(
        'select duly.put_contact(\'clinic\', \'other\', addresses => \'[{"channel": "sms", "address": "+14155550199"}]\')'
    )
    path = written(
        work_dir,
        "external_id,sms,email,locale,time_zone,max_per_week,attributes,consent,consent_at\n"
        "p-0,+14155550100,,,,,,given,2026-01-31T18:00:00Z\n"
        "p-1,555,nobody,,,x,,,\n"
        "p-2,4155550102,,,,,,,\n"
        "p-3,,,en_US,,,,,\n"
        "p-4,,,,Mars/Olympus,,,,\n"
        'p-5,,,,,1001,"[1]",,\n'
        "p-6,,,,,,,given,\n"
        "p-7,+14155550107,,,,,,perhaps,2026-01-31T18:00:00\n"
        "p-8,+14155550199,,,,,,,\n"
        ",,,,,,,,\n"
        "p-10\n"
        'p-11,,,,,,"{""a"": ""\\u0000""}",,\n'
        "p-12,+14155550100,,,,,,given,2999-01-31T18:00:00Z\n"
        "p-13,+14155550100,,,,,,,\n",
    )  # fmt: skip
    errors = work_dir / "wrong.csv"
    status, facts, err = await duly.put(path, "--errors", str(errors))
    assert (status, facts["written"], facts["rows"], facts["wrong"]) == (1, False, 14, 13)
    told = {error["line"]: error["error"] for error in facts["errors"]}
    expected = {
        3: (
            "sms: '555' has no country code",
            "email: 'nobody' is not a mail address",
            "max_per_week: 'x' is not a whole number",
        ),
        4: ("sms: '4155550102' has no country code: write it like +14155550123",),
        5: ("locale: 'en_US' is not a language tag",),
        6: ("time_zone: 'Mars/Olympus' is not the name of an IANA zone, such as America/New_York",),
        7: ("attributes: is not a JSON object",),
        8: ("consent: belongs to an address", "consent_at: is missing: say when it was said"),
        9: ("consent: 'perhaps' is none of given", "consent_at: '2026-01-31T18:00:00' has no zone"),
        10: ("sms: '+14155550199' is the address of contact 'other'; leave it out here",),
        11: ("external_id: is missing",),
        12: ("row: has 1 fields where the first line has 9",),
        13: ("attributes: has a NUL",),
        14: ("consent_at: must be when it was said",),
        15: ("sms: '+14155550100' is the address of contact 'p-0'",),
    }
    assert told.keys() == expected.keys()
    for line, words in expected.items():
        assert all(each in told[line] for each in words), (line, told[line])
        assert f"line {line}: {told[line]}" in err
    assert await counts(conn) == (1, 1, 0)
    with errors.open() as file:
        assert [int(row["line"]) for row in csv.DictReader(file)] == list(expected)


async def test_the_right_rows_alone_and_then_the_corrected_ones(
    conn: Connection, duly: Duly, work_dir: Path
) -> None:
    path = written(
        work_dir,
        "external_id,sms,attr.Note,consent,consent_at\n"
        "p-0,+14155550100,x,given,2026-01-31T18:00:00Z\n"
        "p-1,555,y,given,2026-01-31T18:00:00Z\n"
        "p-2,+14155550100,z,withdrawn,2026-02-01T18:00:00Z\n",
    )
    errors = work_dir / "wrong.csv"
    status, facts, _ = await duly.put(path, "--skip-wrong", "--errors", str(errors))
    assert (status, facts["written"], facts["created"], facts["wrong"], facts["consents"]) == (
        1,
        True,
        1,
        2,
        1,
    )
    assert await counts(conn) == (1, 1, 1)
    assert (
        await conn.fetchval("select state from duly.consent") == "given"
    )  # the row that is wrong withdraws nothing
    errors.write_text(
        errors.read_text().replace(",555,", ",+14155550101,").replace("+14155550100", "+14155550102")
    )
    status, facts, err = await duly.put(errors)
    assert (status, facts["created"]) == (0, 2), err
    notes = await conn.fetch("select attributes ->> 'Note' as note from duly.contact order by external_id")
    assert [row["note"] for row in notes] == ["x", "y", "z"]


async def test_a_dry_run_checks_all_and_writes_nothing(conn: Connection, duly: Duly, work_dir: Path) -> None:
    status, facts, _ = await duly.put(crowd(work_dir, 10, consent=True), "--dry-run")
    assert (status, facts["written"], facts["created"], facts["consents"]) == (0, False, 10, 20)
    assert await counts(conn) == (0, 0, 0)


async def test_killed_in_the_middle_nothing_is_there_and_the_same_command_does_it(
    conn: Connection, duly: Duly, work_dir: Path
) -> None:
    path = crowd(work_dir, 10_000)

    async def under_way() -> bool:
        return bool(
            await conn.fetchval(
                "select count(*) > 0 from pg_stat_activity where query like '%put_contacts%' and pid <> pg_backend_pid()"
                " and backend_xid is not null"
            )
        )

    process = duly.start("contacts", "import", str(path), "--workspace", "clinic")
    await until(under_way)
    process.kill()
    await asyncio.to_thread(process.communicate)

    async def gone() -> bool:
        return not await under_way()

    await until(gone)
    assert await counts(conn) == (0, 0, 0)
    status, facts, err = await duly.put(path)
    assert (status, facts.get("created")) == (0, 10_000), err


async def test_one_file_at_a_time_goes_into_a_workspace(conn: Connection, duly: Duly, work_dir: Path) -> None:
    path = crowd(work_dir, 3)
    async with conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(hashtextextended('duly import clinic', 0))")
        status, _, err = await duly.put(path)
        assert (status, "another import is under way" in err) == (2, True)
        assert (await duly.put(path, workspace="shop"))[0] == 0
    assert (await duly.put(path))[0] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("external_id,nick\np,x\n", r"column 2 ('nick') is no field of a contact, nor attr.NAME"),
        ("name\nAnn\n", "has no column that says who it is"),
        ("sms,SMS\n,\n", "column sms is there twice"),
        (b"external_id,name\np,\xff\n", "line 2: is not UTF-8"),
        ('external_id,name\np,"x\n', "unexpected end of data"),
        ("", "is empty"),
    ],
)  # fmt: skip
async def test_a_broken_file_is_refused_whole(
    conn: Connection, duly: Duly, work_dir: Path, content: str | bytes, words: str
) -> None:
    status, facts, err = await duly.put(written(work_dir, content))
    assert (status, facts) == (2, {})
    assert words in err
    assert "Traceback" not in err


async def test_what_the_command_cannot_know_is_said(conn: Connection, duly: Duly, work_dir: Path) -> None:
    path = crowd(work_dir, 1)
    assert "ISO 3166" in (await duly.put(path, "--region", "Texas"))[2]
    status, _, err = await duly.put(path, workspace="nowhere")
    assert (status, "workspace: 'nowhere' is not" in err) == (2, True)
    status, _, err = await duly.put(path, "--errors", str(path))
    assert (status, "is the file itself" in err) == (2, True)
    assert (await duly.put(path, "--ignore", "name"))[1]["created"] == 1
    assert await conn.fetchval("select name from duly.contact") is None


async def test_a_withdrawal_in_a_file_ends_what_waits(conn: Connection, duly: Duly, work_dir: Path) -> None:
    await conn.execute("select duly.enqueue('clinic', 'sms', '+14155550100', 'Hi')")
    path = written(work_dir, "sms,consent,consent_at\n+14155550100,withdrawn,2026-01-31T18:00:00Z\n")
    status, facts, err = await duly.put(path)
    assert (status, facts["skipped"]) == (0, 1), err
    assert await conn.fetchval("select state || reason from duly.delivery_row") == "skippedopted_out"


async def test_an_old_yes_in_a_file_lifts_no_later_stop(conn: Connection, duly: Duly, work_dir: Path) -> None:
    await conn.execute(
        "select duly.record_consent('clinic', 'sms', '+14155550100', 'withdrawn', source => 'inbound')"
    )
    path = written(work_dir, "sms,consent,consent_at\n+14155550100,given,2026-01-31T18:00:00Z\n")
    assert (await duly.put(path))[0] == 0
    assert await conn.fetchval("select reason from duly.suppression") == "opted_out"


async def test_the_tomls_double_opt_in_holds_for_files(conn: Connection, duly: Duly, work_dir: Path) -> None:
    path = written(work_dir, "sms,consent,consent_at\n+14155550100,given,2026-01-31T18:00:00Z\n")
    for workspace, state in (("shop", "requested"), ("clinic", "given")):
        assert (await duly.put(path, workspace=workspace))[0] == 0
        facts = (await duly.facts("consent", "show", "+14155550100", "--workspace", workspace))[1]
        assert [s["state"] for s in facts["standings"]] == [state]


async def test_an_export_is_an_import_elsewhere(conn: Connection, duly: Duly, work_dir: Path) -> None:
    path = written(
        work_dir,
        "external_id,name,sms,email,attributes\n"
        'p-1,"Lee, ""Ann""\u00e9",+14155550100,a@example.com,"{""a"": [1, null]}"\n'
        "p-1,,+14155550101,,\n"
        ",,+14155550102,,\n",
    )
    assert (await duly.put(path))[1]["changed"] == 1
    out = work_dir / "out.csv"
    assert (await duly("contacts", "export", str(out), "--workspace", "clinic"))[0] == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sms"] for row in rows] == ["+14155550100", "+14155550101", "+14155550102"]
    status, facts, err = await duly.put(out)
    assert (status, facts["unchanged"]) == (0, 3), err
    assert (await duly.put(out, workspace="shop"))[1]["created"] == 2
    again = (await duly("contacts", "export", "--workspace", "shop"))[1]
    assert again == out.read_text()
    assert (await duly("contacts", "export", "--workspace", "nowhere"))[0] == 2


# Lists.


async def test_an_address_is_put_on_a_list_checked_and_taken_off(conn: Connection, duly: Duly) -> None:
    await conn.execute("select duly.enqueue('clinic', 'sms', '+14155550100', 'Hi')")
    of = ("(415) 555-0100", "--region", "US", "--workspace", "clinic")
    status, facts, err = await duly.facts("do-not-contact", "add", *of)
    assert (status, facts["address"], facts["added"], facts["skipped"]) == (0, "+14155550100", True, 1), err
    assert (await duly.facts("do-not-contact", "add", *of))[1]["added"] is False
    found = (await duly.facts("do-not-contact", "check", *of))[1]
    assert (found["suppressed"], found["suppressions"][0]["reason"]) == (True, "do_not_contact")
    assert (await duly.facts("do-not-contact", "check", "+14155550100", "--all"))[1]["suppressed"] is False
    assert (await duly.facts("do-not-contact", "remove", *of))[1]["removed"] is True
    status, _, err = await duly.facts("do-not-contact", "remove", *of)
    assert (status, "was not on this list" in err) == (1, True)
    assert "nothing forbids" in (await duly("do-not-contact", "check", *of))[1]
    for words in (("--workspace", "clinic", "--all"), ()):
        assert (await duly("do-not-contact", "check", "+14155550100", *words))[0] == 2
    assert "address: '12'" in (await duly("do-not-contact", "add", "12", "--all", "--region", "US"))[2]


async def test_a_list_is_exported_as_hashes_and_imported_from_them(
    conn: Connection, duly: Duly, work_dir: Path
) -> None:
    await conn.execute("select duly.enqueue('clinic', 'sms', '+14155550100', 'Hi')")
    path = written(
        work_dir,
        "channel,address,category\nsms,+1 415 555 0100,\nEmail,A@Example.com,marketing\n,+14155550101,\n",
        "list.csv",
    )
    words = ("do-not-contact", "import", str(path))
    status, facts, err = await duly.facts(*words, "--workspace", "clinic", "--channel", "sms")
    assert (status, facts["added"], facts["skipped"], facts["written"]) == (0, 3, 1, True), err
    assert (await duly.facts(*words, "--workspace", "clinic", "--channel", "sms"))[1]["added"] == 0
    text = (await duly("do-not-contact", "export", "--workspace", "clinic"))[1]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {(row["channel"], row["category"], row["workspace"]) for row in rows} == {
        ("sms", "", "clinic"),
        ("email", "marketing", "clinic"),
    }
    assert "5550100" not in text
    exported = written(work_dir, text, "exported.csv")
    status, facts, err = await duly.facts("do-not-contact", "import", str(exported), "--all")
    assert (status, facts["added"]) == (0, 3), err
    found = (await duly.facts("do-not-contact", "check", "+14155550101", "--all"))[1]
    assert (found["suppressed"], found["suppressions"][0]["workspace"]) == (True, None)
    foreign = written(work_dir, text.replace(rows[0]["key"], "00000000"), "foreign.csv")
    status, facts, err = await duly.facts("do-not-contact", "import", str(foreign), "--workspace", "shop")
    assert (status, facts["written"], facts["wrong"]) == (1, False, 3)
    assert "key: '00000000' is not this database's" in err


async def test_one_wrong_line_of_a_list_and_nothing_is_on_it(
    conn: Connection, duly: Duly, work_dir: Path
) -> None:
    path = written(
        work_dir,
        "channel,address,category\nsms,+14155550100,\nsms,555,\npigeon,x,\nsms,+14155550101,A B\n,+14155550102,\n",
    )
    words = ("do-not-contact", "import", str(path), "--workspace", "clinic")
    status, facts, _ = await duly.facts(*words)
    assert (status, facts["written"], [e["line"] for e in facts["errors"]]) == (1, False, [3, 4, 5, 6])
    assert [e["error"].partition(":")[0] for e in facts["errors"]] == [
        "address",
        "channel",
        "category",
        "channel",
    ]
    assert await conn.fetchval("select count(*) from duly.suppression") == 0
    assert (await duly.facts(*words, "--dry-run", "--skip-wrong"))[1]["written"] is False
    assert (await duly.facts(*words, "--skip-wrong"))[1]["added"] == 1
    for content, said in (("channel\nsms\n", "neither"), ("hash\nx\n", "column key is missing")):
        broken = written(work_dir, content, "broken.csv")
        status, _, err = await duly.facts("do-not-contact", "import", str(broken), "--all")
        assert (status, said in err) == (2, True)


# Consent by hand.


async def test_consent_by_hand_is_recorded_and_shown(conn: Connection, duly: Duly) -> None:
    await conn.execute("select duly.enqueue('clinic', 'sms', '+14155550100', 'Hi', category => 'marketing')")
    of = ("+14155550100", "--workspace", "clinic")
    record = ("consent", "record", *of, "--category", "marketing")
    status, facts, err = await duly.facts(*record, "--state", "withdrawn", "--words", "at the desk")
    assert (status, facts["state"], facts["skipped"]) == (0, "withdrawn", 1), err
    found = (await duly.facts("consent", "show", *of))[1]
    assert [(s["category"], s["state"], s["suppressed"]) for s in found["standings"]] == [
        ("", None, None),
        ("marketing", "withdrawn", "opted_out"),
    ]
    assert (found["log"][0]["words"], found["log"][0]["source"]) == ("at the desk", "person")
    assert found["log"][0]["proof"]["login"]
    text = (await duly("consent", "show", *of))[1]
    assert "at the desk" in text
    assert "opted_out" in text
    status, _, err = await duly(*record, "--state", "given", "--at", "2999-01-01T00:00:00Z")
    assert (status, "at: must be when it was said" in err) == (2, True)
    assert (await duly("consent", "show", "+14155550100", "--workspace", "nowhere"))[0] == 2
