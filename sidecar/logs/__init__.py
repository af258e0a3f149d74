"""Logs: one event a line on stderr, as JSON for machines or as text for people.

Every line has `ts` (UTC, ISO 8601), `level`, `event` and `logger`. Conventional keys, so that logs can be searched:

| key | meaning |
| --- | --- |
| `lambda` | name of the lambda; in Python write `lambda_=name`, because `lambda` is a keyword |
| `topic`, `partition` | Kafka's |
| `lease` | the lease of the assignment to a stream |
| `offset` | of the record that the event is about |

Make loggers at module level with `get_logger(__name__)`; `configure` sets them up, and values can be bound to them
only after that. Lines of the standard library's `logging` go the same way. A value whose name means a secret is shown
as `****`, and so is a password in a URL.

Logging never raises and never waits: `sidecar.logs.sink` writes the lines. A terminal gets no control characters. A
flood of lines from libraries is counted, not printed.
"""

from sidecar.logs.setup import FORMATS, LEVELS, Format, configure, get_logger, own_stderr

__all__ = ["get_logger", "configure", "own_stderr", "Format", "FORMATS", "LEVELS"]
