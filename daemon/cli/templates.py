"""`duly template`: texts with variables, put from files, looked at, published and retired."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import orjson
import typer

from daemon.cli.common import (
    ConfigOption,
    JsonOption,
    configuration,
    connected,
    fail,
    print_json,
    register,
    run_async,
    table,
)
from daemon.config import Config
from daemon.content.documents import Document, document_of, parse
from daemon.content.language import TemplateProblem
from daemon.content.library import Listed, Put, list_templates, load_version, put_template
from daemon.content.preview import Preview, preview
from daemon.content.starter import starter
from daemon.content.templates import TemplateVersion
from daemon.content.values import typed
from daemon.model import Channel
from daemon.store.sql import query

app = typer.Typer(help="Texts with variables: put, looked at, published, retired.", no_args_is_help=True)

WorkspaceOption = Annotated[str, typer.Option(help="Whose templates.")]
NameArgument = Annotated[str, typer.Argument(help="NAME for the newest version, or NAME@VERSION.")]
VarOption = Annotated[
    list[str] | None, typer.Option("--var", help="A variable as NAME=VALUE; may be repeated.")
]
VarsOption = Annotated[str | None, typer.Option("--vars", help="Variables as a JSON object.")]
_LONGEST_FILE = 16_000_000


def variables_of(pairs: Sequence[str] | None, json: str | None) -> dict[str, Any]:
    """The variables of --vars and --var, which goes before."""
    found: dict[str, Any] = {}
    if json is not None:
        try:
            found = orjson.loads(json)
        except orjson.JSONDecodeError as error:
            fail(f"--vars: is not JSON: {error}", 2)
        if not isinstance(found, dict):
            fail('--vars: must be a JSON object such as {"FirstName": "Ann"}', 2)
    for pair in pairs or ():
        name, given, value = pair.partition("=")
        if not given or not name:
            fail(f"--var: {pair[:40]!r} must be NAME=VALUE", 2)
        if any("\ud800" <= character <= "\udfff" for character in pair):
            fail("--var: is not UTF-8", 2)
        found[name] = value
    return found


@app.command()
def put(
    file: Annotated[Path, typer.Argument(help="A document in TOML or JSON; - reads stdin.", allow_dash=True)],
    workspace: WorkspaceOption,
    draft: Annotated[bool, typer.Option("--draft", help="Not to be used until it is published.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put a new version of a template. The same as the newest one again is no new version."""
    settings = configuration(config)
    document = _read(file)
    done = _put(settings, workspace, [document], draft=draft)
    _print_put(done, json=json)


@app.command("import-starter")
def import_starter(workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Put the starter set: accountability, partial and congratulatory in the styles supportive, snarky, chaotic."""
    done = _put(configuration(config), workspace, starter(), draft=False)
    _print_put(done, json=json)


@app.command("list")
def list_(
    workspace: WorkspaceOption,
    every: Annotated[bool, typer.Option("--all", help="All versions.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """The templates: of each the newest live version and drafts after it."""
    settings = configuration(config)

    async def work() -> list[Listed]:
        async with connected(settings) as conn:
            return await list_templates(conn, workspace, every_version=every)

    rows: list[dict[str, Any]] = [
        asdict(each) | {name: getattr(each, name) or [] for name in ("styles", "channels", "languages")}
        for each in run_async(work)
    ]
    if json:
        print_json(rows)
        return
    for row in rows:
        row |= {name: ", ".join(row[name]) or "all" for name in ("channels", "languages")}
        row |= {"styles": ", ".join(row["styles"]) or "-", "used": "yes" if row["used_at"] else "no"}
    print(table([*rows], ["name", "version", "state", "texts", "channels", "languages", "styles", "used"]))


@app.command()
def show(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """A version as a document that can be put again, in JSON."""
    version, state = _load(configuration(config), workspace, name)
    if json:
        print_json({**document_of(version), "version": version.version, "state": state})
        return
    print(f"# {version.pinned}, {state}", file=sys.stderr)
    print_json(document_of(version))


@app.command("preview")
def preview_(
    name: Annotated[str | None, typer.Argument(help="NAME or NAME@VERSION; or --file.")] = None,
    workspace: Annotated[str | None, typer.Option(help="Whose template.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A document that has not been put yet.", allow_dash=True)
    ] = None,
    var: VarOption = None,
    vars: VarsOption = None,
    channel: Annotated[Channel | None, typer.Option(help="Only what goes there.")] = None,
    language: Annotated[str | None, typer.Option()] = None,
    style: Annotated[str | None, typer.Option()] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """What each text says, with its length, encoding and segments. What no --var gives is its example.

    Exit status 1 if a text cannot be rendered.
    """
    if (file is None) == (name is None):
        fail("give either a NAME, or --file for a document that has not been put", 2)
    if file is not None:
        version = _read(file).version()
    else:
        if workspace is None:
            fail("--workspace: is missing", 2)
        version, _ = _load(configuration(config), workspace, name or "")
    given = typed(version.variables, variables_of(var, vars))
    found = preview(version, given, channel=channel, language=language, style=style)
    if not found:
        fail("there is no text for this channel, language and style")
    if json:
        print_json([each.as_json() for each in found])
    else:
        print("\n\n".join(_previewed(each) for each in found))
    if any(each.error for each in found):
        raise typer.Exit(1)


@app.command()
def publish(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Make a draft, or a retired version, live. What is queued by name takes the newest live version."""
    _changed(configuration(config), "set_template_state", workspace, name, "live", said="live", json=json)


@app.command()
def retire(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Take a version out of use. What was queued from it stays; name@version still queues from it."""
    _changed(
        configuration(config), "set_template_state", workspace, name, "retired", said="retired", json=json
    )


@app.command()
def delete(
    name: NameArgument, workspace: WorkspaceOption, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Remove a version that was never used. Exit status 1 for one that was: retire it."""
    _changed(configuration(config), "delete_template", workspace, name, said="deleted", json=json)


def _read(file: Path) -> Document:
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
            raw = source.read(_LONGEST_FILE + 1)
        if len(raw) > _LONGEST_FILE:
            fail(f"{file}: is larger than {_LONGEST_FILE:,} bytes", 2)
        return parse(raw.decode("utf-8-sig"))
    except OSError as error:
        fail(f"{file}: {error.strerror}", 2)
    except UnicodeDecodeError:
        fail(f"{file}: is not UTF-8", 2)
    except TemplateProblem as problem:
        fail(f"{file}: {problem}", 2)


def _put(settings: Config, workspace: str, documents: Sequence[Document], *, draft: bool) -> list[Put]:
    async def work() -> list[Put]:
        async with connected(settings) as conn:
            await register(conn, settings, workspace)
            async with conn.transaction():
                return [await put_template(conn, workspace, each, draft=draft) for each in documents]

    return run_async(work)


def _print_put(done: Sequence[Put], *, json: bool) -> None:
    if json:
        print_json([asdict(each) for each in done])
        return
    for each in done:
        print(each.template if each.created else f"{each.template} (as it was)")


def _load(settings: Config, workspace: str, name: str) -> tuple[TemplateVersion, str]:
    async def work() -> tuple[TemplateVersion, str] | None:
        async with connected(settings) as conn:
            return await load_version(conn, workspace, name)

    found = run_async(work)
    if found is None:
        fail(f"there is no template {name} in workspace {workspace}")
    return found


def _changed(
    settings: Config, statement: str, workspace: str, name: str, *more: str, said: str, json: bool
) -> None:
    async def work() -> str:
        async with connected(settings) as conn:
            try:
                return str(await conn.fetchval(query(statement), workspace, name, *more))
            except (asyncpg.NoDataFoundError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
                fail(str(error))

    template = run_async(work)
    print_json({"template": template, "state": said}) if json else print(f"{template} is {said}.")


def _previewed(each: Preview) -> str:
    place = [each.channel, each.language, each.style, f"number {each.number}"]
    lines = [" · ".join(part for part in place if part)]
    if each.error is not None:
        return "\n".join([*lines, f"  error: {each.error}"])
    lines += [f"  {line}" for line in (each.body or "").split("\n")]
    for key, value in (each.content or {}).items():
        lines.append(f"  {key}: {value if isinstance(value, str) else orjson.dumps(value).decode()}")
    facts = f"{each.length} characters"
    if each.segments is not None:
        alphabet = "GSM-7" if each.encoding == "gsm7" else "UCS-2"
        facts += f", {alphabet}, {each.segments} segment{'s' if each.segments > 1 else ''}"
    if each.beyond_gsm7:
        facts += f", because of {' '.join(each.beyond_gsm7)}"
    if each.segments_if_replaced is not None:
        facts += f"; with smart_replacement {each.segments_if_replaced}"
    return "\n".join([*lines, f"  [{facts}]"])
