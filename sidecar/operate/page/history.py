"""The last minutes of each lambda, as sums over its partitions: what the page draws. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from sidecar.status import LambdaStatus, SidecarStatus

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
        self._before: dict[str, tuple[float, int]] = {}
        """When the last sample was taken, in seconds of the monotonic clock, and the records sent by then."""

    def add(self, status: SidecarStatus) -> None:
        """Take a sample of each lambda."""
        at_ms = round((status.taken_at + status.wall_clock) * 1000)
        for name, one in status.lambdas.items():
            before_s, before = self._before.get(name, (status.taken_at, one.records_sent))
            passed_s = status.taken_at - before_s
            sent = max(0, one.records_sent - before) / passed_s if passed_s > 0 else 0.0
            done = sum(partition.done_per_second for partition in one.partitions)
            self._before[name] = (status.taken_at, one.records_sent)
            samples = self._samples.setdefault(name, deque(maxlen=KEPT))
            samples.append(Sample(at_ms, _lag(one), round(sent, 1), round(done, 1)))

    def document(self) -> dict[str, Any]:
        """For JSON: by lambda, its samples as rows, the oldest first."""
        columns = [*Sample._fields]
        return {
            "interval_ms": round(INTERVAL_S * 1000),
            "kept": KEPT,
            "columns": columns,
            "lambdas": {name: [[*sample] for sample in samples] for name, samples in self._samples.items()},
        }


def _lag(one: LambdaStatus) -> int:
    """The sum of the known lags, in records."""
    known = ((each.end, each.committed) for each in one.whole_partitions)
    return sum(max(0, end - committed) for end, committed in known if end is not None and committed is not None)
