"""Templates: texts with variables, checked when they are made and rendered by Jinja's sandbox.

The language is the part of Jinja's that cannot take long: `{{ name }}`, dotted names, `{% if %}` with comparisons, and
nothing that calls, loops or multiplies. A text without conditions is also split into parts (`Compiled.parts`), which
`duly.enqueue` fills in SQL; a test holds the two together. A missing variable is an error and never a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

Part = str | dict[str, str]
Parts = list[Part]

LONGEST_SOURCE = 100_000  # characters of one text
LONGEST_RESULT = 500_000
MOST_CONDITIONS = 100

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*){0,7}")
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Const,
    nodes.If,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)
_PLAIN = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr)


class TemplateProblem(ValueError):
    """A template or a value that cannot be. The text is "field: what is wrong and what would be right"."""


class Type(StrEnum):
    """What a variable takes."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    TIME = "time"
    URL = "url"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable. Without a default it must be given."""

    name: str
    type: Type = Type.TEXT
    default: Any = None
    example: Any = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """One text, ready to be rendered."""

    source: str
    names: frozenset[str]
    parts: Parts | None  # None: it has conditions
    _plain: Template
    _escaped: Template

    def render(self, values: Mapping[str, Any], *, as_html: bool = False) -> str:
        """The text with these values (as `values_of` gives them). Raises `TemplateProblem`."""
        template = self._escaped if as_html else self._plain
        try:
            found = template.render(_nested(values))
        except TemplateError as error:
            raise TemplateProblem(f"body: {error}") from None
        except TypeError:
            raise TemplateProblem("body: compares values of different types") from None
        if len(found) > LONGEST_RESULT:
            raise TemplateProblem(
                f"body: would have {len(found):,} characters; {LONGEST_RESULT:,} are possible"
            )
        return found


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


@dataclass(frozen=True, slots=True)
class Content:
    """What one delivery says."""

    body: str
    subject: str | None = None
    html: str | None = None
    buttons: Sequence[Mapping[str, str]] = ()
    attachments: Sequence[Mapping[str, str]] = ()

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
        wanted = (language or "").lower()
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

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The variables' values for `Compiled.render`. Raises `TemplateProblem` for one that is missing or wrong."""
        found = {}
        for variable in self.variables.values():
            value = _find(given, variable.name)
            if value is None:
                value = variable.default
            if value is None:
                raise TemplateProblem(f"variables.{variable.name}: is missing; template {self.name} needs it")
            found[variable.name] = checked_value(variable, value)
        return found

    def render(self, text: Text, given: Mapping[str, Any]) -> Content:
        """What a text says with these variables. Raises `TemplateProblem`."""
        values = self.values(given)

        def filled(source: str, *, as_html: bool = False) -> str:
            return compiled(source).render(values, as_html=as_html)

        return Content(
            body=filled(text.body),
            subject=None if text.subject is None else filled(text.subject),
            html=None if text.html is None else filled(text.html, as_html=True),
            buttons=[{key: filled(each) for key, each in button.items()} for button in text.buttons],
            attachments=[{key: filled(each) for key, each in item.items()} for item in text.attachments],
        )


@lru_cache(maxsize=4096)
def compiled(source: str) -> Compiled:
    """Reads a text. Raises `TemplateProblem` where it is not of the language."""
    if len(source) > LONGEST_SOURCE:
        raise TemplateProblem(
            f"body: has {len(source):,} characters; at most {LONGEST_SOURCE:,} are possible"
        )
    try:
        tree = _PLAIN_ENVIRONMENT.parse(source)
    except TemplateError as error:
        raise TemplateProblem(f"body: line {getattr(error, 'lineno', 1)}: {error}") from None
    except RecursionError:
        raise TemplateProblem("body: is nested too deeply") from None
    everything = [tree, *tree.find_all(nodes.Node)]
    for node in everything:
        if not isinstance(node, _ALLOWED):
            raise TemplateProblem(
                f"body: line {node.lineno}: has {type(node).__name__.lower()}; "
                "a text may have {{ name }}, {{ dotted.name }} and {% if %} only"
            )
    if sum(isinstance(node, nodes.If | nodes.Compare) for node in everything) > MOST_CONDITIONS:
        raise TemplateProblem(f"body: has more than {MOST_CONDITIONS} conditions")
    names = frozenset(_names(tree))
    plain = all(isinstance(node, _PLAIN) for node in everything)
    try:
        templates = (_PLAIN_ENVIRONMENT.from_string(source), _HTML_ENVIRONMENT.from_string(source))
    except (TemplateError, RecursionError, SyntaxError):
        raise TemplateProblem("body: is nested too deeply") from None
    return Compiled(source, names, _parts(tree) if plain else None, *templates)


def checked_name(name: str) -> str:
    """A variable's name as it may be declared. Raises `TemplateProblem`."""
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise TemplateProblem(
            f"variables: {name[:100]!r} is no name such as FirstName or user.first_name, of letters, digits, underscores"
        )
    return name


_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_URL = re.compile(r'https?://[^\s<>"]+')


def checked_value(variable: Variable, value: Any) -> Any:
    """A value as a template renders it: numbers without trailing zeros. Raises `TemplateProblem`."""
    problem = None
    match variable.type:
        case Type.NUMBER:
            if _is_number(value):
                return _Number(Decimal(str(value)))
            problem = "must be a number"
        case Type.FLAG:
            if not isinstance(value, bool):
                problem = "must be true or false"
        case _ if not isinstance(value, str):
            problem = "must be a text"
        case _ if not value.strip():
            problem = "is empty"
        case Type.URL if not _URL.fullmatch(value):
            problem = "must be an http or https URL"
        case Type.DATE if not _DATE.fullmatch(value):
            problem = "must be a date such as 2026-01-31"
        case Type.TIME if not _TIME.fullmatch(value):
            problem = "must be a time such as 18:00"
    if problem is not None:
        raise TemplateProblem(f"variables.{variable.name}: {problem}")
    return value


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | Decimal)
        and not isinstance(value, bool)
        and len(str(value)) <= 40
        and Decimal(str(value)).is_finite()
    )


class _Number(Decimal):
    """A number that reads 3.5 for 3.50 and 1000 for 1e3, as duly.template_values has it."""

    def __str__(self) -> str:
        text = format(Decimal(self), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"user.name": "Ann"} as {"user": {"name": "Ann"}}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


def _find(given: Mapping[str, Any], name: str) -> Any:
    if given.get(name) is not None:
        return given[name]
    found: Any = given
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _fit(text: Text) -> tuple[bool, int, bool]:
    return text.channel != "", len(text.language), text.style != ""


def _names(node: nodes.Node) -> Iterator[str]:
    """The whole dotted names below a node."""
    if isinstance(node, nodes.Name | nodes.Getattr):
        yield _dotted(node)
        return
    for child in node.iter_child_nodes():
        yield from _names(child)


def _dotted(node: nodes.Node) -> str:
    path = []
    while isinstance(node, nodes.Getattr):
        path.append(node.attr)
        node = node.node
    if not isinstance(node, nodes.Name):
        raise TemplateProblem(
            f"body: line {node.lineno}: a name must not follow {type(node).__name__.lower()}"
        )
    return checked_name(".".join([node.name, *reversed(path)]))


def _parts(tree: nodes.Template) -> Parts:
    found: Parts = []
    for output in tree.body:
        for node in cast(nodes.Output, output).nodes:
            if not isinstance(node, nodes.TemplateData):
                found.append({"name": _dotted(node)})
            elif found and isinstance(found[-1], str):
                found[-1] += node.data
            else:
                found.append(node.data)
    return found


class _Environment(ImmutableSandboxedEnvironment):
    """Looks dotted names up in objects only, never among a value's own attributes."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """The object's member of that name."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return self.undefined(obj=obj, name=attribute)


def _environment(*, as_html: bool) -> _Environment:
    found = _Environment(
        undefined=StrictUndefined, autoescape=as_html, keep_trailing_newline=True, optimized=False
    )
    found.globals.clear()
    found.filters.clear()
    found.tests.clear()
    return found


_PLAIN_ENVIRONMENT = _environment(as_html=False)
_HTML_ENVIRONMENT = _environment(as_html=True)
