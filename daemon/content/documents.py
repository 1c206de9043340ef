"""A template as people write it, in TOML or JSON: read, checked, and made ready for the database.

name = "reminder"
smart_replacement = true

[variables]
FirstName = { default = "friend", example = "Ann" }
time = { type = "time", example = "18:00" }

[[texts]]
channel = "sms"
body = "Hi {{FirstName}}, see you at {{time}}."
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from daemon.content.channels import HTML, SUBJECT, is_web, parts_of
from daemon.content.language import Compiled, TemplateProblem, checked_name, compiled
from daemon.content.templates import TemplateVersion, Text
from daemon.content.values import Type, Variable, checked_value, is_blank
from daemon.model import Channel

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,79}")
_LANGUAGE = re.compile(r"([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?")
_STYLE = re.compile(r"[a-z0-9_-]{0,40}")
_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_NO_SCHEMES = ("javascript:", "data:", "vbscript:", "file:", "blob:", "about:")
_NOT_IN_URLS = re.compile(r'[\s<>"\x00-\x1f\x7f]')

_MOST_TEXTS = 1_000
_LARGEST = 2**53 - 1  # of a default or example: what JSON carries everywhere
_MOST_VARIABLES = 100
_MOST_ITEMS = 10
_LONGEST = {"subject": 1_000, "label": 80, "url": 2_000, "reply": 200, "name": 200, "type": 100}
_FIELDS = frozenset({"name", "smart_replacement", "variables", "texts"})
_TEXT_FIELDS = frozenset(
    {"channel", "language", "style", "number", "body", "bodies", "subject", "html", "buttons", "attachments"}
)
_SAMPLES = {
    Type.TEXT: "x",
    Type.NUMBER: 1,
    Type.DATE: "2026-01-31",
    Type.TIME: "18:00",
    Type.URL: "https://example.com",
    Type.FLAG: True,
}


@dataclass(frozen=True, slots=True)
class Document:
    """A template that has been checked: what `save_template.sql` takes."""

    name: str
    variables: Mapping[str, Variable]
    texts: Sequence[Text]
    smart_replacement: bool = False
    parts: Sequence[Mapping[str, Any] | None] = field(default=())

    def version(self) -> TemplateVersion:
        """As if it had been put already, for a preview."""
        return TemplateVersion(UUID(int=0), self.name, 1, self.variables, self.texts, self.smart_replacement)

    def variables_json(self) -> str:
        """As duly.template keeps them."""
        return orjson.dumps({name: written(each) for name, each in self.variables.items()}).decode()

    def texts_json(self) -> str:
        """As duly.save_template takes them."""
        return orjson.dumps(
            [
                {
                    "channel": text.channel,
                    "language": text.language,
                    "style": text.style,
                    "number": text.number,
                    "body": text.body,
                    "subject": text.subject,
                    "html": text.html,
                    "buttons": text.buttons,
                    "attachments": text.attachments,
                    "parts": parts,
                }
                for text, parts in zip(self.texts, self.parts, strict=True)
            ]
        ).decode()


def written(variable: Variable) -> dict[str, Any]:
    """A variable as a document has it."""
    found: dict[str, Any] = {"type": str(variable.type)}
    if variable.default is not None:
        found["default"] = variable.default
    if variable.example is not None:
        found["example"] = variable.example
    return found


def document_of(version: TemplateVersion) -> dict[str, Any]:
    """A version as a document."""
    texts = []
    for text in version.texts:
        found: dict[str, Any] = {
            key: getattr(text, key) for key in ("channel", "language", "style") if getattr(text, key)
        }
        found |= {"number": text.number, "body": text.body}
        for key in ("subject", "html", "buttons", "attachments"):
            if value := getattr(text, key):
                found[key] = value
        texts.append(found)
    return {
        "name": version.name,
        "smart_replacement": version.smart_replacement,
        "variables": {name: written(each) for name, each in version.variables.items()},
        "texts": texts,
    }


def parse(source: str) -> Document:
    """Reads a document in TOML or JSON. Raises `TemplateProblem`."""
    try:
        found = orjson.loads(source) if source.lstrip().startswith("{") else tomllib.loads(source)
    except orjson.JSONDecodeError as error:
        raise TemplateProblem(f"document: is not JSON: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise TemplateProblem(f"document: is not TOML: {error}") from None
    except (RecursionError, ValueError):
        raise TemplateProblem("document: cannot be read") from None
    return checked(found)


def checked(found: Any) -> Document:
    """A document as an object. Raises `TemplateProblem`, which names the field."""
    if not isinstance(found, Mapping):
        raise TemplateProblem("document: must be an object with name and texts")
    _known(found, _FIELDS, "", "a template")
    name = found.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TemplateProblem(
            "name: must be 1 to 80 small letters, digits and _ . -, such as appointment_reminder"
        )
    smart = found.get("smart_replacement", False)
    if not isinstance(smart, bool):
        raise TemplateProblem("smart_replacement: must be true or false")
    variables = _variables(found.get("variables", {}))
    items = found.get("texts")
    if not isinstance(items, list) or not 1 <= len(items) <= _MOST_TEXTS:
        raise TemplateProblem(f"texts: must be a list of 1 to {_MOST_TEXTS:,} texts")
    texts: list[Text] = []
    places: dict[tuple[object, ...], int] = {}
    wheres: list[str] = []
    for position, item in enumerate(items, start=1):
        for text in _texts(item, f"texts.{position}", places):
            texts.append(text)
            wheres.append(f"texts.{position}")
    if len(texts) > _MOST_TEXTS:
        raise TemplateProblem(f"texts: has {len(texts):,}; at most {_MOST_TEXTS:,} are possible")
    for text, where in zip(texts, wheres, strict=True):
        _check_names(text, variables, where)
    document = Document(
        name, variables, texts, smart, [_parts(t, w) for t, w in zip(texts, wheres, strict=True)]
    )
    _try(document, wheres)
    return document


def _known(found: Mapping[str, Any], fields: frozenset[str], where: str, what: str) -> None:
    for key in found:
        if key not in fields:
            prefix = f"{where}." if where else ""
            raise TemplateProblem(
                f"{prefix}{str(key)[:40]}: is no field of {what}: it has {', '.join(sorted(fields))}"
            )


def _variables(found: Any) -> dict[str, Variable]:
    if not isinstance(found, Mapping) or len(found) > _MOST_VARIABLES:
        raise TemplateProblem(f"variables: must be an object of at most {_MOST_VARIABLES} variables")
    declared: dict[str, Variable] = {}
    for name, each in found.items():
        try:
            checked_name(str(name))
        except TemplateProblem as problem:
            raise TemplateProblem(f"variables: {problem}") from None
        where = f"variables.{name}"
        if not isinstance(each, Mapping):
            raise TemplateProblem(f"{where}: must be an object with type, default and example")
        _known(each, frozenset({"type", "default", "example"}), where, "a variable")
        kind = each.get("type", "text")
        if kind not in set(Type):
            raise TemplateProblem(f"{where}.type: is none of {', '.join(Type)}")
        declared[name] = Variable(name, Type(kind), each.get("default"), each.get("example"))
        for what in ("default", "example"):
            _check_sample(declared[name], what, each.get(what))
    for name in declared:
        parts = name.split(".")
        for length in range(1, len(parts)):
            if ".".join(parts[:length]) in declared:
                raise TemplateProblem(
                    f"variables.{'.'.join(parts[:length])}: is also the beginning of another name, {name}"
                )
    return declared


def _check_sample(variable: Variable, what: str, value: Any) -> None:
    """Checks a default or an example. An empty text may be a default: then its variable may be left out."""
    if value is None or (what == "default" and value == "" and variable.type is Type.TEXT):
        return
    try:
        checked_value(variable, value)
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise TemplateProblem(f"variables.{variable.name}: is larger than {_LARGEST:,}")
    except TemplateProblem as problem:
        said = str(problem).partition(": ")[2]
        raise TemplateProblem(f"variables.{variable.name}.{what}: {said}") from None


def _texts(item: Any, where: str, places: dict[tuple[object, ...], int]) -> Iterator[Text]:
    """One item's texts; `places` counts how many there are for a channel, language and style."""
    if not isinstance(item, Mapping):
        raise TemplateProblem(f"{where}: must be an object with a body")
    _known(item, _TEXT_FIELDS, where, "a text")
    channel, language, style = (_short(item, key, where) for key in ("channel", "language", "style"))
    if channel and channel not in set(Channel):
        raise TemplateProblem(f"{where}.channel: {channel[:40]!r} is none of {', '.join(Channel)}")
    if not _LANGUAGE.fullmatch(language) or len(language) > 35:
        raise TemplateProblem(f"{where}.language: must be a tag such as en or pt-BR")
    if not _STYLE.fullmatch(style):
        raise TemplateProblem(f"{where}.style: must be at most 40 small letters, digits, _ and -")
    subject, html = _optional(item, "subject", where), _optional(item, "html", where)
    _check_forms(channel, subject, html, where)
    place = (channel, language.lower(), style)
    for body in _bodies(item, where):
        number = places.get(place, 0) + 1
        if "number" in item:
            given = item["number"]
            if not isinstance(given, int) or isinstance(given, bool) or not number <= given <= 9_999:
                raise TemplateProblem(f"{where}.number: must be from {number} to 9999, and rising")
            number = given
        places[place] = number
        yield Text(
            UUID(int=0), "", channel, language.lower(), style, number, body, subject, html,
            _items(item, "buttons", where), _items(item, "attachments", where),
        )  # fmt: skip


def _check_forms(channel: str, subject: str | None, html: str | None, where: str) -> None:
    if channel == Channel.EMAIL and subject is None:
        raise TemplateProblem(f"{where}.subject: is missing; an email needs one")
    if channel and subject is not None and channel not in SUBJECT:
        raise TemplateProblem(
            f"{where}.subject: {channel} shows none; leave it out, or write it into the body"
        )
    if channel and html is not None and channel not in HTML:
        raise TemplateProblem(f"{where}.html: {channel} shows none; leave it out")


def _bodies(item: Mapping[str, Any], where: str) -> list[str]:
    if ("body" in item) == ("bodies" in item):
        html = "; HTML needs its words as text, too" if "html" in item else ""
        raise TemplateProblem(f"{where}.body: give body, or bodies for several of which one is said{html}")
    found = item.get("bodies", [item.get("body")])
    if not isinstance(found, list) or not found or not all(isinstance(each, str) for each in found):
        raise TemplateProblem(f"{where}.{'body' if 'body' in item else 'bodies'}: must be a text")
    if any(is_blank(each) for each in found):
        raise TemplateProblem(f"{where}.body: is empty")
    return found


def _items(item: Mapping[str, Any], what: str, where: str) -> list[dict[str, str]]:
    """The buttons or attachments of a text."""
    found = item.get(what, [])
    if not isinstance(found, list) or len(found) > _MOST_ITEMS:
        raise TemplateProblem(f"{where}.{what}: must be a list of at most {_MOST_ITEMS}")
    return [_item(each, what, f"{where}.{what}.{n}") for n, each in enumerate(found, start=1)]


def _item(item: Any, what: str, where: str) -> dict[str, str]:
    if not isinstance(item, Mapping):
        raise TemplateProblem(f"{where}: must be an object")
    if what == "buttons":
        _known(item, frozenset({"label", "url", "reply"}), where, "a button")
        if ("url" in item) == ("reply" in item):
            raise TemplateProblem(f"{where}: must have a url that it opens, or a reply that it says")
        needed = ("label", "url" if "url" in item else "reply")
    else:
        _known(item, frozenset({"url", "type", "name"}), where, "an attachment")
        needed = ("url", "type")
    for key in needed:
        if key not in item:
            raise TemplateProblem(f"{where}.{key}: is missing")
    for key, value in item.items():
        if not isinstance(value, str) or is_blank(value) or len(value) > _LONGEST[key]:
            raise TemplateProblem(f"{where}.{key}: must be a text of 1 to {_LONGEST[key]:,} characters")
        if _compiled(value, f"{where}.{key}").parts is None:
            raise TemplateProblem(f"{where}.{key}: takes {{{{ name }}}} only, and no conditions")
    if "type" in item and not _TYPE.fullmatch(item["type"]):
        raise TemplateProblem(f"{where}.type: must be a media type such as image/png")
    return dict(item)


def _short(item: Mapping[str, Any], key: str, where: str) -> str:
    value = item.get(key, "")
    if not isinstance(value, str):
        raise TemplateProblem(f"{where}.{key}: must be a text")
    return value


def _optional(item: Mapping[str, Any], key: str, where: str) -> str | None:
    value = item.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or is_blank(value) or len(value) > _LONGEST.get(key, len(value)):
        raise TemplateProblem(
            f"{where}.{key}: must be a text of at most {_LONGEST.get(key, 100_000):,} characters"
        )
    return value


def _compiled(source: str, where: str) -> Compiled:
    try:
        return compiled(source)
    except TemplateProblem as problem:
        raise TemplateProblem(f"{where}: {problem}") from None


def _sources(text: Text, where: str) -> Iterator[tuple[str, str]]:
    """Every text with variables in it, by its field."""
    yield f"{where}.body", text.body
    if text.subject is not None:
        yield f"{where}.subject", text.subject
    if text.html is not None:
        yield f"{where}.html", text.html
    for what, items in (("buttons", text.buttons), ("attachments", text.attachments)):
        for n, item in enumerate(items, start=1):
            for key, source in item.items():
                yield f"{where}.{what}.{n}.{key}", source


def _check_names(text: Text, variables: dict[str, Variable], where: str) -> None:
    """What is used must be declared, but for what is known of people, which is added."""
    for place, source in _sources(text, where):
        found = _compiled(source, place)
        for name in sorted(found.names):
            if name in ("FirstName", "Name") or name.startswith("contact."):
                variables.setdefault(name, Variable(name))
            if name not in variables:
                line = 1 + source[: source.find(name)].count("\n")
                raise TemplateProblem(f"{place}: line {line}: {name} is not declared; add it to variables")
        for name in found.printed:
            if variables[name].type is Type.FLAG:
                raise TemplateProblem(f"{place}: {name} is a flag, which only conditions ask for")
        if place.endswith(".url"):
            _check_url(source, variables, text.channel, place)


def _check_url(source: str, variables: Mapping[str, Variable], channel: str, where: str) -> None:
    parts = compiled(source).parts or []
    first = parts[0]
    if isinstance(first, dict):
        right = variables[first["name"]].type is Type.URL
    else:
        deep = channel in ("", Channel.PUSH, Channel.IN_APP) and ".buttons." in where
        right = is_web(first) or (
            deep and _SCHEME.match(first) is not None and not first.lower().startswith(_NO_SCHEMES)
        )
    if not right or any(isinstance(part, str) and _NOT_IN_URLS.search(part) for part in parts):
        raise TemplateProblem(
            f"{where}: must be a URL such as https://example.com/{{{{ code }}}}, or begin with a variable of the type url"
        )


def _parts(text: Text, where: str) -> dict[str, Any] | None:
    """For duly.template_text. Raises `TemplateProblem` where the text's channel cannot say it."""
    try:
        if text.channel or not (text.buttons or text.attachments):
            return parts_of(text.outline(text.channel or None))
    except TemplateProblem as problem:
        raise TemplateProblem(f"{where}.{problem}") from None
    everything = {}
    for channel in Channel:
        try:
            parts = parts_of(text.outline(channel))
        except TemplateProblem as problem:
            parts = {"error": str(problem)}
        if parts is None:
            return None
        everything[str(channel)] = parts
    if all("error" in each for each in everything.values()):
        raise TemplateProblem(f"{where}.{everything[Channel.SMS]['error']}")
    return {"channels": everything}


def _try(document: Document, wheres: Sequence[str]) -> None:
    """Renders each text once, so that what compares a number with a text is found now."""
    version = document.version()
    given = samples(document.variables)
    for text, where in zip(document.texts, wheres, strict=True):
        try:
            version.render(text, given)
        except TemplateProblem as problem:
            raise TemplateProblem(f"{where}.{problem}") from None


def samples(variables: Mapping[str, Variable]) -> dict[str, Any]:
    """A value for each: its example, else its default, else any."""
    return {
        name: next(v for v in (each.example, each.default, _SAMPLES[each.type]) if v is not None)
        for name, each in variables.items()
    }
