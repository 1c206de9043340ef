"""The operator's rules as the pure rules want them: the TOML's tables, looked up by workspace and category."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Literal

from daemon.config import EVERY, NO_HOURS, CapConfig, Config, RulesConfig
from daemon.rules.caps import Cap
from daemon.rules.judgement import Rules
from daemon.rules.quiet_hours import Assume, Fallbacks, QuietHours

# Duly's own answers to a STOP or HELP: nothing is asked of them but that they come soon.
ANSWER = "opt_out_reply"


class Rulebook:
    """What is asked of each workspace's categories. Made anew for each configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._found: dict[tuple[str, str], Rules | None] = {}

    def of(self, workspace: str, category: str) -> Rules | None:
        """What is asked of a category; None: nothing but what the mark asks of all."""
        key = workspace, category
        if key not in self._found:
            rules = rules_of(self._config.rules_for(workspace), category)
            self._found[key] = rules if rules.any and category != ANSWER else None
        return self._found[key]


def rules_of(config: RulesConfig, category: str) -> Rules:
    """One category's rules out of the tables."""
    return Rules(
        hours=_hours(config.quiet_hours, category),
        hours_in={country: _hours(hours, category) for country, hours in config.quiet_hours_in.items()},
        fallbacks=Fallbacks(
            no_common_hour="skip" if config.no_common_hour == "skip" else Assume(config.no_common_hour),
            no_zone=_no_zone(config.zone_unknown),
        ),
        caps=tuple(_cap(name, each) for name, each in config.caps.items() if _counts(each, category)),
        per_week=category not in config.per_week_exempt,
        consent_required=category in config.consent_required or EVERY in config.consent_required,
        verified_only=config.verified_only,
    )


def _hours(table: Mapping[str, str], category: str) -> QuietHours | None:
    written = table.get(category, table.get(EVERY, NO_HOURS))
    if written == NO_HOURS:
        return None
    begins, ends = written.split("-")
    return QuietHours(time.fromisoformat(begins), time.fromisoformat(ends))


def _no_zone(choice: str) -> Literal["skip", "allow"] | Assume:
    match choice:
        case "skip" | "allow":
            return choice
        case zone:
            return Assume(zone)


def _counts(cap: CapConfig, category: str) -> bool:
    return category not in cap.exempt and (not cap.categories or category in cap.categories)


def _cap(name: str, cap: CapConfig) -> Cap:
    window = None if cap.days is None else timedelta(days=cap.days)
    return Cap(name, cap.limit, window, cap.calendar, skips=cap.on_reached == "skip")
