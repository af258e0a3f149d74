"""The demo's sample traffic: temperature readings of some sensors, at a rate that goes up and down."""

import math
import random
import threading
import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

RATE = 2_000.0
"""Readings in a second, on average."""

SENSORS = 40
PAUSE = 0.01
TIMEOUT = 15.0
"""Seconds for the broker to answer."""


def create_topic(address: str, topic: str, partitions: int) -> None:
    """Create the topic. Raises KafkaException."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    wanted = NewTopic(topic, num_partitions=partitions, replication_factor=1)
    client.create_topics([wanted], operation_timeout=TIMEOUT)[topic].result(TIMEOUT)


class Traffic(threading.Thread):
    """Produces until it is stopped."""

    def __init__(self, address: str, topic: str) -> None:
        super().__init__(name="traffic", daemon=True)
        self.produced = 0
        """What the broker has acknowledged."""
        self.error = ""
        """What went wrong; empty: nothing."""
        self._topic = topic
        self._ends: dict[int, int] = {}
        self._stop_now = threading.Event()
        # The partitioner of Java's clients, so that a key goes where they would send it.
        settings: Mapping[str, str | int] = {
            "bootstrap.servers": address,
            "log_level": 0,
            "partitioner": "murmur2_random",
            "linger.ms": 100,  # the embedded broker gets slower with each batch it keeps: few and large ones
            "message.timeout.ms": 10_000,
        }
        self._producer = Producer({**settings, "on_delivery": self._delivered})

    @property
    def ends(self) -> dict[int, int]:
        """By partition: the offset that its next message will have."""
        return dict(self._ends)

    def run(self) -> None:
        sensors = [20.0] * SENSORS
        began = before = time.monotonic()
        due = 0.0
        try:
            while not self._stop_now.wait(PAUSE) and not self.error:
                now = time.monotonic()
                due += rate(now - began) * min(now - before, 0.1)  # what a suspended machine missed is not made up
                before = now
                while due >= 1.0:
                    due -= 1.0
                    self._produce(sensors)
                self._producer.poll(0)
        except (KafkaException, BufferError) as error:
            self.error = str(error)

    def stop(self, timeout: float = TIMEOUT) -> None:
        """Stop, and wait until the broker has everything."""
        self._stop_now.set()
        if self.ident is not None:
            self.join()
        left = self._producer.flush(timeout)
        if left and not self.error:
            self.error = f"{left} messages got no answer from the broker in {timeout:g} s"

    def _produce(self, sensors: list[float]) -> None:
        number = random.randrange(SENSORS)
        sensors[number] += random.gauss(0.0, 0.05)
        self._producer.produce(self._topic, b"%.2f" % sensors[number], b"sensor-%02d" % number)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None:
            self.error = self.error or error.str()
        elif partition is not None and offset is not None:
            self.produced += 1
            self._ends[partition] = max(offset + 1, self._ends.get(partition, 0))


def rate(seconds: float) -> float:
    """Readings in a second, so long after the start: a slow wave and a fast one."""
    return RATE * (1.0 + 0.25 * math.sin(seconds / 4.0) + 0.1 * math.sin(seconds * 1.7))
