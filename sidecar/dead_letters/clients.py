"""The Kafka clients of an operator's command: their properties, and what they say when Kafka refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError

from sidecar.cluster.errors import NO_ANSWER, NO_TOPIC, REASONS
from sidecar.config import Config
from sidecar.config.kafka_properties import (
    Property,
    admin_properties,
    embedded_port,
    is_embedded,
    producer_properties,
)

Properties = dict[str, Property]

ANSWER_TIMEOUT_S = 30.0
"""Seconds that Kafka may take for an answer."""

_GROUP = "kafka-sidecar-dead-letters"
"""Kafka's client asks for the name of a group. No offset is committed for it, and nobody joins it."""

TANSU = "tansu_cluster"
"""The id of the embedded broker's cluster: a config may name its address instead of `embedded`."""

_TRANSACTION_MS = 30_000
"""A transaction of a replay that was killed ends after this time; until then it hides later records from those who
read committed ones. The next replay ends it at once."""


class DeadLettersError(Exception):
    """A command cannot do what it should; the text says what, why, and what helps."""


class Cluster:
    """The Kafka cluster of a config, as a command on an operator's machine, or the sidecar's page, reaches it."""

    def __init__(self, config: Config, embedded_at: str | None = None) -> None:
        """``embedded_at``: where the embedded broker listens, if the caller has started it. Raises
        ``DeadLettersError`` when only the sidecar itself knows that."""
        self._kafka: Mapping[str, str] = config.kafka
        servers = config.kafka["bootstrap.servers"]
        self.embedded = is_embedded(servers)
        """Whether it is the embedded broker, which has no transactions and cannot delete records."""
        self._bootstrap = embedded_at
        if self.embedded and embedded_at is None:
            port = embedded_port(servers)
            if port is None:
                raise DeadLettersError(
                    "the embedded broker listens on a port that only its sidecar knows; choose one, as in "
                    "bootstrap.servers: embedded:9092, and start the sidecar again"
                )
            self._bootstrap = f"127.0.0.1:{port}"
        self.servers = self._bootstrap or servers

    def reader(self) -> Properties:
        """The properties of a consumer that reads a topic once, and joins no group."""
        return {
            **self.admin(),
            "group.id": _GROUP,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            # The oldest letters may expire while they are read.
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            # The broker answers at once at the end of a topic, and librdkafka does not wait when its queue is full.
            "fetch.wait.max.ms": 10,
            "fetch.queue.backoff.ms": 2,
            "queued.max.messages.kbytes": 32_768,
        }

    def admin(self) -> Properties:
        """The properties of an admin client."""
        return admin_properties(self._kafka, self._bootstrap)

    def producer(self, transactional_id: str | None, *, singly: bool) -> Properties:
        """The properties of a replay's producer.

        Args:
            transactional_id: None: without transactions.
            singly: send each record as a batch of its own, which is twenty times slower.
        """
        made = producer_properties(self._kafka, self._bootstrap) | {"partitioner": "murmur2_random"}
        if singly:
            made["batch.num.messages"] = 1
        if transactional_id is None:
            return made
        # No record may still be under way when its transaction has timed out.
        limits = {"transaction.timeout.ms": _TRANSACTION_MS, "message.timeout.ms": _TRANSACTION_MS}
        return made | {"transactional.id": transactional_id} | limits


class ClientErrors:
    """Collects why a client cannot reach Kafka: its calls themselves only say that they timed out.

    It is the client's `logger`, and ``note`` its `error_cb`. Both are called inside of the client's calls.
    """

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._reason: KafkaError | None = None
        self._line = ""

    def log(self, _level: int, _message: str, *args: object) -> None:
        """Called by the binding. ``args``: the kind of the line, the client's name, the text."""
        if len(args) == 3 and args[0] == "FAIL":
            self._line = str(args[2])

    def note(self, error: KafkaError) -> None:
        """Called by the binding with an error of the client as a whole."""
        if error.code() in REASONS:
            self._reason = error

    @property
    def has_reason(self) -> bool:
        """Whether it is known why Kafka cannot be reached: trying again does not help then."""
        return self._reason is not None

    def explained(self, error: KafkaError, doing: str, remedy: str = "") -> DeadLettersError:
        """The error of a call that was ``doing`` something; ``remedy`` is for errors that are not about reaching
        Kafka."""
        cause = self._reason if self._reason is not None and error.code() in NO_ANSWER else error
        if cause.code() in NO_ANSWER:
            seen = f": {self._line}" if self._line else ""
            hint = REASONS.get(cause.code(), "does it run there? bootstrap.servers in the config file says where")
            return DeadLettersError(
                f"{doing}: Kafka at {self._servers} does not answer ({cause.str()}{seen}); {hint}"
            )
        if cause.code() in NO_TOPIC:
            return DeadLettersError(f"{doing}: {cause.str()}; was the topic deleted?")
        return DeadLettersError(f"{doing}: {cause.str()}" + (f"; {remedy}" if remedy else ""))


def quiet(properties: Mapping[str, Property], errors: ClientErrors) -> dict[str, Any]:
    """The properties of a client whose errors go to ``errors`` and not to the terminal."""
    return {**properties, "error_cb": errors.note}
