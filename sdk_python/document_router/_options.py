"""The router's settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, Final, Literal, get_args

from sdk_python._errors import SettingsError

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Options:
    """The router's settings. Times are in seconds."""

    activity_timeout: float = 600.0
    """A document that gets no message for so long is closed. A lambda's own ``activity_timeout`` comes first."""
    activity_check_interval: float = 60.0
    """How often the router looks for such documents."""
    drain_timeout: float = 1.0
    """How long a running handler or ``create`` may go on when the partition is closed, before it is cancelled."""

    corrupt_documents: "CorruptDocuments" = "fail"
    """What happens when a document's lambda fails critically. ``fail``: the partition fails at that record, and the
    lambda's ``on_critical`` policy decides. ``skip``: only the document's messages are skipped."""

    def overridden(self, settings: Mapping[str, Any]) -> "Options":
        """Return these options with those in ``settings`` replaced.

        Raises ``SettingsError`` when a value is no time or none of the words.
        """
        given: dict[str, Any] = {name: settings[name] for name in NAMES if name in settings}
        for name, value in given.items():
            path = f"{SECTION}.{name}"
            given[name] = corrupt_documents(path, value) if name == "corrupt_documents" else seconds(path, value)
        return replace(self, **given)


CorruptDocuments = Literal["fail", "skip"]
NAMES: Final = tuple(field.name for field in fields(Options))
SECTION: Final = "document_router"


def own_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the router's section of a lambda's settings. A document lambda may use the same names outside of it.

    Raises ``SettingsError`` when it is no mapping, or has a name that is none of the router's.
    """
    own = config.get(SECTION, {})
    known = ("key", *NAMES)
    if not isinstance(own, Mapping):
        raise SettingsError(f"{SECTION}: expected a mapping with {', '.join(known)}, got {own!r}")
    for name in own:
        if name not in known:
            raise SettingsError(f"{SECTION}.{name}: there is no such setting; there are {', '.join(known)}")
    return own


def seconds(name: str, value: Any) -> float:
    """Return a time in seconds, given as a number of them or as a text such as ``500ms``, ``60s``, ``10m`` or ``1h``.

    Raises ``SettingsError`` when it is neither, or not positive.
    """
    found = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?", value.strip())):
        found = float(match[1]) * _UNITS[match[2] or "s"]
    if found is None or not 0 < found < inf:
        raise SettingsError(f"{name}: expected a time such as 500ms, 60s or 10m, got {value!r}")
    return found


def corrupt_documents(name: str, value: Any) -> CorruptDocuments:
    """Return ``value``, which is ``fail`` or ``skip``. Raises ``SettingsError`` when it is neither."""
    for word in get_args(CorruptDocuments):
        if value == word:
            found: CorruptDocuments = word
            return found
    raise SettingsError(f"{name}: expected fail or skip, got {value!r}")
