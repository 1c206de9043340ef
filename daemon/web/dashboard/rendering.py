"""The templates, and how they say times, spans and numbers."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from daemon import __version__
from daemon.model import State

_HERE = Path(__file__).resolve().parent
STATIC = _HERE / "static"

# What each state means to people; shown where the pointer rests.
MEANINGS = {
    State.QUEUED: "waits until it is due and there is room",
    State.LEASED: "a daemon is about to send it",
    State.SENDING: "is being handed to the platform, or is there for later",
    State.UNCERTAIN: "nobody can yet say whether the platform took it",
    State.SENT: "the platform took it; nothing more is known yet",
    State.DELIVERED: "it has arrived",
    State.READ: "it was read",
    State.FAILED: "it will not arrive; the reason says why",
    State.EXPIRED: "it was no longer wanted when it could have gone",
    State.SKIPPED: "a rule said no",
    State.CANCELED: "somebody canceled it in time",
}


def page(
    name: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> web.Response:
    """A whole page from templates/`name`.html."""
    return web.Response(
        text=fragment(name, **values),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=headers,
    )


def fragment(name: str, **values: Any) -> str:
    """The HTML of templates/`name`.html."""
    return _environment().get_template(f"{name}.html").render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,  # a message's text is whatever anybody wrote
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        span=span,
        rate=rate,
        moment=moment,
        short_moment=short_moment,
        minute=minute,
        clock=clock,
        hour=hour,
    )
    environment.globals.update(version=__version__, asset=_asset, meanings=MEANINGS)
    return environment


@cache
def _asset(name: str) -> str:
    """A static file's URL, other when the file is."""
    return f"/static/{name}?{hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def number(value: int) -> str:
    """1234567 as 1 234 567, with spaces that do not break."""
    return f"{value:,}".replace(",", "\u202f")


def span(seconds: float) -> str:
    """How long, in the one unit that says most: 59 s, 12 min, 3 h, 2 days."""
    for limit, unit_seconds, unit in ((60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds / unit_seconds)}\u00a0{unit}"
    return f"{int(seconds / 86_400)}\u00a0days"


def rate(per_second: float | None) -> str:
    """Segments a second: 12.5/s, 400/s, or no limit."""
    if per_second is None:
        return "no limit"
    return f"{per_second:.3g}/s" if per_second < 100 else f"{number(round(per_second))}/s"


def moment(at: datetime) -> Markup:
    """A time element to the millisecond, in UTC. The page's script adds the viewer's own time."""
    utc = at.astimezone(UTC)
    text = f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"
    return Markup('<time datetime="{}" data-zone="both">{}</time>').format(utc.isoformat(), text)


def short_moment(at: datetime) -> Markup:
    """A time element for lists, in UTC; the page's script turns it into the viewer's own time."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" data-zone="own">{}</time>').format(
        utc.isoformat(), f"{utc:%d %b %H:%M:%S} UTC"
    )


def minute(at: datetime) -> Markup:
    """A time element for what is to come, to the minute; likewise turned into the viewer's own time."""
    rounded = (at.astimezone(UTC) + timedelta(seconds=30)).replace(second=0, microsecond=0)
    return Markup('<time datetime="{}" data-zone="own" data-to="minute">{}</time>').format(
        rounded.isoformat(), f"{rounded:%a %d %b %H:%M} UTC"
    )


def clock(at: datetime) -> Markup:
    """The same without its day."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" data-zone="own" data-to="clock">{}</time>').format(
        utc.isoformat(), f"{utc:%H:%M} UTC"
    )


def hour(at: datetime) -> str:
    """A time on a chart's axis, in UTC."""
    return f"{at.astimezone(UTC):%H:%M}"
