"""The buffer of fetched records that are not sent yet, per lane.

Owned by the consumer thread. The buffer is bounded: a partition whose lambda does not take its records is paused in
Kafka's client when its share is full, and resumed when little is left (`BackPressure`). The gap between the two
matters: a pause discards the records that the client had fetched ahead, and they are fetched again.

The lanes of a partition share its position in Kafka's client. When the client is moved back for one of them, it reads
records that the others have already. So each of these lanes takes records from an offset on, and drops those before.
A lane without progress must not stop the others by a pause. So it keeps no more than its share: what comes then is
*put off*, and fetched again when there is room (`put_off`).
"""

from bisect import bisect_left
from collections.abc import Iterator

from sidecar.partitions.vocabulary import Lane
from sidecar.records.records import Frame, Record, Records, Run, Undeliverable
from sidecar.shared_memory.memory import SharedMemory

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes that may be buffered for one lambda, all partitions together. With 24 MiB, 64 partitions without progress
held some 15 MB more, and the others were no faster."""

MIN_SHARE_BYTES = 64 * 1024
RESUME_BELOW = 0.25
"""A paused partition is resumed when less than this fraction of its share is buffered."""


class FetchBuffer:
    """One lambda's buffered records."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, Records] = {}
        self._undeliverable: dict[Lane, Undeliverable] = {}
        self._takes_from: dict[Lane, int] = {}
        """Lanes for which Kafka's client reads records again that they have already, or that others need: the offset
        from which they take them."""
        self._full: set[Lane] = set()
        """Lanes that put off what comes."""
        self._put_off: dict[Lane, int] = {}
        """Of those: the offset of the first record that was put off."""
        self.fetched = 0
        """Records, since the start."""

    def __len__(self) -> int:
        """How many lanes have buffered records."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Lane]:
        """The lanes that have buffered records."""
        return iter([*self._waiting])

    def count(self, lane: Lane) -> int:
        """How many records of this lane are buffered."""
        waiting = self._waiting.get(lane)
        return 0 if waiting is None else len(waiting)

    def idle(self, lane: Lane) -> bool:
        """All fetched records of this lane are sent, and none of them was undeliverable or put off."""
        return lane not in self._waiting and lane not in self._undeliverable and lane not in self._put_off

    def holds(self, lane: Lane) -> bool:
        """Whether there is anything of the lane, be it a record that cannot be delivered."""
        return lane in self._waiting or lane in self._undeliverable

    def bytes(self, lane: Lane) -> int:
        """Bytes of memory that the lane's buffered records take."""
        waiting = self._waiting.get(lane)
        return 0 if waiting is None else waiting.size

    def add(self, lane: Lane, run: Run) -> bool:
        """Add fetched records. Returns False if all are dropped: the lane has them already, or they are fetched again
        later (records after an undeliverable one, and those that are put off)."""
        if lane in self._undeliverable:
            self.refuse(run)
            return False
        added = run.added if lane not in self._takes_from else self._without_known(lane, run)
        if added and lane in self._full:
            self._put_off.setdefault(lane, run.records.offset(len(run.records) - added))
            run.records.truncate(len(run.records) - added)
            added = 0
        self.fetched += run.added
        if added:
            self._waiting[lane] = run.records
        return bool(added)

    def _without_known(self, lane: Lane, run: Run) -> int:
        """Drop those of the new records that the lane does not take. Returns how many are left."""
        offset, records = self._takes_from[lane], run.records
        new = range(len(records) - run.added, len(records))
        # Only the new ones are searched: they may have lower offsets than those that wait.
        known = bisect_left(new, offset, key=records.offset)
        if known:
            records.remove(new.start, known)
        if known < run.added:
            del self._takes_from[lane]  # the client is past what it reads again
        return run.added - known

    def takes_from(self, lane: Lane) -> int:
        """The lane drops records with lower offsets; -1: none."""
        return self._takes_from.get(lane, -1)

    def take_from(self, lane: Lane, offset: int) -> None:
        """Of what is read from now on, the lane takes records from ``offset`` on."""
        self._takes_from[lane] = offset

    def begin_at(self, lane: Lane, offset: int) -> None:
        """The lane takes records from ``offset`` on, also of those that wait."""
        if lane in self._waiting:
            self.taken(lane, self.before(lane, offset))
        self.take_from(lane, offset)

    def put_off(self, lane: Lane) -> None:
        """The lane has its share of records: put off what comes."""
        self._full.add(lane)

    def puts_off(self, lane: Lane) -> bool:
        """Whether records that come now are put off."""
        return lane in self._full

    def shorten(self, lane: Lane, size: int) -> None:
        """Keep about the first ``size`` bytes of what waits for the lane, and put off the rest."""
        waiting = self._waiting.get(lane)
        # An undeliverable record after what waits would be met twice. What is read again is not all there yet.
        if waiting is None or lane in self._undeliverable or lane in self._takes_from:
            return
        keep = max(1, len(waiting) * size // max(1, waiting.size))
        if keep < len(waiting):
            self._put_off[lane] = waiting.offset(keep)  # what was put off before has higher offsets
            waiting.truncate(keep)
            self._full.add(lane)

    def putting_off(self) -> list[Lane]:
        """The lanes that put off what comes."""
        return [*self._full]

    def take_again(self, lane: Lane) -> int | None:
        """Put off no more. Returns the offset to fetch again from; None: no record was put off."""
        self._full.discard(lane)
        return self._put_off.pop(lane, None)

    def refuse(self, run: Run) -> None:
        """Drop fetched records that no lane is to have now."""
        self.fetched += run.added
        run.records.truncate(len(run.records) - run.added)

    def frame(
        self, lane: Lane, most: int, soft_limit: int, hard_limit: int, memory: SharedMemory | None = None
    ) -> Frame | Undeliverable:
        """See `Records.frame`. The records stay until ``taken``."""
        return self._waiting[lane].frame(most, soft_limit, hard_limit, memory)

    def before(self, lane: Lane, offset: int) -> int:
        """How many buffered records have offsets lower than ``offset``."""
        return self._waiting[lane].before(offset)

    def first_offset(self, lane: Lane) -> int:
        """The offset of the first buffered record; there must be one."""
        return self._waiting[lane].offset(0)

    def begins_at(self, lane: Lane) -> int | None:
        """The offset of the first record that was fetched and is not sent; None: there is none."""
        if lane in self._waiting:
            return self.first_offset(lane)
        bad, put_off = self._undeliverable.get(lane), self._put_off.get(lane)
        return put_off if bad is None else bad.offset

    def first(self, lane: Lane) -> Record:
        """The first buffered record; it stays in the buffer."""
        return self._waiting[lane].first()

    def taken(self, lane: Lane, count: int) -> None:
        """Remove the first ``count`` records: they are sent."""
        waiting = self._waiting[lane]
        waiting.drop(count)
        if not len(waiting):
            del self._waiting[lane]

    def mark_undeliverable(self, lane: Lane, bad: Undeliverable) -> None:
        """The record at ``bad.offset``, buffered or not, is undeliverable: keep only the records before it.

        If some of these are put off, nothing is kept in mind: it is met again when they are fetched again.
        """
        if self._put_off.get(lane, bad.offset) < bad.offset:
            return
        known = self._undeliverable.get(lane)
        if known is not None and known.offset <= bad.offset:
            return
        self._undeliverable[lane] = bad
        if lane in self._waiting:
            self._keep(lane, self.before(lane, bad.offset))

    def undeliverable(self, lane: Lane) -> Undeliverable | None:
        """The undeliverable record after the buffered ones; None: there is none."""
        return self._undeliverable.get(lane)

    def leave_out(self, lane: Lane, offsets: set[int]) -> None:
        """Remove the records with these offsets from the buffer."""
        waiting = self._waiting.get(lane)
        if waiting is None:
            return
        for offset in offsets:
            index = waiting.before(offset)
            if index < len(waiting) and waiting.offset(index) == offset:
                waiting.remove(index)
        if not len(waiting):
            del self._waiting[lane]

    def drop(self, lane: Lane) -> None:
        """Drop the lane's buffered records: they will be fetched again, by us or by the next owner."""
        self._keep(lane, 0)
        self._undeliverable.pop(lane, None)
        self._takes_from.pop(lane, None)
        self.take_again(lane)

    def _keep(self, lane: Lane, count: int) -> None:
        waiting = self._waiting.get(lane)
        if waiting is None:
            return
        waiting.truncate(count)
        if not count:
            del self._waiting[lane]

    def share(self, lanes: int) -> int:
        """How many bytes each of ``lanes`` lanes may buffer before it is paused."""
        return max(MIN_SHARE_BYTES, MAX_WAITING_BYTES // max(1, lanes))
