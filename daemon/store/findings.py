"""What `duly doctor` and `duly check-config` find: one thing that was looked at, how bad it is, and its cure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str  # what was looked at: database, migrations, clock, rights, account, stuck, audit, keys …
    level: Level
    what: str
    cure: str = ""  # one sentence; empty where nothing is to be done
    ids: Sequence[str] = ()  # a few of the deliveries concerned
