"""Compatible SQL installed, taken away, and refused where the application has something of that name."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.store.compat import CompatError, Part, installed, load, remove
from daemon.store.database import Connection
from tests.integration.compat import put, user

RUNNER = CliRunner()


@pytest.fixture
def config(work_dir: Path, dsn: str) -> str:
    path = work_dir / "duly.toml"
    path.write_text(f'[database]\nurl = "{dsn}"\n[workspaces.clinic]\n[workspaces.shop]\n')
    return str(path)


def run(*args: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, ["migrate", *args])
    return result.exit_code, result.output


async def visible(conn: Connection, schema: str = "public") -> set[str]:
    rows = await conn.fetch(
        """select relname as name from pg_class where relnamespace = $1::regnamespace and relkind = 'v'
           union select proname from pg_proc where pronamespace = $1::regnamespace""",
        schema,
    )
    return {row["name"] for row in rows}


async def test_it_is_installed_again_and_taken_away(conn: Connection) -> None:
    wanted = {s.name for part in Part for s in load(part).sections if s.kind != "schema"}
    for _ in range(2):
        await put(conn, *Part)
        assert await visible(conn) == wanted
    assert await installed(conn, "public") == sorted(Part)
    ada = await user(conn)
    assert await remove(conn, list(Part), "public") == len(wanted) + 2  # and the two schemas of pgmq
    assert await visible(conn) == set()
    assert await conn.fetchval("select count(*) from pg_namespace where nspname like 'pgmq%'") == 0
    with pytest.raises(CompatError, match="rundown is not installed in schema public"):
        await remove(conn, [Part.RUNDOWN], "public")
    await put(conn, Part.RUNDOWN)
    assert await conn.fetchval("select id from users") == ada  # what it showed has stayed
