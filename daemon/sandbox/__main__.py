"""`python -m daemon.sandbox`: the sandbox as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence

import orjson
import uvloop

from daemon.sandbox.app import Sandbox
from daemon.sandbox.drafts import MIN_AHEAD_SECONDS, is_url
from daemon.sandbox.settings import ALL_CALLBACKS, SandboxSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0, or 1 where the address cannot be listened on."""
    options = _parser().parse_args(arguments)
    host, port = options.listen
    settings = SandboxSettings(
        account_sid=options.account_sid,
        auth_token=options.auth_token,
        host=host,
        port=port,
        inbound_url=options.inbound_url,
        seed=options.seed,
        speed=options.speed,
        schedule_least_seconds=options.schedule_least_seconds,
        behaviours=options.behaviours,
        advanced_opt_out=options.advanced_opt_out,
        callbacks=options.callbacks,
        callback_statuses=options.callback_statuses,
        callback_concurrency=options.callback_concurrency,
    )
    try:
        uvloop.run(_serve(settings, options.exit_with_parent))
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _serve(settings: SandboxSettings, exit_with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if exit_with_parent:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    async with Sandbox(settings) as sandbox:
        print(orjson.dumps({"url": sandbox.url}).decode(), flush=True)  # noqa: T201
        await stop.wait()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop at the end of stdin: a pipe that a parent holds ends with it, however it dies."""
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m daemon.sandbox", description="A stand-in for Twilio.")
    add = parser.add_argument
    add("--listen", type=_address, default="127.0.0.1:0", metavar="HOST:PORT", help="port 0: any free one")
    add("--account-sid", type=_account_sid, required=True, metavar="AC…")
    add("--auth-token", required=True)
    add("--inbound-url", type=_url, help="where a phone's reply is posted")
    add("--seed", type=int, help="makes delays, sids and faults repeatable")
    add("--speed", type=_speed, default=1.0, help="divides every delay of a message's life")
    add(
        "--schedule-least-seconds",
        type=float,
        default=MIN_AHEAD_SECONDS,
        help="a SendAt has to be so far ahead",
    )
    add("--no-behaviours", dest="behaviours", action="store_false", help="every number is ordinary")
    add("--no-advanced-opt-out", dest="advanced_opt_out", action="store_false")
    add("--no-callbacks", dest="callbacks", action="store_false", help="post no status callbacks")
    add("--callback-statuses", type=_statuses, default=ALL_CALLBACKS, metavar="A,B", help="post only these")
    add("--callback-concurrency", type=int, default=32, help="callbacks under way at once")
    add("--exit-with-parent", action="store_true", help="stop when stdin ends")
    return parser


def _address(value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"{value!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _account_sid(value: str) -> str:
    if not re.fullmatch(r"AC[0-9a-fA-F]{32}", value):
        raise argparse.ArgumentTypeError("it has to be AC and 32 hexadecimal digits")
    return value


def _url(value: str) -> str:
    if not is_url(value):
        raise argparse.ArgumentTypeError(f"{value!r} is not an http or https URL")
    return value


def _speed(value: str) -> float:
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{value!r} is not a number above 0")
    return speed


def _statuses(value: str) -> frozenset[str]:
    statuses = frozenset(value.split(","))
    if not statuses <= ALL_CALLBACKS:
        raise argparse.ArgumentTypeError(f"choose among {', '.join(sorted(ALL_CALLBACKS))}")
    return statuses


if __name__ == "__main__":
    sys.exit(main())
