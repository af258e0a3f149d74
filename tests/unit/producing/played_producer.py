"""A producer in the place of librdkafka's, which a test plays."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException


def kafka_error(code: int, text: str = "why") -> KafkaError:
    return KafkaError(code, text)


class Kafka:
    """In the place of librdkafka's producer: keeps records until the test tells what became of them."""

    made: list[Kafka] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, properties: dict[str, Any], **_: object) -> None:
        self.made.append(self)
        self.properties = properties
        self.records: list[dict[str, Any]] = []
        self.refusals: dict[bytes, Exception] = {}
        self.fatal: KafkaError | None = None
        self.purged = False
        self.polls = 0
        self.flushed_in: list[float] = []
        self.threads: set[str] = set()
        self._reports: deque[Callable[[], None]] = deque()
        self._rings = threading.Event()
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, Callable[..., None]]] = []

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        callback: Callable[..., None],
        on_delivery: None = None,
        timestamp: int = 0,
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """With the names and in the order of the binding's."""
        assert (on_delivery, timestamp) == (None, 0)
        if refusal := self.refusals.get(value or b""):
            raise refusal
        record = {"topic": topic, "value": value, "key": key, "partition": partition, "headers": headers}
        with self._lock:
            self._waiting.append((len(self.records), callback))
            self.records.append(record)

    def __len__(self) -> int:
        """As librdkafka counts: a record until its report was served."""
        with self._lock:  # never between the two, where a record that is just told of would be in neither
            return len(self._waiting) + len(self._reports)

    def poll(self, timeout: float) -> int:
        self.polls += 1
        self.threads.add(threading.current_thread().name)
        self._rings.wait(timeout)
        self._rings.clear()
        if self.fatal is not None:
            fatal, self.fatal = self.fatal, None
            raise KafkaException(fatal)
        served = 0
        while self._reports:
            self._reports[0]()  # while it is served, it counts
            self._reports.popleft()
            served += 1
        return served

    def flush(self, timeout: float) -> int:
        self.flushed_in.append(timeout)
        self.poll(0)
        return len(self)

    def purge(self) -> None:
        self.purged = True
        self.tell(kafka_error(KafkaError._PURGE_QUEUE, "purged"))

    # what the test does

    def tell(self, error: KafkaError | None = None, count: int | None = None) -> None:
        """The oldest records have arrived, or not."""
        with self._lock:
            count = len(self._waiting) if count is None else count
            told, self._waiting = self._waiting[:count], self._waiting[count:]
            for number, report in told:
                topic = self.records[number]["topic"]
                message: Any = SimpleNamespace(
                    topic=lambda topic=topic: topic, partition=lambda: 3, offset=lambda number=number: 100 + number
                )
                self._reports.append(lambda report=report, message=message: report(error, message))  # type: ignore[misc]
        self._rings.set()

    def fail(self, error: KafkaError) -> None:
        """For good: the binding raises out of `poll`."""
        self.fatal = error
        self._rings.set()
