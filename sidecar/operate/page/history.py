"""The last minutes of each lambda, as sums over its partitions: what the page draws. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from sdk_python.protocol import admin_pb2 as pb

INTERVAL_S = 5.0
"""Seconds from one sample to the next."""

KEPT = 180
"""Samples of a lambda: a quarter of an hour."""


class Sample(NamedTuple):
    """One moment of a lambda."""

    at_ms: int
    """Milliseconds since the Unix epoch."""
    lag: int
    """Records that Kafka has and the group has not committed, of all partitions whose lag is known."""
    sent: float
    """Records that were sent to the lambda's processes, per second since the sample before."""
    done: float
    """Records that checkpoints passed, per second."""


class History:
    """The samples of all lambdas. Its size is bounded by the number of lambdas."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}
        self._before: dict[str, tuple[int, int]] = {}

    def add(self, status: pb.StatusResponse, at_ms: int) -> None:
        """Take a sample of each lambda, at ``at_ms`` milliseconds since the Unix epoch."""
        for one in status.lambdas:
            before_ms, before = self._before.get(one.name, (at_ms, one.records_sent))
            passed_s = (at_ms - before_ms) / 1000
            sent = max(0, one.records_sent - before) / passed_s if passed_s > 0 else 0.0
            done = sum(partition.done_per_second for partition in one.partitions)
            self._before[one.name] = (at_ms, one.records_sent)
            samples = self._samples.setdefault(one.name, deque(maxlen=KEPT))
            samples.append(Sample(at_ms, lag_of(one.partitions), round(sent, 1), round(done, 1)))

    def document(self) -> dict[str, Any]:
        """For JSON: by lambda, its samples as rows, the oldest first."""
        columns = [*Sample._fields]
        return {
            "interval_ms": round(INTERVAL_S * 1000),
            "kept": KEPT,
            "columns": columns,
            "lambdas": {name: [[*sample] for sample in samples] for name, samples in self._samples.items()},
        }


def lag_of(partitions: Iterable[pb.Partition]) -> int:
    """The sum of the known lags, in records."""
    known = (one for one in partitions if one.HasField("end") and one.HasField("committed"))
    return sum(max(0, one.end - one.committed) for one in known)
