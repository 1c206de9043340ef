"""Secrets: written as a value, an environment variable or a systemd credential; shown never."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from daemon.config.problems import invalid

SHOWN = "<secret>"
"""What stands for a secret wherever one would be shown."""

MAX_SECRET_BYTES = 64 * 1024
"""A credential file may be this large, in bytes."""

_FORMS = 'write a string, { env = "NAME" } or { credential = "NAME" }'
_VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")


class Secret:
    """A text that only `reveal()` gives away. It prints and dumps as `<secret>`; it does not pickle."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        """Wrap `value`."""
        self.__value = value

    def reveal(self) -> str:
        """The text itself. Call it where the text is used, and keep the result in no longer-lived place."""
        return self.__value

    def __repr__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return format(SHOWN, spec)

    def __eq__(self, other: object) -> bool:
        return self.__value == other.__value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret is not pickled: pass the configuration's path instead")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret has no state to show")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read it by `_read`, with `environ` from the validation's context; dump it as `<secret>`."""
        return core_schema.with_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(lambda _: SHOWN)
        )


def _read(value: object, info: core_schema.ValidationInfo) -> Secret:
    """Resolve one of the three forms. No error holds the value: it may be the secret, wrongly written."""
    environ: Mapping[str, str] = (info.context or {}).get("environ", os.environ)
    match value:
        case Secret():
            return value
        case str():
            return _filled(value, "is empty", _FORMS)
        case {"env": str(name), **rest} if not rest:
            return _from_environment(name, environ)
        case {"credential": str(name), **rest} if not rest:
            return _from_credential(name, environ)
    raise invalid("is not a secret", _FORMS)


def _filled(text: str, message: str, remedy: str) -> Secret:
    if not text.strip():
        raise invalid(message, remedy)
    return Secret(text)


def _from_environment(name: str, environ: Mapping[str, str]) -> Secret:
    # A token pasted in the name's place must not be shown; real names are upper case by custom.
    shown = name if _VARIABLE_NAME.fullmatch(name) else "named there"
    remedy = "set it where duly is started, e.g. by Environment= or EnvironmentFile= in its systemd unit"
    value = environ.get(name)
    if value is None:
        raise invalid(f"the environment variable {shown} is not set", remedy)
    return _filled(value, f"the environment variable {shown} is empty", remedy)


def _from_credential(name: str, environ: Mapping[str, str]) -> Secret:
    if not name or name in {".", ".."} or any(mark in name for mark in "/\\\0"):
        raise invalid("the credential's name is not a file name", "write a plain name without slashes")
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise invalid(
            "there are no credentials: CREDENTIALS_DIRECTORY is not set",
            "start duly by systemd with LoadCredential=NAME:FILE in the unit, or use { env = … }",
        )
    remedy = "check LoadCredential=NAME:FILE in the systemd unit"
    try:
        with (Path(directory) / name).open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except FileNotFoundError:
        raise invalid("there is no credential of that name", remedy) from None
    except (OSError, ValueError):
        raise invalid("the credential cannot be read", remedy) from None
    if len(raw) > MAX_SECRET_BYTES:
        raise invalid("the credential is larger than 64 KiB", remedy)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise invalid("the credential is not UTF-8 text", remedy) from None
    return _filled(text.rstrip("\r\n"), "the credential is empty", remedy)
