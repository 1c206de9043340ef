"""Compatible SQL: the files of sql/compat/ put into a schema of the application's, and taken away again."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from daemon.store.migrations import Connection
from daemon.store.sql import query, sql_dir

_LOCK = 0x6475_6C79_63  # one at a time
_SECTION = re.compile(r"^-- @(view|function|schema) ([a-z_]+)(?:\(.*\))?$", re.MULTILINE)


class Part(StrEnum):
    """Whose tables and functions a file is compatible with."""

    RUNDOWN = "rundown"
    PATIENTS = "patients"
    BUILDOS = "buildos"
    PRASSO = "prasso"


class CompatError(Exception):
    """It cannot be installed or taken away. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Section:
    """One object that the application sees, and the statements that make it."""

    kind: str  # view, function or schema
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class CompatFile:
    """A file: what is behind the objects, and the objects."""

    part: Part
    preamble: str
    sections: tuple[Section, ...]

    @property
    def mark(self) -> str:
        """The comment by which its objects are known."""
        return f"Duly: compatible SQL, {self.part}"


def load(part: Part) -> CompatFile:
    """One file of sql/compat/, in its sections."""
    text = (sql_dir() / "compat" / f"{part}.sql").read_text(encoding="utf-8")
    found = list(_SECTION.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    sections = (
        Section(match[1], match[2], text[match.start() : end]) for match, end in zip(found, ends, strict=True)
    )
    return CompatFile(part, text[: found[0].start()], tuple(sections))


def _with_schema(text: str, schema: str) -> str:
    identifier = '"' + schema.replace('"', '""') + '"'
    literal = "'" + schema.replace("'", "''") + "'"
    return text.replace(':"schema"', identifier).replace(":'schema'", literal)


async def install(
    conn: Connection,
    parts: Collection[Part],
    schema: str,
    workspace: str,
    *,
    category: str | None = None,
    skip: Collection[str] = (),
    dry_run: bool = False,
) -> list[str]:
    """Puts files into a schema, all of them or none, and returns the names of what is then there.

    Raises `CompatError` where something else has one of the names, and for a schema, a login or a name to skip that
    does not fit; `asyncpg.InvalidParameterValueError` for an unknown workspace.
    """
    files = [load(part) for part in parts]
    known = {section.name for file in files for section in file.sections}
    if unknown := sorted(set(skip) - known):
        raise CompatError(f"--skip: {unknown[0]!r} is none of {', '.join(sorted(known))}")
    async with conn.transaction():
        await conn.execute("select pg_advisory_xact_lock($1)", _LOCK)
        await _check_place(conn, schema)
        wanted = {file.part: [s for s in file.sections if s.name not in skip] for file in files}
        for file in files:
            await _check_names(conn, file, wanted[file.part], schema)
        names = [section.name for file in files for section in wanted[file.part]]
        if dry_run:
            return names
        # Everything is named with its schema, so that nothing of the application's is taken for something else.
        await conn.execute("set local search_path = ''; set local client_min_messages = warning")
        await conn.execute((sql_dir() / "compat" / "base.sql").read_text(encoding="utf-8"))
        for file in files:
            await conn.execute(
                "select duly_compat.put_installation($1, $2, $3, $4)", schema, file.part, workspace, category
            )
            await conn.execute(file.preamble)
            for section in wanted[file.part]:
                await conn.execute(_with_schema(section.text, schema))
        return names


async def remove(conn: Connection, parts: Collection[Part], schema: str) -> int:
    """Takes files out of a schema and returns how many objects went. What they showed stays in Duly.

    Raises `CompatError` where one is not installed there, something of the application's needs it, or a foreign
    sender still has messages.
    """
    async with conn.transaction():
        await conn.execute("select pg_advisory_xact_lock($1)", _LOCK)
        if await conn.fetchval("select to_regclass('duly_compat.installed')") is None:
            raise CompatError("no compatible SQL is installed in this database")
        gone = 0
        for part in parts:
            try:
                gone += await conn.fetchval("select duly_compat.take_away($1, $2)", schema, part)
            except (
                asyncpg.ObjectNotInPrerequisiteStateError,
                asyncpg.DependentObjectsStillExistError,
            ) as error:
                raise CompatError(str(error)) from error
        return gone


async def installed(conn: Connection, schema: str) -> list[Part]:
    """Which files stand in a schema."""
    if await conn.fetchval("select to_regclass('duly_compat.installed')") is None:
        return []
    rows = await conn.fetch("select part from duly_compat.installed where schema_name = $1", schema)
    return sorted(Part(row["part"]) for row in rows)


async def set_sender(conn: Connection, schema: str, sender: str) -> int:
    """Says who sends Rundown's messages, `duly` or `foreign`; returns how many have gone over to Duly."""
    handed: int = await conn.fetchval("select duly_compat.set_sender($1, $2)", schema, sender)
    return handed


async def put_team(conn: Connection, schema: str, team: int, workspace: str) -> None:
    """Says which workspace a team of Prasso's is."""
    await conn.execute("select duly_compat.put_team($1, $2, $3)", schema, team, workspace)


async def _check_place(conn: Connection, schema: str) -> None:
    row = await conn.fetchrow(query("compat_may_install"), schema)
    assert row is not None
    if row["reserved"]:
        raise CompatError(f"--schema: {schema} is no schema of an application")
    if not row["there"]:
        raise CompatError(f"--schema: there is no schema {schema}; create it, or name another")
    if not row["owner"]:
        raise CompatError("only who has migrated the database may install this: use that login's URL")


async def _check_names(conn: Connection, file: CompatFile, sections: list[Section], schema: str) -> None:
    rows = await conn.fetch(
        query("compat_present"), schema, [s.kind for s in sections], [s.name for s in sections], file.mark
    )
    taken = [f"{row['found']} {row['name']}" for row in rows if not row["own"]]
    if taken:
        raise CompatError(
            f"schema {schema} has of its own: {', '.join(taken)}. Nothing was changed. Put the compatible SQL into "
            "another schema and that before this one in the application's search_path; or rename what is there, "
            "install, and move what waits (docs/compat.md); or leave a name out with --skip"
        )
