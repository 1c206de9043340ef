"""How far a campaign is, when it will be done, and what its variants have brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from daemon.config import Config
from daemon.model import Channel
from daemon.planning.campaigns import HOLDOUT, variants_of
from daemon.planning.experiments import Arm, judge
from daemon.problem import Problem
from daemon.queue.rates import account_rate, workspace_rate
from daemon.store.database import Connection
from daemon.store.sql import query


class NoCampaign(Problem):
    """There is none of that name. The text says so."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a campaign may do in a second at most, and what holds it to that."""

    per_second: float | None
    by: str | None


def pace(
    config: Config,
    workspace: str,
    channels: Sequence[str],
    per_minute: int | None,
    per_hour: int | None,
    *,
    spread: bool = False,
) -> Pace:
    """The tightest of the throttle, the account's rate, the workspace's, and of what is `spread` the planned rate."""
    found: list[tuple[float, str]] = []
    if per_minute is not None:
        found.append((per_minute / 60, "throttle"))
    if per_hour is not None:
        found.append((per_hour / 3600, "throttle"))
    rates = [("workspace", workspace_rate(config, workspace))]
    account = config.account_for(workspace, Channel(channels[0]))
    if account is not None:
        rates.append((f"account {account}", account_rate(config, account)))
        if spread:
            found.append(
                (config.platforms[account].planned_per_hour / 3600, f"account {account}, planned_per_hour")
            )
    for by, rate in rates:
        if rate.per_second is not None:
            found.append((rate.per_second, by))
        if rate.per_minute is not None:
            found.append((rate.per_minute / 60, by))
    return Pace(*min(found)) if found else Pace(None, None)


async def progress(conn: Connection, config: Config, workspace: str, name: str) -> dict[str, Any]:
    """The counts, which add up, with `eta` (None: nobody can say) and `pace`. Raises `NoCampaign`."""
    facts = await conn.fetchrow(query("campaign_facts"), workspace, name)
    if facts is None:
        raise NoCampaign(f"campaign: there is no campaign {name[:100]!r} in {workspace[:100]}")
    found: dict[str, Any] = orjson.loads(await conn.fetchval(query("campaign_progress"), workspace, name))
    held = pace(
        config,
        workspace,
        facts["channels"],
        facts["per_minute"],
        facts["per_hour"],
        spread=bool(facts["earlier"] or facts["later"]),
    )
    eta, why = _eta(found, facts, held)
    found |= {
        "eta": eta,
        "eta_unknown_because": why,
        "per_second": None if held.per_second is None else round(held.per_second, 4),
        "held_by": held.by,
    }
    return found


async def current(conn: Connection, config: Config, most: int) -> list[dict[str, Any]]:
    """How far the newest campaigns are that are running or paused, with their `workspace`."""
    rows = await conn.fetch(query("campaign_list"), None, most, True)
    return [
        await progress(conn, config, row["workspace"], row["name"]) | {"workspace": row["workspace"]}
        for row in rows
    ]


def _eta(found: dict[str, Any], facts: asyncpg.Record, held: Pace) -> tuple[datetime | None, str | None]:
    now: datetime = facts["now"]
    if found["state"] in ("done", "canceled"):
        return facts["ended_at"], None
    if found["state"] != "running":
        return None, f"it is {'a draft' if found['state'] == 'draft' else found['state']}"
    if not found["gathered"]:
        return None, "its audience is being gathered"
    if facts["test_part"] < 100 and facts["winner"] is None:
        return None, "the rest waits until a variant is chosen"
    last = found["last_due"]
    end = max(now, datetime.fromisoformat(last)) if last else now
    if held.per_second is not None:
        begins = max(now, facts["next_at"] or now)
        end = max(end, begins + timedelta(seconds=found["waiting"] / held.per_second))
    return end, None


async def results(conn: Connection, workspace: str, name: str) -> dict[str, Any]:
    """What each variant has brought, and what that proves. Raises `NoCampaign`."""
    facts = await conn.fetchrow(query("campaign_facts"), workspace, name)
    if facts is None:
        raise NoCampaign(f"campaign: there is no campaign {name[:100]!r} in {workspace[:100]}")
    rows = await conn.fetch(query("campaign_results"), facts["id"], facts["workspace_id"])
    variants = variants_of(facts["variants"])
    arms = []
    shown = []
    for variant in variants:
        drawn = [row for row in rows if row["variant"] == variant.name and row["tested"]]
        every = [row for row in rows if row["variant"] == variant.name]
        arm = Arm(
            variant.name,
            variant.weight,
            sum(row["sent"] for row in drawn),
            sum(row["hits"] for row in drawn),
        )
        arms.append(arm)
        shown.append(_shown(variant.name, drawn if len(variants) > 1 else every, every))
    holdout = [row for row in rows if row["variant"] == HOLDOUT]
    verdict = judge(arms, facts["alpha"])
    decided = facts["winner_because"]
    return {
        "campaign": name,
        "state": facts["state"],
        "metric": facts["metric"],
        "measure_seconds": facts["measure"].total_seconds(),
        "alpha": round(facts["alpha"], 6),
        "variants": shown,
        "holdout": _held_out(holdout) if holdout else None,
        "comparisons": [comparison.as_json() for comparison in verdict.comparisons],
        "better": verdict.winner,
        "winner": facts["winner"],
        "winner_because": None if decided is None else orjson.loads(decided),
    }


def _shown(name: str, counted: list[asyncpg.Record], every: list[asyncpg.Record]) -> dict[str, Any]:
    sent, hits = sum(row["sent"] for row in counted), sum(row["hits"] for row in counted)
    return {
        "name": name,
        "members": sum(row["members"] for row in every),
        "sent": sent,
        "hits": hits,
        "rate": round(hits / sent, 6) if sent else None,
        "sent_in_all": sum(row["sent"] for row in every),
    }


def _held_out(rows: list[asyncpg.Record]) -> dict[str, Any]:
    members, hits = sum(row["members"] for row in rows), sum(row["hits"] for row in rows)
    return {"members": members, "hits": hits, "rate": round(hits / members, 6) if members else None}
