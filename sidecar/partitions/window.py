"""The outstanding records of one lane: sent, and neither checkpointed nor completed after the checkpoint.

Records are counted; offsets are never subtracted: transaction markers, aborted records and compaction leave gaps
between offsets, and a window of 100 must let 100 records through.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.partitions.vocabulary import Limits


class LowMark:
    """The low-water mark of a partition with lanes: the lowest place of them, as last computed.

    The places of the lanes never move back, but by an operator's seek. So an old mark is too low, and only keeps
    windows smaller than they could be. The windows of all lanes of a partition share it.
    """

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


@dataclass(slots=True)
class _Frame:
    """The rest of a frame that was sent: ``count`` records from ``first`` to ``last``, ``size`` bytes."""

    first: int
    last: int
    count: int
    size: int
    offsets: Sequence[int] | None  # None: consecutive
    sent_at: float


class Window:
    """The outstanding records of one lease.

    Invariants:

    - ``records`` is the number of records sent with offsets above the last checkpoint.
    - ``0 <= outstanding <= records``; they differ by the records that are completed after the checkpoint.
    - Only ``rewind`` moves ``delivered`` back within a lease.
    - When no record is outstanding there is room for at least one, so no setting can stop a partition. With a
      low-water mark this holds for the lanes at the mark: the others wait for them where the span ends.
    """

    __slots__ = (
        *("_beyond", "_beyond_bytes", "_bytes", "_frames", "_limits", "_low", "_mark"),
        *("delivered", "furthest", "records", "start"),
    )

    def __init__(self, limits: Limits, start: int, mark: LowMark | None = None) -> None:
        """``start`` is the offset where the lease starts; ``mark``: None if the partition has no other lanes."""
        self._limits = limits
        self._mark = mark
        self._frames: deque[_Frame] = deque()
        self.start = start
        self._low = start  # everything below is done; the span is measured from here
        self._bytes = 0
        self._beyond = 0
        self._beyond_bytes = 0
        self.records = 0
        self.delivered: int | None = None
        """The offset of the last record sent; a rewind moves it back."""
        self.furthest: int | None = None
        """The highest offset that was ever sent; a rewind does not move it."""

    @property
    def outstanding(self) -> int:
        """Records that count towards the window."""
        return self.records - self._beyond

    @property
    def outstanding_bytes(self) -> int:
        """Bytes of serialized frames that count towards the window."""
        return self._bytes - self._beyond_bytes

    @property
    def first(self) -> int | None:
        """The offset of the first record that was sent after the checkpoint; None: there is none."""
        return self._frames[0].first if self._frames else None

    @property
    def is_spanned(self) -> bool:
        """The last record sent is so far beyond the low-water mark that other lanes must go on first."""
        return (
            self._mark is not None
            and self.delivered is not None
            and self.delivered - self._mark.offset >= self._limits.window_span
        )

    @property
    def oldest_sent_at(self) -> float | None:
        """When the first record after the checkpoint was sent; None: no record is outstanding."""
        return self._frames[0].sent_at if self.outstanding else None

    def room(self) -> int:
        """How many records may be sent now; 0: the window is full."""
        outstanding = self.outstanding
        least = 1 if outstanding == 0 else 0
        if self._mark is not None:
            if self.is_spanned:
                return 0
        elif self.delivered is not None and self.delivered - self._low >= self._limits.window_span:
            return least
        if outstanding and self.outstanding_bytes >= self._limits.window_bytes:
            return 0
        return max(least, self._limits.window_messages - outstanding)

    def sent(self, first: int, last: int, count: int, size: int, offsets: Sequence[int] | None, now: float) -> None:
        """Add a frame of ``count`` records and ``size`` bytes; ``offsets`` is None when they are consecutive.

        ``now`` is when, in seconds.
        """
        self._frames.append(_Frame(first, last, count, size, offsets, now))
        self.records += count
        self._bytes += size
        self.delivered = last
        self.furthest = last if self.furthest is None else max(last, self.furthest)

    def checkpoint(self, offset: int) -> list[tuple[float, int]]:
        """All records up to and including ``offset`` are processed.

        Returns when those that were not processed before had been sent, and how many: one entry for each frame.
        """
        frames = self._frames
        passed: list[tuple[float, int]] = []
        while frames and frames[0].last <= offset:
            done = frames.popleft()
            self.records -= done.count
            self._bytes -= done.size
            passed.append((done.sent_at, done.count))
        if frames and frames[0].first <= offset:
            passed.append((frames[0].sent_at, self._trim(frames[0], offset)))
        self._low = offset + 1
        self.completed(0, 0)
        return passed

    def completed(self, count: int, size: int) -> None:
        """``count`` records of ``size`` bytes after the checkpoint are processed too; replaces earlier numbers.

        Numbers from the wire are not trusted: they are cut to the number of records sent.
        """
        self._beyond = min(count, self.records)
        self._beyond_bytes = min(size, self._bytes)

    def rewind(self, offset: int) -> None:
        """Count the records from ``offset`` on as not sent: they will be sent again, under the same lease."""
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
        # We do not know which records were completed. Assume the voided ones were, so that the window stays tight.
        voided, voided_bytes = records - self.records, size_before - self._bytes
        self.completed(max(0, self._beyond - voided), max(0, self._beyond_bytes - voided_bytes))

    def _trim(self, frame: _Frame, offset: int) -> int:
        """Take the records up to ``offset`` out of the frame. Returns how many they are."""
        done = offset - frame.first + 1 if frame.offsets is None else bisect_right(frame.offsets, offset)
        if done == 0:
            return 0
        # The sizes of single records are not kept; an even share is precise enough for a limit.
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
        return done
