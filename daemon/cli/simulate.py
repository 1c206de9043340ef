"""`duly simulate`: what the rules would say, before anything exists. It sends nothing and writes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from daemon.bulk.chunks import Chunk, chunks
from daemon.bulk.csvfile import CsvProblem
from daemon.bulk.reading import RecipientFile
from daemon.bulk.repeats import repeats
from daemon.cli.common import (
    ConfigOption,
    JsonOption,
    configuration,
    connected,
    fail,
    parse_time,
    print_json,
    run_async,
)
from daemon.config import Config
from daemon.model import Channel
from daemon.planning.simulation import Proposed, Simulated, Tally
from daemon.planning.simulation import simulate as ask_rules
from daemon.rules.judgement import as_json
from daemon.store.database import Connection
from daemon.store.timeline import answer_line


def simulate(
    workspace: Annotated[str, typer.Option(help="Whose message it would be.")],
    to: Annotated[str | None, typer.Option(help="The address, such as +14155550123.")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Instead of --to: a campaign's file, with a column to.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="When it would go, as ISO 8601 with a zone; else now.")
    ] = None,
    channel: Annotated[Channel, typer.Option()] = Channel.SMS,
    category: Annotated[str, typer.Option()] = "transactional",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say what would become of a message, or of a campaign's: go, wait or be skipped, and by which rule."""
    settings = configuration(config)
    if (to is None) == (csv is None):
        fail("give either --to, for one message, or --csv, for a file", 2)
    moment = parse_time("--at", at) or datetime.now(UTC)
    if csv is not None:
        tally = _campaign(settings, csv, workspace, channel, category, moment)
        print_json(tally.as_json()) if json else _print_tally(tally)
        return

    async def work() -> Simulated | str:
        async with connected(settings) as conn:
            assert to is not None
            problem = await _problem(conn, channel, to)
            return (
                problem
                or (await _ask(conn, settings, workspace, channel, category, [Proposed(to, moment)]))[0]
            )

    found = run_async(work)
    if isinstance(found, str):
        fail(found, 2)
    if json:
        print_json(found.as_json())
        return
    print({"go": "It would go.", "wait": "It would wait.", "skip": "It would be skipped."}[found.outcome])
    for ruling in found.verdict.rulings:
        print(f"  {answer_line(as_json(ruling))}")


async def _problem(conn: Connection, channel: Channel, to: str) -> str | None:
    found: str | None = await conn.fetchval("select duly.address_problem($1, $2)", channel.value, to)
    return found


async def _ask(
    conn: Connection,
    settings: Config,
    workspace: str,
    channel: Channel,
    category: str,
    proposed: list[Proposed],
) -> list[Simulated]:
    try:
        return await ask_rules(conn, settings, workspace, channel, category, proposed)
    except LookupError as error:
        fail(f"--workspace: {error.args[0]}", 2)


def _campaign(
    settings: Config, path: Path, workspace: str, channel: Channel, category: str, moment: datetime
) -> Tally:
    """The whole file, chunk by chunk; a row's own due_at and category go before the options'."""

    async def work() -> Tally:
        tally = Tally()
        async with connected(settings) as conn:
            with RecipientFile(path) as file, repeats() as seen:
                for chunk in chunks(file, seen):
                    await _count(conn, chunk, tally)
        return tally

    async def _count(conn: Connection, chunk: Chunk, tally: Tally) -> None:
        tally.wrong.update(error.partition(":")[0] for error in chunk.wrong.values())
        tally.skip["repeated"] += len(chunk.repeats)
        to = [str(address) for address in chunk.columns["to"]]
        problems = await conn.fetch(
            "select duly.address_problem($1, address) from unnest($2::text[]) address", channel.value, to
        )
        groups: dict[str, list[Proposed]] = {}
        categories, moments = chunk.columns.get("category"), chunk.columns.get("due_at")
        for place, (address, row) in enumerate(zip(to, problems, strict=True)):
            if row[0] is not None:
                tally.wrong["to"] += 1
                continue
            of = str((categories[place] if categories else None) or category)
            at = (moments[place] if moments else None) or moment
            assert isinstance(at, datetime)
            groups.setdefault(of, []).append(Proposed(address, at))
        for of, proposed in groups.items():
            for each in await _ask(conn, settings, workspace, channel, of, proposed):
                tally.add(each)

    try:
        return run_async(work)
    except CsvProblem as error:
        fail(f"{path}: {error}", 2)


def _print_tally(tally: Tally) -> None:
    print(f"{tally.go:,} would go.")
    for word, counted in (("wait", tally.wait), ("be skipped", tally.skip)):
        for reason, count in sorted(counted.items()):
            if count:
                print(f"{count:,} would {word}: {reason}")
    for what, count in sorted(tally.wrong.items()):
        print(f"{count:,} are wrong: {what}")
