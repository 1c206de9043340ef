"""Logs: one JSON object a line, with ids and without bodies, addresses or secrets."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast

import orjson
import structlog

# Whatever a caller passes under these names is never written.
_HIDDEN = frozenset(
    {"body", "to", "address", "auth_token", "password", "dsn", "url", "headers", "authorization"}
)

EventDict = MutableMapping[str, Any]


class _Stderr(io.TextIOBase):
    """stderr as it is when a line is written.

    A line that cannot be written (a full disk, a reader that has gone) is lost: the alternative is to lose the
    part of the daemon that wanted to say something, and with it messages.
    """

    def write(self, text: str, /) -> int:
        with contextlib.suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


_STDERR = cast("TextIO", _Stderr())


def hide(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that blanks what must not be in a log."""
    for key in _HIDDEN & event.keys():
        event[key] = "<hidden>"
    return event


def configure(level: str = "info", style: Literal["json", "console"] = "json") -> None:
    """Sets up structlog and sends the standard library's loggers the same way. May be called again."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide,
    ]
    if style == "json":
        last: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(_STDERR),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[*_strip(), *last], foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    # What strangers send that is no HTTP is answered 400; a traceback each would let them fill the disk.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


def _strip() -> list[structlog.typing.Processor]:
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta]


def _dumps(event: Any, default: Any = None, **_: Any) -> str:
    return orjson.dumps(event, default=default or str).decode()
