"""The consumed records: topics that are filled beforehand, and records that are produced at a fixed rate."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

from tests.servers.topics import create_topic

VALUE = b"x" * 100


def _producer(broker: str, **more: object) -> Producer:
    return Producer({"bootstrap.servers": broker, **more})


def _thousand(number: int) -> bytes:
    return b"key-%d" % (number % 1000)


def fill(
    broker: str,
    topic: str,
    partitions: int,
    records: int,
    *,
    only: int | None = None,
    key: Callable[[int], bytes] = _thousand,
    values: Sequence[bytes] = (VALUE,),
    headers: Sequence[tuple[str, bytes]] = (),
    properties: Mapping[str, object] | None = None,
) -> None:
    """Create the topic and write ``records`` records with keys, evenly, or all to partition ``only``.

    Raises ``RuntimeError`` when some were not written.

    Args:
        broker: `bootstrap.servers`.
        topic: its name, which is new.
        partitions: how many the topic has.
        records: how many records are written.
        only: the one partition that gets all records.
        key: makes the key of the record with this number.
        values: used in turn; by default of 100 bytes.
        headers: the headers of every record.
        properties: further properties of the producer.
    """
    create_topic(broker, topic, partitions)
    batches = {"linger.ms": 20, "batch.size": 500_000, "queue.buffering.max.messages": 500_000}
    producer = _producer(broker, **batches, **(properties or {}))
    given: list[tuple[str, str | bytes | None]] = [*headers]
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    for number in range(records):
        partition = number % partitions if only is None else only
        while True:
            try:
                value = values[number % len(values)]
                producer.produce(topic, value, key(number), partition, on_delivery=delivered, headers=given or None)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(f"{len(failed)} records were not written: {failed[0]}")


def offer(
    broker: str,
    topic: str,
    partitions: Sequence[int],
    rate: int,
    seconds: float,
    key: Callable[[int], bytes] = lambda _: b"key",
) -> int:
    """Write ``rate`` records per second for this time; each value starts with the wall clock in nanoseconds.
    ``key`` makes the key of the record with this number.

    Returns how many records it wrote. Raises ``RuntimeError`` when the machine could not keep the rate.
    """
    # At a high rate, single records would cost the broker more than the measured programs.
    producer = _producer(broker, **{"linger.ms": 0 if rate <= 1_000 else 10})
    total = int(rate * seconds)
    began = time.perf_counter()
    for number in range(total):
        ahead = began + number / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)  # a poll of less than a millisecond would spin, and use a core that the others need
        producer.poll(0)
        value = b"%d " % time.time_ns() + VALUE
        producer.produce(topic, value, key(number), partitions[number % len(partitions)])
    took = time.perf_counter() - began
    producer.flush()
    if took > seconds * 1.05:
        raise RuntimeError(f"offered {total / took:.0f} records/s, not {rate}")
    return total


class Steady:
    """Writes records at a steady rate during the ``with`` block, in a thread of its own."""

    def __init__(self, broker: str, topic: str, partitions: Sequence[int], rate: float, linger_ms: float = 0) -> None:
        self._producer = _producer(broker, **{"linger.ms": linger_ms})
        self._topic = topic
        self._partitions = partitions
        self._round = len(partitions) / rate
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady traffic")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._producer.flush()

    def _run(self) -> None:
        due = time.perf_counter()
        while not self._over.wait(max(0.0, due - time.perf_counter())):
            due += self._round
            for partition in self._partitions:
                self._producer.produce(self._topic, VALUE, b"key", partition)
            self._producer.poll(0)


class Scattered(Steady):
    """Writes records at random moments to random partitions during the ``with`` block, as many users would.

    Every `TICK_S` it writes what has come since, as one producer with a `linger.ms` of that length does.

    Args:
        broker: `bootstrap.servers`.
        topic: the topic.
        weights: the share of each partition, from 0 on; their sum may be any number.
        rate: records a second, all partitions together.
        seed: the same seed makes the same records.
    """

    TICK_S = 0.005

    def __init__(self, broker: str, topic: str, weights: Sequence[float], rate: float, seed: int = 1) -> None:
        super().__init__(broker, topic, range(len(weights)), rate, linger_ms=self.TICK_S * 1000)
        self._weights = weights
        self._rate = rate
        self._random = random.Random(seed)

    @property
    def unwritten(self) -> int:
        """How many records wait for the broker."""
        return len(self._producer)

    def _run(self) -> None:
        began = time.perf_counter()
        due, written = began, 0
        while not self._over.wait(max(0.0, due - time.perf_counter())):
            due += self.TICK_S
            new = int((due - began) * self._rate) - written
            for partition in self._random.choices(self._partitions, self._weights, k=new):
                self._write(partition)
            written += new
            self._producer.poll(0)

    def _write(self, partition: int) -> None:
        while not self._over.is_set():
            try:
                self._producer.produce(self._topic, VALUE, b"key", partition)
            except BufferError:  # the broker is slower than the rate
                self._producer.poll(0.1)
            else:
                break
