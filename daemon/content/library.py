"""Templates as they stand in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from daemon.content.templates import TemplateVersion, Text, Type, Variable
from daemon.store.database import Connection
from daemon.store.sql import query


async def load_templates(
    conn: Connection, workspace_id: int, names: Iterable[str]
) -> dict[str, TemplateVersion]:
    """Templates by the names that were asked for: `name` for the newest live version, or `name@version`.

    What is not there, or has no text, is not in the answer.
    """
    rows = await conn.fetch(query("templates"), workspace_id, sorted(set(names)))
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
