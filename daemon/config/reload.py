"""What a reload (SIGHUP) changes, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

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


def changed_keys(old: Config, new: Config) -> list[str]:
    """The TOML's keys whose values differ, e.g. `["limits.workspace_burst", "platforms.main.auth_token"]`; a table
    that was added or removed counts as one key. Names only: the values may be secrets.
    """
    return list(_differences(old, new, ""))


def _differences(old: object, new: object, path: str) -> Iterator[str]:
    if old == new:
        return
    before, after = _keys(old), _keys(new)
    if before is None or after is None:
        yield path
        return
    for key in dict.fromkeys((*before, *after)):
        yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)


def _keys(value: object) -> Mapping[str, object] | None:
    """A table's values by their keys in the TOML; None for what is no table."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {field.alias or name: getattr(value, name) for name, field in fields.items()}
    return value if isinstance(value, dict) else None


def _changed(old: Config, new: Config, entry: str) -> Iterator[str]:
    section, _, key = entry.partition(".")
    before, after = getattr(old, section), getattr(new, section)
    for name in [key] if key else type(before).model_fields:
        if getattr(before, name) != getattr(after, name):
            yield f"{section}.{name}"
