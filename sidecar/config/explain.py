"""pydantic's errors said for people who have never seen pydantic, and each with what to do."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from sidecar.config.base import Loc, did_you_mean
from sidecar.config.lambdas import LambdaConfig
from sidecar.config.mistakes import Mistake, dotted, is_private
from sidecar.config.source import Source
from sidecar.config.units import parse_duration, parse_size, quoted, shown_duration, shown_size

_TRUE_OR_FALSE = "true or false"

_KINDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": _TRUE_OR_FALSE,
    "bool_parsing": _TRUE_OR_FALSE,
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "path_type": "a path",
}
_LISTS = (("topics",), ("produce",))
_MAPPINGS = frozenset({"dict_type", "mapping_type", "model_type"})

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}

_A_LAMBDA = "lambdas: {NAME: {topic: TOPIC, group: GROUP}}"
_REQUIRED = {
    "kafka": "as in kafka: {bootstrap.servers: localhost:9092}",
    "lambdas": f"as in {_A_LAMBDA}",
    "group": "name its consumer group, as in group: orders",
    "certificate": "name the PEM file of the server's certificate",
    "name": "say what logs and `status` call it",
    "key": "name the PEM file of the certificate's key",
}


def from_pydantic(errors: Iterable[ErrorDetails], source: Source) -> list[Mistake]:
    """The mistakes in a config file that pydantic has found."""
    return [_mistake(error, source) for error in errors if not _is_inside_a_text(tuple(error["loc"]), source)]


def _is_inside_a_text(loc: Loc, source: Source) -> bool:
    """Whether this is about the one topic of `topics: a`, for which another mistake says that it is no list."""
    return loc[-2:] == ("topics", 0) and not source.is_list(loc[:-1])


def _mistake(error: ErrorDetails, source: Source) -> Mistake:
    loc: Loc = tuple(error["loc"])
    if loc[-2:] == ("topic", 0):
        loc = loc[:-1]  # `topic: a` is read as `topics: [a]`
    context = error.get("ctx", {})
    if error["type"] == "mistake":
        message, hint = context["message"], context["hint"]
    else:
        message, hint = _explained(error, loc, context)
    if names := source.used(loc):
        origin = f"the value comes from {', '.join(f'${{{name}}}' for name in names)}"
        hint = f"{hint}; {origin}" if hint else origin
    return Mistake(dotted(loc), message, hint, source.line(loc))


def _explained(error: ErrorDetails, loc: Loc, context: Mapping[str, Any]) -> tuple[str, str]:
    """The message and the hint."""
    kind, value = error["type"], error["input"]
    # A text instead of a mapping may be the whole mapping in one line, with its passwords.
    secret = is_private(loc) or (kind in _MAPPINGS and isinstance(value, str) and not value.isalnum())
    shown = _unseen(value) if secret else _shown(value)
    if kind == "missing":
        return "missing: this key is required", _REQUIRED.get(str(loc[-1]), "add it")
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}, not {shown}", _how_to_write(kind, value, loc)
    if kind == "literal_error":
        choices = context["expected"]
        hint = did_you_mean(value, re.findall(r"'([^']*)'", choices)) if isinstance(value, str) else ""
        return f"expected {choices.replace(chr(39), '')}, not {shown}", hint
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"expected {words} {_bound(context[name], value)}, not {shown}", ""
    return error["msg"], ""


def _how_to_write(kind: str, value: Any, loc: Loc) -> str:
    """How a value of this kind is written."""
    if kind in _MAPPINGS:
        return _how_to_write_a_mapping(value, loc)
    if value is None:
        return "give it a value, or delete the key"
    if loc == ("server", "identities"):
        return "each begins with a dash, as in - {name: billing, token: ${BILLING_TOKEN}, lambdas: [orders]}"
    if loc[-1:] == ("listen",):
        return "write host:port, as in 127.0.0.1:50051"
    if kind.startswith("int_"):
        return "write digits only"
    return _how_to_write_a_text(value, loc) if kind == "string_type" else ""


def _how_to_write_a_text(value: Any, loc: Loc) -> str:
    if isinstance(value, list | tuple | Mapping):
        return "write names, as in [orders, audit]" if loc[-2:-1] in _LISTS else "write one text"
    unquoted = "YAML reads yes, no, on and off so: " if isinstance(value, bool) else ""
    return f"{unquoted}put it in quotes"


def _how_to_write_a_mapping(value: Any, loc: Loc) -> str:
    if len(loc) == 2 and loc[0] == "lambdas" and loc[1] in {*LambdaConfig.keys()}:
        return f"a lambda's name belongs here, and `{loc[1]}` below it: {_A_LAMBDA}"
    if loc == ("lambdas",) and isinstance(value, list):
        return f"each lambda has its name as its key, without a dash: {_A_LAMBDA}"
    if isinstance(value, list):
        return "write KEY: VALUE without dashes"
    if isinstance(value, str):
        return "write KEY: VALUE, with a space after the colon" + (", indented below it" if loc else "")
    return "indent its keys below it"


def _bound(bound: float, value: Any) -> str:
    """A limit in the unit in which the value is written."""
    if not isinstance(value, str):
        return f"{bound:.0f}" if bound == int(bound) else str(bound)
    if bound and _is(parse_duration, value):
        return shown_duration(bound)
    if bound and _is(parse_size, value):
        return shown_size(bound)
    return str(bound)


def _is(parse: Callable[[str], float], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _unseen(value: Any) -> str:
    """What a value is, without showing it."""
    if isinstance(value, str):
        return "this text"
    return "this value" if isinstance(value, int | float) else _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, datetime.date):
        return f"the date {value.isoformat()}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return quoted(value)
