"""What is fatal, by whatever way it is met."""

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sidecar.cluster import errors as client_errors
from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import KINDS, Faults, WatchedConsumer, is_fatal, kind_of
from sidecar.logs import get_logger

FATAL = KafkaError(KafkaError._FATAL, "fenced")


def test_a_fatal_code_counts_without_the_fatal_flag() -> None:
    assert not FATAL.fatal()
    assert is_fatal(FATAL)
    assert is_fatal(KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced", fatal=True))
    assert not is_fatal(KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced"))


def test_the_first_fatal_error_is_kept() -> None:
    faults = Faults()
    assert not faults.note(None)
    assert not faults.note(KafkaError(KafkaError._TRANSPORT, "away"))
    assert faults.fatal is None
    assert faults.note(FATAL)
    assert faults.note(KafkaError(KafkaError._FATAL, "later"))
    assert faults.fatal is FATAL


def watched() -> WatchedConsumer:
    return WatchedConsumer({"group.id": "none", "log_level": 0}, Faults(), ClientLog(get_logger("test")))


def test_a_refusal_of_a_real_client_is_passed_on_and_noted_only_if_it_is_fatal() -> None:
    consumer = watched()
    try:
        with pytest.raises(KafkaException):
            consumer.seek(TopicPartition("t", 0, 5))
        assert consumer.faults.fatal is None
        assert consumer.position([TopicPartition("t", 0)])[0].offset < 0
    finally:
        consumer.close()


@pytest.mark.parametrize(
    "name",
    [
        *("subscribe", "unsubscribe", "assign", "unassign", "incremental_assign", "incremental_unassign"),
        *("pause", "resume", "seek", "commit", "committed", "position", "offsets_for_times"),
        "consumer_group_metadata",
    ],
)
def test_every_call_that_can_be_refused_notes_it(name: str) -> None:
    assert getattr(WatchedConsumer, name) is not getattr(Consumer, name)
    consumer = watched()

    def refuse(_: object) -> None:
        raise KafkaException(FATAL)

    try:
        with pytest.raises(KafkaException):
            client_errors._noting(refuse)(consumer)
        assert consumer.faults.fatal is FATAL
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._MSG_TIMED_OUT, "no_answer"),
        (KafkaError._ALL_BROKERS_DOWN, "no_answer"),
        (KafkaError._UNKNOWN_PARTITION, "no_topic"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "forbidden"),
        (KafkaError.STALE_MEMBER_EPOCH, "rebalance"),
        (KafkaError.MSG_SIZE_TOO_LARGE, "too_large"),
        (KafkaError._BAD_COMPRESSION, "unreadable"),
        (KafkaError._FATAL, "fatal"),
        (KafkaError.NOT_ENOUGH_REPLICAS, "other"),
    ],
)
def test_the_kind_of_an_error_is_one_of_few_words(code: int, kind: str) -> None:
    assert kind_of(KafkaError(code)) == kind
    assert kind in KINDS
