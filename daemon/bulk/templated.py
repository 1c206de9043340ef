"""A file's lines written from a template: rendered here, chunk by chunk, with what is known of each recipient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import asyncpg
import orjson

from daemon.bulk.chunks import Chunk
from daemon.bulk.csvfile import CsvProblem
from daemon.content.language import TemplateProblem
from daemon.content.library import load_templates
from daemon.content.preparing import Person, chosen, content_of, people_at
from daemon.content.rotation import pick
from daemon.content.templates import TemplateVersion
from daemon.content.values import typed
from daemon.jsonb import read_jsonb
from daemon.model import Channel
from daemon.store.database import Database
from daemon.store.sql import query


class Given(Protocol):
    """What holds for all lines."""

    @property
    def variables(self) -> Mapping[str, Any]:
        """For the lines that do not say otherwise."""

    @property
    def media(self) -> tuple[str, ...]:
        """URLs, likewise."""

    @property
    def metadata(self) -> str:
        """As JSON."""


class TemplateLines:
    """Renders a version of a template for lines of a file."""

    def __init__(self, workspace_id: int, channel: str, version: TemplateVersion, given: Given) -> None:
        self._workspace_id = workspace_id
        self._channel = Channel(channel)
        self._version = version
        self._given = given
        self._shared: dict[str, Any] = read_jsonb(given.metadata)

    @classmethod
    async def load(cls, database: Database, workspace: str, channel: str, pinned: str, given: Given) -> Self:
        """Raises `CsvProblem` where this login may not read templates."""
        try:
            async with database.acquire() as conn:
                owner = await conn.fetchval(query("workspace_id"), workspace)
                version = (await load_templates(conn, owner, [pinned]))[pinned]
        except asyncpg.InsufficientPrivilegeError:
            raise CsvProblem(
                "--template: a file is rendered here, which a login in duly_daemon may"
            ) from None
        return cls(owner, channel, version, given)

    async def render(self, database: Database, chunk: Chunk) -> None:
        """Puts texts into the chunk's columns; lines that cannot be rendered become wrong ones."""
        addresses = [(str(self._channel), str(to or "")) for to in chunk.columns["to"]]
        async with database.acquire() as conn:
            people = await people_at(conn, self._workspace_id, addresses)
        chunk.variables = chunk.variables or [{} for _ in chunk.lines]
        for name in ("body", "metadata", "media", "variables", "text_ids"):
            chunk.columns.setdefault(name, [None] * len(chunk.lines))
        wrong = {}
        for place, (line, person) in enumerate(zip(chunk.lines, people, strict=True)):
            try:
                self._render(chunk, place, person)
            except TemplateProblem as problem:
                wrong[line] = str(problem)
        chunk.refuse(wrong)

    def _render(self, chunk: Chunk, place: int, person: Person) -> None:
        columns = chunk.columns
        own = _object(columns["metadata"][place])
        metadata = self._shared | (own or {})
        choices = chosen(self._version, self._channel, metadata, person)
        if not choices:
            raise TemplateProblem(
                f"template: {self._version.name} has no text for {self._channel}, or for this style"
            )
        text = pick(choices, {}, columns["to"][place])
        variables = typed(self._version.variables, {**self._given.variables, **chunk.variables[place]})
        content = self._version.render(text, variables, channel=self._channel, person=person)
        beside = content_of(content, text, metadata)
        media = [*beside.pop("media_urls", ()), *str(columns["media"][place] or "").split()]
        if media:
            columns["media"][place] = " ".join(
                media if columns["media"][place] else [*media, *self._given.media]
            )
        if own is not None:
            columns["metadata"][place] = orjson.dumps(own | beside).decode() if own or beside else None
        columns["body"][place] = content.body
        columns["variables"][place] = orjson.dumps(variables).decode()
        columns["text_ids"][place] = text.id


def _object(cell: object) -> dict[str, Any] | None:
    """A cell's JSON object; None for what is none, which the database has words for."""
    if not cell:
        return {}
    try:
        found = orjson.loads(str(cell))
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
