"""The cryptography of sealing: keys of the configuration wrap data keys, and a data key seals rows.

Both are AES-256-GCM with a random nonce, which NIST SP 800-38D (8.3) allows for 2^32 rows a key. What a sealed value
is and whose is bound to it as associated data: one that was moved to another row, table or workspace does not open.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_GENERATION_BYTES = 2


class CannotOpen(Exception):
    """What is sealed cannot be opened. The text says why and fits a log line: it has no key and no content."""


class KeyRing:
    """The keys of the configuration, by name."""

    def __init__(self, keys: Mapping[str, bytes], current: str | None) -> None:
        """`keys`: 32 bytes each. `current`: the name of the one that wraps from now on; None: nothing is wrapped."""
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self.current = current

    @property
    def names(self) -> frozenset[str]:
        """Which keys there are."""
        return frozenset(self._keys)

    def wrap(self, data_key: bytes, workspace_id: int, generation: int) -> tuple[str, bytes]:
        """The current key's name, and the data key encrypted with it. Raises `CannotOpen` without a current key."""
        if self.current is None:
            raise CannotOpen("there is no current key: set [privacy] current")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        context = _context("data key", workspace_id, generation)
        return self.current, nonce + self._keys[self.current].encrypt(nonce, data_key, context)

    def unwrap(self, name: str, wrapped: bytes, workspace_id: int, generation: int) -> bytes:
        """The data key that `name` has wrapped. Raises `CannotOpen` where the key is missing or another one."""
        key = self._keys.get(name)
        if key is None:
            raise CannotOpen(f"key {name} is missing in [privacy] keys")
        try:
            return key.decrypt(
                wrapped[:_NONCE_BYTES],
                wrapped[_NONCE_BYTES:],
                _context("data key", workspace_id, generation),
            )
        except (InvalidTag, ValueError):
            raise CannotOpen(f"key {name} is not the one that the data key was wrapped with") from None


class DataKey:
    """What one generation of a workspace's rows is sealed with."""

    def __init__(self, key: bytes, workspace_id: int, generation: int) -> None:
        self._cipher = AESGCM(key)
        self._workspace_id = workspace_id
        self.generation = generation

    def seal(self, kind: str, identity: str, parts: Sequence[str | None]) -> bytes:
        """The texts of one row as one value: generation, nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, orjson.dumps(parts), self._of_row(kind, identity))
        return self.generation.to_bytes(_GENERATION_BYTES) + nonce + sealed

    def open(self, kind: str, identity: str, sealed: bytes) -> list[str | None]:
        """The texts again. Raises `CannotOpen` for anything but what was sealed for this row."""
        nonce_end = _GENERATION_BYTES + _NONCE_BYTES
        try:
            text = self._cipher.decrypt(
                sealed[_GENERATION_BYTES:nonce_end], sealed[nonce_end:], self._of_row(kind, identity)
            )
        except (InvalidTag, ValueError):
            raise CannotOpen(f"the {kind} was changed, or sealed for another row") from None
        parts: list[str | None] = orjson.loads(text)
        return parts

    def _of_row(self, kind: str, identity: str) -> bytes:
        return _context(kind, self._workspace_id, self.generation, identity)


def generation_of(sealed: bytes) -> int:
    """Which generation of data key a value was sealed with."""
    return int.from_bytes(sealed[:_GENERATION_BYTES])


def new_data_key() -> bytes:
    """A fresh data key."""
    return AESGCM.generate_key(KEY_BYTES * 8)


def _context(kind: str, workspace_id: int, generation: int, identity: str = "") -> bytes:
    return f"duly\0{kind}\0{workspace_id}\0{generation}\0{identity}".encode()
