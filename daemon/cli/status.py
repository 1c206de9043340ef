"""`duly status`: what waits, moves and has ended, and when the queue will be empty."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import aiohttp
import orjson
import typer

from daemon.cli.common import ConfigOption, JsonOption, configuration, connected, print_json, run_async, table
from daemon.cli.outlook import cohort_facts, cohorts, foretell, lines, part_facts, planned_facts, when
from daemon.config import Config
from daemon.model import Channel
from daemon.planning.forecast import Forecast, Outlook
from daemon.planning.looking import look
from daemon.planning.spread_chart import Planned
from daemon.queue.limiter import Rate
from daemon.queue.rates import account_rate, workspace_rate
from daemon.store.sql import query
from daemon.store.status import Node, Passing, QueuedLane, Snapshot, snapshot

_READY_SECONDS = 2.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_ENDED = ("sent", "delivered", "failed", "expired", "skipped", "canceled")


DueOption = Annotated[
    list[str] | None,
    typer.Option(
        "--due",
        metavar="TIME|FROM..UNTIL|..UNTIL",
        help="When will what is due then have gone? With a zone, such as 2026-11-29T18:00+01:00. Repeatable.",
    ),
]


def status(
    config: ConfigOption = None,
    json: JsonOption = False,
    due: DueOption = None,
    workspace: Annotated[str | None, typer.Option(help="With --due: of this workspace only.")] = None,
    priority: Annotated[
        int | None, typer.Option(min=1, max=3, help="With --due: of this priority only.")
    ] = None,
    category: Annotated[str | None, typer.Option(help="With --due: of this category only.")] = None,
) -> None:
    """Say what is queued, under way and done, when the queue will be empty and when a cohort ends."""
    settings = configuration(config)
    asked = cohorts(due or [], workspace, priority, category)

    async def work() -> dict[str, Any]:
        async with connected(settings) as conn:
            daemon = await readiness(settings)
            found = await snapshot(conn, settings.daemon.lease_seconds)
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                seen = await look(conn, asked, category)
            runs = [dict(row) for row in await conn.fetch(query("plan_runs"), None, None, True)]
        future = await asyncio.to_thread(foretell, seen, found, settings, daemon)
        return {**facts(found, settings, daemon, future, len(asked), seen.planned), "planning": runs}

    found = run_async(work)
    print_json(found) if json else print(_written(found))


def facts(
    found: Snapshot,
    config: Config,
    daemon: Mapping[str, Any] | None,
    future: Forecast,
    asked: int,
    planned: Sequence[Planned] = (),
) -> dict[str, Any]:
    """Everything for --json. `daemon`: what /readyz answers, None where nobody does; `asked`: so many of the
    forecast's cohorts were asked for; then come the next busy moments, and one for each of `planned`.
    """
    halted = [lane for lane in found.lanes if not _moves(lane, config, daemon)]
    together = found.together
    stuck = {kind: together.stuck[kind] for kind in ("leased", "sending")}
    told = [cohort_facts(cohort, outlook, future) for cohort, outlook in future.cohorts]
    return {
        "at": found.at,
        "queued": _queued(found.lanes),
        **_under_way(together),
        "stuck": {**stuck, "queued": sum(lane.overdue for lane in halted)},
        "last_24_hours": _ended(together),
        "segments_per_second": round(together.minute_segments / 60, 2),
        **part_facts(future.total, future),
        "cohorts": told[:asked],
        "busy": told[asked : len(told) - len(planned)],
        "planned": [
            planned_facts(each, outlook, future)
            for each, (_, outlook) in zip(planned, future.cohorts[len(told) - len(planned) :], strict=True)
        ],
        "workspaces": [
            _workspace(name, found, config, future)
            for name in sorted({*found.workspaces, *config.workspaces})
        ],
        "accounts": [
            _account(name, found, config, daemon, future)
            for name in sorted({*found.platforms, *config.platforms})
        ],
        "without_route": [
            {"workspace": lane.workspace, "channel": lane.channel, "queued": lane.total}
            for lane in halted
            if _route(lane, config) is None
        ],
        "nodes": [_node(node) for node in found.nodes],
        "daemon": daemon,
    }


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


def _workspace(name: str, found: Snapshot, config: Config, future: Forecast) -> dict[str, Any]:
    lanes = [lane for lane in found.lanes if lane.workspace == name]
    rate = _per_second(workspace_rate(config, name))
    outlook = future.workspaces.get(name, Outlook())
    return {"workspace": name, **_part(lanes, found.of_workspace(name), rate, outlook, future)}


def _account(
    name: str, found: Snapshot, config: Config, daemon: Mapping[str, Any] | None, future: Forecast
) -> dict[str, Any]:
    lanes = [lane for lane in found.lanes if _route(lane, config) == name]
    account = config.platforms.get(name)
    rate = _per_second(account_rate(config, name))
    outlook = future.accounts.get(name, Outlook())
    said = daemon.get("accounts", {}).get(name) if daemon else None
    speed = daemon.get("speeds", {}).get(name) if daemon else None
    state = "not in the TOML" if account is None else said if account.enabled else "disabled"
    return {
        "account": name,
        "platform": account.kind if account else found.platforms[name],
        "state": state,
        "speed": speed,
        **_part(lanes, found.of_account(name), rate, outlook, future),
    }


def _part(
    lanes: Sequence[QueuedLane], passing: Passing, rate: float | None, outlook: Outlook, future: Forecast
) -> dict[str, Any]:
    return {
        "queued": _queued(lanes),
        **_under_way(passing),
        "stuck": passing.stuck.total(),
        "last_24_hours": _ended(passing),
        "segments_per_second": round(passing.minute_segments / 60, 2),
        "limit_per_second": rate,
        **part_facts(outlook, future),
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
        "handed_over": passing.states["handed_over"],
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


def _per_second(rate: Rate) -> float | None:
    per_minute = None if rate.per_minute is None else rate.per_minute / 60
    return min((speed for speed in (rate.per_second, per_minute) if speed is not None), default=None)


# For people.


def _written(found: Mapping[str, Any]) -> str:
    queued, ended, stuck = found["queued"], found["last_24_hours"], found["stuck"]
    said = [
        f"Queued     {queued['total']:,} ({queued['segments']:,} segments), {queued['due']:,} of them due"
        + (f", the oldest for {duration(queued['oldest_due_seconds'])}" if queued["due"] else ""),
        f"Under way  {found['leased']:,} leased, {found['sending']:,} sending, {found['uncertain']:,} uncertain"
        + (f" ({found['undecided']:,} left to you: `duly replay`)" if found["undecided"] else "")
        + (f", {found['handed_over']:,} handed over for later" if found["handed_over"] else ""),
        "24 hours   " + ", ".join(f"{count:,} {state}" for state, count in ended.items()),
        f"Speed      {found['segments_per_second']:,} segments/s in the last minute; {_eta(found)}",
    ]
    said += lines(found)
    said += [
        f"PLANNING   {run['on_date']} {run['workspace']} {run['series']}: {run['planned']:,} planned, "
        f"{run['skipped']:,} not sent"
        for run in found["planning"]
    ]
    if any(stuck.values()):
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in stuck.items() if count)
        said.append(f"STUCK      {kinds}: see `duly doctor`")
    said += [
        f"NO ROUTE   {lane['queued']:,} queued for {lane['channel']} of {lane['workspace']}: "
        "no account carries it; see [routes]"
        for lane in found["without_route"]
    ]
    said += ["", *_tables(found), "", *_daemons(found)]
    return "\n".join(said)


def _eta(found: Mapping[str, Any]) -> str:
    if not found["queued"]["total"] and not found["leased"]:
        return "nothing is queued"
    eta, gone = found["eta_seconds"], found["all_gone_at"]
    if eta is None:
        return f"nobody can say when it is empty: {found['why']}"
    at = found["at"]
    empty = f"empty at {when(found['empty_at'], at)}, in {duration(eta)}" if eta else "nothing is due"
    if gone is None:
        return f"{empty}; nobody can say when all has gone: {found['why']}"
    return empty if gone == found["empty_at"] else f"{empty}; all has gone by {when(gone, at)}"


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
    now, most = (_speed(speed[key]) for key in ("per_second", "most_per_second"))
    calls = f", {speed['calls']} calls" if speed["calls"] < speed["most_calls"] else ""
    return (now if now == most else f"{now} of {most}") + calls


def _speed(rate: float | None) -> str:
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
