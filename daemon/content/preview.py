"""What a template's texts come to with these values, and what they cost as SMS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from daemon.content.documents import samples
from daemon.content.language import TemplateProblem
from daemon.content.smart import beyond_gsm7, smart_replaced
from daemon.content.templates import TemplateVersion, Text
from daemon.model import Channel
from daemon.rules.segments import segments


@dataclass(frozen=True, slots=True)
class Preview:
    """One text, rendered. What is counted in segments is None for other channels than SMS."""

    channel: str
    language: str
    style: str
    number: int
    body: str | None = None
    content: Mapping[str, Any] | None = None  # what goes beside the body
    error: str | None = None
    length: int | None = None
    encoding: str | None = None
    segments: int | None = None
    beyond_gsm7: str | None = None  # the characters that make 16-bit units of it
    segments_if_replaced: int | None = None  # by smart replacement, where that helps

    def as_json(self) -> dict[str, Any]:
        """Without what says nothing."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def preview(
    version: TemplateVersion,
    given: Mapping[str, Any],
    *,
    channel: str | None = None,
    language: str | None = None,
    style: str | None = None,
) -> list[Preview]:
    """Each text, or those for a channel, language and style. What is not given is the example, or any of its type.

    A text for all channels is shown as it goes by SMS, where no other channel is asked for.
    """
    values = samples(version.variables) | dict(given)
    return [
        _one(version, text, values, text.channel or channel or Channel.SMS)
        for text in version.texts
        if (channel is None or text.channel in (channel, ""))
        and (language is None or text.language == language.lower())
        and (style is None or text.style == style)
    ]


def _one(version: TemplateVersion, text: Text, values: Mapping[str, Any], channel: str) -> Preview:
    place = (channel, text.language, text.style, text.number)
    try:
        content = version.render(text, values, channel=channel)
    except TemplateProblem as problem:
        return Preview(*place, error=str(problem))
    body, beside = content.body, content.metadata() or None
    if channel != Channel.SMS:
        return Preview(*place, body, beside, length=len(body))
    count = segments(body)
    fewer = segments(smart_replaced(body)).count
    return Preview(
        *place,
        body,
        beside,
        length=len(body),
        encoding=count.encoding,
        segments=count.count,
        beyond_gsm7="".join(beyond_gsm7(body)) or None,
        segments_if_replaced=fewer if fewer < count.count else None,
    )
