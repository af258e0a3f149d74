"""How many records of one partition are outstanding: sent, neither checkpointed nor completed beyond.

Counted as records, never by subtracting offsets: transaction markers, aborted records and compaction leave gaps,
and a window of 100 must let 100 records through whatever lies between them.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.partitions.vocabulary import Limits


@dataclass(slots=True)
class _Frame:
    """What is left of a frame that was sent: ``count`` records from ``first`` to ``last``, ``size`` bytes."""

    first: int
    last: int
    count: int
    size: int
    offsets: Sequence[int] | None  # None: consecutive


class Window:
    """The outstanding records of one lease.

    Invariants:

    - ``records`` is the number of records sent whose offset lies above the last checkpoint.
    - ``0 <= outstanding <= records``; they differ by what is completed beyond the checkpoint.
    - ``delivered`` never moves back within a lease, but by ``rewind``.
    - When nothing is outstanding there is room for at least one record, so no setting can stop a partition.
    """

    __slots__ = (
        *("_beyond", "_beyond_bytes", "_bytes", "_frames", "_limits", "_low"),
        *("delivered", "furthest", "records", "start"),
    )

    def __init__(self, limits: Limits, start: int) -> None:
        """``start`` is the offset where the lease starts."""
        self._limits = limits
        self._frames: deque[_Frame] = deque()
        self.start = start
        self._low = start  # everything below is done; the span is measured from here
        self._bytes = 0
        self._beyond = 0
        self._beyond_bytes = 0
        self.records = 0
        self.delivered: int | None = None
        """The last record sent, as far as what was sent counts."""
        self.furthest: int | None = None
        """The last record ever sent, voided or not."""

    @property
    def outstanding(self) -> int:
        """Records that fill the window."""
        return self.records - self._beyond

    @property
    def outstanding_bytes(self) -> int:
        """Bytes of serialized frames that fill the window."""
        return self._bytes - self._beyond_bytes

    def room(self) -> int:
        """How many records may be sent now; 0: the window is full."""
        outstanding = self.outstanding
        least = 1 if outstanding == 0 else 0
        if self.delivered is not None and self.delivered - self._low >= self._limits.window_span:
            return least
        if outstanding and self.outstanding_bytes >= self._limits.window_bytes:
            return 0
        return max(least, self._limits.window_messages - outstanding)

    def sent(self, first: int, last: int, count: int, size: int, offsets: Sequence[int] | None) -> None:
        """A frame of ``count`` records and ``size`` bytes left; ``offsets`` is None when they are consecutive."""
        self._frames.append(_Frame(first, last, count, size, offsets))
        self.records += count
        self._bytes += size
        self.delivered = last
        self.furthest = last if self.furthest is None else max(last, self.furthest)

    def checkpoint(self, offset: int) -> None:
        """Everything up to and including ``offset`` is done."""
        frames = self._frames
        while frames and frames[0].last <= offset:
            done = frames.popleft()
            self.records -= done.count
            self._bytes -= done.size
        if frames and frames[0].first <= offset:
            self._trim(frames[0], offset)
        self._low = offset + 1
        self.completed(0, 0)

    def completed(self, count: int, size: int) -> None:
        """``count`` records of ``size`` bytes after the checkpoint are done too; replaces what was said before.

        What comes from the wire is not trusted: more than is outstanding counts as all of it.
        """
        self._beyond = min(count, self.records)
        self._beyond_bytes = min(size, self._bytes)

    def rewind(self, offset: int) -> None:
        """What was sent from ``offset`` on counts as not sent: it will be sent again, under the same lease."""
        frames, records, size_before = self._frames, self.records, self._bytes
        while frames and frames[-1].first >= offset:
            void = frames.pop()
            self.records -= void.count
            self._bytes -= void.size
        if frames and frames[-1].last >= offset:
            frame = frames[-1]
            kept = offset - frame.first if frame.offsets is None else bisect_left(frame.offsets, offset)
            size = frame.size * kept // frame.count
            self.records -= frame.count - kept
            self._bytes -= frame.size - size
            frame.last = offset - 1 if frame.offsets is None else frame.offsets[kept - 1]
            frame.offsets = None if frame.offsets is None else frame.offsets[:kept]
            frame.count, frame.size = kept, size
        if frames:
            self.delivered = frames[-1].last
        else:
            self.delivered = self._low - 1 if self._low > self.start else None
        # Which of them were completed is not known: count what is void as such first, so that the window stays tight.
        voided, voided_bytes = records - self.records, size_before - self._bytes
        self.completed(max(0, self._beyond - voided), max(0, self._beyond_bytes - voided_bytes))

    def _trim(self, frame: _Frame, offset: int) -> None:
        done = offset - frame.first + 1 if frame.offsets is None else bisect_right(frame.offsets, offset)
        if done == 0:
            return
        # The bytes of single records are not kept; an even share is near enough for a limit.
        size = frame.size * done // frame.count
        if frame.offsets is None:
            frame.first = offset + 1
        else:
            frame.offsets = frame.offsets[done:]
            frame.first = frame.offsets[0]
        frame.count -= done
        frame.size -= size
        self.records -= done
        self._bytes -= size
