"""The sequenced stream as clients read it: each operation of each document, in order."""

import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from examples.demo.documents import Change, Documents
from examples.demo.traffic import wall_clock

PATIENCE = 0.1


class Stream(threading.Thread):
    """Reads deltas into ``documents`` until it is stopped."""

    def __init__(
        self, address: str, topic: str, partitions: int, documents: Documents, listener: Callable[[Change], None]
    ) -> None:
        """``listener`` is called with every change, with the documents' lock."""
        super().__init__(name="stream", daemon=True)
        self.error = ""
        """The error; empty: none."""
        self.records = 0
        self._documents = documents
        self._listener = listener
        self._stop_now = threading.Event()
        settings: dict[str, Any] = {
            "bootstrap.servers": address,
            "group.id": f"{topic}-view",  # the client needs a group; nothing is committed in it
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
        self._consumer = Consumer(settings)
        self._places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]

    def run(self) -> None:
        try:
            self._consumer.assign(self._places)
            while not self._stop_now.is_set():
                self._take(self._consumer.consume(500, PATIENCE))
        except (KafkaException, ValueError, KeyError, TypeError) as error:
            self.error = f"deltas cannot be read: {type(error).__name__}: {error}"
        finally:
            self._consumer.close()

    def stop(self) -> None:
        """Stop reading."""
        self._stop_now.set()
        if self.ident is not None:
            self.join()

    def _take(self, messages: list[Any]) -> None:
        now = wall_clock()
        with self._documents.lock:
            for message in messages:
                value = message.value()
                if message.error() is not None or value is None:
                    continue  # the client tries again by itself
                self.records += 1
                for change in self._documents.take(value, now):
                    self._listener(change)
