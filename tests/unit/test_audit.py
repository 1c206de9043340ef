"""How a line of the audit is hashed, and how a head is written."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.store.audit import GENESIS, Head, line_hash

LINE: dict[str, Any] = {
    "previous": bytes(32),
    "id": 1,
    "microseconds": 1_700_000_000_123_456,
    "who": "ada",
    "what": "canceled",
    "workspace_id": 7,
    "subject": "01a217a1-d865-777c-89c5-496138a4f93d",
    "detail": '{"count": 1}',
}


def test_the_hash_of_a_line_never_changes() -> None:
    """Chains that were written long ago must still be whole."""
    first = line_hash(**LINE)
    assert first.hex() == "b03d90434285f371517898e749c8a6bfae15bd83a8b892109d218d9e807c4817"
    second = line_hash(
        first, 2, -1, "daemon ж", "config_reloaded", workspace_id=None, subject=None, detail="{}"
    )
    assert second.hex() == "ce5f85c7f73528883a4e4272862dae669f458d8818bf7abf6182897a073d6a14"


@pytest.mark.parametrize(
    "change",
    [
        {"previous": bytes(31) + b"\1"},
        {"id": 2},
        {"microseconds": 1_700_000_000_123_457},
        {"microseconds": None},
        {"who": "adа"},
        {"who": ""},
        {"who": None},
        {"what": "replayed"},
        {"workspace_id": 8},
        {"workspace_id": None},
        {"subject": ""},
        {"subject": None},
        {"detail": '{"count": 2}'},
        {"who": "adac", "what": "anceled"},
        {"who": "a", "what": "dacanceled"},
        {"subject": None, "detail": LINE["subject"] + LINE["detail"]},
    ],
)
def test_every_field_and_where_it_ends_counts(change: dict[str, Any]) -> None:
    assert line_hash(**LINE | change) != line_hash(**LINE)


def test_a_head_is_read_as_it_is_written() -> None:
    head = Head(1234, bytes(range(32)))
    assert str(head) == "1234:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    assert Head.parse(str(head)) == head
    assert Head.parse(str(head).upper()) == head
    assert Head.parse(str(GENESIS)) == GENESIS


@pytest.mark.parametrize(
    "text",
    ["", "12", ":", "12:", f":{'0' * 64}", f"12:{'0' * 63}", f"12:{'0' * 65}", f"-1:{'0' * 64}", f"12:{'g' * 64}",
     f"12:{'0' * 64}\n", f" 12:{'0' * 64}", f"{'9' * 19}:{'0' * 64}"],
)  # fmt: skip
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not ID:HASH"):
        Head.parse(text)
