"""What each peer's handler counts into, and how its program talks to the runner. Runs in the peer's environment, so
it imports nothing but the standard library.

On standard output: a line of JSON when the clock starts, and one when all records were handled. Then the program
waits until its standard input ends: meanwhile the runner reads what the processes have used.
"""

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Protocol

MARK = {"warm": True}


class Record(Protocol):
    """What a client library calls a record."""

    partition: int
    offset: int


class Tally:
    """Counts records, and those that were not the next of their partition: missed ones, and ones that came again.

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
        """One record."""
        counts = self.counts
        if counts[partition] != offset:
            self.strange += 1
        counts[partition] += 1
        self.count += 1
        if self.count >= self._next:
            self._look()

    def batch(self, partition: int, first: int, last: int, count: int) -> None:
        """A batch of one partition, by its ends."""
        if self.counts[partition] != first or last - first + 1 != count:
            self.strange += 1
        self.counts[partition] += count
        self.count += count
        if self.count >= self._next:
            self._look()

    def mixed(self, records: Iterable[Record]) -> None:
        """A batch of several partitions."""
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
        """Records that cannot be told apart."""
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
            os.read(0, 1)  # until the runner has looked; a peer's other threads go on


def say(message: object) -> None:
    """One line to the runner."""
    os.write(1, json.dumps(message).encode() + b"\n")


def arguments() -> tuple[str, str, str, Tally]:
    """Broker, topic, group and a tally, from the command line."""
    broker, topic, group, total, warm = sys.argv[1:6]
    return broker, topic, group, Tally(int(total), int(warm))
