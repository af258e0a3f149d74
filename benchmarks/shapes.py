"""Other records, partitions, handlers and numbers of processes: the whole path compared with the bare loop.

The base of all of them is the row `throughput`: 100 bytes with keys, 8 partitions, a handler that counts, and one
process.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import throughput
from benchmarks.busy import MICROSECONDS
from benchmarks.traffic import fill

Figures = dict[str, float]
HEADERS = (("trace", b"0123456789abcdef"), ("tenant", b"benchmark"))
_VALUES = 7919  # prime, so that all partitions get all values; more than the 64 kB in which lz4 looks for repetitions


@dataclass(frozen=True)
class Shape:
    """One difference from the base.

    Attributes:
        what: its description, for the report.
        share: the part of the records that it gets; slow shapes get fewer.
        partitions: how many the topic has.
        processes: how many lambda processes there are, each of which must get records; the bare loop is always one.
        working: both sides work as `benchmarks.busy` for each record.
        filled: arguments of `benchmarks.traffic.fill` for the topic.
        settings: settings of `benchmarks.counting`.
        shared_memory: of the sidecar's ``server``.
    """

    what: str
    share: float = 1.0
    partitions: int = 8
    processes: int = 1
    working: bool = False
    filled: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    shared_memory: str = "off"

    def total(self, records: int) -> int:
        """How many of the records it gets: the same number in each partition."""
        return max(int(records * self.share) // self.partitions, 1) * self.partitions

    def fill(self, broker: str, topic: str, total: int) -> None:
        """Create and fill its topic."""
        fill(broker, topic, self.partitions, total, **self.filled)

    def bare(self, broker: str, topic: str, total: int) -> Figures:
        """One run of the bare loop."""
        return throughput.bare(broker, topic, total, "working" if self.working else "tuned")

    def path(self, broker: str, topic: str, total: int) -> Figures:
        """One run of the whole path."""
        settings = {**self.settings, "working": self.working}
        return throughput.path(
            broker,
            topic,
            total,
            self.partitions,
            settings,
            processes=self.processes,
            shared_memory=self.shared_memory,
        )


def _compressible() -> list[bytes]:
    """Values of 100 bytes as services send them: repeated names, and contents that differ."""
    drawn = random.Random(1)
    return [
        b'{"clientSequenceNumber":%05d,"referenceSequenceNumber":%05d,"type":"op","contents":"%s"}'
        % (number, number, drawn.randbytes(6).hex().encode())
        for number in range(_VALUES)
    ]


SHAPES: Mapping[str, Shape] = {
    "1kB": Shape("values of 1,000 bytes", 0.5, filled={"values": (b"x" * 1000,)}),
    "1kB-shared": Shape(
        "values of 1,000 bytes, with shared memory",
        0.5,
        filled={"values": (b"x" * 1000,)},
        shared_memory="128MiB",
    ),
    "1-partition": Shape("1 partition", partitions=1),
    "64-partitions": Shape("64 partitions", partitions=64),
    "512-partitions": Shape("512 partitions", partitions=512),
    "lz4": Shape(
        "compressed with lz4, values of JSON, 100 bytes",
        filled={"values": _compressible(), "properties": {"compression.type": "lz4"}},
    ),
    "headers": Shape("two headers on every record", filled={"headers": HEADERS}, settings={"headers": len(HEADERS)}),
    "20us": Shape(f"{MICROSECONDS} µs of work for each record, in both", 0.05, working=True),
    "batch": Shape("records of 100 bytes; the lambda takes lists", settings={"taking": "batch"}),
    "columns": Shape("records of 100 bytes; the lambda takes columns", settings={"taking": "columns"}),
    "2-processes": Shape("2 lambda processes, compared with one bare loop", processes=2),
    "4-processes": Shape("4 lambda processes, compared with one bare loop", processes=4),
}
