"""What the API answers to what cannot be done: the same for the same error, wherever it arises."""

from __future__ import annotations

import asyncpg
from aiohttp import web

from daemon.problem import Problem
from daemon.sealing.envelope import CannotOpen
from daemon.store.database import DatabaseDown
from daemon.web.problems import problem


class Refused(Problem):
    """What was asked over HTTP cannot be done."""


# The errors that are the caller's, or that pass: what a route catches and hands to `refusal`.
TROUBLE = (
    Problem,
    CannotOpen,
    asyncpg.DataError,
    asyncpg.NoDataFoundError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    DatabaseDown,
)


def refusal(error: Exception, *gone: str) -> web.Response:
    """The answer to one of `TROUBLE`. `gone`: the fields that stand in the URL, beside the workspace: what is wrong with
    one of them is 404.
    """
    field = str(error).partition(":")[0]
    match error:
        case DatabaseDown():
            return problem(503, "the database is away; nothing was written", headers={"Retry-After": "5"})
        case CannotOpen():
            return problem(503, "the workspace seals, and its key is missing: see /readyz")
        case asyncpg.NoDataFoundError():
            return problem(404, str(error), field=field)
        case asyncpg.ObjectNotInPrerequisiteStateError():
            return problem(409, str(error), field=field if ":" in str(error) else None)
        case Problem() | asyncpg.InvalidParameterValueError():
            return problem(404 if field in ("workspace", *gone) else 422, str(error), field=field)
        case asyncpg.UntranslatableCharacterError() | asyncpg.CharacterNotInRepertoireError():
            return problem(422, "a text has a NUL character, which no text here may have: leave it out")
    return problem(422, "a number or a time is beyond what can be stored: give one that is nearer")
