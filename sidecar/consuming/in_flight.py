"""Frames in flight: handed to the event loop, and not written yet.

Owned by the consumer thread.
"""

from collections import deque
from dataclasses import dataclass, field

from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

STUCK_AFTER_S = 0.2
"""Seconds after which a lambda does not read, if the loop could not write its frames for so long."""

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of frames that may be in flight to processes that read, all partitions of a lambda together. More would not
be written sooner: with 512 partitions, two full frames each are half a gigabyte."""


@dataclass(slots=True)
class _Frames:
    since: float
    sizes: deque[int] = field(default_factory=deque)


class InFlight:
    """Which partitions have frames in flight, since when, and how many bytes."""

    def __init__(self, table: PartitionTable) -> None:
        """``table`` knows how many frames of each partition are in flight; its number is the right one."""
        self._table = table
        self._frames: dict[TopicPartition, _Frames] = {}
        self._bytes = 0

    def sent(self, tp: TopicPartition, size: int, now: float) -> None:
        """A frame was handed to the loop."""
        if self._table.partitions[tp].held.in_flight == 1:
            self.forget(tp)  # frames of an earlier stream, which ended before they were written
        frames = self._frames.setdefault(tp, _Frames(now))
        frames.sizes.append(size)
        self._bytes += size

    def written(self, tp: TopicPartition, now: float) -> None:
        """A frame of the partition was written; others may still be in flight."""
        frames = self._frames.get(tp)
        if frames is None:
            return
        self._bytes -= frames.sizes.popleft()
        frames.since = now
        if not frames.sizes:
            del self._frames[tp]

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us, or its stream ended."""
        frames = self._frames.pop(tp, None)
        if frames is not None:
            self._bytes -= sum(frames.sizes)

    def tidy(self) -> None:
        """Forget frames of streams that ended before they were written."""
        for tp in [*self._frames]:
            holding = self._table.partitions[tp].holding
            if holding is None or not holding.in_flight:
                self.forget(tp)

    def stuck(self, tp: TopicPartition, now: float) -> bool:
        """Whether the partition's lambda does not read."""
        frames = self._frames.get(tp)
        return frames is not None and now - frames.since >= STUCK_AFTER_S

    def crowded(self, now: float) -> bool:
        """Whether the limit is reached. Frames of stuck partitions do not count: they must not stop the others."""
        if self._bytes < MAX_BYTES:
            return False
        moving = sum(sum(frames.sizes) for frames in self._frames.values() if now - frames.since < STUCK_AFTER_S)
        return moving >= MAX_BYTES
