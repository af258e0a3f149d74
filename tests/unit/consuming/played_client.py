"""Kafka's client, played: what each of its calls brings, and what happens inside, is the test's."""

import mmap
import sys
import threading
from collections.abc import Callable, Sequence
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition as KafkaPartition

from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records import _native
from sidecar.records.fallback.listed import ListedRecords
from sidecar.records.key_lane import lane_of
from sidecar.records.records import Frame
from tests.unit.records.arriving import read

INVALID = -1001
"""An offset that the client does not know."""


def partition_of(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0)


class PlayedConsumer:
    """In the place of the binding's `Consumer`."""

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        """What the next reads bring."""
        self.polled: list[Message] = []
        """What the next polls return."""
        self.inside: Callable[[], None] | None = None
        """Happens inside the next call that runs callbacks and does not return one of ``polled``."""
        self.before_each: Callable[[], None] = lambda: None
        """Called first in every call."""
        self.positions: dict[TopicPartition, int] = {}
        self.commits: list[tuple[dict[TopicPartition, int], bool]] = []
        """What each commit had, and whether its answer was not waited for."""
        self.metadata: dict[TopicPartition, str] = {}
        """What came with the last commit of each partition."""
        self.committed: list[int] = []
        """The offsets of those that were not refused, in order."""
        self.refuses_commits: KafkaError | None = None
        self.paused: set[int] = set()
        self.loses_resumes = 0
        """So many resumes have no effect, in silence."""
        self.refuses = False
        """Pauses, and questions to the broker."""
        self.asked: list[int] = []
        """Partitions of which the broker was asked something, so that the client wakes up."""
        self.moves: list[dict[int, int]] = []
        """The offsets, by partition, of each assignment that we made."""
        self.sought: list[int] = []
        self.seekable = True
        self.ends: dict[int, int] = {}
        """By partition, what the client knows by itself of where the log ends."""
        self.subscriptions: list[list[str]] = []
        """One after the other; empty: none any more."""
        self.generation = 1
        self.on_commit: Callable[[None, list[KafkaPartition]], None] | None = None
        """Told in the next poll that a commit, which did not wait, has succeeded; None: the test tells it."""
        self._unanswered: list[list[KafkaPartition]] = []
        self.inside_close: Callable[[], None] = lambda: None
        self.closed = threading.Event()

    @property
    def as_consumer(self) -> Consumer:
        """For who expects the real one."""
        return cast("Consumer", self)

    # --- records ----------------------------------------------------------------------------------------------

    def next_batch(self) -> list[Message]:
        return self.batches.pop(0) if self.batches else []

    def given(self, batch: list[Message]) -> list[Message]:
        """These leave the client: its position is after the records among them."""
        for message in batch:
            if message.error() is None:
                self.positions[partition_of(message)] = (message.offset() or 0) + 1
        return batch

    def consume(self, _: int, __: float) -> list[Message]:
        self.before_each()
        batch = self.next_batch()
        self._run_callbacks()
        return self.given(batch)

    def poll(self, _: float) -> Message | None:
        self.before_each()
        if self.polled:
            return self.given([self.polled.pop(0)])[0]
        self._run_callbacks()
        return None

    def _run_callbacks(self) -> None:
        if self.inside is not None and not self.polled:
            inside, self.inside = self.inside, None
            inside()
        unanswered, self._unanswered = self._unanswered, []
        for offsets in unanswered:
            if self.on_commit is not None:
                self.on_commit(None, offsets)

    # --- positions --------------------------------------------------------------------------------------------

    def position(self, partitions: Sequence[KafkaPartition]) -> list[KafkaPartition]:
        self.before_each()
        known = [self.positions.get(TopicPartition(p.topic, p.partition), INVALID) for p in partitions]
        return [KafkaPartition(p.topic, p.partition, offset) for p, offset in zip(partitions, known, strict=True)]

    def commit(self, *, offsets: list[KafkaPartition], asynchronous: bool) -> list[KafkaPartition] | None:
        self.before_each()
        self.commits.append(({TopicPartition(p.topic, p.partition): p.offset for p in offsets}, asynchronous))
        self.metadata |= {TopicPartition(p.topic, p.partition): p.metadata or "" for p in offsets}
        if self.refuses_commits is not None:
            raise KafkaException(self.refuses_commits)
        self.committed += [p.offset for p in offsets]
        if not asynchronous:
            return offsets
        self._unanswered.append(offsets)
        return None

    def seek(self, place: KafkaPartition) -> None:
        """The position is not known then, as the real one's, until something is read."""
        self.before_each()
        if not self.seekable:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sought.append(place.offset)
        self.positions.pop(TopicPartition(place.topic, place.partition), None)

    def incremental_unassign(self, _: list[KafkaPartition]) -> None:
        """Where they begin again is told with the assignment."""
        self.before_each()

    def incremental_assign(self, partitions: list[KafkaPartition]) -> None:
        self.before_each()
        self.moves.append({p.partition: p.offset for p in partitions})
        for one in partitions:
            self.positions.pop(TopicPartition(one.topic, one.partition), None)

    def unassign(self) -> None:
        """Where they begin again is told with the assignment."""
        self.before_each()

    def assign(self, partitions: list[KafkaPartition]) -> None:
        self.incremental_assign(partitions)

    def assignment(self) -> list[KafkaPartition]:
        self.before_each()
        return []

    # --- pauses -----------------------------------------------------------------------------------------------

    def pause(self, partitions: list[KafkaPartition]) -> None:
        self.before_each()
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.paused |= {p.partition for p in partitions}

    def resume(self, partitions: list[KafkaPartition]) -> None:
        self.before_each()
        if self.loses_resumes:
            self.loses_resumes -= 1
            return
        self.paused -= {p.partition for p in partitions}

    # --- questions --------------------------------------------------------------------------------------------

    def get_watermark_offsets(self, partition: KafkaPartition, *, cached: bool) -> tuple[int, int]:
        self.before_each()
        assert cached, "the thread does not wait for an answer"
        return INVALID, self.ends.get(partition.partition, INVALID)

    def offsets_for_times(self, partitions: list[KafkaPartition], *, timeout: float) -> list[KafkaPartition]:
        self.before_each()
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        assert timeout <= 1.0, "the thread waits as long"
        self.asked += [p.partition for p in partitions]
        return partitions

    # --- the group --------------------------------------------------------------------------------------------

    @property
    def subscribed(self) -> list[str]:
        """The topics of now."""
        return self.subscriptions[-1] if self.subscriptions else []

    def subscribe(self, topics: list[str], **_: object) -> None:
        """What comes of it is the test's."""
        self.before_each()
        self.subscriptions.append(topics)

    def unsubscribe(self) -> None:
        self.before_each()
        self.subscriptions.append([])

    def consumer_group_metadata(self) -> bytes:
        return b"CGMDv2:" + self.generation.to_bytes(4, sys.byteorder, signed=True) + b"g\0member\0\1"

    def close(self) -> None:
        self.before_each()
        self.inside_close()
        self.closed.set()


class PlayedRows:
    """In the place of `_native.Records`, with records as Python objects."""

    def __init__(self) -> None:
        self._listed = ListedRecords()
        self.append = self._listed.append
        self.offset = self._listed.offset
        self.before = self._listed.before
        self.drop = self._listed.drop
        self.truncate = self._listed.truncate
        self.remove = self._listed.remove
        self.first = self._listed.first

    def __len__(self) -> int:
        return len(self._listed)

    @property
    def size(self) -> int:
        return self._listed.size

    @property
    def next_offset(self) -> int:
        return self._listed.next_offset

    def frame(self, most: int, limit: int) -> tuple[bytes, int, int, int, list[int] | None]:
        made = self._listed.frame(most, limit, sys.maxsize)
        assert isinstance(made, Frame)
        return made.data, made.first, made.last, made.count, None if made.offsets is None else [*made.offsets]

    def frame_size(self, most: int, limit: int) -> int:
        return len(self.frame(most, limit)[0])

    def frame_into(
        self, most: int, limit: int, memory: mmap.mmap, at: int
    ) -> tuple[int, int, int, int, list[int] | None]:
        data, first, last, count, offsets = self.frame(most, limit)
        memory[at : at + len(data)] = data
        return len(data), first, last, count, offsets


class PlayedNative:
    """In the place of `_native.Source`: the extension's end of a `PlayedConsumer`."""

    def __init__(self, consumer: PlayedConsumer, lanes: int = 1) -> None:
        self._consumer = consumer
        self._lanes = lanes
        self.led: dict[tuple[str, int], tuple[PlayedRows, ...]] = {}

    @property
    def as_source(self) -> _native.Source:
        """For who expects the real one."""
        return cast("_native.Source", self)

    def lead(self, partition: tuple[str, int]) -> tuple[PlayedRows, ...]:
        return self.led.setdefault((*partition,), tuple(PlayedRows() for _ in range(self._lanes)))

    def read(
        self,
    ) -> tuple[
        list[tuple[tuple[str, int], int, int]],
        list[tuple[str, int, int, int, str, int]],
        list[tuple[str, int, int]],
    ]:
        added: dict[tuple[tuple[str, int], int], int] = {}
        errors: list[tuple[str, int, int, int, str, int]] = []
        strays: list[tuple[str, int, int]] = []
        for message in self._consumer.given(self._consumer.next_batch()):
            key = topic, partition = partition_of(message)
            error, offset = message.error(), message.offset() or 0
            if error is not None:
                number = lane_of(None, max(0, offset), self._lanes)
                errors.append((message.topic() or "", partition, offset, error.code(), error.str(), number))
            elif key not in self.led:
                strays.append((topic, partition, offset))
            else:
                number = lane_of(message.key(), offset, self._lanes)
                self.led[key][number].append(read(message))
                added[key, number] = added.get((key, number), 0) + 1
        return [(key, number, count) for (key, number), count in added.items()], errors, strays

    def wait(self, seconds: float) -> None:
        """Nothing comes that is not there already."""

    def wake(self) -> None:
        """Nobody waits."""

    def close(self) -> None:
        self.led.clear()
