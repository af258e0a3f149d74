"""Back-pressure: which partitions are paused in Kafka's client, and when the thread fetches a little later.

Owned by the consumer thread. A pause throws away what the client had fetched ahead, and a client that has nothing
more to fetch sleeps. So a partition whose lambda makes progress is not paused, even with a full window: once enough
is buffered for every lambda that could take more, the thread stops fetching, and librdkafka's own queue is bounded.

A partition that makes no progress (no lambda, a window without progress, a reader that does not read, a dead letter
that is not written) is paused once it has used its share of memory, or when the whole memory is used; it slows nobody
down. One that is only slow is paused when as much waits and another partition could take more.

Fetching stops only because of partitions that make progress: their buffers drain, and then it starts again. A
partition without progress may wait for ever, and must not hold up the others with it.
"""

from collections.abc import Collection
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.consuming.fetch_buffer import MOST_WAITING_BYTES, RESUME_BELOW, FetchBuffer
from sidecar.consuming.in_flight import STUCK_AFTER, InFlight
from sidecar.consuming.subscription import Subscription
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition, short

ENOUGH_BYTES = 8 * 1024 * 1024
"""Bytes of records that wait for lambdas at work, from which on more would only be in the way."""

WAKE_TIMEOUT = 0.1
"""Seconds that a wake may take; the broker answers within a few milliseconds, and the answer does not matter."""


class BackPressure:
    """Which of one lambda's partitions are fetched now."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        buffer: FetchBuffer,
        in_flight: InFlight,
        subscription: Subscription,
        log: FilteringBoundLogger,
    ) -> None:
        self._consumer = consumer
        self._table = table
        self._buffer = buffer
        self._in_flight = in_flight
        self._subscription = subscription
        self._log = log
        self.tight = False
        """Much waits: the next fetch may already be too much."""

    def adjust(self, now: float) -> bool:
        """Pause and resume what is to be. Returns whether to leave the client alone until the next look."""
        self._in_flight.tidy()
        share = self._buffer.share(len(self._table.partitions))
        moving = standing = 0
        stuck: list[TopicPartition] = []
        slow: list[TopicPartition] = []
        for tp in self._buffer:
            self._table.block(tp, now)
            size = self._buffer.bytes(tp)
            if tp in self._buffer.paused:
                standing += size
            elif self._stands_still(tp, now):
                standing += size
                if size > share:
                    stuck.append(tp)
            else:
                moving += size
                if size > share and not self._table.partitions[tp].window.room():
                    slow.append(tp)
        waiting = moving + standing
        self.tight = waiting > MOST_WAITING_BYTES // 2
        if waiting > MOST_WAITING_BYTES and standing > moving:
            # A fetch brings thousands of records of one partition, far more than the share of one of many. So not
            # only those that have theirs are paused, and whatever makes no progress.
            every = self._table.partitions
            stuck = [tp for tp in every if tp not in self._buffer.paused and self._stands_still(tp, now)]
        enough = moving > ENOUGH_BYTES and not self._anybody_hungry()
        if waiting > MOST_WAITING_BYTES and not enough:
            stuck += slow
            enough = moving > ENOUGH_BYTES and not slow
        self.pause(stuck)
        self._resume(share * RESUME_BELOW, now)
        return enough

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Fetch nothing more of these."""
        if not tps:
            return
        try:
            self._consumer.pause([KafkaPartition(tp.topic, tp.partition) for tp in tps])
            self._buffer.paused.update(tps)
        except KafkaException as error:  # of an assignment that is just being changed: the next look tries again
            self._log.debug("pause refused", partitions=short(tps), error=error.args[0].str())

    def wake(self, tps: Collection[TopicPartition]) -> None:
        """Fetch these at once, which were not fetched for a while.

        librdkafka has a thread for each broker. With nothing to fetch it sleeps for up to a second, and nobody wakes
        it when partitions are resumed, neither by us nor by the client itself after a rebalance, for which it had
        paused all. A request does, to the leader of each: this one changes nothing.
        """
        asked = [
            KafkaPartition(tp.topic, tp.partition, 0)
            for tp in tps
            if tp not in self._buffer.paused and self._subscription.has_leader(tp)  # the client waits for a leader
        ]
        if not asked:
            return
        with suppress(KafkaException):  # then it wakes by itself
            self._consumer.assignment()  # answered after the client's own resumes: they are in force
            self._consumer.offsets_for_times(asked, timeout=WAKE_TIMEOUT)

    def _resume(self, low: float, now: float) -> None:
        """Fetch again where a lambda runs and less than ``low`` bytes wait; ahead of one that stands still, only when
        there is room for it again."""
        hungry = [
            tp
            for tp in self._buffer.paused
            if self._table.partitions[tp].state is State.RUNNING
            and self._buffer.bytes(tp) < low
            and (not self.tight or not self._stands_still(tp, now))
        ]
        if hungry:
            asleep = len(self._buffer.paused) == len(self._table.partitions)
            self._consumer.resume([KafkaPartition(tp.topic, tp.partition) for tp in hungry])
            self._buffer.paused.difference_update(hungry)
            if asleep:  # else the client is at work
                self.wake(hungry)

    def _stands_still(self, tp: TopicPartition, now: float) -> bool:
        """Whether nobody takes the partition's records: no lambda, or one that does not read, or does not get on."""
        partition = self._table.partitions[tp]
        if partition.state is not State.RUNNING or self._in_flight.stuck(tp, now):
            return True
        held_up = not partition.window.room() or bool(partition.dead)
        return held_up and now - partition.held.last_progress_at >= STUCK_AFTER

    def _anybody_hungry(self) -> bool:
        """Whether a lambda could take records, none of its partition are here, and Kafka has some."""
        return any(
            partition.state is State.RUNNING
            and not self._buffer.count(tp)
            and tp not in self._buffer.paused
            and partition.window.room() > 0
            and not self._is_at_the_end(tp)
            for tp, partition in self._table.partitions.items()
        )

    def _is_at_the_end(self, tp: TopicPartition) -> bool:
        """As the client last heard, which is with each fetch."""
        place = self._buffer.next_offset.get(tp)
        try:
            marks = self._consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)
        except KafkaException:
            return False
        return place is not None and 0 <= marks[1] <= place
