"""`duly privacy`: an export has all that is known of a person and nothing of others; erase and hold say what they did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from daemon.planning.campaign_drafts import draft, make
from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection, Database
from daemon.store.export import SECTIONS, document, find
from daemon.store.sql import query
from tests.integration import people
from tests.integration.people import MAIL, NUMBER, SECRET_BODY, sent, traces, wrote
from tests.support import ROOT, free_port, no_keys, toml

OTHER = "+14155550199"


@pytest.fixture
def config(work_dir: Path, dsn: str, sandbox: Sandbox) -> Path:
    path = work_dir / "duly.toml"
    path.write_text(toml(dsn, sandbox.url, free_port()))
    return path


def duly(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", "privacy", *words, "--config", str(config)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip


async def exported(conn: Connection, to: str = NUMBER) -> tuple[dict[str, Any], Counter[str], int]:
    """The document, its counts, and in how many pieces it came."""
    counts: Counter[str] = Counter()
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        person = await find(conn, "clinic", "email" if "@" in to else "sms", to, None)
        assert person is not None
        pieces = [piece async for piece in document(conn, person, counts, no_keys(conn))]
    found: dict[str, Any] = json.loads(b"".join(pieces))
    return found, counts, len(pieces)


@pytest.fixture(autouse=True)
async def workspaces(conn: Connection) -> None:
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")


async def test_everything_about_a_person_is_in_the_export(conn: Connection, database: Database) -> None:
    clinic = await conn.fetchval("select id from duly.workspace where name = 'clinic'")
    ada = await people.contact(conn)
    await people.joins(conn)
    await conn.execute(
        "select duly.record_consent('clinic', 'sms', $1, 'given', 'marketing', 'yes please', proof => $2)",
        NUMBER,
        '{"ip": "::1"}',
    )
    await conn.execute("select duly.do_not_contact('clinic', 'email', $1)", MAIL)
    delivery = await people.enqueue(conn)
    await sent(conn, delivery)
    mail = await people.enqueue(conn, MAIL)
    await conn.execute(
        """select duly.set_preference('clinic', 'Lovelace-1'), duly.set_goal('clinic', 'Lovelace-1', 'Knee bends', 9)"""
    )
    await conn.execute(
        """insert into duly.planned (source_id, contact_id, occurrence, workspace_id, source, reason)
           values (duly.new_id(), $1, now(), $2, 'check_in', 'late')""",
        ada,
        clinic,
    )
    await wrote(database, clinic)
    await wrote(database, 0, "Whose number is this?")
    await make(conn, "clinic", draft({"name": "spring", "body": "Hi"}))
    member = '[{"external_id": "Lovelace-1", "variables": {"part": "knee"}}]'
    await conn.fetch(query("campaign_add"), "clinic", "spring", member)
    await conn.execute("select duly.campaign_hit('clinic', 'spring', 'Lovelace-1', 'click', 'knee page')")
    found, counts, _ = await exported(conn)
    assert tuple(found) == SECTIONS
    assert counts == {name: len(found[name]) for name in SECTIONS if found[name]}

    (contact,) = found["contacts"]
    assert (contact["id"], contact["name"], contact["attributes"]) == (str(ada), "Lovelace", {"ward": "knee"})
    assert {a["address"] for a in found["addresses"]} == {NUMBER, MAIL}
    (series,) = found["series"]
    assert (series["series"], series["variables"], series["ends_on"]) == (
        "physio",
        {"part": "knee"},
        "2027-02-01",
    )
    (campaign,) = found["campaigns"]
    assert (campaign["campaign"], campaign["variables"]) == ("spring", {"part": "knee"})
    assert [(event["kind"], event["key"]) for event in campaign["events"]] == [("click", "knee page")]
    (consent,) = found["consents"]
    assert (consent["state"], consent["words"], consent["proof"]) == ("given", "yes please", {"ip": "::1"})
    assert [s["reason"] for s in found["suppressions"]] == ["do_not_contact"]
    assert [d["id"] for d in found["deliveries"]] == [str(delivery), str(mail)]
    first, second = found["deliveries"]
    assert (first["to"], first["body"], first["variables"]) == (NUMBER, SECRET_BODY, {"name": "Lovelace"})
    assert first["metadata"] == {"case": "knee"}
    assert first["attempts"][0]["detail"] == f"to {NUMBER}"
    assert first["attempts"][0]["rulings"][0]["rule"] == "quiet_hours"
    assert [len(first[part]) for part in ("callbacks", "rulings", "resolutions", "decisions")] == [1, 1, 1, 1]
    assert (second["to"], second["state"], second["attempts"]) == (MAIL, "skipped", [])
    assert [i["body"] for i in found["inbound"]] == ["My knee, yours Lovelace", "Whose number is this?"]
    assert found["inbound"][0]["media_urls"] == ["https://media.example/knee.png"]


async def test_nothing_of_others_is_in_the_export(conn: Connection) -> None:
    await people.enqueue(conn, OTHER, "To another")
    await people.enqueue(conn, NUMBER, "From another", workspace="shop")
    found, counts, _ = await exported(conn)
    assert not counts
    assert found == {name: [] for name in SECTIONS}


async def test_a_message_to_many_is_in_each_ones_export(conn: Connection) -> None:
    await people.campaign(conn, NUMBER, OTHER)
    found, *_ = await exported(conn)
    assert [(d["to"], d["body"]) for d in found["deliveries"]] == [(NUMBER, "Hello all")]


async def test_an_export_comes_piece_by_piece_however_much_there_is(conn: Connection) -> None:
    await conn.execute(
        "select duly.enqueue('clinic', 'sms', $1, 'Message ' || n) from generate_series(1, 500) n", NUMBER
    )
    found, counts, pieces = await exported(conn)
    assert len(found["deliveries"]) == counts["deliveries"] == 500
    assert pieces > 500


async def test_json_that_our_parser_refuses_is_exported_as_it_is(conn: Connection) -> None:
    deep = "[" * 2000 + "]" * 2000
    await conn.execute(
        "select duly.enqueue('clinic', 'sms', $1, 'Hi', metadata => ('{\"a\": ' || $2 || '}')::jsonb)",
        NUMBER,
        deep,
    )
    async with conn.transaction():
        person = await find(conn, "clinic", "sms", NUMBER, None)
        assert person is not None
        text = b"".join([piece async for piece in document(conn, person, Counter(), no_keys(conn))])
    assert b"[" * 2000 in text


async def test_the_export_command_writes_json_or_counts(conn: Connection, config: Path) -> None:
    await people.enqueue(conn)
    done = duly(config, "export", "--workspace", "clinic", "--to", NUMBER, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["deliveries"][0]["body"] == SECRET_BODY
    done = duly(config, "export", "--workspace", "clinic", "--to", NUMBER)
    assert (done.returncode, done.stdout) == (0, "1 deliveries\n")
    done = duly(config, "export", "--workspace", "clinic", "--to", OTHER)
    assert (done.returncode, done.stdout) == (0, "Nothing is known.\n")


async def test_the_erase_command_says_what_it_removed_or_why_not(conn: Connection, config: Path) -> None:
    delivery = await people.enqueue(conn)
    words = ("erase", "--workspace", "clinic", "--to", NUMBER, "--who", "dpo", "--why", "asked")
    await conn.execute("update duly.delivery_row set state = 'leased', node_id = 1 where id = $1", delivery)
    done = duly(config, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"duly: delivery {delivery} is leased, and 1 in all are open: wait until")
    await conn.execute(
        "update duly.delivery_row set state = 'queued', node_id = null where id = $1", delivery
    )
    done = duly(config, *words)
    assert (done.returncode, done.stdout) == (0, "Erased: 1 skipped, 1 messages, 1 addresses, 1 deliveries\n")
    assert await traces(conn) == []


async def test_the_hold_commands_add_list_and_remove(conn: Connection, config: Path) -> None:
    whose = ("--workspace", "clinic", "--to", NUMBER)
    assert duly(config, "hold", "add", *whose, "--why", "Case 12").stdout == "Held.\n"
    assert duly(config, "hold", "add", *whose, "--why", "Case 12").stdout == "It was held already.\n"
    refused = duly(config, "erase", *whose, "--why", "asked")
    assert (refused.returncode, "under a legal hold since" in refused.stderr) == (1, True)
    (line,) = json.loads(duly(config, "hold", "list", "--json").stdout)
    key = await conn.fetchval("select duly.address_key('sms', $1)::text", NUMBER)
    assert (line["workspace"], line["address"], line["why"]) == ("clinic", key, "Case 12")
    assert duly(config, "hold", "remove", *whose, "--why", "settled").stdout == "Released.\n"
    again = duly(config, "hold", "remove", *whose, "--why", "settled")
    assert (again.returncode, again.stderr) == (1, "duly: there is no such legal hold\n")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("export", "--workspace", "clinic"), 2, "give --to or --contact"),
        (("erase", "--workspace", "clinic", "--why", "asked"), 2, "give --to or --contact"),
        (("export", "--workspace", "nowhere", "--to", NUMBER), 1, "there is no workspace nowhere"),
        (
            ("erase", "--workspace", "clinic", "--to", "4155", "--why", "asked"),
            2,
            "to: '4155' is not an E.164",
        ),
    ],
)
def test_what_is_called_wrongly_is_said(config: Path, words: tuple[str, ...], status: int, says: str) -> None:
    done = duly(config, *words)
    assert (done.returncode, says in done.stderr) == (status, True)
