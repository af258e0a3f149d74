"""The settings of scriptorium. All times are seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process. ``url`` may contain a password: it is in no log and no error."""

    url: str = field(default="mongodb://127.0.0.1:27017", repr=False)
    database: str = "fluid"
    collection: str = "deltas"
    max_db_batch_size: int = 1000
    """The largest number of operations in one insert (SC-5); 0: no limit."""
    max_pending: int = 10_000
    """While this many operations wait for the batch in flight, no further message is handled."""
    expire_after: int | None = None
    """The server removes operations that are older, if it can; None: never."""
    retry_waits: tuple[float, ...] = (1.0, 2.0, 4.0)
    """How long an insert that failed waits before each further attempt (SC-8)."""
    health_interval: float = 5.0
    """Interval of the checks of the database in a pause."""
    selection_timeout: float = 2.0
    """How long an attempt looks for a writable server."""
    socket_timeout: float = 20.0
    """How long an attempt waits for the server's answer."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Settings":
        """From the lambda's settings in the sidecar's config.

        Raises ``ValueError`` when a setting is unknown or has a wrong value. The text never contains the url.
        """
        known = [entry.name for entry in fields(cls)]
        unknown = sorted(settings.keys() - set(known))
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]!r}: scriptorium knows {', '.join(known)}")
        for name, value in settings.items():
            wanted = _CHECKS[name](value)
            if wanted:
                shown = "" if name == "url" else f", got {value!r}"
                raise ValueError(f"setting {name}: expected {wanted}{shown}")
        return cls(**settings)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _url(value: Any) -> str:
    fits = isinstance(value, str) and value.startswith(("mongodb://", "mongodb+srv://"))
    return "" if fits else "a text that begins with mongodb:// or mongodb+srv://"


def _name(value: Any) -> str:
    return "" if isinstance(value, str) and value else "a text that is not empty"


def _limit(value: Any) -> str:
    return "" if _is_count(value, 0) else "a whole number, 0 for no limit"


def _positive(value: Any) -> str:
    return "" if _is_count(value, 1) else "a whole number above 0"


def _optional(value: Any) -> str:
    return "" if value is None or _is_count(value, 1) else "a whole number of seconds above 0, or null for never"


def _seconds(value: Any) -> str:
    return "" if _is_number(value) and value > 0 else "a number of seconds above 0"


def _waits(value: Any) -> str:
    fits = isinstance(value, tuple) and all(_is_number(wait) and wait >= 0 for wait in value)
    return "" if fits else "a list of seconds, such as [1, 2, 4]"


_CHECKS = {
    "url": _url,
    "database": _name,
    "collection": _name,
    "max_db_batch_size": _limit,
    "max_pending": _positive,
    "expire_after": _optional,
    "retry_waits": _waits,
    "health_interval": _seconds,
    "selection_timeout": _seconds,
    "socket_timeout": _seconds,
}
