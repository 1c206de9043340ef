"""What each channel is given of a text: its buttons and attachments rendered, handed on as data, or refused.

Nothing is lost without a word. A text for one channel is refused when it is made; one for all channels is refused where
it is queued for a channel that cannot say all of it. A subject and an HTML part are other forms of what the body
says: channels that have no such form leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from markupsafe import escape

from daemon.content.language import Part, Parts, TemplateProblem, compiled
from daemon.model import Channel

Given = Mapping[str, str]
"""A button or an attachment, as texts with variables."""

SUBJECT = frozenset({Channel.EMAIL, Channel.PUSH, Channel.IN_APP})
"""Channels that show a subject."""
HTML = frozenset({Channel.EMAIL, Channel.IN_APP})
"""Channels that show HTML."""
DEEP = frozenset({Channel.PUSH, Channel.IN_APP})
"""Channels whose links may lead into an application: myapp://goal/3."""

_PHONES = frozenset({Channel.SMS, Channel.WHATSAPP, Channel.RCS})
_MOST_MEDIA = {Channel.SMS: 10, Channel.RCS: 10, Channel.WHATSAPP: 1}
_MEDIA = ("image/", "video/", "audio/", "application/pdf", "text/vcard", "text/calendar")
_LONGEST_REPLY_BYTES = 64  # of what Telegram hands back when a button is pressed: core.telegram.org/bots/api


class Form(StrEnum):
    """How values are put into a piece."""

    PLAIN = "plain"
    HTML = "html"  # escaped
    URL = "url"  # percent-encoded; a URL that stands first goes in as it is
    HTML_URL = "html_url"  # so, within HTML


@dataclass(frozen=True, slots=True)
class Piece:
    """A text with variables, and how they are put in."""

    source: str
    form: Form = Form.PLAIN

    def render(self, values: Mapping[str, Any]) -> str:
        """Raises `TemplateProblem`, without a field."""
        if self.form in (Form.PLAIN, Form.HTML):
            return compiled(self.source).render(values, as_html=self.form is Form.HTML)
        found = "".join(
            part if isinstance(part, str) else _in_url(str(values[part["name"]]), first=place == 0)
            for place, part in enumerate(compiled(self.source).parts or [])
        )
        return str(escape(found)) if self.form is Form.HTML_URL else found

    def parts(self) -> Parts | None:
        """For duly.filled; None: it has conditions."""
        parts = compiled(self.source).parts
        if parts is None or self.form in (Form.PLAIN, Form.HTML):
            return parts
        encoded: Parts = [
            part if isinstance(part, str) or place == 0 else {**part, "as": "url"}
            for place, part in enumerate(parts)
        ]
        if self.form is Form.HTML_URL:
            return [str(escape(part)) if isinstance(part, str) else part for part in encoded]
        return encoded


Pieces = Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Outline:
    """What a channel is given of a text, each in pieces. Names are those of a message's metadata."""

    body: Pieces
    subject: Pieces | None = None
    html: Pieces | None = None
    media_urls: Sequence[Pieces] = ()
    buttons: Sequence[Mapping[str, Pieces]] = ()
    attachments: Sequence[Mapping[str, Pieces]] = field(default=())


def outline(
    channel: str | None, body: str, subject: str | None, html: str | None, buttons: Sequence[Given],
    attachments: Sequence[Given],
) -> Outline:  # fmt: skip
    """What `channel` is given of a text; None: all of it, for whoever looks at it.

    Raises `TemplateProblem`, which begins with the field that the channel cannot say.
    """
    found = Outline(
        (Piece(body),),
        None if subject is None else (Piece(subject),),
        None if html is None else (Piece(html, Form.HTML),),
        (),
        [_pieces(button) for button in buttons],
        [_pieces(each) for each in attachments],
    )
    if channel is None:
        return found
    where = Channel(channel)
    for button in buttons:
        _refuse_button(where, button)
    lines: list[Piece] = []
    markup: list[Piece] = []
    if where in _PHONES or where is Channel.EMAIL:
        for button in buttons:
            lines += [Piece("\n"), Piece(button["label"]), Piece(": "), Piece(button["url"], Form.URL)]
            markup += [
                Piece('\n<p><a href="', Form.HTML),
                Piece(button["url"], Form.HTML_URL),
                Piece('">', Form.HTML),
                Piece(str(escape(button["label"])), Form.HTML),
                Piece("</a></p>", Form.HTML),
            ]
    if where is Channel.EMAIL and subject is None:
        raise TemplateProblem("subject: is missing; an email needs one")
    if where is Channel.PUSH and attachments:
        raise TemplateProblem("attachments: push takes none; give a button that leads to them")
    return Outline(
        (*found.body, *lines),
        found.subject if where in SUBJECT else None,
        (*found.html, *markup) if found.html is not None and where in HTML else None,
        _media(where, attachments) if where in _PHONES else (),
        () if lines else found.buttons,
        () if where in _PHONES else found.attachments,
    )


def _pieces(item: Given) -> Mapping[str, Pieces]:
    return {key: (Piece(source, Form.URL if key == "url" else Form.PLAIN),) for key, source in item.items()}


def _refuse_button(channel: Channel, button: Given) -> None:
    if "reply" in button:
        if channel in _PHONES or channel is Channel.EMAIL:
            raise TemplateProblem(
                f"buttons: {channel} has none that reply; say in the body what to answer, or give a url"
            )
        if channel is Channel.TELEGRAM and len(button["reply"].encode()) > _LONGEST_REPLY_BYTES:
            raise TemplateProblem(
                f"buttons: telegram hands back at most {_LONGEST_REPLY_BYTES} bytes of a reply"
            )
    elif channel not in DEEP and not is_web(button["url"]):
        raise TemplateProblem(
            f"buttons: {channel} opens http and https URLs only; links into an application are for push and in_app"
        )


def _media(channel: Channel, attachments: Sequence[Given]) -> Sequence[Pieces]:
    most = _MOST_MEDIA[channel]
    if len(attachments) > most:
        raise TemplateProblem(f"attachments: {channel} takes at most {most}")
    for each in attachments:
        if not each["type"].startswith(_MEDIA):
            raise TemplateProblem(
                f"attachments: {channel} takes pictures, video, audio, PDF, vCard and iCalendar, and not {each['type']}"
            )
    return [(Piece(each["url"], Form.URL),) for each in attachments]


def is_web(url: str) -> bool:
    """Whether a URL with variables is one of the web: where a variable stands first, it is one of the type url."""
    return url.startswith(("http://", "https://", "{{"))


def _in_url(value: str, *, first: bool) -> str:
    return value if first else quote(value, safe="")


def rendered(pieces: Pieces, values: Mapping[str, Any], what: str) -> str:
    """A field's text. Raises `TemplateProblem`, which begins with `what`."""
    try:
        return "".join(piece.render(values) for piece in pieces)
    except TemplateProblem as problem:
        raise TemplateProblem(f"{what}: {problem}") from None


def parts_of(found: Outline) -> dict[str, Any] | None:
    """An outline as duly.template_text keeps it for duly.rendered; None: it has conditions."""
    if any(piece.parts() is None for piece in _everything(found)):
        return None
    parts: dict[str, Any] = {"body": _joined(found.body)}
    if found.subject is not None:
        parts["subject"] = _joined(found.subject)
    if found.html is not None:
        parts["html"] = _joined(found.html)
    if found.media_urls:
        parts["media_urls"] = [_joined(each) for each in found.media_urls]
    for name, items in (("buttons", found.buttons), ("attachments", found.attachments)):
        if items:
            parts[name] = [{key: _joined(pieces) for key, pieces in item.items()} for item in items]
    return parts


def _everything(found: Outline) -> list[Piece]:
    fields = [found.body, found.subject or (), found.html or (), *found.media_urls]
    fields += [pieces for item in (*found.buttons, *found.attachments) for pieces in item.values()]
    return [piece for pieces in fields for piece in pieces]


def _joined(pieces: Pieces) -> list[Part]:
    joined: list[Part] = []
    for piece in pieces:
        for part in piece.parts() or []:
            if isinstance(part, str) and joined and isinstance(joined[-1], str):
                joined[-1] += part
            else:
                joined.append(part)
    return joined
