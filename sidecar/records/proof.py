"""Whether records arrive by the native extension, tried with a broker inside this process.

That librdkafka takes the extension as a plugin says little: what the extension relies on beside is how a consumer's
queues behave, which librdkafka does not promise. So records go all the way once, in each process, before the first
lambda's do: through librdkafka's own mock cluster, the client, and the `RowSource` that lambdas have. Some 20 ms.
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

PATIENCE = 5.0
"""Seconds that all of it may take."""

_TP = TopicPartition("proof", 0)
_SILENT: dict[str, Property] = {"log_level": 0, "enable.metrics.push": False}
"""Of this broker and its clients nobody is to hear."""

_PRODUCER: dict[str, Property] = {
    **_SILENT,
    "test.mock.num.brokers": 1,
    "linger.ms": 0,
    "message.timeout.ms": round(PATIENCE * 1000),  # closing it waits for what it has
}

_RECORDS = (
    Record(0, b"value", b"key", [(b"name", b"text"), (b"name", b""), (b"null", None)], TIMESTAMP_CREATE_TIME, 1),
    Record(1, None, None, [], TIMESTAMP_CREATE_TIME, 2),
    Record(2, b"", b"", [], TIMESTAMP_CREATE_TIME, 3),
)
"""What a record may have and may lack. The last comes after the partition was stopped and led again."""


class UnprovenError(Exception):
    """The records did not arrive as they should; the text says what happened."""


def prove(native: ModuleType, patience: float = PATIENCE) -> None:
    """Read a few records by the extension, within ``patience`` seconds.

    Raises:
        UnprovenError: they did not arrive, or not as they were written.
        KafkaException: Kafka's client does not take the extension.
        RuntimeError: the extension does not get its client.
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
    """A lambda's way to its records, and no lambda."""

    def __init__(self, consumer: Consumer, source: Any, left: Callable[[], float]) -> None:
        self._consumer = consumer
        self._left = left
        self._runs: list[Run] = []
        self._wrong: list[str] = []
        self.source = RowSource(consumer, source, Mailbox(), self._arrived, self._misrouted)

    def begin(self, offset: int) -> None:
        """As with an assignment."""
        self.source.lead([_TP])
        self._consumer.incremental_assign([KafkaPartition(*_TP, offset)])

    def begin_again(self, offset: int) -> None:
        """As after a seek."""
        self._consumer.incremental_unassign([KafkaPartition(*_TP)])
        self.source.lead_again([_TP], [])
        self._consumer.incremental_assign([KafkaPartition(*_TP, offset)])

    def expect(self, records: tuple[Record, ...]) -> None:
        """These come, and nothing else."""
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
    """A broker, which is there for as long as its producer, and its address."""
    producer = Producer({**_PRODUCER})
    try:
        [broker] = producer.list_topics(_TP.topic, timeout=PATIENCE).brokers.values()
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
    """Tells the seconds that are left from now on; raises ``UnprovenError`` when there are none."""
    deadline = monotonic() + patience

    def left() -> float:
        seconds = deadline - monotonic()
        if seconds <= 0:
            raise UnprovenError(f"a record that was written had not arrived after {patience:g} s")
        return seconds

    return left
