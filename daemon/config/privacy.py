"""`[privacy]`: for how long what is known of people is kept, and the keys that it is sealed with."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from daemon.config.platforms import Section
from daemon.config.problems import invalid
from daemon.config.secrets import Secret
from daemon.config.values import matching

Days = Annotated[int, Field(ge=0, le=36_500)]
"""Whole days; 0: for good."""

_KEY_BYTES = 32

KeyName = Annotated[
    str,
    AfterValidator(
        matching(
            "[A-Za-z0-9._-]{1,40}",
            "is not a name for a key",
            'use 1 to 40 letters, digits, dots, _ and -, for example "2026-11"',
            kind="duly_name",
        )
    ),
]


def _sealing_key(key: Secret) -> Secret:
    """A text that is 32 bytes in base64."""
    try:
        raw = base64.b64decode(key.reveal(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise invalid("is not 32 bytes in base64", "make one by `openssl rand -base64 32`")
    return key


SealingKey = Annotated[Secret, AfterValidator(_sealing_key)]


class PrivacyConfig(Section):
    """`[privacy]`."""

    keep_bodies_days: Days = 0
    """Texts, variables and metadata are removed so long after a delivery has ended. Days; 0: never."""

    keep_facts_days: Days = 0
    """Deliveries with all that is known of them are removed so long after they have ended. Days; 0: never."""

    keys: dict[KeyName, SealingKey] = Field(default_factory=dict)
    """Name = a key, 32 bytes in base64, that the workspaces' data keys are encrypted with."""

    current: str | None = Field(default=None, examples=["2026-11"])
    """Which of the keys new data keys are encrypted with."""


def privacy_errors(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is wrong between keys of a raw document, in the shape of pydantic's errors: a `current` that names no key,
    and a workspace that is to be sealed while nothing is current.
    """
    privacy = _table(document.get("privacy"))
    keys, current = _table(privacy.get("keys")), privacy.get("current")
    if isinstance(current, str) and current not in keys:
        yield _error(("privacy", "current"), "names none of privacy.keys", "add it there, or name another")
    for name, workspace in _table(document.get("workspaces")).items():
        if _table(workspace).get("seal") is True and current is None:
            remedy = "set [privacy] keys and current; see docs/operating.md"
            yield _error(("workspaces", name, "seal"), "has no key to seal with", remedy)


def _error(loc: tuple[str, ...], message: str, remedy: str) -> dict[str, Any]:
    return {"type": "duly_key", "loc": loc, "ctx": {"message": message, "remedy": remedy}}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
