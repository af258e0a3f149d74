"""Proves that the native extension reads records, with a mock broker inside this process.

librdkafka may take the extension as a plugin, and records may still not arrive: the extension relies on how the
queues of a consumer behave, which librdkafka does not promise. So each process reads some records before the first
lambda does: from librdkafka's own mock cluster, with a real client and the `RowSource` of lambdas. It takes some 20
ms.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import ModuleType
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, Producer, TopicPartition as KafkaPartition

from sidecar.config.kafka_properties import Property
from sidecar.mail.boxes import Mailbox
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.records import Record, Run
from sidecar.records.source import RowSource, with_plugin

TIMEOUT_S = 5.0
"""Longest duration of the whole proof."""

_TP = TopicPartition("proof", 0)
_SILENT: dict[str, Property] = {"log_level": 0, "enable.metrics.push": False}
"""Properties that keep the mock broker and its clients from logging."""

_PRODUCER: dict[str, Property] = {
    **_SILENT,
    "test.mock.num.brokers": 1,
    "linger.ms": 0,
    "message.timeout.ms": round(TIMEOUT_S * 1000),  # `close` waits for its records
}

_RECORDS = (
    Record(0, b"value", b"key", [(b"name", b"text"), (b"name", b""), (b"null", None)], TIMESTAMP_CREATE_TIME, 1),
    Record(1, None, None, [], TIMESTAMP_CREATE_TIME, 2),
    Record(2, b"", b"", [], TIMESTAMP_CREATE_TIME, 3),
)
"""Records with and without each part. The last one is written after the partition was assigned again."""


class UnprovenError(Exception):
    """The records did not arrive, or not unchanged; the text says what happened."""


def prove(native: ModuleType, patience: float = TIMEOUT_S) -> None:
    """Read a few records with the extension, within ``patience`` seconds.

    Raises ``UnprovenError`` when they do not arrive as they were written, ``KafkaException`` when Kafka's client does
    not take the extension, and ``RuntimeError`` when the extension does not get its client.
    """
    with _broker() as (producer, address), _reader(native, address, _countdown(patience)) as reader:
        reader.begin(0)
        for record in _RECORDS[:-1]:
            _write(producer, record)
        reader.expect(_RECORDS[:-1])
        reader.begin_again(_RECORDS[-1].offset)
        _write(producer, _RECORDS[-1])
        reader.expect(_RECORDS[-1:])


class _Reader:
    """Reads records as the consumer thread of a lambda does."""

    def __init__(self, consumer: Consumer, source: Any, left: Callable[[], float]) -> None:
        self._consumer = consumer
        self._left = left
        self._runs: list[Run] = []
        self._wrong: list[str] = []
        self.source = RowSource(consumer, source, Mailbox(), self._arrived, self._misrouted)

    def begin(self, offset: int) -> None:
        """Read from ``offset`` on, as after an assignment."""
        self.source.lead([_TP])
        self._consumer.incremental_assign([KafkaPartition(*_TP, offset)])

    def begin_again(self, offset: int) -> None:
        """Read from ``offset`` on, as after a seek."""
        self._consumer.incremental_unassign([KafkaPartition(*_TP)])
        self._consumer.pause([KafkaPartition(*_TP)])  # it returns after the partition was stopped: see `Positions`
        self.source.lead([_TP])
        self._consumer.resume([KafkaPartition(*_TP)])
        self._consumer.incremental_assign([KafkaPartition(*_TP, offset)])

    def expect(self, records: tuple[Record, ...]) -> None:
        """Wait for exactly these records. Raises ``UnprovenError`` when others come, or none."""
        for expected in records:
            while not self._runs or not len(self._runs[-1].records):
                self.source.wait(self._left())
                if self._wrong:
                    raise UnprovenError(self._wrong[0])
            waiting = self._runs[-1].records
            if (found := waiting.first()) != expected:
                raise UnprovenError(f"a record arrived as {found} that was written as {expected}")
            waiting.drop(1)

    def _arrived(self, runs: Any, failures: Any) -> None:
        self._runs += runs
        self._wrong += [f"a record could not be read: {failure.error.str()}" for failure in failures]

    def _misrouted(self, tp: TopicPartition, offset: int) -> None:
        self._wrong.append(f"the record at {tp.topic}/{tp.partition}, offset {offset}, came by the binding's queue")


@contextmanager
def _broker() -> Iterator[tuple[Producer, str]]:
    """A mock broker's producer and address; the broker lives as long as the producer."""
    producer = Producer({**_PRODUCER})
    try:
        [broker] = producer.list_topics(_TP.topic, timeout=TIMEOUT_S).brokers.values()
        yield producer, f"{broker.host}:{broker.port}"
    finally:
        producer.close()


@contextmanager
def _reader(native: ModuleType, address: str, left: Callable[[], float]) -> Iterator[_Reader]:
    properties: dict[str, Property] = {
        **_SILENT,
        "bootstrap.servers": address,
        "group.id": "proof",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 10,
    }
    consumer = Consumer(with_plugin(properties, native))
    try:
        reader = _Reader(consumer, native.Source(len(_RECORDS)), left)
        try:
            yield reader
        finally:
            reader.source.close()
    finally:
        consumer.close()


def _write(producer: Producer, record: Record) -> None:
    producer.produce(
        _TP.topic,
        partition=_TP.partition,
        value=record.value,
        key=record.key,
        headers=[(name.decode(), value) for name, value in record.headers],
        timestamp=record.timestamp,
    )


def _countdown(patience: float) -> Callable[[], float]:
    """A function that returns the seconds that are left. It raises ``UnprovenError`` when there are none."""
    deadline = monotonic() + patience

    def left() -> float:
        seconds = deadline - monotonic()
        if seconds <= 0:
            raise UnprovenError(f"a record that was written had not arrived after {patience:g} s")
        return seconds

    return left
