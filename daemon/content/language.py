"""The language of templates' texts: read when they are made, and rendered by Jinja's sandbox.

It is the part of Jinja's that cannot take long: `{{ name }}`, dotted names, `{% if %}` with comparisons, and nothing
that calls, loops or calculates. A text without conditions is also split into parts, which `duly.enqueue` fills in SQL;
a test holds the two together. A name without a value is an error and never a gap.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from daemon.problem import Problem

Part = str | dict[str, str]
Parts = list[Part]
"""What stands as it is, and {"name": …} for a variable."""

LONGEST_SOURCE = 100_000  # characters of one text
LONGEST_RESULT = 500_000
MOST_VARIABLES = 1_000  # places in one text that a value is put into
MOST_CONDITIONS = 100
_MOST_NODES = 5_000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*){0,7}")
_WORDS = frozenset(
    {
        *("and", "or", "not", "in", "is", "if", "elif", "else"),
        *("true", "false", "none", "True", "False", "None", "self", "super", "loop"),
    }
)
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


class TemplateProblem(Problem):
    """A template or a value that cannot be. The text is "field: what is wrong and what would be right"."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One text, ready to be rendered."""

    names: frozenset[str]
    printed: Mapping[str, int]  # the names whose values are put in, and in how many places
    parts: Parts | None  # None: it has conditions
    _plain: Template
    _escaped: Template
    _places: tuple[str, ...]  # of a text without conditions: the names in their order …
    _pattern: str  # … and the text with %s for each

    def render(self, values: Mapping[str, Any], *, as_html: bool = False) -> str:
        """The text with the values of `TemplateVersion.values`. Raises `TemplateProblem`, without a field."""
        if self.parts is not None and not as_html:
            return self._filled(values)
        _check_size(sum(times * len(str(values.get(name, ""))) for name, times in self.printed.items()))
        try:
            return (self._escaped if as_html else self._plain).render(_nested(values))
        except TemplateError as error:
            raise TemplateProblem(str(error)) from None
        except TypeError:
            raise TemplateProblem(
                "compares values of different types, such as a number with a text"
            ) from None

    def _filled(self, values: Mapping[str, Any]) -> str:
        """The same for a text without conditions, several times as fast."""
        try:
            texts = tuple([str(values[name]) for name in self._places])
        except KeyError as missing:
            raise TemplateProblem(f"{missing} is undefined") from None
        _check_size(sum(map(len, texts)))
        return self._pattern % texts


def _check_size(size: int) -> None:
    if size > LONGEST_RESULT:
        raise TemplateProblem(f"would have {size:,} characters; at most {LONGEST_RESULT:,} are possible")


@lru_cache(maxsize=4096)
def compiled(source: str) -> Compiled:
    """Reads a text. Raises `TemplateProblem`, without a field, where it is not of the language."""
    if len(source) > LONGEST_SOURCE:
        raise TemplateProblem(f"has {len(source):,} characters; at most {LONGEST_SOURCE:,} are possible")
    if "\0" in source:
        raise TemplateProblem("has a NUL character, which no text may have")
    try:
        tree = _PLAIN_ENVIRONMENT.parse(source)
        everything = _checked(tree)
        templates = (_PLAIN_ENVIRONMENT.from_string(source), _HTML_ENVIRONMENT.from_string(source))
    except TemplateError as error:
        raise TemplateProblem(f"line {getattr(error, 'lineno', 1)}: {error}") from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateProblem("is nested too deeply") from None
    except TemplateProblem:
        raise
    except ValueError:
        raise TemplateProblem("has a number that is too long") from None
    printed = Counter(
        _dotted(node)
        for output in everything
        if isinstance(output, nodes.Output)
        for node in output.nodes
        if isinstance(node, nodes.Name | nodes.Getattr)
    )
    if printed.total() > MOST_VARIABLES:
        raise TemplateProblem(
            f"puts values into {printed.total():,} places; at most {MOST_VARIABLES:,} are possible"
        )
    plain = all(isinstance(node, _PLAIN) for node in everything)
    parts = _parts(tree) if plain else None
    return Compiled(frozenset(_names(tree)), printed, parts, *templates, *_places_of(parts or []))


def checked_name(name: str) -> str:
    """A variable's name as it may be declared. Raises `TemplateProblem`, without a field."""
    if not _NAME.fullmatch(name) or len(name) > 100 or name.partition(".")[0] in _WORDS:
        raise TemplateProblem(
            f"{name[:100]!r} is no name such as FirstName or user.first_name, of letters, digits and underscores"
        )
    return name


def _checked(tree: nodes.Template) -> list[nodes.Node]:
    """All nodes. Raises `TemplateProblem` for one that is not of the language."""
    everything: list[nodes.Node] = [tree]
    for node in tree.find_all(nodes.Node):
        everything.append(node)
        if not isinstance(node, _ALLOWED):
            raise TemplateProblem(
                f"line {node.lineno}: {type(node).__name__.lower()} is not possible here: write {{{{ name }}}}, or "
                "{% if %} with names and comparisons"
            )
        if len(everything) > _MOST_NODES:
            raise TemplateProblem("has too much in it")
    if sum(isinstance(node, nodes.If) for node in everything) > MOST_CONDITIONS:
        raise TemplateProblem(f"has more than {MOST_CONDITIONS} conditions")
    return everything


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


def _names(node: nodes.Node) -> Iterator[str]:
    """The whole dotted names below a node."""
    if isinstance(node, nodes.Name | nodes.Getattr):
        yield _dotted(node)
        return
    for child in node.iter_child_nodes():
        yield from _names(child)


def _dotted(node: nodes.Node) -> str:
    path = []
    line = node.lineno
    while isinstance(node, nodes.Getattr):
        path.append(node.attr)
        node = node.node
    if not isinstance(node, nodes.Name):
        raise TemplateProblem(f"line {line}: a name must not follow {type(node).__name__.lower()}")
    try:
        return checked_name(".".join([node.name, *reversed(path)]))
    except TemplateProblem as problem:
        raise TemplateProblem(f"line {line}: {problem}") from None


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


def _places_of(parts: Parts) -> tuple[tuple[str, ...], str]:
    """The names in their order, and the text with %s for each."""
    return (
        tuple(part["name"] for part in parts if not isinstance(part, str)),
        "".join(part.replace("%", "%%") if isinstance(part, str) else "%s" for part in parts),
    )


class _Environment(ImmutableSandboxedEnvironment):
    """Looks dotted names up in objects only, never among a value's own attributes."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """The object's member of that name."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return self.undefined(obj=obj, name=attribute)


def _environment(*, as_html: bool) -> _Environment:
    found = _Environment(
        undefined=StrictUndefined,
        autoescape=as_html,
        keep_trailing_newline=True,
        optimized=False,
        cache_size=0,
    )
    found.globals.clear()
    found.filters.clear()
    found.tests.clear()
    return found


_PLAIN_ENVIRONMENT = _environment(as_html=False)
_HTML_ENVIRONMENT = _environment(as_html=True)
