"""Links for texts that the daemon renders: they lead to a target, or ask whether the message was helpful."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daemon.problem import Problem
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

DAYS = 90
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # as duly.link_token has it
_LENGTH = 11
_TARGET = re.compile(r"https?://[!-~]+")
_LONGEST_TARGET = 2000


class LinkProblem(Problem):
    """A link that cannot be. The text is "field: what is wrong and what would be right"."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link: `url` goes into the text, `token` into the message's metadata as one of `links`, which binds it to the
    delivery.
    """

    token: str
    url: str


async def make_links(
    conn: Connection,
    workspace_id: int,
    targets: Sequence[str | None],
    base: str,
    seal_with: DataKeys | None = None,
    days: int = DAYS,
) -> list[Link]:
    """Makes a link for each target, in their order; None asks whether the message was helpful.

    `base`: the configuration's `web.link_base`. `seal_with`: the keys, where the workspace seals. Raises `LinkProblem`
    for a target that is no URL, and `CannotOpen`.
    """
    tokens = [_token() for _ in targets]
    for target in targets:
        check_target(target)
    sealed: list[bytes | None] = [None] * len(targets)
    if seal_with is not None and any(target is not None for target in targets):
        key = await seal_with.newest(workspace_id)
        sealed = [
            None if target is None else key.seal("link", token, [target])
            for token, target in zip(tokens, targets, strict=True)
        ]
    clear = [None if each is not None else target for target, each in zip(targets, sealed, strict=True)]
    await conn.execute(query("make_links"), workspace_id, tokens, clear, sealed, days)
    return [
        Link(token, f"{base}/{'f' if target is None else 'l'}/{token}")
        for token, target in zip(tokens, targets, strict=True)
    ]


def with_links(metadata: dict[str, Any], links: Sequence[Link]) -> dict[str, Any]:
    """Metadata that binds these links to the message's delivery."""
    return {**metadata, "links": [*metadata.get("links", ()), *(link.token for link in links)]}


def check_target(target: str | None) -> None:
    """Raises `LinkProblem` for what no browser should be sent to."""
    if target is not None and (len(target) > _LONGEST_TARGET or not _TARGET.fullmatch(target)):
        raise LinkProblem(
            f"target: must be an http or https URL of at most {_LONGEST_TARGET} characters, with what is not ASCII "
            "percent-encoded"
        )


def _token() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
