"""What is counted while the sidecar works, for the metrics alone: histograms, and the counts of a lambda.

Each object has one owner, a consumer thread or the event loop. Others see the frozen values that it makes.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

HANDLER_BOUNDS_S: Final = (0.00001, 0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Of the time of handlers. Part of the contract (`HandlerTimes` in ``proto/lambda.proto``)."""

DELAY_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Of the time from sending a record to its checkpoint: a lambda may save rarely."""

COMMIT_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
"""Of the time from a commit to Kafka's answer."""


@dataclass(frozen=True, slots=True)
class Times:
    """The values of a histogram: ``counts[i]`` is how many are at most ``bounds[i]`` and above the bound before it;
    the last one counts those above all bounds. ``total`` is their sum, in seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Histogram:
    """Counts times by their length. Adding one costs a binary search, so it may be done for each frame."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """``bounds``: upper bounds in seconds, ascending."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, seconds: float, weight: int = 1) -> None:
        """Count ``weight`` things that took ``seconds`` each."""
        self._counts[bisect_left(self._bounds, seconds)] += weight
        self._total += seconds * weight

    def merge(self, counts: Sequence[int], total: float) -> None:
        """Add what somebody else has counted by the same bounds; ``total`` in seconds."""
        self._counts = [ours + theirs for ours, theirs in zip(self._counts, counts, strict=True)]
        self._total += total

    @property
    def now(self) -> Times:
        """What has been counted."""
        return Times(self._bounds, tuple(self._counts), self._total)


@dataclass(frozen=True, slots=True)
class ThreadMeasured:
    """What a consumer thread has counted since the start. The keys are bounded words."""

    commits: Times = field(default_factory=lambda: Histogram(COMMIT_BOUNDS_S).now)
    """From a commit to Kafka's answer that it is taken."""
    commit_failures: Mapping[str, int] = field(default_factory=dict)
    fetch_errors: Mapping[str, int] = field(default_factory=dict)


class ThreadMeasure:
    """Counts in one lambda's consumer thread, which owns it."""

    def __init__(self) -> None:
        self.commits = Histogram(COMMIT_BOUNDS_S)
        self.commit_failures: Counter[str] = Counter()
        """Requests, by `kind_of` their error."""
        self.fetch_errors: Counter[str] = Counter()
        """Errors in place of records, by their kind; `offset_lost`: the log does not have a partition's offset;
        `not_fetched`: Kafka's client did not fetch the partition, which was assigned again."""

    @property
    def now(self) -> ThreadMeasured:
        """What has been counted."""
        return ThreadMeasured(self.commits.now, dict(self.commit_failures), dict(self.fetch_errors))


@dataclass(frozen=True, slots=True)
class LoopMeasured:
    """What the event loop has counted of one lambda since the start."""

    handlers: Times = field(default_factory=lambda: Histogram(HANDLER_BOUNDS_S).now)
    """As the SDKs report them."""
    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0
    bytes_received: int = 0


class LoopMeasure:
    """Counts what goes between the event loop and the processes of one lambda. Owned by the loop.

    A frame is one message of gRPC, on a stream or in a call; its bytes are without gRPC's own.
    """

    def __init__(self) -> None:
        self.handlers = Histogram(HANDLER_BOUNDS_S)
        self._sent = [0, 0]
        self._received = [0, 0]

    def sent(self, size: int) -> None:
        """A frame of ``size`` bytes was written."""
        self._sent[0] += 1
        self._sent[1] += size

    def received(self, size: int) -> None:
        """A frame of ``size`` bytes came."""
        self._received[0] += 1
        self._received[1] += size

    @property
    def now(self) -> LoopMeasured:
        """What has been counted."""
        return LoopMeasured(self.handlers.now, *self._sent, *self._received)
