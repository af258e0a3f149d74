"""Records that came from Kafka and wait to be sent, per partition, and when a partition is to be paused.

Owned by the consumer thread. What waits is small and bounded: a partition whose lambda does not take its records is
paused in Kafka's client when its share is full, and resumed when little is left. The gap between the two matters:
a pause throws away what the client had fetched ahead, and it is fetched again.
"""

from collections.abc import Iterator

from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.records import Frame, Record, Records, Run, Undeliverable

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes that may wait in one lambda's sidecar side, all partitions together. With 24 MiB 64 partitions that stand
still hold some 15 MB more, and the others are no faster."""

LEAST_SHARE_BYTES = 64 * 1024
RESUME_BELOW = 0.25
"""A paused partition is resumed when less than this part of its share waits."""


class FetchBuffer:
    """What waits."""

    def __init__(self) -> None:
        self._waiting: dict[TopicPartition, Records] = {}
        self._bad: dict[TopicPartition, Undeliverable] = {}
        self.next_offset: dict[TopicPartition, int] = {}
        """What comes next: the offset after the last record, or where the client was told to read. Missing: it was
        rewound, and nothing came since."""
        self.paused: set[TopicPartition] = set()
        self.fetched = 0

    def __len__(self) -> int:
        """Partitions that have records waiting."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[TopicPartition]:
        """Partitions that have records waiting."""
        return iter([*self._waiting])

    def count(self, tp: TopicPartition) -> int:
        """Records that wait for this partition."""
        waiting = self._waiting.get(tp)
        return 0 if waiting is None else len(waiting)

    def idle(self, tp: TopicPartition) -> bool:
        """Nothing of this partition is here that was fetched and not sent."""
        return tp not in self._waiting and tp not in self._bad

    def bytes(self, tp: TopicPartition) -> int:
        """Memory that they take."""
        waiting = self._waiting.get(tp)
        return 0 if waiting is None else waiting.size

    def add(self, run: Run) -> bool:
        """Records came. Returns whether they wait: after an undeliverable one they are dropped, to be fetched again
        when that is settled."""
        self.fetched += run.added
        if run.partition in self._bad:
            run.records.truncate(len(run.records) - run.added)
            return False
        self._waiting[run.partition] = run.records
        self.next_offset[run.partition] = run.records.next_offset
        return True

    def frame(self, tp: TopicPartition, most: int, soft_limit: int, hard_limit: int) -> Frame | Undeliverable:
        """See `Records.frame`. The records stay until ``taken``."""
        return self._waiting[tp].frame(most, soft_limit, hard_limit)

    def before(self, tp: TopicPartition, offset: int) -> int:
        """How many of the records that wait come before ``offset``."""
        return self._waiting[tp].before(offset)

    def first_offset(self, tp: TopicPartition) -> int:
        """Of the first record that waits."""
        return self._waiting[tp].offset(0)

    def begins_at(self, tp: TopicPartition) -> int | None:
        """The offset of the first record of this partition that was fetched and not sent; None: there is none."""
        if tp in self._waiting:
            return self.first_offset(tp)
        bad = self._bad.get(tp)
        return None if bad is None else bad.offset

    def first(self, tp: TopicPartition) -> Record:
        """The first record that waits; it stays."""
        return self._waiting[tp].first()

    def taken(self, tp: TopicPartition, count: int) -> None:
        """The first ``count`` records are on their way."""
        waiting = self._waiting[tp]
        waiting.drop(count)
        if not len(waiting):
            del self._waiting[tp]

    def mark_undeliverable(self, tp: TopicPartition, bad: Undeliverable) -> None:
        """The record at ``bad.offset`` is undeliverable, whether it is here or never was: keep those before it."""
        known = self._bad.get(tp)
        if known is not None and known.offset <= bad.offset:
            return
        self._bad[tp] = bad
        if tp in self._waiting:
            self._keep(tp, self.before(tp, bad.offset))

    def bad(self, tp: TopicPartition) -> Undeliverable | None:
        """The undeliverable record that comes after what waits."""
        return self._bad.get(tp)

    def leave_out(self, tp: TopicPartition, offsets: set[int]) -> None:
        """Drop the records with these offsets from what waits."""
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
        """Forget what waits: it will be fetched again, or is somebody else's."""
        self._keep(tp, 0)
        self._bad.pop(tp, None)
        self.next_offset.pop(tp, None)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is not ours any more."""
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
        """How many bytes one of so many partitions may let wait before it is paused."""
        return max(LEAST_SHARE_BYTES, MOST_WAITING_BYTES // max(1, partitions))
