"""Reads the copies with read_committed while a run goes on, and checks each as it comes."""

from __future__ import annotations

import threading
from collections import Counter

from confluent_kafka import Consumer, KafkaError, TopicPartition


class Reader:
    """A reader in a thread of its own, from the topic's beginning on; a context manager.

    A copy is `PARTITION:OFFSET:LANE:NUMBER` (`tests.integration.sdk_copier`). The numbers of a lane count its
    records. They come from the lambda's state, and so show that each lambda was given the state of the place where it
    began.
    """

    def __init__(self, address: str, topic: str, partitions: int, lanes: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self._order = Order(lanes)
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="reader")
        self._wrong: str | None = None

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def counts(self) -> dict[int, int]:
        """How many copies of each partition there are so far. Raises ``AssertionError`` if a copy is wrong."""
        with self._changed:
            assert self._wrong is None, self._wrong
            return dict(self._order.counts)

    def wait_for(self, counts: dict[int, int], seconds: float) -> None:
        """Wait until each partition has so many copies. Raises ``AssertionError`` if not, or if a copy is wrong."""

        def there() -> bool:
            return self._wrong is not None or all(
                self._order.counts[number] >= count for number, count in counts.items()
            )

        with self._changed:
            self._changed.wait_for(there, seconds)
        found = self.counts()
        assert there(), f"not within {seconds:g} s: {counts} copies, there are {found}"

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(1000, 0.2):
                error = message.error()
                with self._changed:
                    if error is None:
                        self._wrong = self._wrong or self._order.take(message.value() or b"")
                    elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                        self._wrong = f"the topic of the copies lost records: {error.str()}"
                    # Anything else goes away: a broker was killed.
                    self._changed.notify_all()


class Order:
    """What has been read, and whether the next copy may follow. Pure."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._last: dict[tuple[int, int], tuple[int, int]] = {}
        """The offset and the number of the last copy of each lane."""
        self.counts: Counter[int] = Counter()

    def take(self, value: bytes) -> str | None:
        """Take the next copy. Returns what is wrong with it, or None."""
        partition, offset, lane, number = map(int, value.split(b":"))
        last_offset, last_number = self._last.get((partition, lane), (-1, 0))
        self._last[partition, lane] = offset, number
        self.counts[partition] += 1
        where = f"partition {partition}" + (f" lane {lane}" if self._lanes > 1 else "")
        if offset <= last_offset:
            return f"{where}: offset {offset} was copied after {last_offset}"
        if self._lanes == 1 and offset != last_offset + 1:
            return f"{where}: offset {offset} was copied after {last_offset}, and what is between is missing"
        if number != last_number + 1:
            return f"{where}: offset {offset} is copy {number} by the lambda's state, after copy {last_number}"
        return None
