"""The rules of all workspaces as JSON, for the database to answer by them: duly.simulate reads no TOML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from daemon.config import EVERY, Config, RulesConfig
from daemon.config.values import is_loopback_url
from daemon.model import Channel
from daemon.queue.rulebook import rules_of
from daemon.rules.caps import Cap, window_in_words
from daemon.rules.judgement import Rules
from daemon.rules.quiet_hours import Assume, QuietHours

_OTHER = ""  # the workspaces, and the categories, that the TOML does not name: no name of either


def rule_sets(config: Config) -> dict[str, dict[str, Any]]:
    """Each workspace's rules by category, and the channels that go to a stand-in. "": all others."""
    return {workspace: _rule_set(config, workspace) for workspace in (*config.workspaces, _OTHER)}


def is_stand_in(config: Config, workspace: str, channel: Channel) -> bool:
    """Whether what the workspace sends by this channel goes to a stand-in on this machine."""
    platform = config.platforms.get(config.account_for(workspace, channel) or "")
    return platform is not None and is_loopback_url(platform.base_url)


def _rule_set(config: Config, workspace: str) -> dict[str, Any]:
    rules = config.rules_for(workspace)
    return {
        "stand_ins": [channel.value for channel in Channel if is_stand_in(config, workspace, channel)],
        "categories": {category: _rules(rules_of(rules, category)) for category in (_OTHER, *_named(rules))},
    }


def _named(rules: RulesConfig) -> list[str]:
    """The categories that the tables name."""
    tables: list[Iterable[str]] = [
        rules.quiet_hours,
        *rules.quiet_hours_in.values(),
        *(categories for cap in rules.caps.values() for categories in (cap.categories, cap.exempt)),
        rules.per_week_exempt,
        rules.consent_required,
    ]
    return sorted({category for table in tables for category in table} - {EVERY})


def _rules(rules: Rules) -> dict[str, Any]:
    return {
        "hours": _hours(rules.hours),
        "hours_in": {country: _hours(hours) for country, hours in rules.hours_in.items()},
        "no_zone": _choice(rules.fallbacks.no_zone),
        "no_common_hour": _choice(rules.fallbacks.no_common_hour),
        "caps": [_cap(cap) for cap in rules.caps],
        "per_week": rules.per_week,
        "consent_required": rules.consent_required,
        "verified_only": rules.verified_only,
    }


def _hours(hours: QuietHours | None) -> str | None:
    return None if hours is None else str(hours).replace(" to ", "-")


def _choice(choice: str | Assume) -> str:
    return choice.zone if isinstance(choice, Assume) else choice


def _cap(cap: Cap) -> dict[str, Any]:
    return {
        "cap": cap.name,
        "limit": cap.limit,
        "seconds": None if cap.window is None else cap.window.total_seconds(),
        "calendar": cap.calendar,
        "per": window_in_words(cap),
        "skips": cap.skips,
    }
