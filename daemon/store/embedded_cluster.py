"""The files and processes of one embedded Postgres: see `embedded` for the three locks that carry it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import quote

import asyncpg

from daemon.store.embedded_errors import EmbeddedError, explained, trouble
from daemon.store.embedded_host import Account, hand_over, open_programs, sync_folder

DATABASE = "duly"
_SOCKET = ".s.PGSQL.5432"
# Recovery after a crash replays up to max_wal_size; a server whose pid file was torn ends itself in a minute.
_START_SECONDS = 180
_STOP_SECONDS = 60
_LOG_BYTES = 10_000_000

DEFAULTS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_duration_statement": "2s",
    "log_parameter_max_length": "0",  # parameters are people's addresses and messages
    "log_line_prefix": "%m [%p] ",
    # A queue's tables turn over every few minutes: look often, clean early, do not dawdle.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_limit": "1000",
}
# Given on the command line, where neither `settings` nor ALTER SYSTEM can undo them.
_FIXED: Mapping[str, str] = {
    "listen_addresses": "",
    "port": "5432",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "cluster_name": "duly",
}
_NOT_YET = (asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """Where the server is: `dsn` is ready for asyncpg (Unix socket, user postgres, with its password)."""

    dsn: str = field(repr=False)
    data_dir: Path
    bin_dir: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """The files and processes of one data directory. All but `alone` is called while it is held."""

    data_dir: Path
    bin_dir: Path
    account: Account
    settings: Mapping[str, str]

    @property
    def pgdata(self) -> Path:
        return self.data_dir / "pgdata"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold `lock`: nobody else starts or stops this server meanwhile."""
        with explained(self.data_dir):
            lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)

    def bring_up(self) -> EmbeddedServer:
        """Attach to the running server, or wait until nothing is left of a dead one and start anew."""
        major = self._check_version()
        give_up = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up:
            with self._server_lock() as lock:
                if lock is not None:
                    self._start(lock, major)
            if (socket_dir := self._socket_dir()) is not None:
                password = self._password()
                with suppress(OSError, *_NOT_YET):
                    asyncio.run(_ensure_database(socket_dir, password))
                    return EmbeddedServer(_dsn(socket_dir, password), self.data_dir, self.bin_dir)
            time.sleep(0.02)  # the end of a process that is not our child is no event
        raise self._error(f"it runs, but does not answer for {_START_SECONDS} s", "End its processes.")

    def halt(self, mode: str) -> None:
        """Stop the server and wait until its last process is gone; nothing if it does not run."""
        for how in (mode, "immediate"):
            if not self._gone(within_seconds=0):
                self._run("pg_ctl", "-D", "pgdata", "-s", "-m", how, "-t", str(_STOP_SECONDS), "stop")
            if self._gone(within_seconds=10):
                return
        raise self._error("it does not stop", "End its processes.")

    def _gone(self, *, within_seconds: float) -> bool:
        give_up = time.monotonic() + within_seconds
        while True:
            with self._server_lock() as lock:
                if lock is not None:
                    return True
            if time.monotonic() >= give_up:
                return False
            time.sleep(0.02)

    @contextmanager
    def _server_lock(self) -> Iterator[int | None]:
        """`server.lock`, locked, to hand down to the server; None if a server of this directory lives."""
        lock = os.open(self.data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = True
            except BlockingIOError:
                free = False
            yield lock if free else None
        finally:
            os.close(lock)  # closed, not unlocked: the server's inherited copies go on holding it

    def _start(self, lock: int, major: int) -> None:
        for leftover in self.data_dir.glob("pgdata.new-*"):
            shutil.rmtree(leftover)
        if not (self.pgdata / "PG_VERSION").exists():
            self._initdb(lock, major)
        socket_dir = self._make_socket_dir()
        self._clear_stale(socket_dir)
        self._write(self.data_dir / "pgpass", f"*:*:*:postgres:{self._password()}\n")
        self._write(self.pgdata / "postgresql.conf", _conf(self.settings))
        log = self.data_dir / "log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(self.data_dir / "log.old")
        fixed = {**_FIXED, "unix_socket_directories": str(socket_dir)}
        options = shlex.join(f"-c{name}={value}" for name, value in fixed.items())
        wait = ("-w", "-t", str(_START_SECONDS))
        # Relative names: pg_ctl pastes them into a shell command, where a path may hold anything.
        where = ("-D", "pgdata", "-l", "log")
        done = self._run("pg_ctl", *where, "-s", *wait, "-o", options, "start", keep=(lock,))
        if done.returncode:
            raise self._error(f"it does not start: {done.stderr.strip()}")

    def _initdb(self, lock: int, major: int) -> None:
        """Make the data beside its place and rename it when it is whole: a kill leaves only a leftover."""
        if self.pgdata.exists() and any(self.pgdata.iterdir()):
            raise self._error("pgdata is there but has no PG_VERSION", "Restore it, or move it away.")
        if not (self.data_dir / "password").exists():
            self._write(self.data_dir / "password", secrets.token_urlsafe(32) + "\n")
        # From 17 on Postgres brings its own Unicode rules: the same on every system, whatever libc it has.
        builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if major >= 17 else ()
        fresh = self.data_dir / f"pgdata.new-{secrets.token_hex(4)}"
        auth = ("--auth=scram-sha-256", "--username=postgres", "--pwfile=password")
        encoding = ("--encoding=UTF8", "--locale=C", *builtin, "--data-checksums")
        done = self._run("initdb", "-D", fresh.name, *auth, *encoding, keep=(lock,))
        if done.returncode:
            raise self._error(f"initdb failed: {done.stderr.strip()}")
        fresh.rename(self.pgdata)
        sync_folder(self.data_dir)

    def _clear_stale(self, socket_dir: Path) -> None:
        """Remove a dead server's pid files, which Postgres would believe if their PID is another's by now."""
        pid_file = self.pgdata / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            pid = int(pid_file.read_text().splitlines()[0])
            if Path(f"/proc/{pid}/cwd").samefile(self.pgdata):
                raise self._error(f"process {pid}, which Duly did not start, runs on it", "Stop that first.")
        for stale in (pid_file, socket_dir / _SOCKET, socket_dir / f"{_SOCKET}.lock"):
            stale.unlink(missing_ok=True)

    def _make_socket_dir(self) -> Path:
        """The data directory, or a private one in the temp directory if its path is long or full of signs."""
        path = str(self.data_dir)
        if len(os.fsencode(path)) + len(_SOCKET) < 100 and re.fullmatch(r"[\w./+@~-]+", path, re.ASCII):
            return self.data_dir
        temp = Path(gettempdir()).resolve()
        base = temp if len(os.fsencode(str(temp))) < 70 else Path("/tmp")  # noqa: S108
        place = base / f"duly-{sha256(os.fsencode(path)).hexdigest()[:16]}"
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        facts = place.lstat()
        private = stat.S_ISDIR(facts.st_mode) and not facts.st_mode & 0o077
        if not private or facts.st_uid not in (self.account.uid, os.geteuid()):
            raise self._error(f"{place}, where its socket goes, is another's", "Remove it, or set TMPDIR.")
        hand_over(place, self.account)
        return place

    def _socket_dir(self) -> Path | None:
        """Where the server said that it listens; None while it is not ready or its pid file is torn."""
        try:
            lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
        except (OSError, ValueError):
            return None
        return Path(lines[4]) if len(lines) > 7 and lines[7].strip() == "ready" else None

    def _check_version(self) -> int:
        """The programs' major version, which must be the one that made the data."""
        try:
            done = self._run("postgres", "--version")
        except PermissionError:
            if not self.account.popen:
                raise
            open_programs(self.bin_dir)
            done = self._run("postgres", "--version")
        if not (match := re.search(r"\d+", done.stdout)):
            raise self._error(f"{self.bin_dir}/postgres does not run: {done.stderr.strip()}")
        version = self.pgdata / "PG_VERSION"
        if version.exists():
            self._password()
            if (found := version.read_text().strip()) != match[0]:
                remedy = f"Dump it with Postgres {found} and load it here, or move it away to begin anew."
                raise self._error(f"its data is of Postgres {found}, the programs are {match[0]}", remedy)
        return int(match[0])

    def _password(self) -> str:
        try:
            return (self.data_dir / "password").read_text().strip()
        except FileNotFoundError:
            remedy = "Put it back, set another with `postgres --single`, or move pgdata away to begin anew."
            raise self._error("its file `password` is missing", remedy) from None

    def _write(self, path: Path, text: str) -> None:
        """Write a file of mode 0600 for the server's user, whole or not at all."""
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchown(fd, self.account.uid, self.account.gid)
            file.write(text)
            file.flush()
            os.fsync(fd)
        draft.replace(path)

    def _run(self, program: str, *args: str, keep: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a program of Postgres as its user, out of reach of the terminal and of our environment."""
        return subprocess.run(  # noqa: S603
            [self.bin_dir / program, *args],
            cwd=self.data_dir,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)},
            pass_fds=keep,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            start_new_session=True,
            **self.account.popen,
        )

    def _error(self, what: str, remedy: str = "") -> EmbeddedError:
        return trouble(self.data_dir, what, remedy)


def _conf(settings: Mapping[str, str]) -> str:
    lines = ["# Written by Duly at each start: what you set here is lost. ALTER SYSTEM lasts."]
    for name, value in settings.items():
        if not re.fullmatch(r"[a-z_][\w.]*", name, re.ASCII) or "\n" in value:
            raise EmbeddedError(f"{name!r} = {value!r} is no Postgres setting: correct it.")
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    return "\n".join(lines) + "\n"


def _dsn(socket_dir: Path, password: str) -> str:
    return f"postgresql://postgres:{password}@/{DATABASE}?host={quote(str(socket_dir))}&port=5432"


async def _ensure_database(socket_dir: Path, password: str) -> None:
    connection = await asyncpg.connect(
        host=str(socket_dir), port=5432, user="postgres", password=password, database="postgres", timeout=10
    )
    try:
        if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
            await connection.execute(f"create database {DATABASE}")
    finally:
        await connection.close()
