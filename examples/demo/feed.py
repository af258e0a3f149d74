"""Records for rawdeltas, from writers or from recordings; and the topics."""

import threading
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from examples.demo.documents import Change

TIMEOUT = 15.0
"""Seconds for the broker to answer."""


def create_topics(address: str, topics: Sequence[str], partitions: int, replicas: int) -> None:
    """Create topics; -1 replicas are the cluster's default. Raises ``KafkaException`` when that fails."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    wanted = [NewTopic(topic, num_partitions=partitions, replication_factor=replicas) for topic in topics]
    for made in client.create_topics(wanted, operation_timeout=TIMEOUT).values():
        made.result(TIMEOUT)


class Feed(threading.Thread):
    """Produces until it is stopped. Subclasses decide what, in `work`."""

    def __init__(self, address: str, topic: str) -> None:
        super().__init__(name="feed", daemon=True)
        self.produced = 0
        """Records that the broker has acknowledged."""
        self.error = ""
        """The error; empty: none."""
        self.topic = topic
        self.stopping = threading.Event()
        self.leaving = threading.Event()
        # The partitioner of Java's clients, so that a key goes to the same partition.
        settings: Mapping[str, str | int] = {
            "bootstrap.servers": address,
            "log_level": 0,
            "partitioner": "murmur2_random",
            "enable.idempotence": "true",  # a client's operations must not change their order
            "linger.ms": 2,
            "message.timeout.ms": 30_000,
        }
        self._producer = Producer({**settings, "on_delivery": self._delivered})

    @property
    def complete(self) -> bool:
        """Whether everything is sent, and its effects have been seen."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """Sent operations without a number yet; 0 if unknown."""
        return 0

    def saw(self, change: Change) -> None:
        """A document has changed. Called with the documents' lock."""

    def work(self) -> float:
        """Send what is due. Returns the seconds until the next call."""
        raise NotImplementedError

    def run(self) -> None:
        try:
            while not self.error and not self.stopping.wait(self.work()):
                self._producer.poll(0)
        except (KafkaException, BufferError) as error:
            self.error = str(error)

    def leave(self) -> None:
        """Begin nothing new, and finish the rest; `complete` says when that is done."""
        self.leaving.set()

    def stop(self, timeout: float = TIMEOUT) -> None:
        """Stop, and wait until the broker has everything."""
        self.stopping.set()
        if self.ident is not None:
            self.join()
        left = self._producer.flush(timeout)
        if left and not self.error:
            self.error = f"{left} messages got no answer from the broker in {timeout:g} s"

    def send(self, document: str, value: bytes) -> None:
        """Produce a record."""
        self._producer.produce(self.topic, value, document.encode())

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.error = self.error or error.str()
        else:
            self.produced += 1
