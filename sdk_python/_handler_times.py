"""How long handlers take, for the operators' metrics: the sidecar adds up what all processes of a lambda report.

Owner: the event loop.
"""

from bisect import bisect_left
from typing import Final

from .protocol import lambda_pb2 as pb

BOUNDS_S: Final = (0.00001, 0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""The upper bounds of the classes in seconds; one more class has what took longer. The contract names them
(`HandlerTimes` in ``proto/lambda.proto``)."""


class HandlerTimes:
    """The times of all handlers of one lambda in this process, and those of them that the sidecar was not told."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0
        self.handled = 0
        """Messages since the start."""
        self.seconds = 0.0
        """How long all of their handlers took."""

    def add(self, count: int, seconds: float) -> None:
        """Add ``count`` messages, at least one, whose handlers took ``seconds`` together: each counts as the mean.

        The clock is read for a run of messages and not for each, since a quick handler takes no longer than that.
        """
        self._counts[bisect_left(BOUNDS_S, seconds / count)] += count
        self._seconds += seconds
        self.handled += count
        self.seconds += seconds

    def __bool__(self) -> bool:
        """Whether there is something to tell."""
        return any(self._counts)

    def take(self, lease: str) -> pb.HandlerTimes:
        """Return all times, under a lease of the lambda, and begin anew."""
        taken = pb.HandlerTimes(lease=lease, counts=self._counts, sum_us=round(self._seconds * 1e6))
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0
        return taken

    def put_back(self, taken: pb.HandlerTimes) -> None:
        """Add what was taken and not received. If it was received and only the answer was lost, it counts twice."""
        self._counts = [ours + theirs for ours, theirs in zip(self._counts, taken.counts, strict=True)]
        self._seconds += taken.sum_us / 1e6
