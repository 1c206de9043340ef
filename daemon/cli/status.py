"""`duly status`: what waits, moves and has ended, and when the queue will be empty."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import aiohttp
import orjson

from daemon.cli.common import ConfigOption, JsonOption, configuration, connected, print_json, run_async, table
from daemon.config import Config
from daemon.model import Channel
from daemon.store.status import Node, Passing, QueuedLane, Snapshot, snapshot

_READY_SECONDS = 2.0
# A backlog this old has kept the daemons busy for the whole minute that their speed is measured over.
_MEASURED_SECONDS = 60.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_ENDED = ("sent", "delivered", "failed", "expired", "skipped", "canceled")


def status(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Say what is queued, under way and done, and when the queue will be empty."""
    settings = configuration(config)

    async def work() -> dict[str, Any]:
        async with connected(settings) as conn:
            found, daemon = await asyncio.gather(
                snapshot(conn, settings.daemon.lease_seconds), readiness(settings)
            )
        return facts(found, settings, daemon)

    found = run_async(work)
    print_json(found) if json else print(_written(found))


def facts(found: Snapshot, config: Config, daemon: Mapping[str, Any] | None) -> dict[str, Any]:
    """Everything for --json. `daemon`: what /readyz answers, None where nobody does."""
    halted = [lane for lane in found.lanes if not _moves(lane, config, daemon)]
    workspaces = [
        _workspace(name, found, config, halted) for name in sorted({*found.workspaces, *config.workspaces})
    ]
    accounts = [
        _account(name, found, config, daemon) for name in sorted({*found.platforms, *config.platforms})
    ]
    together = found.together
    stuck = {kind: together.stuck[kind] for kind in ("leased", "sending")}
    etas = [part["eta_seconds"] for part in workspaces]
    etas += [part["eta_seconds"] or 0.0 for part in accounts]  # without a limit of its own it adds none
    return {
        "at": found.at,
        "queued": _queued(found.lanes),
        **_under_way(together),
        "stuck": {**stuck, "queued": sum(lane.overdue for lane in halted)},
        "last_24_hours": _ended(together),
        "segments_per_second": round(together.minute_segments / 60, 2),
        "eta_seconds": None
        if None in etas or not any(n.alive for n in found.nodes)
        else max(etas, default=0.0),
        "workspaces": workspaces,
        "accounts": accounts,
        "without_route": [
            {"workspace": lane.workspace, "channel": lane.channel, "queued": lane.total}
            for lane in halted
            if _route(lane, config) is None
        ],
        "nodes": [_node(node) for node in found.nodes],
        "daemon": daemon,
    }


def eta_seconds(
    due_segments: int, waiting_seconds: float, limit: float | None, measured: float
) -> float | None:
    """Seconds until so many segments have gone; None where nobody can say.

    `limit` and `measured` are segments a second: what the TOML allows (None: no limit) and what went in the
    last minute, which counts only where the backlog is older (`waiting_seconds`): before, there was less to
    send.
    """
    if due_segments == 0:
        return 0.0
    speeds = [limit] if limit is not None else []
    if measured > 0 and waiting_seconds >= _MEASURED_SECONDS:
        speeds.append(measured)
    return due_segments / min(speeds) if speeds else None


async def readiness(config: Config) -> dict[str, Any] | None:
    """What the daemon on this machine answers at /readyz; None where none does."""
    web = config.web
    if web.port == 0:
        return None
    host = _ANYWHERE.get(web.host, web.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{web.port}/readyz"
    timeout = aiohttp.ClientTimeout(total=_READY_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            found = orjson.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) and "ready" in found else None


def _workspace(name: str, found: Snapshot, config: Config, halted: Sequence[QueuedLane]) -> dict[str, Any]:
    lanes = [lane for lane in found.lanes if lane.workspace == name]
    own, limits = config.workspaces.get(name), config.limits
    rate = _slower(
        (own and own.per_second) or limits.workspace_per_second,
        (own and own.per_minute) or limits.workspace_per_minute,
    )
    part = _part(lanes, found.of_workspace(name), rate)
    if any(lane.due for lane in lanes if lane in halted):
        part["eta_seconds"] = None
    return {"workspace": name, **part}


def _account(name: str, found: Snapshot, config: Config, daemon: Mapping[str, Any] | None) -> dict[str, Any]:
    lanes = [lane for lane in found.lanes if _route(lane, config) == name]
    account = config.platforms.get(name)
    rate = _slower(account.rate_per_second, account.rate_per_minute) if account else None
    part = _part(lanes, found.of_account(name), rate)
    said = daemon.get("accounts", {}).get(name) if daemon else None
    speed = daemon.get("speeds", {}).get(name) if daemon else None
    state = "not in the TOML" if account is None else said if account.enabled else "disabled"
    return {
        "account": name,
        "platform": account.kind if account else found.platforms[name],
        "state": state,
        "speed": speed,
        **part,
    }


def _part(lanes: Sequence[QueuedLane], passing: Passing, rate: float | None) -> dict[str, Any]:
    queued = _queued(lanes)
    measured = passing.minute_segments / 60
    eta = eta_seconds(queued["due_segments"], queued["oldest_due_seconds"] or 0.0, rate, measured)
    return {
        "queued": queued,
        **_under_way(passing),
        "stuck": passing.stuck.total(),
        "last_24_hours": _ended(passing),
        "segments_per_second": round(measured, 2),
        "limit_per_second": rate,
        "eta_seconds": None if eta is None else round(eta, 1),
    }


def _queued(lanes: Sequence[QueuedLane]) -> dict[str, Any]:
    oldest = min((lane for lane in lanes if lane.due), key=lambda lane: lane.oldest_due_at, default=None)
    return {
        "total": sum(lane.total for lane in lanes),
        "due": sum(lane.due for lane in lanes),
        "segments": sum(lane.segments for lane in lanes),
        "due_segments": sum(lane.due_segments for lane in lanes),
        "oldest_due_at": oldest.oldest_due_at if oldest else None,
        "oldest_due_seconds": round(oldest.oldest_due_seconds, 1) if oldest else None,
    }


def _under_way(passing: Passing) -> dict[str, int]:
    return {
        "leased": passing.states["leased"],
        "sending": passing.states["sending"],
        "uncertain": passing.states["uncertain"],
        "undecided": passing.undecided,
    }


def _ended(passing: Passing) -> dict[str, int]:
    return {state: passing.states[state] for state in _ENDED}


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "version": node.version,
        "started_at": node.started_at,
        "alive": node.alive,
    }


def _route(lane: QueuedLane, config: Config) -> str | None:
    """The account that carries a lane; None where none does."""
    name = config.account_for(lane.workspace, Channel(lane.channel))
    return name if name in config.platforms else None


def _moves(lane: QueuedLane, config: Config, daemon: Mapping[str, Any] | None) -> bool:
    """Whether a lane's account is there, enabled and, as far as the daemon says, at work."""
    name = _route(lane, config)
    said = daemon.get("accounts", {}).get(name, "ok") if daemon else "ok"
    return name is not None and config.platforms[name].enabled and said == "ok"


def _slower(per_second: float | None, per_minute: float | None) -> float | None:
    return min((r for r in (per_second, per_minute and per_minute / 60) if r is not None), default=None)


# For people.


def _written(found: Mapping[str, Any]) -> str:
    queued, ended, stuck = found["queued"], found["last_24_hours"], found["stuck"]
    lines = [
        f"Queued     {queued['total']:,} ({queued['segments']:,} segments), {queued['due']:,} of them due"
        + (f", the oldest for {duration(queued['oldest_due_seconds'])}" if queued["due"] else ""),
        f"Under way  {found['leased']:,} leased, {found['sending']:,} sending, {found['uncertain']:,} uncertain"
        + (f" ({found['undecided']:,} left to you: `duly replay`)" if found["undecided"] else ""),
        "24 hours   " + ", ".join(f"{count:,} {state}" for state, count in ended.items()),
        f"Speed      {found['segments_per_second']:,} segments/s in the last minute; {_eta(found)}",
    ]
    if any(stuck.values()):
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in stuck.items() if count)
        lines.append(f"STUCK      {kinds}: see `duly doctor`")
    lines += [
        f"NO ROUTE   {lane['queued']:,} queued for {lane['channel']} of {lane['workspace']}: "
        "no account carries it; see [routes]"
        for lane in found["without_route"]
    ]
    lines += ["", *_tables(found), "", *_daemons(found)]
    return "\n".join(lines)


def _eta(found: Mapping[str, Any]) -> str:
    if not found["queued"]["due"]:
        return "nothing is due"
    if not any(node["alive"] for node in found["nodes"]):
        return "no daemon is alive"
    eta = found["eta_seconds"]
    return "nobody can say when it is empty" if eta is None else f"empty in {duration(eta)}"


def _tables(found: Mapping[str, Any]) -> list[str]:
    columns = ["queued", "due", "sending", "uncertain", "stuck", "sent", "delivered", "failed", "empty_in"]
    parts = [table([_row(part) for part in found["workspaces"]], ["workspace", *columns])]
    if found["accounts"]:
        parts += [
            "",
            table(
                [{**_row(part), "rate": _rate(part["speed"])} for part in found["accounts"]],
                ["account", "platform", "state", "rate", *columns],
            ),
        ]
    return parts


def _row(part: Mapping[str, Any]) -> dict[str, object]:
    queued, eta = part["queued"], part["eta_seconds"]
    return {
        **part,
        **part["last_24_hours"],
        "queued": queued["total"],
        "due": queued["due"],
        "sending": part["leased"] + part["sending"],
        "empty_in": None if eta is None or not queued["due"] else duration(eta),
    }


def _rate(speed: Mapping[str, Any] | None) -> str | None:
    """`25/s`, or `12.5/s of 25/s` while the platform bears no more; None where no daemon says."""
    if speed is None:
        return None
    now, most = (_per_second(speed[key]) for key in ("per_second", "most_per_second"))
    calls = f", {speed['calls']} calls" if speed["calls"] < speed["most_calls"] else ""
    return (now if now == most else f"{now} of {most}") + calls


def _per_second(rate: float | None) -> str:
    return "unlimited" if rate is None else f"{rate:.3g}/s" if rate < 100 else f"{rate:,.0f}/s"


def _daemons(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Daemon {node['name']} (node {node['id']}, {node['version']}): "
        + (
            f"alive since {_moment(node['started_at'])}"
            if node["alive"]
            else "dead, and still holds deliveries"
        )
        for node in found["nodes"]
    ] or ["No daemon is alive."]
    daemon = found["daemon"]
    if daemon is None:
        return [*lines, "Nobody answers at [web] listen."]
    ailing = [f"{name}: {said}" for name, said in daemon.get("parts", {}).items() if said != "ok"]
    return [*lines, "/readyz: ready" if daemon["ready"] else f"/readyz: NOT READY, {'; '.join(ailing)}"]


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def duration(seconds: float) -> str:
    """In the two units that matter: `3 min`, `2 h 5 min`, `4 d 3 h`."""
    if seconds < 1:
        return "a moment"
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
