"""What a dead letter says of its failure, and what its producer is made with."""

from datetime import UTC, datetime
from time import monotonic

import pytest
from confluent_kafka import Producer

from sidecar.kafka.dead_letters import added_headers
from sidecar.kafka.properties import producer_properties
from sidecar.partitions.vocabulary import DeadLetter, ErrorAction, Failure, TopicPartition

P7 = TopicPartition("orders", 7)
FAILURE = Failure(ErrorAction.CRITICAL, 42, "bad", "größer", "ValueError", "line 1\nline 2", "1.2.3")


def headers(letter: DeadLetter, now: float) -> dict[str, str]:
    pairs = added_headers(P7, 42, letter, "deli", "deli-group", now)
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: value.decode() for name, value in pairs}


def test_the_headers_say_what_failed_where_and_for_whom() -> None:
    assert (
        headers(DeadLetter(FAILURE, 3, 10.0, 20.0), 30.0).items()
        >= {
            "__connect.errors.topic": "orders",
            "__connect.errors.partition": "7",
            "__connect.errors.offset": "42",
            "__connect.errors.exception.class.name": "ValueError",
            "__connect.errors.exception.message": "größer",
            "__connect.errors.exception.stacktrace": "line 1\nline 2",
            "__kafka_sidecar.errors.code": "bad",
            "__kafka_sidecar.errors.attempts": "3",
            "__kafka_sidecar.errors.lambda": "deli",
            "__kafka_sidecar.errors.lambda.version": "1.2.3",
            "__kafka_sidecar.errors.group": "deli-group",
        }.items()
    )


def test_the_times_are_of_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.kafka.dead_letters.time", lambda: 1_700_000_030.25)
    found = headers(DeadLetter(FAILURE, 1, 10.0, 20.0), 30.0)
    assert found["__kafka_sidecar.errors.first.failure"] == "2023-11-14T22:13:30.250Z"
    assert found["__kafka_sidecar.errors.last.failure"] == "2023-11-14T22:13:40.250Z"


def test_what_was_not_told_is_empty_and_not_missing() -> None:
    began, now = datetime.now(UTC), monotonic()
    found = headers(DeadLetter(Failure(ErrorAction.CRITICAL), 1, now, now), now)
    assert found["__connect.errors.exception.message"] == ""
    assert found["__kafka_sidecar.errors.lambda.version"] == ""
    assert found["__kafka_sidecar.errors.last.failure"][:4] >= str(began.year)


# --- its producer -----------------------------------------------------------------------------------------------

SHARED = {
    "bootstrap.servers": "kafka:9092",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "me",
    "sasl.password": "secret",
    "socket.keepalive.enable": "true",
    "client.id": "mine",
    "metadata.max.age.ms": "1000",
}
CONSUMERS = {
    "group.protocol": "consumer",
    "session.timeout.ms": "6000",
    "fetch.min.bytes": "1",
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "range",
    "max.poll.interval.ms": "60000",
    "group.instance.id": "one",
    "topic.blacklist": "x",
}


def test_only_what_consumers_and_producers_share_goes_to_the_producer() -> None:
    made = producer_properties({**SHARED, **CONSUMERS})
    assert made.items() >= SHARED.items()
    assert not made.keys() & CONSUMERS.keys()
    assert made["enable.idempotence"] is True


def test_the_embedded_brokers_address_takes_the_place_of_its_name() -> None:
    made = producer_properties({"bootstrap.servers": "embedded"}, "127.0.0.1:1234")
    assert made["bootstrap.servers"] == "127.0.0.1:1234"
    assert made["client.id"] == "kafka-sidecar"


def test_librdkafka_takes_them() -> None:
    # Log level 0: that nobody listens there is no news.
    made = producer_properties({"bootstrap.servers": "127.0.0.1:1", "log_level": "0", **CONSUMERS})
    assert isinstance(Producer(made), Producer)  # a name that is not a producer's would raise
