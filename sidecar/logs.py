"""Logs: one event a line on stderr, as JSON for machines or as text for people.

Every line has `ts` (UTC, ISO 8601), `level`, `event` and `logger`. Conventional keys, so that logs can be searched:

| key | meaning |
| --- | --- |
| `lambda` | name of the lambda; in Python write `lambda_=name`, because `lambda` is a keyword |
| `topic`, `partition` | of Kafka |
| `lease` | of the assignment |
| `offset` | of the record that the event is about |

Loggers are made at module level with `get_logger(__name__)` and take effect with `configure`; bind values to them
only after that. What the standard library's `logging` gets, from this process and from libraries, comes out the
same way. A value whose name says that it is a secret is shown as `****`, and so is a password in a URL.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from sidecar.redact import masked

Format = Literal["json", "console"]

FORMATS: tuple[Format, ...] = ("json", "console")
LEVELS = ("debug", "info", "warning", "error", "critical")

_FIRST = ("ts", "level", "event", "logger")


class _Stderr:
    """`sys.stderr` as it is when a line is written: loggers are cached, and tests replace it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_STDERR = cast("TextIO", _Stderr())


class _Handler(logging.StreamHandler[TextIO]):
    """The standard library's way to our lines; a class of its own so that `configure` finds it again."""


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger=name`. Cheap to make; its methods are the levels, with keywords as keys."""
    return cast("FilteringBoundLogger", structlog.get_logger(logger_=name))


def configure(log_format: Format | None = None, level: str = "info") -> None:
    """Set up logging for this process. A second call replaces the first, except for loggers already in use.

    Args:
        log_format: `json` or `console`; None takes console on a terminal and json elsewhere.
        level: the lowest level that is written: debug, info, warning, error or critical.

    Raises:
        ValueError: no such format or level.
    """
    if log_format not in (None, *FORMATS):
        raise ValueError(f"unknown log format {log_format!r}: expected {' or '.join(FORMATS)}")
    if level not in LEVELS:
        raise ValueError(f"unknown log level {level!r}: expected one of {', '.join(LEVELS)}")
    terminal = sys.stderr.isatty()
    if log_format is None:
        log_format = "console" if terminal else "json"
    number = getattr(logging, level.upper())
    timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")
    # An exception becomes text before the masking: its message may hold a URL with a password.
    exceptions = structlog.processors.format_exc_info
    common: list[Processor] = [structlog.processors.add_log_level, timestamp, _keyword, exceptions, mask_secrets]
    last = _last(log_format, colors=terminal and "NO_COLOR" not in os.environ)
    # Speed: levels below `number` are methods that return at once, and a logger is put together only once.
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *common, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(_STDERR),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(_STDERR)
    foreign: list[Processor] = [structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *common]
    after: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=after))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)


def mask_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace what looks like a secret, by its name or inside a URL, at any depth of the event's values."""
    del logger, method
    for key, value in event.items():
        if isinstance(value, str | dict | list | tuple | int | float):
            event[key] = masked(value, key)
    return event


def _last(log_format: Format, *, colors: bool) -> list[Processor]:
    """From an event to a line. No formatter shows local variables in a traceback: they may hold secrets."""
    if log_format == "json":
        return [_ordered, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", exception_formatter=plain)]


def _keyword(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """`lambda_=...` becomes the key `lambda`; `logger` is the name of a parameter to structlog, so likewise."""
    del logger, method
    for name, key in (("lambda_", "lambda"), ("logger_", "logger")):
        if name in event:
            event[key] = event.pop(name)
    return event


def _ordered(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The keys that every line has come first, in the same order."""
    del logger, method
    return {**{key: event[key] for key in _FIRST if key in event}, **event}
