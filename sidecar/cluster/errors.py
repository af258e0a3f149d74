"""Errors of Kafka's client. Their codes decide what they mean; their texts are only shown."""

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
"""Errors that say why a broker cannot be reached, with the remedy."""

NOWHERE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
"""There is no such topic, or no such partition in it; librdkafka does not always tell the two apart."""

GONE = NOWHERE | {KafkaError.UNKNOWN_TOPIC_ID}
"""What was there is not any more: the topic was deleted, or made anew with fewer partitions."""

NO_TOPIC = NOWHERE | {KafkaError.TOPIC_EXCEPTION}
"""There is no such topic or partition, or no topic can have this name."""

OF_ONE_PARTITION = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.INVALID_COMMIT_OFFSET_SIZE,
    }
)
"""With these errors the broker refuses the commit of one partition, and may take others of the same request."""

FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)


_FORBIDDEN_TOO = FORBIDDEN | {KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED}


def is_forbidden(error: KafkaError) -> bool:
    """Whether a right is missing, or the credentials are wrong."""
    return error.code() in _FORBIDDEN_TOO


TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})
"""One record, or the batch in which it was sent, is larger than the topic takes."""

UNREADABLE = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError.INVALID_MSG,
        *TOO_LARGE,
    }
)
"""Errors of one record. librdkafka reports them and goes on after the record."""

NORMAL_LIFE = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._NO_OFFSET,  # noqa: SLF001
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001
    }
)
"""Refusals of commits that happen in every rebalance: another member owns the partition, or soon will."""

_LATE = NO_ANSWER | {KafkaError._MSG_TIMED_OUT, KafkaError.REQUEST_TIMED_OUT}  # noqa: SLF001

KINDS = ("no_answer", "no_topic", "forbidden", "rebalance", "too_large", "unreadable", "fatal", "other")
"""The words of `kind_of`, for metrics."""


def kind_of(error: KafkaError) -> str:
    """What the error is about, as one of `KINDS`: its codes are too many for a label of metrics."""
    code = error.code()
    if is_fatal(error):
        return "fatal"
    for kind, codes in (
        ("no_answer", _LATE),
        ("no_topic", NO_TOPIC),
        ("forbidden", _FORBIDDEN_TOO),
        ("rebalance", NORMAL_LIFE),
        ("too_large", TOO_LARGE),
        ("unreadable", UNREADABLE),
    ):
        if code in codes:
            return kind
    return "other"


def is_fatal(error: KafkaError) -> bool:
    """Whether the client has failed for good. `fatal()` may be False although the code is fatal."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001


class Faults:
    """The error with which one client failed for good, wherever it came up first."""

    def __init__(self) -> None:
        self.fatal: KafkaError | None = None

    def note(self, error: KafkaError | None) -> bool:
        """Remember the error if it is fatal. Returns whether it is."""
        if error is None or not is_fatal(error):
            return False
        if self.fatal is None:
            self.fatal = error
        return True


def _noting(call: Callable[P, T]) -> Callable[P, T]:
    """``call``, a method of `WatchedConsumer`, wrapped so that a fatal error that it raises is noted."""

    def noted(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except KafkaException as refusal:
            watched: Any = args[0]
            watched.faults.note(refusal.args[0])
            raise

    return noted


class WatchedConsumer(Consumer):
    """A consumer that notes each fatal error raised by its calls."""

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
