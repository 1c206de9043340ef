"""What is sealed opens for its own row and with its own key, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sealing.envelope import CannotOpen, DataKey, KeyRing, generation_of, new_data_key

OLD, NEW, OTHER = bytes(32), bytes([1] * 32), bytes([2] * 32)
KEY = bytes(range(32))
TEXT = "Your knee, Lovelace"


@given(
    parts=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
    generation=st.integers(1, 32_767),
)
def test_what_is_sealed_opens_again(parts: list[str | None], generation: int) -> None:
    key = DataKey(KEY, 7, generation)
    sealed = key.seal("message", "a", parts)
    assert key.open("message", "a", sealed) == parts
    assert generation_of(sealed) == generation
    assert key.seal("message", "a", parts) != sealed


def test_nothing_of_the_text_stands_in_what_is_sealed() -> None:
    assert TEXT.encode() not in DataKey(KEY, 7, 1).seal("message", "a", [TEXT])


@pytest.mark.parametrize(
    ("key", "kind", "identity"),
    [
        (DataKey(KEY, 7, 1), "message", "b"),
        (DataKey(KEY, 7, 1), "delivery", "a"),
        (DataKey(KEY, 8, 1), "message", "a"),
        (DataKey(KEY, 7, 2), "message", "a"),
        (DataKey(OTHER, 7, 1), "message", "a"),
    ],
    ids=["another row", "another table", "another workspace", "another generation", "another key"],
)
def test_it_does_not_open_elsewhere(key: DataKey, kind: str, identity: str) -> None:
    sealed = DataKey(KEY, 7, 1).seal("message", "a", [TEXT])
    with pytest.raises(CannotOpen, match="was changed, or sealed for another row"):
        key.open(kind, identity, sealed)


@given(data=st.data())
def test_what_was_changed_does_not_open(data: st.DataObject) -> None:
    key = DataKey(KEY, 7, 1)
    sealed = bytearray(key.seal("message", "a", [TEXT]))
    place = data.draw(st.integers(2, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CannotOpen):
        key.open("message", "a", bytes(sealed))


@given(sealed=st.binary(max_size=60))
def test_what_was_never_sealed_does_not_open(sealed: bytes) -> None:
    with pytest.raises(CannotOpen):
        DataKey(KEY, 7, 1).open("message", "a", sealed)


def test_a_data_key_is_wrapped_with_the_current_key_and_opened_with_the_one_that_wrapped_it() -> None:
    data_key = new_data_key()
    name, wrapped = KeyRing({"old": OLD, "new": NEW}, "old").wrap(data_key, 7, 1)
    assert (name, data_key in wrapped) == ("old", False)
    assert KeyRing({"old": OLD, "new": NEW}, "new").unwrap(name, wrapped, 7, 1) == data_key


@pytest.mark.parametrize(
    ("ring", "workspace", "generation", "words"),
    [
        (KeyRing({"new": NEW}, "new"), 7, 1, "key old is missing in"),
        (KeyRing({"old": OTHER}, "old"), 7, 1, "key old is not the one"),
        (KeyRing({"old": OLD}, "old"), 8, 1, "key old is not the one"),
        (KeyRing({"old": OLD}, "old"), 7, 2, "key old is not the one"),
    ],
)
def test_it_says_which_key_is_missing_or_wrong(
    ring: KeyRing, workspace: int, generation: int, words: str
) -> None:
    name, wrapped = KeyRing({"old": OLD}, "old").wrap(KEY, 7, 1)
    with pytest.raises(CannotOpen, match=words):
        ring.unwrap(name, wrapped, workspace, generation)


def test_without_a_current_key_nothing_is_wrapped() -> None:
    with pytest.raises(CannotOpen, match="there is no current key"):
        KeyRing({"old": OLD}, None).wrap(KEY, 7, 1)
