"""Pydantic's errors in our words: where, what, and what to do, without the value that was refused."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.config.models import Config, RetryRule, RoutesConfig, WorkspaceConfig
from daemon.config.platforms import PLATFORM_KINDS
from daemon.config.problems import written_key, written_path
from daemon.config.rules import CapConfig, RulesConfig
from daemon.config.secrets import Secret

Loc = tuple[int | str, ...]

_MESSAGES = {
    "missing": "is required",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a string in quotes",
    "bool_type": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
_NOT_A_TABLE = {"model_type", "dict_type", "model_attributes_type", "dataclass_type"}
_SEE_EXAMPLE = "see config.example.toml"


def place(error: Mapping[str, Any]) -> Loc:
    """The path in the TOML of what a pydantic error is about."""
    loc: Loc = error["loc"]
    if error["type"].startswith("union_tag"):
        return (*loc, "kind")
    if error["type"] == "duly_name" and loc[-1] == "[key]":
        return loc[:-1]
    model = _model_at(loc[:-1])
    if error["type"] != "extra_forbidden" and model and (field := model.model_fields.get(str(loc[-1]))):
        loc = (*loc[:-1], field.alias or loc[-1])  # pydantic's name for a key that is missing
    return loc[:2] + loc[3:] if loc[0] == "platforms" else loc  # without the kind that pydantic puts third


def explain(error: Mapping[str, Any]) -> tuple[str, str]:
    """The message and the remedy for a pydantic error."""
    kind, loc, context = error["type"], error["loc"], error.get("ctx", {})
    if kind.startswith("duly"):
        return context["message"], context["remedy"]
    if kind == "extra_forbidden":
        return _unknown_key(loc)
    if kind.startswith("union_tag"):
        return _wrong_kind(kind)
    if kind in _NOT_A_TABLE:
        name = written_path(place(error))
        return "must be a table", f"write [{name}] on a line of its own, and its keys below it"
    message = _MESSAGES.get(kind, "is not valid").format_map(context)
    return message, _example(loc)


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """The model of the table at `loc` (with pydantic's kind in it), where there is one."""
    match loc:
        case ():
            return Config
        case ("platforms", _, kind):
            return PLATFORM_KINDS.get(str(kind))
        case ("workspaces", _):
            return WorkspaceConfig
        case ("retry", _) | ("workspaces", _, "retry", _):
            return RetryRule
        case ("routes",) | ("workspaces", _, "routes"):
            return RoutesConfig
        case ("workspaces", _, "rules"):
            return RulesConfig
        case ("rules", "caps", _) | ("workspaces", _, "rules", "caps", _):
            return CapConfig
        case (str(section),):
            return _model_of(Config.model_fields.get(section))
    return None


def _model_of(field: FieldInfo | None) -> type[BaseModel] | None:
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _unknown_key(loc: Loc) -> tuple[str, str]:
    key = str(loc[-1])
    model = _model_at(loc[:-1])
    message = "is not a key that duly knows"
    if model is None:
        return message, _SEE_EXAMPLE
    if (field := model.model_fields.get(key)) and field.alias:
        return message, f"did you mean {field.alias}?"
    if near := difflib.get_close_matches(key[:60], _keys(model), n=1):
        return message, f"did you mean {near[0]}?"
    if homes := _homes(key):
        return message, f"it belongs in {' or '.join(homes)}"
    return message, f"remove it; known here are {', '.join(_keys(model)) or 'no keys yet'}"


def _homes(key: str) -> list[str]:
    """The tables that have a key of this name, as headers."""
    tables = {f"[{name}]": _model_of(field) for name, field in Config.model_fields.items()}
    found = [header for header, model in tables.items() if model and key in _keys(model)]
    if any(key in _keys(model) for model in PLATFORM_KINDS.values()):
        found.append("[platforms.NAME]")
    if key in _keys(WorkspaceConfig):
        found.append("[workspaces.NAME]")
    return found


def _wrong_kind(kind: str) -> tuple[str, str]:
    kinds = " or ".join(f'"{name}"' for name in PLATFORM_KINDS)
    message = "is required" if kind == "union_tag_not_found" else f"must be {kinds}"
    return message, f"write kind = {kinds}"


def _example(loc: Loc) -> str:
    """A line of TOML that would be right."""
    model, key = _model_at(loc[:-1]), str(loc[-1])
    field = _keys(model).get(key) if model else None
    if field is None:
        return _SEE_EXAMPLE
    if field.annotation is Secret:
        return f'for example: {key} = {{ env = "NAME" }}'
    value = field.examples[0] if field.examples else field.get_default()
    if not isinstance(value, str | int | float):
        return _SEE_EXAMPLE
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"for example: {written_key(key)} = {json.dumps(value)}"
