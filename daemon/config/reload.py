"""What a reload (SIGHUP) cannot change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemon.config.models import Config

RESTART_ONLY: tuple[str, ...] = ("database", "web.listen", "web.max_body_bytes", "daemon.node")
"""Tables and keys that are read once, at start. All else may change while the daemon runs."""


def restart_needed(old: Config, new: Config) -> list[str]:
    """The keys under `RESTART_ONLY` that differ, e.g. `["database.pool_size", "web.listen"]`."""
    return [path for entry in RESTART_ONLY for path in _changed(old, new, entry)]


def keep_restart_only(old: Config, new: Config) -> Config:
    """`new` with everything under `RESTART_ONLY` as it was in `old`: what can be live."""
    sections: dict[str, Any] = {}
    for entry in RESTART_ONLY:
        section, _, key = entry.partition(".")
        before = getattr(old, section)
        present = sections.get(section, getattr(new, section))
        sections[section] = present.model_copy(update={key: getattr(before, key)}) if key else before
    return new.model_copy(update=sections)


def _changed(old: Config, new: Config, entry: str) -> Iterator[str]:
    section, _, key = entry.partition(".")
    before, after = getattr(old, section), getattr(new, section)
    for name in [key] if key else type(before).model_fields:
        if getattr(before, name) != getattr(after, name):
            yield f"{section}.{name}"
