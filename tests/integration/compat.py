"""What the tests of compatible SQL share: it installed, the designs' own queries, a sender's ledger."""

from __future__ import annotations

from functools import cache
from uuid import UUID, uuid4

from daemon.config import parse_config
from daemon.queue.publisher import publish_rules
from daemon.store.compat import Part, install
from daemon.store.database import Connection, Database
from tests.support import ROOT

PEOPLE = """select duly.put_contact('clinic', $1, addresses => jsonb_build_array(
  jsonb_build_object('channel', $2::text, 'address', $3::text)), first_name => $4, name => $5)"""


@cache
def seed_queries() -> dict[str, str]:
    """The designs' queries by name."""
    text = (ROOT / "tests" / "data" / "seed_queries.sql").read_text()
    parts = text.split("-- ! ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}


async def put(conn: Connection, *parts: Part, workspace: str = "clinic", schema: str = "public") -> None:
    """Makes the workspaces and installs the files."""
    await conn.execute("select duly.register_workspace('clinic'), duly.register_workspace('shop')")
    await install(conn, parts, schema, workspace)


async def publish(database: Database) -> None:
    """Registers rules that hold nothing back, as a daemon does at its start."""
    await publish_rules(database, parse_config("[workspaces.clinic]\n[workspaces.shop]"))


async def person(
    conn: Connection,
    external_id: str,
    address: str,
    channel: str = "sms",
    first_name: str | None = None,
    name: str | None = None,
) -> UUID:
    """Puts a contact with one address into the clinic."""
    found: UUID = await conn.fetchval(PEOPLE, external_id, channel, address, first_name, name)
    return found


async def user(conn: Connection, number: str = "+14155550123", style: str = "supportive") -> UUID:
    """Puts a user in as Rundown's code does."""
    found: UUID = await conn.fetchval(
        "insert into users (id, name, phone, message_style) values ($1, 'Ada', $2, $3) returning id",
        uuid4(),
        number,
        style,
    )
    return found
