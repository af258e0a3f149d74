"""Errors of Kafka's client: what they mean is decided by their codes, here; their texts are only shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition

P = ParamSpec("P")
T = TypeVar("T")

NO_ANSWER = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the binding names librdkafka's codes with an underscore
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._SSL,  # noqa: SLF001
    }
)
"""A broker cannot be reached, or all of them."""

REASONS = {
    KafkaError._AUTHENTICATION: "look at sasl.mechanism, sasl.username, sasl.password and security.protocol",  # noqa: SLF001
    KafkaError._SSL: "look at security.protocol, ssl.ca.location and the other ssl properties",  # noqa: SLF001
    KafkaError._RESOLVE: "look at bootstrap.servers, and at advertised.listeners of the broker",  # noqa: SLF001
}
"""Those that say why a broker cannot be reached, and what helps."""

NOWHERE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
"""There is no such topic or, which librdkafka does not always tell apart, no such partition in it."""

NO_TOPIC = NOWHERE | {KafkaError.TOPIC_EXCEPTION}
"""The same, or a name that no topic can have."""

OF_ONE_PARTITION = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.INVALID_COMMIT_OFFSET_SIZE,
    }
)
"""With these the broker refuses to commit one partition and takes others of the same request."""

FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)


def is_fatal(error: KafkaError) -> bool:
    """Whether the client that says so will do nothing more. The code says it too: `fatal()` may be False with it."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001


class Faults:
    """The error by which one client failed for good, wherever it was met first."""

    def __init__(self) -> None:
        self.fatal: KafkaError | None = None

    def note(self, error: KafkaError | None) -> bool:
        """Remember the error, if it is fatal. Returns whether it is."""
        if error is None or not is_fatal(error):
            return False
        if self.fatal is None:
            self.fatal = error
        return True


def _noting(call: Callable[P, T]) -> Callable[P, T]:
    """``call``, a method of `WatchedConsumer`, such that a fatal error in its refusal is noted."""

    def noted(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except KafkaException as refusal:
            watched: Any = args[0]
            watched.faults.note(refusal.args[0])
            raise

    return noted


class WatchedConsumer(Consumer):
    """A consumer of which no refused call hides that it failed for good."""

    def __init__(self, properties: dict[str, Any], faults: Faults, logger: object) -> None:
        super().__init__(properties, logger=logger)
        self.faults = faults

    subscribe = _noting(Consumer.subscribe)
    unsubscribe = _noting(Consumer.unsubscribe)
    assign = _noting(Consumer.assign)
    unassign = _noting(Consumer.unassign)
    incremental_assign = _noting(Consumer.incremental_assign)
    incremental_unassign = _noting(Consumer.incremental_unassign)
    pause = _noting(Consumer.pause)
    resume = _noting(Consumer.resume)
    seek = _noting(Consumer.seek)
    commit: Callable[..., Any] = _noting(Consumer.commit)
    committed: Callable[..., list[KafkaPartition]] = _noting(Consumer.committed)
    position = _noting(Consumer.position)
    offsets_for_times = _noting(Consumer.offsets_for_times)
    consumer_group_metadata: Callable[..., object] = _noting(Consumer.consumer_group_metadata)
