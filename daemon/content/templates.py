"""Templates: their texts for each channel, language and style, and what one says with these variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from daemon.content.channels import Outline, Pieces, outline, rendered
from daemon.content.language import TemplateProblem as TemplateProblem
from daemon.content.smart import smart_replaced
from daemon.content.values import Type as Type
from daemon.content.values import Variable as Variable
from daemon.content.values import checked_value, is_blank, look_up
from daemon.model import Channel


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a template version, as it stands in duly.template_text."""

    id: UUID
    template: str  # name@version, as a delivery pins it
    channel: str
    language: str
    style: str
    number: int
    body: str
    subject: str | None = None
    html: str | None = None
    buttons: Sequence[Mapping[str, str]] = ()
    attachments: Sequence[Mapping[str, str]] = ()
    _outlines: dict[str | None, Outline] = field(default_factory=dict, init=False, compare=False, repr=False)

    def outline(self, channel: str | None) -> Outline:
        """What a channel is given of it; None: all. Raises `TemplateProblem` for what the channel cannot say."""
        if channel not in self._outlines:
            self._outlines[channel] = outline(
                channel, self.body, self.subject, self.html, self.buttons, self.attachments
            )
        return self._outlines[channel]


@dataclass(frozen=True, slots=True)
class Content:
    """What one delivery says."""

    body: str
    subject: str | None = None
    html: str | None = None
    buttons: Sequence[Mapping[str, str]] = ()
    attachments: Sequence[Mapping[str, str]] = ()
    media_urls: Sequence[str] = ()

    def metadata(self) -> dict[str, Any]:
        """What goes beside the body into a message's metadata."""
        found: dict[str, Any] = {}
        if self.subject is not None:
            found["subject"] = self.subject
        if self.html is not None:
            found["html"] = self.html
        if self.buttons:
            found["buttons"] = [dict(each) for each in self.buttons]
        if self.attachments:
            found["attachments"] = [dict(each) for each in self.attachments]
        if self.media_urls:
            found["media_urls"] = list(self.media_urls)
        return found


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """One version of a named template with all its texts."""

    id: UUID
    name: str
    version: int
    variables: Mapping[str, Variable]
    texts: Sequence[Text] = ()
    smart_replacement: bool = False

    @property
    def pinned(self) -> str:
        """As a delivery names it."""
        return f"{self.name}@{self.version}"

    def choices(self, channel: str, language: str | None = None, style: str = "") -> list[Text]:
        """The texts that are best for these, by number: what is made for the channel goes before what is made for all,
        then the language (pt stands in for pt-BR), then the style. Empty: there is none for the channel.
        """
        wanted = (language or "").lower().replace("_", "-")
        fitting = [
            text
            for text in self.texts
            if text.channel in (channel, "")
            and text.language in (wanted, wanted.partition("-")[0], "")
            and text.style in (style, "")
        ]
        if not fitting:
            return []
        best = max(_fit(text) for text in fitting)
        return sorted((text for text in fitting if _fit(text) == best), key=lambda text: text.number)

    def values(self, given: Mapping[str, Any], person: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The variables' values, as texts and conditions take them: what is given, else what is known of the person
        (as duly.person_at has it), else the default. Raises `TemplateProblem` for one that is missing or wrong.
        """
        found = {}
        for variable in self.variables.values():
            value = look_up(given, variable.name)
            if is_blank(value):
                known = look_up(person or {}, variable.name)
                value = next((v for v in (known, variable.default) if not is_blank(v)), value)
            if is_blank(value) and variable.default == "":
                found[variable.name] = ""
                continue
            if value is None:
                raise TemplateProblem(f"variables.{variable.name}: is missing; template {self.name} needs it")
            found[variable.name] = checked_value(variable, value)
        return found

    def render(
        self,
        text: Text,
        given: Mapping[str, Any],
        *,
        channel: str | None = None,
        person: Mapping[str, Any] | None = None,
    ) -> Content:
        """What a text says with these variables on its channel, or, where it is for all of them, on `channel`; without
        one all of it is rendered as it stands. Raises `TemplateProblem`.
        """
        where = text.channel or channel
        values = self.values(given, person)
        found = text.outline(where)

        def items(what: str, given: Sequence[Mapping[str, Pieces]]) -> list[dict[str, str]]:
            return [{key: rendered(pieces, values, what) for key, pieces in item.items()} for item in given]

        body = rendered(found.body, values, "body")
        return Content(
            body=smart_replaced(body) if self.smart_replacement and where == Channel.SMS else body,
            subject=None if found.subject is None else rendered(found.subject, values, "subject"),
            html=None if found.html is None else rendered(found.html, values, "html"),
            buttons=items("buttons", found.buttons),
            attachments=items("attachments", found.attachments),
            media_urls=[rendered(pieces, values, "attachments") for pieces in found.media_urls],
        )


def _fit(text: Text) -> tuple[bool, int, bool]:
    return text.channel != "", len(text.language), text.style != ""
