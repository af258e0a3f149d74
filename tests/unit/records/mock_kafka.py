"""librdkafka's own mock cluster: a broker inside this process, for what needs records as the client gives them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition as KafkaPartition

from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records import _native
from sidecar.records.rows import RowRecords

PATIENCE = 60.0
"""Seconds until a record that was produced must have been read; it takes a millisecond."""


class Log:
    """One partition, and the two ways to read it: as the binding's messages, and as rows."""

    def __init__(self, most: int = 1_000) -> None:
        """``most``: records of one read."""
        self.producer = Producer({"test.mock.num.brokers": 1, "linger.ms": 0})
        [broker] = self.producer.list_topics("t", timeout=PATIENCE).brokers.values()
        self.address = f"{broker.host}:{broker.port}"
        common: dict[str, Any] = {
            "bootstrap.servers": self.address,
            "group.id": "g",
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 1,
        }
        self.plain = Consumer(common)
        self.consumer = Consumer(common | {"plugin.library.paths": _native.__file__})
        self.source = _native.Source(most)
        self.tp = TopicPartition("t", 0)
        [rows] = self.source.lead(self.tp)
        self.rows = RowRecords(rows)
        self.plain.assign([KafkaPartition("t", 0, 0)])
        self.consumer.assign([KafkaPartition("t", 0, 0)])
        self.end = 0

    def produce(self, **record: Any) -> None:
        """Append one record."""
        self.producer.produce("t", partition=0, **record)
        self.end += 1

    def read(self, count: int) -> list[tuple[tuple[str, int], int, int]]:
        """Until so many more rows are there. Returns what each read said of it."""
        self.producer.flush()
        wanted, said = len(self.rows) + count, []
        while len(self.rows) < wanted:
            assert self.consumer.poll(0) is None, "everything but records comes this way, and there is nothing else"
            runs, failures, strays = self.source.read()
            assert failures == []
            assert strays == []
            said += runs
            if not runs:
                self.source.wait(PATIENCE)
        return said

    def close(self) -> None:
        self.source.close()
        self.consumer.close()
        self.plain.close()


@contextmanager
def log(most: int = 1_000) -> Iterator[Log]:
    """An empty log, of which a read takes ``most`` records."""
    made = Log(most)
    try:
        yield made
    finally:
        made.close()
