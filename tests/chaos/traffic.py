"""Steady traffic to all partitions from one idempotent producer, which records the acknowledged offsets."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.chaos.journal import Journal
from tests.chaos.world import TOPIC


class Traffic:
    """Produces records in a thread of its own, until `stop`."""

    def __init__(self, address: str, folder: Path, partitions: int, rate: float, keys: int) -> None:
        """``rate``: records a second in all partitions together. ``keys``: how many they have in turn; 0: none."""
        self._journal = Journal(folder / "history" / "producer.jsonl")
        self._partitions = partitions
        self._wanted = partitions
        self._interval = partitions / rate
        self._keys = keys
        # The broker may be down for long, and a produced record must not be given up.
        settings = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, "message.timeout.ms": 300_000}
        quick = {"reconnect.backoff.max.ms": 500, "retry.backoff.ms": 50, "log_level": 0}
        self._producer = Producer({"bootstrap.servers": address, **settings, **quick})
        self._asked: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        self._reports: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self.error: BaseException | None = None
        self.acknowledged = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self, partition: int, **what: Any) -> None:
        """Make the partition's next record ask its handler to fail."""
        self._asked[partition].append(what)

    def grow(self, partitions: int) -> None:
        """Produce to this many partitions, as soon as the broker shows them."""
        self._wanted = partitions

    def stop(self, patience: float = 60.0) -> int:
        """Stop. Returns the number of records without an answer."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(patience + 5)
        left = self._producer.flush(patience)
        self._write()
        if self.error is not None:
            raise self.error
        return left

    def _run(self) -> None:
        number = 0
        due = time.monotonic()
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + self._interval, time.monotonic() - 1.0)
                if self._partitions < self._wanted:
                    self._look_for_more()
                for partition in range(self._partitions):
                    wish = self._asked[partition].pop(0) if self._asked[partition] else {}
                    value = json.dumps({"n": number, **wish}).encode()
                    self._produce(partition, value, b"%d" % (number % self._keys) if self._keys else None)
                number += 1
                self._producer.poll(0)
                self._write()
        except BaseException as error:
            self.error = error
            raise

    def _look_for_more(self) -> None:
        """Ask for new partitions. This also refreshes the producer's metadata, without which it refuses records."""
        with suppress(KafkaException):
            found = self._producer.list_topics(TOPIC, timeout=1.0).topics[TOPIC].partitions
            self._partitions = max(self._partitions, min(self._wanted, len(found)))

    def _produce(self, partition: int, value: bytes, key: bytes | None) -> None:
        while not self._stop.is_set():
            try:
                self._producer.produce(TOPIC, value, key, partition=partition, on_delivery=self._delivered)
            except BufferError:  # the broker has been down for long
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._reports.append({"kind": "refused", "partition": message.partition(), "error": error.str()})
        else:
            self.acknowledged += 1
            record = {"partition": message.partition(), "offset": message.offset()}
            self._reports.append({"kind": "produced", **record})

    def _write(self) -> None:
        reports, self._reports = self._reports, []
        if reports:
            self._journal.write_all(reports)
