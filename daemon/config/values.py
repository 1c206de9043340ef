"""The values that keys have in common: rates, numbers, names, URLs, listen addresses and DSNs.

Each check is a pure function that returns the value, tidied, or raises `invalid(…)`. No message holds the
value: a password may stand in any URL, and a token in any key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, Field

from daemon.config.problems import invalid

MASK = "***"
EMBEDDED = "embedded"

_PRINTABLE = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?")


def matching(pattern: str, message: str, remedy: str, *, kind: str = "duly") -> Callable[[str], str]:
    """A check that the whole text matches `pattern`."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise invalid(message, remedy, kind=kind)
        return value

    return check


Rate = Annotated[float, Field(gt=0, le=100_000)]
"""Segments in a second or minute, as the key says."""

Burst = Annotated[int, Field(ge=1, le=1_000_000)]
"""Segments that may go at once after a pause."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""A duration in seconds, at most a day."""

E164 = Annotated[
    str,
    AfterValidator(
        matching(
            r"\+[1-9][0-9]{6,14}",
            "must be a phone number in E.164 form",
            'write + and the country code, without spaces: "+15005550006"',
        )
    ),
]

AccountName = Annotated[
    str,
    AfterValidator(
        matching(
            r"[a-z0-9][a-z0-9_-]{0,39}",
            "is not a name for an account",
            "use 1 to 40 lower-case letters, digits, _ and -, starting with a letter or digit",
            kind="duly_name",
        )
    ),
]

WorkspaceName = Annotated[
    str,
    AfterValidator(
        matching(
            r"[A-Za-z0-9._-]{1,100}",
            "is not a name for a workspace",
            "use 1 to 100 letters, digits, dots, _ and -",
            kind="duly_name",
        )
    ),
]


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or address, without brackets) can only be this machine."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Whether a checked URL leads to this machine, as a stand-in's does."""
    return is_loopback(urlsplit(url).hostname or "")


def check_url(value: str) -> str:
    """An https URL without user, query or fragment; http for this machine. Loses its trailing slashes."""
    remedy = 'write it as "https://host.example"'
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise invalid("must be a URL", remedy)
    if "@" in parts.netloc:
        raise invalid("must not hold a user or password", remedy)
    if "?" in value or "#" in value:
        raise invalid("must not have a query or fragment", remedy)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise invalid("must be https: plain http is for this machine only", "use https, or a loopback host")
    return value.rstrip("/")


def _split(value: str) -> SplitResult | None:
    """Split a URL; None where it is none. `urlsplit` alone drops newlines and quotes the URL in errors."""
    if not _PRINTABLE.fullmatch(value):
        return None
    try:
        parts = urlsplit(value)
        _ = parts.port
        host = parts.hostname or ""
        if ":" not in host and not _HOST_NAME.fullmatch(host):
            return None
    except ValueError:
        return None
    return parts


Url = Annotated[str, AfterValidator(check_url)]


def split_listen(value: str) -> tuple[str, int] | None:
    """The host (without brackets) and port of `host:port` or `[v6]:port`; None where it is neither."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        return None
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError:
            return None
    return (host, int(port)) if _HOST_NAME.fullmatch(host) else None


def check_listen(value: str) -> str:
    """An address to listen on; port 0 lets the system choose."""
    if split_listen(value) is None:
        raise invalid(
            "must be a host and a port",
            'write "127.0.0.1:8080", "0.0.0.0:8080" for all IPv4 addresses or "[::]:8080" for IPv6',
        )
    return value


def check_dsn(dsn: str) -> str:
    """`postgresql://user:password@host1:5432,host2/database?option=value`, or "embedded"."""
    if dsn == EMBEDDED:
        return dsn
    scheme, _, rest = dsn.partition("://")
    if scheme not in {"postgresql", "postgres"} or not rest:
        raise invalid(
            'is neither "embedded" nor a DSN',
            'write "postgresql://user:password@host:5432/database"',
        )
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    # An @ in the tail means a password with / ? or # in it: what came before was no host, and masking fails.
    encode = "write @ / ? # and : in a user or password as %40 %2F %3F %23 and %3A"
    if not _PRINTABLE.fullmatch(dsn) or "@" in tail or "#" in tail or "/" in tail.partition("?")[0][1:]:
        raise invalid("is a DSN with characters that must be encoded", encode)
    hosts = authority.rpartition("@")[2]
    if hosts and not all(_is_host(host) for host in hosts.split(",")):
        raise invalid("is a DSN whose hosts and ports cannot be read", encode)
    return dsn


def _is_host(text: str) -> bool:
    """Whether `text` is host, host:port, [v6]:port or %2Fa%2Fsocket%2Fdirectory."""
    match = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._%-]+)(:(?P<port>[0-9]{1,5}))?", text)
    return match is not None and (match["port"] is None or 1 <= int(match["port"]) <= 65_535)


def masked_dsn(dsn: str) -> str:
    """A checked DSN with its passwords, in front of the host or in the query, as `***`."""
    scheme, mark, rest = dsn.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    user, at, hosts = authority.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{name}{colon}{MASK if colon else ''}{at}{hosts}"
    path, question, query = tail.partition("?")
    options = "&".join(_masked_option(option) for option in query.split("&"))
    return f"{scheme}{mark}{shown}{path}{question}{options}"


def _masked_option(option: str) -> str:
    key, equals, _ = option.partition("=")
    return f"{key}{equals}{MASK}" if "pass" in unquote(key).lower() else option
