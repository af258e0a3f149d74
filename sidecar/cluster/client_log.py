"""Where a client of Kafka writes its own log."""

from structlog.typing import FilteringBoundLogger


class ClientLog:
    """Where librdkafka writes its own log: at level debug.

    What matters of it comes as errors too, and is said above in better words; at their own levels its lines repeat
    with every retry.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self.failure = ""
        """The last failure of a connection that it wrote of."""

    def log(self, _level: int, message: str, *args: object) -> None:
        """Called by the binding, inside poll: with the kind of the line, who writes, and what."""
        self._log.debug(message % args)
        if len(args) == 3 and args[0] == "FAIL":
            self.failure = str(args[2])
