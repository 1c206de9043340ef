"""`python -m tests.bench [--quick] [--json]`: all benchmarks, as a table or as JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys

import orjson

from daemon import logs
from tests.bench import latency, limits, send
from tests.bench.harness import Result

_ALL = (latency, limits, send)


async def _run(*, quick: bool) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for bench in _ALL:
        results |= await bench.run(quick=quick)
        await asyncio.sleep(0)
    return results


def _table(results: dict[str, Result]) -> str:
    lines = [f"{'':10} {'ratio':>7} {'spread':>15} {'goal':>6}  met  unit"]
    for name, r in results.items():
        goal = "-" if r.goal is None else f"{r.goal:g}"
        met = {None: "-", True: "yes", False: "NO"}[r.met]
        spread = f"{r.spread[0]:.3f}–{r.spread[1]:.3f}"
        lines.append(f"{name:10} {r.ratio:>7.3f} {spread:>15} {goal:>6}  {met:4} {r.unit}")
    return "\n".join(lines)


def main() -> int:
    """Prints the figures. Exit status 0 also where a goal is missed: figures are read, not gated."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: does it still run?")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logs.configure("warning")
    results = asyncio.run(_run(quick=options.quick))
    if options.json:
        facts = {name: result.as_json() for name, result in results.items()}
        print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        print(_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
