"""Templates as they stand in the database: put, listed, loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon.content.documents import Document
from daemon.content.templates import TemplateVersion, Text
from daemon.content.values import Type, Variable
from daemon.store.database import Connection
from daemon.store.sql import query


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a template that was put. Not created: the newest version says the same already."""

    template: str  # name@version
    created: bool


async def put_template(conn: Connection, workspace: str, document: Document, *, draft: bool = False) -> Put:
    """Puts a version. A draft is used once it is published. Raises asyncpg's InvalidParameterValueError."""
    row = await conn.fetchrow(
        query("save_template"),
        workspace,
        document.name,
        document.variables_json(),
        document.smart_replacement,
        draft,
        document.texts_json(),
    )
    assert row is not None
    return Put(f"{document.name}@{row['version']}", row["created"])


@dataclass(frozen=True, slots=True)
class Listed:
    """A version in the list of templates."""

    name: str
    version: int
    state: str
    texts: int
    styles: list[str]
    channels: list[str]
    languages: list[str]
    used_at: datetime | None
    created_at: datetime


async def list_templates(conn: Connection, workspace: str, *, every_version: bool = False) -> list[Listed]:
    """A workspace's templates: of each the newest live version and what is newer, or all versions."""
    rows = await conn.fetch(query("template_list"), workspace, every_version)
    return [Listed(**row) for row in rows]


async def load_version(conn: Connection, workspace: str, template: str) -> tuple[TemplateVersion, str] | None:
    """A version in any state, with that state; `name` for the newest one. None: it is not there."""
    rows = await conn.fetch(query("template_version"), workspace, template)
    return (_versions(rows)[template], rows[0]["state"]) if rows else None


async def load_templates(
    conn: Connection, workspace_id: int, names: Iterable[str]
) -> dict[str, TemplateVersion]:
    """Templates by the names that were asked for: `name` for the newest live version, or `name@version`.

    What is not there, or has no text, is not in the answer.
    """
    return _versions(await conn.fetch(query("templates"), workspace_id, sorted(set(names))))


def _versions(rows: Iterable[asyncpg.Record]) -> dict[str, TemplateVersion]:
    found: dict[str, TemplateVersion] = {}
    texts: dict[UUID, dict[UUID, Text]] = {}
    for row in rows:
        version = TemplateVersion(
            row["id"], row["name"], row["version"], _variables(row["variables"]), (), row["smart_replacement"]
        )
        found.setdefault(row["asked"], version)
        texts.setdefault(row["id"], {})[row["text_id"]] = _text(row, version.pinned)
    return {
        asked: replace(version, texts=tuple(texts[version.id].values())) for asked, version in found.items()
    }


def _variables(declared: str) -> Mapping[str, Variable]:
    return {
        name: Variable(name, Type(each.get("type", "text")), each.get("default"), each.get("example"))
        for name, each in orjson.loads(declared).items()
    }


def _text(row: asyncpg.Record, pinned: str) -> Text:
    buttons: list[dict[str, Any]] = orjson.loads(row["buttons"])
    attachments: list[dict[str, Any]] = orjson.loads(row["attachments"])
    return Text(
        row["text_id"],
        pinned,
        row["channel"],
        row["language"],
        row["style"],
        row["number"],
        row["body"],
        row["subject"],
        row["html"],
        buttons,
        attachments,
    )
