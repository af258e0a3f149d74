"""Records for rawdeltas: what writers send, or whoever else; and the topics."""

import threading
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from examples.demo.documents import Change

TIMEOUT = 15.0
"""Seconds for the broker to answer."""


def create_topics(address: str, topics: Sequence[str], partitions: int, replicas: int) -> None:
    """Create topics; with -1 replicas, as many as the cluster says. Raises KafkaException."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    wanted = [NewTopic(topic, num_partitions=partitions, replication_factor=replicas) for topic in topics]
    for made in client.create_topics(wanted, operation_timeout=TIMEOUT).values():
        made.result(TIMEOUT)


class Feed(threading.Thread):
    """Produces until it is stopped. What exactly is for subclasses, in `work`."""

    def __init__(self, address: str, topic: str) -> None:
        super().__init__(name="feed", daemon=True)
        self.produced = 0
        """Records that the broker has acknowledged."""
        self.error = ""
        """What went wrong; empty: nothing."""
        self.topic = topic
        self.stopping = threading.Event()
        self.leaving = threading.Event()
        # The partitioner of Java's clients, so that a key goes where they would send it.
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
        """All that was to be sent is sent, and what is to come of it has been seen."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """Operations that were sent and have no number yet; 0 where nobody knows."""
        return 0

    def saw(self, change: Change) -> None:
        """A document has changed; the documents' lock is held."""

    def work(self) -> float:
        """Send what is due; returns the seconds until the next time."""
        raise NotImplementedError

    def run(self) -> None:
        try:
            while not self.error and not self.stopping.wait(self.work()):
                self._producer.poll(0)
        except (KafkaException, BufferError) as error:
            self.error = str(error)

    def leave(self) -> None:
        """Begin nothing new, and bring to its end what there is; `complete` says when."""
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
        """Put a record on its way."""
        self._producer.produce(self.topic, value, document.encode())

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.error = self.error or error.str()
        else:
            self.produced += 1
