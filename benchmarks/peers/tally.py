"""The counter of each peer's handler, and the program's protocol with the runner. It runs in the peer's environment,
so it imports only the standard library.

The program writes to standard output a line of JSON when the clock starts, and one when all records were handled.
Then it waits until its standard input ends: meanwhile the runner reads CPU time and memory of the processes.
"""

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Protocol

MARK = {"warm": True}


class Record(Protocol):
    """A record of a client library."""

    partition: int
    offset: int


class Tally:
    """Counts records, and separately those that were not the next one of their partition: missed or repeated records.

    The topics have no gaps and begin at offset 0, so the next offset of a partition is its count.
    """

    def __init__(self, total: int, warm: int, partitions: int = 8) -> None:
        self.counts = [0] * partitions
        self.count = 0
        self.strange = 0
        self.finished = False
        self._total = total
        self._warm = warm
        self._next = warm
        self._began = 0.0

    def one(self, partition: int, offset: int) -> None:
        """Count one record."""
        counts = self.counts
        if counts[partition] != offset:
            self.strange += 1
        counts[partition] += 1
        self.count += 1
        if self.count >= self._next:
            self._look()

    def batch(self, partition: int, first: int, last: int, count: int) -> None:
        """Count a batch of one partition, by its first and last offset."""
        if self.counts[partition] != first or last - first + 1 != count:
            self.strange += 1
        self.counts[partition] += count
        self.count += count
        if self.count >= self._next:
            self._look()

    def mixed(self, records: Iterable[Record]) -> None:
        """Count a batch of several partitions."""
        counts = self.counts
        number = 0
        for record in records:
            partition = record.partition
            if counts[partition] != record.offset:
                self.strange += 1
            counts[partition] += 1
            number += 1
        self.count += number
        if self.count >= self._next:
            self._look()

    def unordered(self, number: int) -> None:
        """Count records without known offsets."""
        self.count += number
        if self.count >= self._next:
            self._look()

    def _look(self) -> None:
        now = time.perf_counter()
        if not self._began:
            self._began, self._warm = now, self.count
            self._next = self._total
            say(MARK)
        elif not self.finished:
            self.finished = True
            self._next = sys.maxsize
            say(
                {
                    "records": self.count,
                    "measured": self.count - self._warm,
                    "seconds": now - self._began,
                    "per_partition": self.counts,
                    "strange": self.strange,
                }
            )
            os.read(0, 1)  # until the runner has read its figures; the peer's other threads continue


def say(message: object) -> None:
    """Write one line to the runner."""
    os.write(1, json.dumps(message).encode() + b"\n")


def arguments() -> tuple[str, str, str, Tally]:
    """Broker, topic, group and a tally, from the command line."""
    broker, topic, group, total, warm = sys.argv[1:6]
    return broker, topic, group, Tally(int(total), int(warm))
