"""The pool: whatever goes wrong with a connection is an outage, whatever is our own mistake is not."""

from __future__ import annotations

import asyncio

import pytest

from daemon.store.database import Database, DatabaseDown


async def test_a_connection_ended_between_two_steps_of_a_statement_is_an_outage(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when one task finds a standby and drops the pool while another's statement has just been prepared."""
    async with database.acquire() as conn:
        inner = conn._con  # type: ignore[attr-defined]
    prepared = inner._get_statement

    async def prepare_and_be_cut_off(*args: object, **options: object) -> object:
        statement = await prepared(*args, **options)
        inner.terminate()
        await asyncio.sleep(0)
        return statement

    monkeypatch.setattr(
        type(inner), "_get_statement", lambda _, *args, **options: prepare_and_be_cut_off(*args, **options)
    )
    with pytest.raises(DatabaseDown):
        await database.fetch("select 1")
    assert not database.up
    monkeypatch.undo()
    assert await database.fetch("select 1")
    assert database.up


async def test_our_own_mistake_is_no_outage(database: Database) -> None:
    with pytest.raises(AttributeError):
        async with database.acquire() as conn:
            raise AttributeError(f"{conn} has no such thing")
    assert database.up or database.problem == "not connected yet"
