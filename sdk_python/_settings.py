"""A lambda's settings in layers, as nconf has them in Fluid Framework's kafka-service.

From the lowest to the highest:

1. ``settings`` of the lambda in the sidecar's config, which come with Welcome;
2. environment variables ``KAFKA_SIDECAR_SET_<key>``. ``__`` goes one level down. The case is that of the variable,
   unless there is a key already that differs in nothing but case (``KAFKA_SIDECAR_SET_MONGO__URL`` sets
   ``mongo.url``). The prefix keeps ``HOME`` and ``PATH`` out of a lambda's config;
3. ``--set key=value``, in which a dot goes one level down.

A value that is JSON is parsed; anything else is a string: ``5`` is a number, ``"5"`` is a string.
"""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn

from ._errors import SettingsError

ENVIRONMENT_PREFIX: Final = "KAFKA_SIDECAR_SET_"

Override = tuple[tuple[str, ...], Any]
"""The path of a key, and its value."""


def parse_assignment(text: str) -> Override:
    """Parse one ``key=value`` of ``--set``.

    Raises ``SettingsError`` when there is no ``=`` or a part of the key is empty.
    """
    key, equals, value = text.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        raise SettingsError(f"--set {text}: expected key=value, such as mongo.url=mongodb://localhost")
    return path, _value(value)


def from_environment(environ: Mapping[str, str]) -> list[Override]:
    """Return the overrides in the environment, sorted by name so that the result does not depend on its order.

    Raises ``SettingsError`` when a part of a key is empty.
    """
    overrides = []
    for name in sorted(environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).split("__"))
            if not all(path):
                raise SettingsError(f"environment variable {name}: a part of the key is empty")
            overrides.append((path, _value(environ[name])))
    return overrides


def layered(
    settings_json: str, environment: Iterable[Override] = (), assignments: Iterable[Override] = ()
) -> Mapping[str, Any]:
    """Merge all layers in one mapping that is read-only at all levels (lists become tuples).

    Raises ``SettingsError`` when ``settings_json`` is not a JSON object.
    """
    try:
        settings = json.loads(settings_json or "{}")
    except ValueError as error:
        raise SettingsError(f"the sidecar's settings are not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise SettingsError(f"the sidecar's settings are no JSON object but {type(settings).__name__}")
    for path, value in environment:
        _put(settings, path, value, any_case=True)
    for path, value in assignments:
        _put(settings, path, value, any_case=False)
    frozen: Mapping[str, Any] = read_only(settings)
    return frozen


def read_only(value: Any) -> Any:
    """Copy ``value`` with all mappings and lists in it made read-only."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: read_only(entry) for key, entry in value.items()})
    if isinstance(value, list | tuple):
        return tuple(map(read_only, value))
    return value


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON, and words to most people


def _put(settings: dict[str, Any], path: tuple[str, ...], value: Any, *, any_case: bool) -> None:
    *parents, last = path
    for part in parents:
        key = _spelling(settings, part) if any_case else part
        below = settings.get(key)
        if not isinstance(below, dict):  # a plain value is replaced by a mapping
            below = settings[key] = {}
        settings = below
    settings[_spelling(settings, last) if any_case else last] = value


def _spelling(settings: Mapping[str, Any], key: str) -> str:
    if key in settings:
        return key
    return next((known for known in settings if known.lower() == key.lower()), key)
