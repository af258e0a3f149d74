"""What is consumed: topics filled beforehand, and records offered at a fixed rate."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from tests.servers.topics import create_topic

VALUE = b"x" * 100


def _producer(broker: str, **more: object) -> Producer:
    return Producer({"bootstrap.servers": broker, **more})


def fill(broker: str, topic: str, partitions: int, records: int, *, only: int | None = None) -> None:
    """Make the topic and write ``records`` records of 100 bytes with keys, evenly, or all to partition ``only``."""
    create_topic(broker, topic, partitions)
    producer = _producer(broker, **{"linger.ms": 20, "batch.size": 500_000, "queue.buffering.max.messages": 500_000})
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    for number in range(records):
        partition = number % partitions if only is None else only
        while True:
            try:
                producer.produce(topic, VALUE, b"key-%d" % (number % 1000), partition, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(f"{len(failed)} records were not written: {failed[0]}")


def offer(broker: str, topic: str, partitions: Sequence[int], rate: int, seconds: float) -> int:
    """Write ``rate`` records a second for so long; each value starts with the wall clock in nanoseconds.

    Returns how many. Raises ``RuntimeError`` when the machine could not keep up the rate.
    """
    # At a high rate single records would keep the broker busier than what is measured.
    producer = _producer(broker, **{"linger.ms": 0 if rate <= 5_000 else 10})
    total = int(rate * seconds)
    began = time.perf_counter()
    for number in range(total):
        ahead = began + number / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)  # a poll of less than a millisecond would spin, on a core that the others need
        producer.poll(0)
        value = b"%d " % time.time_ns() + VALUE
        producer.produce(topic, value, b"key", partitions[number % len(partitions)])
    took = time.perf_counter() - began
    producer.flush()
    if took > seconds * 1.05:
        raise RuntimeError(f"offered {total / took:.0f} records/s, not {rate}")
    return total
