"""A turn of the benchmark counts only what a peer really did: its own table and the stand-in must agree."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.contest import Peer, Place, Standing, turn
from tests.bench.environments import CannotTakePart, Environment
from tests.bench.harness import raw_stand_in

_JOBS = 5
_PEER = """
import asyncio, json, sys, urllib.request
import asyncpg

async def main():
    asked = json.loads(sys.argv[1])
    conn = await asyncpg.connect(asked["dsn"])
    await conn.execute("create table done (n int)")
    print(json.dumps({"version": "1"}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for n in range(asked["jobs"]):
        urllib.request.urlopen(asked["url"] + asked["path"], data=b"x").read()
        await conn.execute("insert into done values ($1)", n)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def place(dsn: str) -> Iterator[Place]:
    """A server and a stand-in."""
    with raw_stand_in() as url:
        yield Place(dsn, url, None)


async def _turn(place: Place, folder: Path, program: str) -> Standing:
    (folder / "peer.py").write_text(program)
    environment = Environment(Path(sys.executable), folder)
    standing = Standing()
    peer = Peer("made_up", "peer.py", lambda: environment, "select count(*) from done")
    await turn(place, peer, environment, standing, _JOBS)
    return standing


async def test_a_peer_that_did_its_jobs_has_a_figure_and_its_facts(place: Place, tmp_path: Path) -> None:
    standing = await _turn(place, tmp_path, _PEER)
    assert len(standing.per_second) == 1
    assert standing.as_json()["version"] == "1"


async def test_a_peer_whose_requests_are_too_few_has_none(place: Place, tmp_path: Path) -> None:
    program = _PEER.replace("urllib.request.urlopen", "(lambda *_, **__: sys.stdin)").replace(
        ".read()\n", "\n"
    )
    with pytest.raises(CannotTakePart, match=f"it made 0 requests for {_JOBS} jobs"):
        await _turn(place, tmp_path, program)


async def test_a_peer_that_dies_says_how_far_it_came(place: Place, tmp_path: Path) -> None:
    program = _PEER.replace('range(asked["jobs"])', "range(3)").replace("sys.stdin.read)", "sys.exit)")
    with pytest.raises(CannotTakePart, match=f"it ended with 3 of {_JOBS} jobs done"):
        await _turn(place, tmp_path, program)


async def test_a_peer_that_does_not_start_says_why(place: Place, tmp_path: Path) -> None:
    with pytest.raises(
        CannotTakePart, match="does not start: ModuleNotFoundError: No module named 'nothing'"
    ):
        await _turn(place, tmp_path, "import nothing")
