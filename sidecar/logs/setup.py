"""Set up structlog and the standard library's `logging`, and own standard error."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from sidecar.logs.capture import Capture, take_apart
from sidecar.logs.flood import Flood, Kind
from sidecar.logs.sink import SINK
from sidecar.redact import masked
from sidecar.visible import visible, visible_lines

Format = Literal["json", "console"]

FORMATS: tuple[Format, ...] = ("json", "console")
LEVELS = ("debug", "info", "warning", "error", "critical")

STOP_TIMEOUT_S = 2.0
"""When the process ends, writing the last lines may take this long."""

_NAME = "sidecar.logs"
_FIRST = ("ts", "level", "event", "logger")
_SEVERAL_LINES = ("exception", "stack")


class _Lines:
    """structlog calls it with a finished line, by a method with the name of the level."""

    def msg(self, line: str) -> None:
        SINK.write(f"{line}\n")

    debug = info = warning = error = critical = msg


class _NeverRaises(structlog.BoundLoggerBase):
    """A logger that writes a shorter line, instead of raising, when a value cannot be shown."""

    def _process_event(
        self, method_name: str, event: str | None, event_kw: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            args, kw = super()._process_event(method_name, event, event_kw)
        except structlog.DropEvent:
            raise
        except Exception as error:
            return (_poor_line(method_name, str(event), error),), {}
        return tuple(args), dict(kw)


class _Handler(logging.Handler):
    """Makes our lines of the standard library's; a class of its own, so that `configure` finds it again."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless it is part of a flood."""
        if not _FLOOD.passes((record.name, f"{record.levelname.lower()}: {str(record.msg)[:200]}")):
            return
        try:
            line = self.format(record)
        except Exception as error:
            line = _poor_line(record.levelname.lower(), str(record.msg), error)
        SINK.write(f"{line}\n")


def _poor_line(level: str, event: str, error: Exception) -> str:
    why = f"the rest of this line cannot be shown: {type(error).__name__}"
    return json.dumps({"level": level, "event": event, "error": why})


def _tell_flood(kind: Kind, count: int) -> None:
    name, text = kind
    get_logger(name).warning("more lines of this kind were not shown", kind=text, not_shown=count)


_FLOOD = Flood(_tell_flood)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger=name`. Its methods are the levels; their keyword arguments become keys."""
    return cast("FilteringBoundLogger", structlog.get_logger(logger_=name))


def configure(log_format: Format | None = None, level: str = "info") -> None:
    """Set up logging for this process. A second call replaces the first, except for loggers already in use.

    Args:
        log_format: `json` or `console`; None means console on a terminal and json elsewhere.
        level: the lowest level that is written: debug, info, warning, error or critical.

    Raises ``ValueError`` for an unknown format or level.
    """
    if log_format not in (None, *FORMATS):
        raise ValueError(f"unknown log format {log_format!r}: expected {' or '.join(FORMATS)}")
    if level not in LEVELS:
        raise ValueError(f"unknown log level {level!r}: expected one of {', '.join(LEVELS)}")
    terminal = _is_terminal()
    if log_format is None:
        log_format = "console" if terminal else "json"
    number = getattr(logging, level.upper())
    timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")
    # Exceptions become text before secrets are masked: a message may hold a URL with a password.
    exceptions = structlog.processors.format_exc_info
    common: list[Processor] = [structlog.processors.add_log_level, timestamp, _keyword, exceptions, mask_secrets]
    last = _last(log_format, colors=terminal and "NO_COLOR" not in os.environ)
    # For speed, methods of levels below `number` return at once, and each logger is assembled only once.
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *common, *last],
        wrapper_class=type("Logger", (_NeverRaises, structlog.make_filtering_bound_logger(number)), {}),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    foreign: list[Processor] = [structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *common]
    after: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=after))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    _FLOOD.forget()
    rendered: list[Processor] = [*common, *last]
    SINK.notice = lambda count: _notice(rendered, count)
    SINK.tick = _FLOOD.settle


@contextmanager
def own_stderr() -> Iterator[None]:
    """Own standard error: one thread writes our lines, another turns native code's output into lines of ours.

    For the sidecar's own process. Call `configure` first.
    """
    capture = Capture(_captured)
    SINK.start(capture.descriptor)
    capture.start()
    logging.captureWarnings(True)
    threading.excepthook = _thread_died
    sys.unraisablehook = _not_raised
    try:
        yield
    finally:
        threading.excepthook = threading.__excepthook__
        sys.unraisablehook = sys.__unraisablehook__
        capture.stop(STOP_TIMEOUT_S)
        _FLOOD.settle(all_kinds=True)
        SINK.stop(STOP_TIMEOUT_S)


def _captured(line: str) -> None:
    name, level, source, text = take_apart(line)
    if _FLOOD.passes((name, source or re.sub(r"\d+", "#", text)[:80])):
        about = {"source": source} if source else {}
        getattr(get_logger(name), level)(text, **about)


def _thread_died(died: threading.ExceptHookArgs) -> None:
    if died.exc_type is SystemExit:
        return
    name = died.thread.name if died.thread is not None else ""
    get_logger(_NAME).error("a thread died", thread=name, exc_info=died.exc_value)


def _not_raised(failed: sys.UnraisableHookArgs) -> None:
    what = failed.err_msg or "an exception that nobody can take"
    get_logger(_NAME).error(what, where=type(failed.object).__name__, exc_info=failed.exc_value)


def _notice(processors: list[Processor], count: int) -> str:
    """The line that says how many lines were dropped. It is made here because it bypasses the queue."""
    event: Any = {"event": f"{count} log lines were dropped", "logger_": _NAME, "dropped": count}
    for processor in processors:
        event = processor(None, "warning", event)
    return f"{event}\n"


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # stderr is missing or closed
        return False


def mask_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Mask every secret, known by its name or inside a URL, at any depth of the event's values."""
    del logger, method
    for key, value in event.items():
        if isinstance(value, str | dict | list | tuple | int | float):
            event[key] = masked(value, key)
    return event


def _last(log_format: Format, *, colors: bool) -> list[Processor]:
    """The processors that make a line of an event. Tracebacks have no local variables: they may hold secrets."""
    if log_format == "json":
        return [_ordered, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [_visible, structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", exception_formatter=plain)]


def _visible(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape all texts for a terminal, so that none moves the cursor or looks like another line."""
    del logger, method
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = visible_lines(value, "    ") if key in _SEVERAL_LINES else visible(value)
        elif not isinstance(value, int | float | None):
            event[key] = visible(repr(value))
    return event


def _keyword(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Rename `lambda_` to `lambda`, a keyword of Python, and `logger_` to `logger`, a parameter in structlog."""
    del logger, method
    for name, key in (("lambda_", "lambda"), ("logger_", "logger")):
        if name in event:
            event[key] = event.pop(name)
    return event


def _ordered(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put the keys that every line has first, in a fixed order."""
    del logger, method
    return {**{key: event[key] for key in _FIRST if key in event}, **event}
