"""The buffer of fetched records that are not sent yet, per partition.

Owned by the consumer thread. The buffer is bounded: a partition whose lambda does not take its records is paused in
Kafka's client when its share is full, and resumed when little is left (`BackPressure`). The gap between the two
matters: a pause discards the records that the client had fetched ahead, and they are fetched again.
"""

from collections.abc import Iterator

from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.records import Frame, Record, Records, Run, Undeliverable

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes that may be buffered for one lambda, all partitions together. With 24 MiB, 64 partitions without progress
held some 15 MB more, and the others were no faster."""

MIN_SHARE_BYTES = 64 * 1024
RESUME_BELOW = 0.25
"""A paused partition is resumed when less than this fraction of its share is buffered."""


class FetchBuffer:
    """One lambda's buffered records."""

    def __init__(self) -> None:
        self._waiting: dict[TopicPartition, Records] = {}
        self._undeliverable: dict[TopicPartition, Undeliverable] = {}
        self.next_offset: dict[TopicPartition, int] = {}
        """The offset to fetch next: the one after the last record, or the one to which the client was moved. Missing:
        nothing was fetched since the last ``drop``."""
        self.paused: set[TopicPartition] = set()
        """Partitions that are paused in Kafka's client."""
        self.fetched = 0
        """Records, since the start."""

    def __len__(self) -> int:
        """How many partitions have buffered records."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[TopicPartition]:
        """The partitions that have buffered records."""
        return iter([*self._waiting])

    def count(self, tp: TopicPartition) -> int:
        """How many records of this partition are buffered."""
        waiting = self._waiting.get(tp)
        return 0 if waiting is None else len(waiting)

    def idle(self, tp: TopicPartition) -> bool:
        """All fetched records of this partition are sent, and none of them was undeliverable."""
        return tp not in self._waiting and tp not in self._undeliverable

    def bytes(self, tp: TopicPartition) -> int:
        """Bytes of memory that the partition's buffered records take."""
        waiting = self._waiting.get(tp)
        return 0 if waiting is None else waiting.size

    def add(self, run: Run) -> bool:
        """Add fetched records. Returns False if they are dropped: records after an undeliverable one are fetched
        again later."""
        self.fetched += run.added
        if run.partition in self._undeliverable:
            run.records.truncate(len(run.records) - run.added)
            return False
        self._waiting[run.partition] = run.records
        self.next_offset[run.partition] = run.records.next_offset
        return True

    def frame(self, tp: TopicPartition, most: int, soft_limit: int, hard_limit: int) -> Frame | Undeliverable:
        """See `Records.frame`. The records stay until ``taken``."""
        return self._waiting[tp].frame(most, soft_limit, hard_limit)

    def before(self, tp: TopicPartition, offset: int) -> int:
        """How many buffered records have offsets lower than ``offset``."""
        return self._waiting[tp].before(offset)

    def first_offset(self, tp: TopicPartition) -> int:
        """The offset of the first buffered record; there must be one."""
        return self._waiting[tp].offset(0)

    def begins_at(self, tp: TopicPartition) -> int | None:
        """The offset of the first record that was fetched and is not sent; None: there is none."""
        if tp in self._waiting:
            return self.first_offset(tp)
        bad = self._undeliverable.get(tp)
        return None if bad is None else bad.offset

    def first(self, tp: TopicPartition) -> Record:
        """The first buffered record; it stays in the buffer."""
        return self._waiting[tp].first()

    def taken(self, tp: TopicPartition, count: int) -> None:
        """Remove the first ``count`` records: they are sent."""
        waiting = self._waiting[tp]
        waiting.drop(count)
        if not len(waiting):
            del self._waiting[tp]

    def mark_undeliverable(self, tp: TopicPartition, bad: Undeliverable) -> None:
        """The record at ``bad.offset``, buffered or not, is undeliverable: keep only the records before it."""
        known = self._undeliverable.get(tp)
        if known is not None and known.offset <= bad.offset:
            return
        self._undeliverable[tp] = bad
        if tp in self._waiting:
            self._keep(tp, self.before(tp, bad.offset))

    def undeliverable(self, tp: TopicPartition) -> Undeliverable | None:
        """The undeliverable record after the buffered ones; None: there is none."""
        return self._undeliverable.get(tp)

    def leave_out(self, tp: TopicPartition, offsets: set[int]) -> None:
        """Remove the records with these offsets from the buffer."""
        waiting = self._waiting.get(tp)
        if waiting is None:
            return
        for offset in offsets:
            index = waiting.before(offset)
            if index < len(waiting) and waiting.offset(index) == offset:
                waiting.remove(index)
        if not len(waiting):
            del self._waiting[tp]

    def drop(self, tp: TopicPartition) -> None:
        """Drop the partition's buffered records: they will be fetched again, by us or by the next owner."""
        self._keep(tp, 0)
        self._undeliverable.pop(tp, None)
        self.next_offset.pop(tp, None)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self.drop(tp)
        self.paused.discard(tp)

    def _keep(self, tp: TopicPartition, count: int) -> None:
        waiting = self._waiting.get(tp)
        if waiting is None:
            return
        waiting.truncate(count)
        if not count:
            del self._waiting[tp]

    def share(self, partitions: int) -> int:
        """How many bytes each of ``partitions`` partitions may buffer before it is paused."""
        return max(MIN_SHARE_BYTES, MAX_WAITING_BYTES // max(1, partitions))
