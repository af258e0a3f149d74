"""Frames in flight: handed to the event loop, and not written yet.

Owned by the consumer thread.
"""

from collections import deque
from dataclasses import dataclass, field

from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Lane

STUCK_AFTER_S = 0.2
"""Seconds after which a lambda does not read, if the loop could not write its frames for so long."""

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of frames that may be in flight to processes that read, all lanes of a lambda together. More would not
be written sooner: with 512 partitions, two full frames each are half a gigabyte."""


@dataclass(slots=True)
class _Frames:
    since: float
    sizes: deque[int] = field(default_factory=deque)


class InFlight:
    """Which lanes have frames in flight, since when, and how many bytes."""

    def __init__(self, table: PartitionTable) -> None:
        """``table`` knows how many frames of each lane are in flight; its number is the right one."""
        self._table = table
        self._frames: dict[Lane, _Frames] = {}
        self._bytes = 0

    def sent(self, lane: Lane, size: int, now: float) -> bool:
        """A frame was handed to the loop. Returns whether another one may be sent before it is written.

        When many bytes are in flight, those of other lanes wait for it too.
        """
        alone = self._table.lanes[lane].held.in_flight == 1
        if alone:
            self.forget(lane)  # frames of an earlier stream, which ended before they were written
        frames = self._frames.setdefault(lane, _Frames(now))
        frames.sizes.append(size)
        self._bytes += size
        return alone and self._bytes < MAX_BYTES // 2

    def written(self, lane: Lane, now: float) -> None:
        """A frame of the lane was written; others may still be in flight."""
        frames = self._frames.get(lane)
        if frames is None:
            return
        self._bytes -= frames.sizes.popleft()
        frames.since = now
        if not frames.sizes:
            del self._frames[lane]

    def forget(self, lane: Lane) -> None:
        """The lane is gone, or its stream ended."""
        frames = self._frames.pop(lane, None)
        if frames is not None:
            self._bytes -= sum(frames.sizes)

    def tidy(self) -> None:
        """Forget frames of streams that ended before they were written."""
        for lane in [*self._frames]:
            holding = self._table.lanes[lane].holding
            if holding is None or not holding.in_flight:
                self.forget(lane)

    def stuck(self, lane: Lane, now: float) -> bool:
        """Whether the lane's lambda does not read."""
        frames = self._frames.get(lane)
        return frames is not None and now - frames.since >= STUCK_AFTER_S

    def crowded(self, now: float) -> bool:
        """Whether the limit is reached. Frames of stuck lanes do not count: they must not stop the others."""
        if self._bytes < MAX_BYTES:
            return False
        moving = sum(sum(frames.sizes) for frames in self._frames.values() if now - frames.since < STUCK_AFTER_S)
        return moving >= MAX_BYTES
