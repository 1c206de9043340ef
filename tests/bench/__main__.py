"""`python -m tests.bench`: what `duly bench` and `make bench` run."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from types import ModuleType

from daemon import logs
from tests.bench import (
    backlog,
    enqueue,
    fairness,
    latency,
    learning,
    limits,
    memory,
    peers,
    planner,
    queue,
    rules,
    scale_out,
    send,
    spreading,
)
from tests.bench.harness import Result, failed, shared_server
from tests.bench.report import as_json, show

_ALL = (
    send, peers, queue, rules, enqueue, latency, backlog, fairness, limits, scale_out, memory, planner, spreading,
    learning,
)  # fmt: skip
# What hangs is reported as failed, and the other lines still get their figures.
_LONGEST_SECONDS, _LONGEST_QUICK_SECONDS = 900, 90


def name_of(bench: ModuleType) -> str:
    """A line's name is its module's."""
    return bench.__name__.rpartition(".")[2]


async def measure(benches: list[ModuleType], *, quick: bool) -> dict[str, Result]:
    """Every line's figures; of one that fails, its error."""
    results: dict[str, Result] = {}
    async with shared_server():
        for bench in benches:
            name, begun = name_of(bench), time.monotonic()
            _tell(f"{name} …")
            try:
                async with asyncio.timeout(_LONGEST_QUICK_SECONDS if quick else _LONGEST_SECONDS):
                    results |= await bench.run(quick=quick)
            except Exception as error:  # whatever it is: the other lines' figures must not be lost with it
                results[name] = failed(error)
                _tell(f" {results[name].facts['error']}")
            _tell(f" {time.monotonic() - begun:.0f} s\n")
    return results


def _tell(word: str) -> None:
    print(word, end="", file=sys.stderr, flush=True)


def main() -> int:
    """Prints the figures. Exit status 0 also where a goal is missed: figures are read, not gated.

    1 where a line could not be measured, 2 where it was called wrongly.
    """
    known = {name_of(bench): bench for bench in _ALL}
    parser = argparse.ArgumentParser(
        prog="duly bench", description="Measures Duly against limits of this machine."
    )
    parser.add_argument("--quick", action="store_true", help="a fraction of the work: does it still run?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", metavar="NAME", action="append", choices=known, help=", ".join(known))
    options = parser.parse_args()
    logs.configure("warning")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends in order: servers are stopped
    wanted = [bench for name, bench in known.items() if name in (options.only or known)]
    try:
        results = asyncio.run(measure(wanted, quick=options.quick))
    except KeyboardInterrupt:
        print("duly: interrupted; nothing is left running", file=sys.stderr)
        return 1
    if options.json:
        print(as_json(results))
    else:
        show(results)
    return int(any("error" in result.facts for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
