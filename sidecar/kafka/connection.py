"""Whether Kafka is there, and whether the topics are: what is said about it, once, and in which words.

Owned by the consumer thread.
"""

from collections.abc import Iterable
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException
from structlog.typing import FilteringBoundLogger

from sidecar.kafka.problems import Problems

KIND = "connection"
"""Of the problem that Kafka cannot be reached."""

FIRST_TIMEOUT = 1.0
"""Seconds that one question for metadata may take while the broker is away: letters wait as long."""

LOOK_FOR_TOPICS = 1.0
"""Seconds between questions for a topic that is missing."""

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
    """Is Kafka there? Are the topics?"""

    def __init__(
        self, consumer: Consumer, topics: Iterable[str], problems: Problems, log: FilteringBoundLogger
    ) -> None:
        self._consumer = consumer
        self._topics = [*topics]
        self._problems = problems
        self._log = log
        self._missing: set[str] = set()
        self._ask_at = 0.0
        self._look = False
        self._problems.begin(KIND, "not connected to Kafka yet", level="debug")

    @property
    def connected(self) -> bool:
        """Whether Kafka can be reached, as far as is known."""
        return KIND not in self._problems

    def work(self) -> None:
        """Ask, while something is missing. Called each turn; costs nothing when all is well."""
        if self.connected and not (self._missing or self._look):
            return
        if monotonic() < self._ask_at:
            return
        try:
            # Asking by name also makes librdkafka look at the topic again, minutes before its own next refresh.
            found = [self._consumer.list_topics(topic, timeout=FIRST_TIMEOUT) for topic in self._topics]
        except KafkaException as error:
            self._ask_at = monotonic() + LOOK_FOR_TOPICS
            self._away(error.args[0])
            return
        self._ask_at = monotonic() + LOOK_FOR_TOPICS
        self._look = False
        self._problems.end(KIND, "connected to Kafka")
        missing = {
            name
            for metadata in found
            for name, topic in metadata.topics.items()
            if topic.error is not None and name in self._topics
        }
        for topic in sorted(missing - self._missing):
            self._log.warning("the topic does not exist; it is picked up when it appears", topic=topic)
        for topic in sorted(self._missing - missing):
            self._log.info("the topic is there now", topic=topic)
        self._missing = missing
        if missing:
            text = f"missing topics: {', '.join(sorted(missing))}"
            self._problems.begin("topics", text, blocks=False, level="debug")
        else:
            self._problems.end("topics", level="debug")

    def complain(self, error: KafkaError, topic: str | None) -> None:
        """librdkafka reports an error that is not about one record."""
        if error.code() in _AWAY:
            if error.code() != KafkaError._TRANSPORT or not self.connected:  # noqa: SLF001 - one broker of many
                self._away(error)
        elif error.code() in _NO_TOPIC:
            # Asked once more before anything is said: librdkafka also complains of what is just being made.
            self._ask_at = 0.0
            self._look = True
        else:
            self._log.warning("Kafka client", error=error.str(), code=error.name(), topic=topic)

    def _away(self, error: KafkaError) -> None:
        text = error.str()
        event = "Kafka cannot be reached; trying on"
        self._problems.begin(KIND, f"Kafka cannot be reached: {text}", meaning="away", event=event, error=text)
        self._ask_at = max(self._ask_at, monotonic() + LOOK_FOR_TOPICS / 4)


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
