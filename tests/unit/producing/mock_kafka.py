"""librdkafka's mock cluster, for a producer that a test makes: errors on request, and what is stored."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import confluent_kafka.cimpl
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from sidecar.config.kafka_properties import Property, lambda_producer_properties

PATIENCE_S = 60.0
PRODUCE = 0
"""The key of Kafka's request."""

_library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
_library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
_library.rd_kafka_handle_mock_cluster.argtypes = (ctypes.c_void_p,)


class MockKafka:
    """A mock cluster of one broker, which lives as long as the producer that makes it."""

    def __init__(self, producer: Producer) -> None:
        self._handle = handle_of(producer)
        self._cluster = ctypes.c_void_p(_library.rd_kafka_handle_mock_cluster(self._handle))
        [broker] = producer.list_topics(timeout=PATIENCE_S).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def properties(self, **others: Property) -> dict[str, Property]:
        """The properties of a lambda's producer for this cluster."""
        made = lambda_producer_properties({"bootstrap.servers": self.address})
        return {**made, "log_level": 0, "enable.metrics.push": False, **others}

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic."""
        assert _library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1) == 0

    def refuse(self, *codes: int) -> None:
        """Answer the next Produce requests of any producer with these errors."""
        errors = (ctypes.c_int * len(codes))(*codes)
        _library.rd_kafka_mock_push_request_errors_array(self._cluster, PRODUCE, ctypes.c_size_t(len(codes)), errors)

    def refuse_no_more(self) -> None:
        """Forget the errors that were not used."""
        _library.rd_kafka_mock_clear_request_errors(self._cluster, PRODUCE)

    def delay(self, milliseconds: int) -> None:
        """Answer every request so much later."""
        _library.rd_kafka_mock_broker_set_rtt(self._cluster, 1, milliseconds)

    def stored(self, topic: str, partition: int, count: int) -> list[Message]:
        """The first ``count`` records of a partition. Raises ``TimeoutError`` when there are fewer."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "x", "log_level": 0})
        found: list[Message] = []
        deadline = time.monotonic() + PATIENCE_S
        try:
            consumer.assign([TopicPartition(topic, partition, 0)])
            while len(found) < count:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(found)} records of {count} in {topic}/{partition}")
                found += [one for one in consumer.consume(count - len(found), 0.2) if one.error() is None]
        finally:
            consumer.close()
        return found


def handle_of(client: Any) -> ctypes.c_void_p:
    """librdkafka's client of a `Producer` or an `Outlet`: each has it after the head of a Python object."""
    return ctypes.c_void_p.from_address(id(client) + 2 * ctypes.sizeof(ctypes.c_void_p))


def fail_for_good(client: Any, code: int) -> None:
    """Raise a fatal error in a `Producer` or an `Outlet`."""
    _library.rd_kafka_test_fatal_error(handle_of(client), code, b"by the test")


def await_members(producer: Producer, milliseconds: int) -> None:
    """How long the mock cluster of this producer waits for further members of a new group; 3 s by default."""
    cluster = ctypes.c_void_p(_library.rd_kafka_handle_mock_cluster(handle_of(producer)))
    _library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, milliseconds)


@contextmanager
def mock_kafka() -> Iterator[MockKafka]:
    """A mock cluster."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0, "enable.metrics.push": False})
    try:
        yield MockKafka(producer)
    finally:
        producer.close()
