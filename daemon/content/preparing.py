"""Renders what only the daemon can, of what is queued from templates: texts with conditions.

All else is left to `duly.enqueue`, which renders in SQL by the same rules; what is wrong with an item is answered for
that item alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from daemon.content.channels import parts_of
from daemon.content.language import TemplateProblem
from daemon.content.library import load_templates
from daemon.content.rotation import pick
from daemon.content.templates import Content, TemplateVersion, Text
from daemon.jsonb import read_jsonb
from daemon.model import Channel
from daemon.store.database import Connection
from daemon.store.sql import query

Item = Mapping[str, Any]
Prepared = dict[str, Any] | None
"""What duly.enqueue_rendered takes for an item; None: the database renders it, or finds what is wrong with it."""
Person = Mapping[str, Any]


async def prepare(conn: Connection, items: Sequence[Any]) -> list[Prepared]:
    """What was rendered of each item's template, by the items' places."""
    prepared: list[Prepared] = [None] * len(items)
    by_workspace: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        if _asks(item):
            by_workspace[item["workspace"]].append(place)
    for workspace, places in by_workspace.items():
        owner = await conn.fetchval(query("workspace_id"), workspace)
        if owner is None:
            continue
        found = await load_templates(conn, owner, {items[place]["template"] for place in places})
        found = {name: version for name, version in found.items() if any(map(has_conditions, version.texts))}
        ours = [place for place in places if items[place]["template"] in found]
        people = await people_at(conn, owner, [(items[p]["channel"], items[p]["to"]) for p in ours])
        for place, person in zip(ours, people, strict=True):
            item = items[place]
            prepared[place] = await _prepared(conn, owner, found[item["template"]], item, person)
    return prepared


async def people_at(
    conn: Connection, workspace_id: int, addresses: Sequence[tuple[str, str]]
) -> list[Person]:
    """What is known of who has each of these channels and addresses, as duly.person_at has it; {} where nothing is."""
    if not addresses:
        return []
    rows = await conn.fetch(
        query("people_at"), workspace_id, [channel for channel, _ in addresses], [to for _, to in addresses]
    )
    return [read_jsonb(row["person"]) if row["person"] else {} for row in rows]


def has_conditions(text: Text) -> bool:
    """Whether only the daemon renders it."""
    return parts_of(text.outline(None)) is None


def chosen(version: TemplateVersion, channel: str, metadata: Mapping[str, Any], person: Person) -> list[Text]:
    """The texts for somebody: the language and style that were asked for, else those that are known of the person."""
    language, style = (
        value if isinstance(value, str) else str(person.get(known) or "")
        for value, known in ((metadata.get("language"), "locale"), (metadata.get("style"), "style"))
    )
    return version.choices(channel, language, style)


def content_of(content: Content, text: Text, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What goes beside the body, as duly.rendered has it: also the text's language, for the footer."""
    found = content.metadata()
    if text.language and "language" not in metadata:
        found["language"] = text.language
    return found


def _asks(item: Any) -> bool:
    """Whether an item is one from a template that could be rendered."""
    return (
        isinstance(item, dict)
        and all(isinstance(item.get(field), str) for field in ("workspace", "template", "channel", "to"))
        and item["channel"] in set(Channel)
        and all(isinstance(item.get(field) or {}, dict) for field in ("variables", "metadata"))
        and "\0" not in item["workspace"] + item["template"] + item["to"]
    )


async def _prepared(
    conn: Connection, workspace_id: int, version: TemplateVersion, item: Item, person: Person
) -> Prepared:
    metadata = item.get("metadata") or {}
    choices = chosen(version, item["channel"], metadata, person)
    if not any(map(has_conditions, choices)):
        return None
    used: dict[UUID, tuple[int, Any]] = {}
    if len(choices) > 1:
        rows = await conn.fetch(
            query("texts_said"), workspace_id, item["channel"], item["to"], [text.id for text in choices]
        )
        used = {row["text_id"]: (1, row["last"]) for row in rows}
    text = pick(choices, used, item["to"])
    try:
        content = version.render(text, item.get("variables") or {}, channel=item["channel"], person=person)
    except TemplateProblem as problem:
        said = str(problem)
        return {"error": said if said.startswith("variables.") else f"template: {version.name}: {said}"}
    return {
        "text_id": str(text.id),
        "template": version.pinned,
        "body": content.body,
        "content": content_of(content, text, metadata),
    }
