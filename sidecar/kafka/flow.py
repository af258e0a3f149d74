"""Back-pressure: which partitions flow, which are paused in Kafka's client, and when to fetch a little later.

Owned by the consumer thread. What flows is never paused, since a pause throws away what the client had fetched ahead:
when too much of it waits, the thread leaves the client alone for a moment instead. What does not flow (no lambda, a
full window, a reader that does not read) is paused once its share of memory is used, or all of it once the whole is,
and slows nobody down.
"""

from collections.abc import Collection
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.kafka.inflow import MOST_WAITING_BYTES, RESUME_BELOW, Inflow
from sidecar.kafka.writing import Writing
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition, short

WAKE_TIMEOUT = 0.1
"""Seconds that a wake may take; the broker answers within a few milliseconds, and the answer does not matter."""


class Flow:
    """The flow of one lambda's partitions."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        inflow: Inflow,
        writing: Writing,
        log: FilteringBoundLogger,
    ) -> None:
        self._consumer = consumer
        self._table = table
        self._inflow = inflow
        self._writing = writing
        self._log = log
        self.tight = False
        """Much waits that does not flow: the next fetch may already be too much."""

    def adjust(self, now: float) -> bool:
        """Pause and resume what is to be. Returns whether to leave the client alone for a moment."""
        self._writing.tidy()
        share = self._inflow.share(len(self._table.partitions))
        flowing = standing = 0
        stuck: list[TopicPartition] = []
        for tp in self._inflow:
            self._table.block(tp, now)
            size = self._inflow.bytes(tp)
            if self._is_flowing(tp, now):
                flowing += size
            else:
                standing += size
                if size > share and tp not in self._inflow.paused:
                    stuck.append(tp)
        self.tight = standing > MOST_WAITING_BYTES // 2
        if standing > MOST_WAITING_BYTES:
            # A fetch brings thousands of records of one partition, far more than the share of one of many. So not
            # only those that have theirs are paused, but whatever does not flow.
            every = self._table.partitions
            stuck = [tp for tp in every if tp not in self._inflow.paused and not self._is_flowing(tp, now)]
        self.pause(stuck)
        self._resume(share * RESUME_BELOW, now)
        return flowing > share * max(1, len(self._table.partitions))

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Fetch nothing more of these."""
        if not tps:
            return
        try:
            self._consumer.pause([KafkaPartition(tp.topic, tp.partition) for tp in tps])
            self._inflow.paused.update(tps)
        except KafkaException as error:  # of an assignment that is just being changed: the next look tries again
            self._log.debug("pause refused", partitions=short(tps), error=error.args[0].str())

    def wake(self, tps: Collection[TopicPartition]) -> None:
        """Fetch these at once, which were not fetched for a while.

        librdkafka has a thread for each broker. With nothing to fetch it sleeps for up to a second, and nobody wakes
        it when partitions are resumed, neither by us nor by the client itself after a rebalance, for which it had
        paused all. A request does, to the leader of each: this one changes nothing.
        """
        asked = [KafkaPartition(tp.topic, tp.partition, 0) for tp in tps if tp not in self._inflow.paused]
        if not asked:
            return
        with suppress(KafkaException):  # then it wakes by itself
            self._consumer.assignment()  # answered behind the client's own resumes: they are in force
            self._consumer.offsets_for_times(asked, timeout=WAKE_TIMEOUT)

    def _resume(self, low: float, now: float) -> None:
        """Fetch again where a lambda runs and less than ``low`` bytes wait; ahead of one that stands still, only when
        there is room for it again."""
        hungry = [
            tp
            for tp in self._inflow.paused
            if self._table.partitions[tp].state is State.RUNNING
            and self._inflow.bytes(tp) < low
            and (not self.tight or self._is_flowing(tp, now))
        ]
        if hungry:
            asleep = len(self._inflow.paused) == len(self._table.partitions)
            self._consumer.resume([KafkaPartition(tp.topic, tp.partition) for tp in hungry])
            self._inflow.paused.difference_update(hungry)
            if asleep:  # else the client is at work
                self.wake(hungry)

    def _is_flowing(self, tp: TopicPartition, now: float) -> bool:
        """Whether the partition's lambda takes records as fast as they can be written."""
        partition = self._table.partitions[tp]
        return partition.state is State.RUNNING and partition.window.room() > 0 and not self._writing.stuck(tp, now)
