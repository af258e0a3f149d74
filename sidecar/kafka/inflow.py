"""Records that came from Kafka and wait to be sent, per partition, and when a partition is to be paused.

Owned by the consumer thread. What waits is small and bounded: a partition whose lambda does not take its records is
paused in Kafka's client when its share is full, and resumed when little is left. The gap between the two matters:
a pause throws away what the client had fetched ahead, and it is fetched again.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from confluent_kafka import Message

from sidecar.kafka.encode import RECORD_OVERHEAD, SAMPLE, Undeliverable
from sidecar.partitions.vocabulary import TopicPartition

MOST_WAITING_BYTES = 24 * 1024 * 1024
"""Bytes that may wait in one lambda's sidecar side, all partitions together."""

LEAST_SHARE_BYTES = 64 * 1024
RESUME_BELOW = 0.25
"""A paused partition is resumed when less than this part of its share waits."""

FEW = 64
"""Records whose sizes may as well be looked at one by one: a guess from a few of them may be far off."""

MESSAGE_OVERHEAD = 300
"""Bytes of memory that a record takes beside its value: the message object, its key, its place in lists."""


class Inflow:
    """What waits. ``bytes`` are of memory, estimated from the values' sizes."""

    def __init__(self, topics: Iterable[str]) -> None:
        """``topics`` are those the lambda consumes; with just one, grouping is cheaper."""
        names = [*topics]
        self._only_topic = names[0] if len(names) == 1 else None
        self._waiting: dict[TopicPartition, list[Message]] = {}
        self._bytes: dict[TopicPartition, int] = {}
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
        return len(self._waiting.get(tp, ()))

    def idle(self, tp: TopicPartition) -> bool:
        """Nothing of this partition is here that was fetched and not sent."""
        return tp not in self._waiting and tp not in self._bad

    def bytes(self, tp: TopicPartition) -> int:
        """Memory that they take."""
        return self._bytes.get(tp, 0)

    def add(self, batch: list[Message]) -> Iterator[TopicPartition]:
        """Sort a batch (without errors) into its partitions; yields each that got something."""
        self.fetched += len(batch)
        for tp, records in self._grouped(batch):
            if tp in self._bad:
                continue  # what comes after an undeliverable record is fetched again when that is settled
            waiting = self._waiting.get(tp)
            if waiting is None:
                self._waiting[tp] = records
                self._bytes[tp] = 0
            else:
                waiting.extend(records)
            sample = records[::SAMPLE]
            self._bytes[tp] += (sum(map(len, sample)) // len(sample) + MESSAGE_OVERHEAD) * len(records)
            self.next_offset[tp] = (records[-1].offset() or 0) + 1
            yield tp

    def peek(self, tp: TopicPartition, most: int) -> list[Message]:
        """The first ``most`` records that wait; they stay until ``taken``."""
        waiting = self._waiting[tp]
        return waiting if len(waiting) <= most else waiting[:most]

    def fitting(self, tp: TopicPartition, size: int) -> int:
        """About how many of the records that wait take ``size`` bytes on the wire, and never fewer than `FEW`."""
        each = max(1, self._bytes[tp] // len(self._waiting[tp]) - MESSAGE_OVERHEAD + RECORD_OVERHEAD)
        return max(FEW, size // each)

    def before(self, tp: TopicPartition, offset: int) -> int:
        """How many of the records that wait come before ``offset``."""
        return bisect_left(self._waiting[tp], offset, key=_offset)

    def first(self, tp: TopicPartition) -> Message:
        """The first record that waits; it stays."""
        return self._waiting[tp][0]

    def taken(self, tp: TopicPartition, count: int) -> None:
        """The first ``count`` records are on their way."""
        waiting = self._waiting[tp]
        left = len(waiting) - count
        if left == 0:
            del self._waiting[tp], self._bytes[tp]
        else:
            self._bytes[tp] = self._bytes[tp] * left // len(waiting)
            del waiting[:count]

    def cut(self, tp: TopicPartition, bad: Undeliverable) -> None:
        """The record at ``bad.index`` of what waits is undeliverable: keep those before it, drop it and the rest.

        It must not be touched again, since one that the Kafka client cannot read crashes the process then.
        """
        self._bad[tp] = bad
        waiting = self._waiting[tp]
        del waiting[bad.index :]
        if not waiting:
            del self._waiting[tp], self._bytes[tp]

    def spoil(self, tp: TopicPartition, bad: Undeliverable) -> None:
        """An undeliverable record, which was never here, comes after what waits."""
        self._bad.setdefault(tp, bad)

    def bad(self, tp: TopicPartition) -> Undeliverable | None:
        """The undeliverable record that comes after what waits."""
        return self._bad.get(tp)

    def leave_out(self, tp: TopicPartition, offsets: set[int]) -> None:
        """Drop the records with these offsets from what waits."""
        waiting = self._waiting.get(tp)
        if waiting is None:
            return
        kept = [record for record in waiting if record.offset() not in offsets]
        if len(kept) == len(waiting):
            return
        if kept:
            self._bytes[tp] = self._bytes[tp] * len(kept) // len(waiting)
            self._waiting[tp] = kept
        else:
            del self._waiting[tp], self._bytes[tp]

    def drop(self, tp: TopicPartition) -> None:
        """Forget what waits: it will be fetched again, or is somebody else's."""
        self._waiting.pop(tp, None)
        self._bytes.pop(tp, None)
        self._bad.pop(tp, None)
        self.next_offset.pop(tp, None)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is not ours any more."""
        self.drop(tp)
        self.paused.discard(tp)

    def share(self, partitions: int) -> int:
        """How many bytes one of so many partitions may let wait before it is paused."""
        return max(LEAST_SHARE_BYTES, MOST_WAITING_BYTES // max(1, partitions))

    def _grouped(self, batch: list[Message]) -> Iterator[tuple[TopicPartition, list[Message]]]:
        topic = self._only_topic
        if topic is not None:
            for partition, records in groupby(batch, Message.partition):
                yield TopicPartition(topic, partition or 0), [*records]
            return
        keys = zip(map(Message.topic, batch), map(Message.partition, batch), batch, strict=True)
        for (name, partition), rows in groupby(keys, itemgetter(0, 1)):
            yield TopicPartition(name or "", partition or 0), [*map(itemgetter(2), rows)]


def _offset(record: Message) -> int:
    return record.offset() or 0
