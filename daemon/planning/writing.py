"""What all that is planned shares: on which of a person's addresses, and in which words of a template."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from daemon.content.templates import TemplateVersion, Text
from daemon.model import Channel
from daemon.planning.links import NewLink, text_links, with_links
from daemon.planning.recipients import Address, Person, channel_of, unreachable
from daemon.store.database import Connection
from daemon.store.sql import query

AccountOf = Callable[[str, Channel], str | None]
"""Which account carries a channel for a workspace; None: none does."""
Used = Mapping[UUID, tuple[int, datetime | None]]
"""Text → how often it was said to somebody, and when last."""

EXPIRES_AFTER = timedelta(hours=12)
"""After its tolerance. What quiet hours hold back goes the next morning; what could not go by then is given up."""


class Unsaid(Exception):
    """There is nothing to say. The text is the reason."""


class Written(NamedTuple):
    """A text in words."""

    body: str
    metadata: dict[str, Any]
    links: list[NewLink]  # to be stored
    values: Mapping[str, Any]  # what its variables were given


def write(
    version: TemplateVersion,
    text: Text,
    given: Mapping[str, Any],
    *,
    channel: str,
    locale: str | None,
    link_base: str | None,
) -> Written:
    """What a text says with these variables, and with the links that it names. Raises `TemplateProblem`."""
    linked = text_links(version, given, link_base)
    content = version.render(text, linked.values, channel=channel)
    links = linked.said(content)
    metadata = with_links(content.metadata(), links)
    if locale:
        metadata["language"] = locale
    return Written(content.body, metadata, links, linked.values)


def carried(account_of: AccountOf | None, workspace: str) -> frozenset[str] | None:
    """The channels that some account carries for a workspace; None: that is not asked."""
    if account_of is None:
        return None
    return frozenset(channel for channel in Channel if account_of(workspace, channel) is not None)


def address_of(
    person: Person, order: Sequence[str], category: str, channels: Collection[str] | None
) -> Address:
    """The first address, by an order of channels (none: sms, then what else there is), that may be written to and whose
    channel is one of these (None: any). Raises `Unsaid`.
    """
    if channels is not None:
        order = [channel for channel in order or list(Channel) if channel in channels]
        if not order:
            raise Unsaid("no_account")
    found = channel_of(person, order, category)
    if found is None:
        raise Unsaid(unreachable(person, order, category))
    return found


async def load_used(
    conn: Connection, workspace_id: int, contacts: Sequence[UUID], texts: Iterable[UUID]
) -> dict[UUID, dict[UUID, tuple[int, datetime | None]]]:
    """Contact → text → how often it was said to them, and when last."""
    found: dict[UUID, dict[UUID, tuple[int, datetime | None]]] = {}
    for row in await conn.fetch(query("texts_used"), workspace_id, contacts, list(texts)):
        found.setdefault(row["contact_id"], {})[row["text_id"]] = (row["times"], row["last_at"])
    return found
