"""Whether Kafka is there: what is said about it, once, and in which words.

Owned by the consumer thread.
"""

from collections.abc import Callable

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from sidecar.kafka.problems import Problems

KIND = "connection"
"""Of the problem that Kafka cannot be reached."""

_AWAY = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the binding names librdkafka's codes with an underscore
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._SSL,  # noqa: SLF001
    }
)
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.TOPIC_EXCEPTION,
    }
)


class Connection:
    """Is Kafka there?"""

    def __init__(self, problems: Problems, log: FilteringBoundLogger, look: Callable[[], None]) -> None:
        """``look`` asks for a look at the topics, whose answer is heard by ``reached`` or ``away``."""
        self._problems = problems
        self._log = log
        self._look = look
        self._problems.begin(KIND, "not connected to Kafka yet", level="debug")

    @property
    def connected(self) -> bool:
        """Whether Kafka can be reached, as far as is known."""
        return KIND not in self._problems

    def reached(self) -> None:
        """A broker has answered."""
        self._problems.end(KIND, "connected to Kafka")

    def complain(self, error: KafkaError, topic: str | None) -> None:
        """librdkafka reports an error that is not about one record."""
        if error.code() in _AWAY:
            if error.code() != KafkaError._TRANSPORT or not self.connected:  # noqa: SLF001 - one broker of many
                self.away(error)
        elif error.code() in _NO_TOPIC:
            # Looked at before anything is said: librdkafka also complains of what is just being made.
            self._look()
        else:
            self._log.warning("Kafka client", error=error.str(), code=error.name(), topic=topic)

    def away(self, error: KafkaError) -> None:
        """No broker answers."""
        text = error.str()
        event = "Kafka cannot be reached; trying on"
        self._problems.begin(KIND, f"Kafka cannot be reached: {text}", meaning="away", event=event, error=text)


class ClientLog:
    """Where librdkafka writes its own log: at level debug.

    What matters of it comes as errors too, and is said above in better words; at their own levels its lines repeat
    with every retry.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def log(self, _level: int, message: str, *args: object) -> None:
        """Called by the binding, inside poll."""
        self._log.debug(message % args)
