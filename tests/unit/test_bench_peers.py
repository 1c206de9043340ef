"""The benchmark's peers: what is missing is skipped with a word, and what is installed is pinned."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import environments
from tests.bench.contest import Standing
from tests.bench.environments import CONTESTANTS, CannotTakePart, node_environment
from tests.bench.peers import PEERS, entrants, standings

_EXACT = re.compile(r"\d+\.\d+\.\d+")
_NODE_PEERS = [peer for peer in PEERS if peer.environment is node_environment]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """A path with no programs on it but those that the test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


@pytest.mark.usefixtures("programs")
def test_without_node_its_peers_are_skipped_with_a_word() -> None:
    ready, skipped = entrants(_NODE_PEERS, has_redis=True)
    assert ready == {}
    assert skipped == {peer.name: "node and npm are not installed" for peer in _NODE_PEERS}


@pytest.mark.usefixtures("programs")
def test_without_redis_only_the_peer_that_needs_it_is_skipped() -> None:
    with pytest.raises(CannotTakePart, match="redis-server is not installed"), environments.redis():
        pass
    _, skipped = entrants(_NODE_PEERS, has_redis=False)
    assert {name for name, why in skipped.items() if "redis" in why} == {"bullmq"}


def test_a_redis_that_does_not_start_is_told_from_one_that_does(programs: Callable[[str, str], None]) -> None:
    programs("redis-server", "exit 1")
    with pytest.raises(CannotTakePart, match="does not start"), environments.redis():
        pass


def test_an_install_that_fails_is_skipped_with_its_last_words_and_tried_again(
    programs: Callable[[str, str], None], tmp_path: Path
) -> None:
    programs("node", "echo v99.0.0")
    programs("npm", "echo 'no way out' >&2; exit 1")
    with pytest.raises(CannotTakePart, match="no way out"):
        node_environment(tmp_path / "cache")
    programs("npm", ":")
    assert node_environment(tmp_path / "cache").interpreter.name == "node"


def test_an_install_is_kept_until_a_manifest_changes(
    programs: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installs = tmp_path / "installs"
    programs("node", "echo v99.0.0")
    programs("npm", f"echo once >> {installs}")
    folder = tmp_path / "contestants" / "node"
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        (folder / name).write_text("{}")
    monkeypatch.setattr(environments, "CONTESTANTS", folder.parent)
    for _ in range(2):
        node_environment(tmp_path / "cache")
    assert installs.read_text() == "once\n"
    (folder / "package-lock.json").write_text("{ }")
    node_environment(tmp_path / "cache")
    assert installs.read_text() == "once\nonce\n"


def test_a_node_too_old_for_the_peers_is_skipped(
    programs: Callable[[str, str], None], tmp_path: Path
) -> None:
    programs("node", "echo v20.20.2")
    programs("npm", ":")
    with pytest.raises(CannotTakePart, match=r"no node of 22\.19 or newer"):
        node_environment(tmp_path / "cache")


def test_the_node_manifests_pin_each_package_and_name_no_registry() -> None:
    wanted = json.loads((CONTESTANTS / "node" / "package.json").read_text())
    lock = json.loads((CONTESTANTS / "node" / "package-lock.json").read_text())["packages"]
    for name, version in {**wanted["dependencies"], **wanted["optionalDependencies"]}.items():
        assert _EXACT.fullmatch(version), name
        assert lock[f"node_modules/{name}"]["version"] == version
    locked = {path: package for path, package in lock.items() if path}
    assert [path for path, package in locked.items() if "integrity" not in package] == []
    assert [path for path, package in locked.items() if "resolved" in package] == []


def test_the_python_manifest_pins_each_package_by_version_and_hash() -> None:
    folder = CONTESTANTS / "python"
    wanted = [line for line in (folder / "requirements.in").read_text().splitlines() if "==" in line]
    requirements = re.split(r"\n(?=\S)", (folder / "requirements.txt").read_text().strip())
    pinned = {found.split(" ")[0] for found in requirements}
    assert {re.sub(r"\[.*\]", "", line) for line in wanted} <= pinned
    assert [found for found in requirements if "==" not in found or "--hash=sha256:" not in found] == []


def test_every_peer_has_a_program() -> None:
    programs = {path.name for path in CONTESTANTS.rglob("on_*")}
    assert {peer.program for peer in PEERS} == programs


def test_the_goal_is_not_met_against_only_some_of_the_peers() -> None:
    ours, slow = Standing([100]), Standing([50])
    assert standings(ours, {"slow": slow}, {}, [2.0], 10).met is True
    assert standings(ours, {"slow": slow}, {"fast": "not installed"}, [2.0], 10).met is None
    assert standings(ours, {"slow": Standing([200])}, {"fast": "not installed"}, [0.5], 10).met is False
    assert standings(ours, {}, {"fast": "not installed"}, [], 10).met is None
