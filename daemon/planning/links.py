"""Links for texts that the daemon renders: they lead to a target, or ask whether the message was helpful.

A text that names `feedback_url` gets a link that asks; where it names `link`, or `links` with a name below, the URL that
is given for it gets a link that is counted. Which links a text says is known when it is rendered (`TextLinks`); they are
stored in the transaction that queues it (`store_links`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from daemon.content.templates import Content, TemplateProblem, TemplateVersion
from daemon.content.values import is_blank, look_up
from daemon.problem import Problem
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection
from daemon.store.sql import query

DAYS = 90
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # as duly.link_token has it
_LENGTH = 11
_TARGET = re.compile(r"https?://[!-~]+")
_LONGEST_TARGET = 2000

FEEDBACK = "feedback_url"
"""The variable of the link that asks whether the message was helpful."""
_LINK, _LINKS = "link", "links."
_NO_BASE = "https://link.invalid"


class LinkProblem(Problem):
    """A link that cannot be. The text is "field: what is wrong and what would be right"."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link: `url` goes into the text, `token` into the message's metadata as one of `links`, which binds it to the
    delivery.
    """

    token: str
    url: str


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link that is not stored yet. Without a target it asks whether the message was helpful."""

    token: str
    target: str | None = None

    def url(self, base: str) -> str:
        """What a text says."""
        return f"{base}/{'f' if self.target is None else 'l'}/{self.token}"


class TextLinks:
    """The links of one text: `values` is what it is to be rendered with, and `said` what it has used."""

    def __init__(
        self,
        base: str | None,
        names: Iterable[str],
        given: Mapping[str, Any],
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """`base`: the configuration's `web.link_base`; without one, URLs are said as they are given. `names`: of the
        variables; what is given for `feedback_url` itself is said as it stands.
        """
        self._base = base
        self._links: dict[str, NewLink] = {}
        for name in names:
            found = look_up(given, name)
            value = (defaults or {}).get(name) if is_blank(found) else found
            if name == FEEDBACK:
                if is_blank(found) and (base is not None or value is None):
                    self._links[name] = NewLink(_token())
            elif (
                (name == _LINK or name.startswith(_LINKS))
                and base is not None
                and _may_be_counted(value, base)
            ):
                self._links[name] = NewLink(_token(), value)
        self._given = given
        urls = {name: link.url(base or _NO_BASE) for name, link in self._links.items()}
        self.values: Mapping[str, Any] = {**given, **urls} if urls else given

    def said(self, content: Content) -> list[NewLink]:
        """Those that a text has used; `values` has no others from here on. Raises `TemplateProblem` for one that can
        have no URL.
        """
        if not self._links:
            return []
        text = str(content)
        used = {name: link for name, link in self._links.items() if link.token in text}
        if used and self._base is None:
            raise TemplateProblem(
                f"{FEEDBACK}: links have no URL; set web.link_url or web.public_url in the TOML"
            )
        self.values = {**self._given, **{name: link.url(self._base or "") for name, link in used.items()}}
        return list(used.values())


def text_links(version: TemplateVersion, given: Mapping[str, Any], base: str | None) -> TextLinks:
    """The links of a template's text."""
    defaults = {name: variable.default for name, variable in version.variables.items()}
    return TextLinks(base, version.variables, given, defaults)


def _may_be_counted(value: Any, base: str) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= _LONGEST_TARGET
        and _TARGET.fullmatch(value) is not None
        and not value.startswith((f"{base}/l/", f"{base}/f/"))  # it is one of ours already
    )


async def store_links(
    conn: Connection,
    keys: DataKeys,
    workspace: str,
    workspace_id: int,
    links: Sequence[NewLink],
    delivery: UUID | None = None,
    days: int = DAYS,
) -> None:
    """Stores links for a message that is queued next in the same transaction and names them in its metadata, or for a
    `delivery` that is there. Raises `CannotOpen` where the workspace seals and its key cannot be had.
    """
    seals = False
    if any(link.target is not None for link in links):
        row = await conn.fetchrow(query("workspace_seals"), workspace)
        seals = row is not None and row["seal"]
    await _store(conn, workspace_id, links, keys if seals else None, days, delivery)


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
    for target in targets:
        check_target(target)
    new = [NewLink(_token(), target) for target in targets]
    await _store(conn, workspace_id, new, seal_with, days)
    return [Link(link.token, link.url(base)) for link in new]


async def _store(
    conn: Connection,
    workspace_id: int,
    links: Sequence[NewLink],
    seal_with: DataKeys | None,
    days: int,
    delivery: UUID | None = None,
) -> None:
    if not links:
        return
    targets = [link.target for link in links]
    sealed: list[bytes | None] = [None] * len(links)
    if seal_with is not None and any(target is not None for target in targets):
        key = await seal_with.newest(workspace_id)
        sealed = [
            None if link.target is None else key.seal("link", link.token, [link.target]) for link in links
        ]
    clear = [None if each is not None else target for target, each in zip(targets, sealed, strict=True)]
    tokens = [link.token for link in links]
    await conn.execute(query("make_links"), workspace_id, tokens, clear, sealed, days, delivery)


def with_links(metadata: dict[str, Any], links: Sequence[Link | NewLink]) -> dict[str, Any]:
    """Metadata that binds these links to the message's delivery."""
    if not links:
        return metadata
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
