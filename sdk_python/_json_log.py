"""Log lines as JSON: an object for each, with the keys of the sidecar's own log."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

from ._errors import message_of

_EXTRAS: Final = ("lambda", "topic", "partition", "lease", "offset")


class JsonFormatter(logging.Formatter):
    """Writes ``ts``, ``level``, ``event``, ``logger``; and ``lambda``, ``topic``, ... where the record has them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, whatever the record holds. Raises what a text that does not fit its arguments raises."""
        plain = getattr(record, "plain", None)  # the text without the prefix of `PartitionLogger`
        event = record.getMessage()
        if plain is not None:
            event = str(plain) % record.args if record.args else str(plain)
        extras = {name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)}
        line: dict[str, object] = {
            "ts": _time(record.created),
            "level": record.levelname.lower(),
            "event": event,
            "logger": record.name,
            **extras,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=_shown)


def last_words(text: str) -> str:
    """Return the line for a text that is no log record, such as how the process ends."""
    now = datetime.now(UTC).timestamp()
    return json.dumps({"ts": _time(now), "level": "error", "event": text, "logger": "kafka_sidecar.sdk"})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _shown(value: object) -> str:
    """Return a text for a value that JSON does not know: extras are the author's."""
    return message_of(value) if isinstance(value, BaseException) else repr(value)
