"""The log of a Kafka client."""

from structlog.typing import FilteringBoundLogger


class ClientLog:
    """Writes librdkafka's log lines at level debug.

    librdkafka repeats its lines with every retry. Important errors also come as error events, which the sidecar
    reports in its own words.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self.failure = ""
        """The text of the last log line about a failed connection; empty: there was none."""

    def log(self, _level: int, message: str, *args: object) -> None:
        """Called by the binding, inside poll. ``args``: the kind of the line, the client's name, the text."""
        self._log.debug(message % args)
        if len(args) == 3 and args[0] == "FAIL":
            self.failure = str(args[2])
