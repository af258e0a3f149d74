"""Back-pressure: which partitions flow, which are paused in Kafka's client, and when to fetch a little later.

Owned by the consumer thread. What flows is never paused, since a pause throws away what the client had fetched ahead:
when too much of it waits, the thread leaves the client alone for a moment instead. What does not flow (no lambda, a
full window, a reader that does not read) is paused once its share of memory is used, and slows nobody down.
"""

from collections.abc import Collection
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.kafka.inflow import RESUME_BELOW, Inflow
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition, short

STUCK_AFTER = 0.2
"""Seconds after which frames that the loop cannot write count as a lambda that does not read."""

WAKE_TIMEOUT = 0.1
"""Seconds that a wake may take; the broker answers within a few milliseconds, and the answer does not matter."""


class Flow:
    """The flow of one lambda's partitions."""

    def __init__(self, consumer: Consumer, table: PartitionTable, inflow: Inflow, log: FilteringBoundLogger) -> None:
        self._consumer = consumer
        self._table = table
        self._inflow = inflow
        self._log = log
        self._writing_since: dict[TopicPartition, float] = {}

    @property
    def writing(self) -> bool:
        """Frames are on their way, so a note of the writer is due."""
        return bool(self._writing_since)

    def sent(self, tp: TopicPartition, now: float) -> None:
        """A frame was handed to the loop."""
        self._writing_since.setdefault(tp, now)

    def written(self, tp: TopicPartition, now: float) -> None:
        """A frame of the partition left; others may be on their way still."""
        self._writing_since.pop(tp, None)
        if self._table.partitions[tp].in_flight:
            self._writing_since[tp] = now

    def forget(self, tp: TopicPartition) -> None:
        """The partition is not ours any more."""
        self._writing_since.pop(tp, None)

    def adjust(self, now: float) -> bool:
        """Pause and resume what is to be. Returns whether to leave the client alone for a moment."""
        for tp in [tp for tp in self._writing_since if not self._table.partitions[tp].in_flight]:
            del self._writing_since[tp]  # the stream ended before it could say so
        share = self._inflow.share(len(self._table.partitions))
        flowing = 0
        stuck: list[TopicPartition] = []
        for tp in self._inflow:
            self._table.block(tp, now)
            size = self._inflow.bytes(tp)
            if self._is_flowing(tp, now):
                flowing += size
            elif size > share and tp not in self._inflow.paused:
                stuck.append(tp)
        self.pause(stuck)
        self._resume(share * RESUME_BELOW)
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

    def _resume(self, low: float) -> None:
        """Fetch again where a lambda runs and less than ``low`` bytes wait."""
        hungry = [
            tp
            for tp in self._inflow.paused
            if self._table.partitions[tp].state is State.RUNNING and self._inflow.bytes(tp) < low
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
        since = self._writing_since.get(tp)
        return (
            partition.state is State.RUNNING
            and partition.window.room() > 0
            and (since is None or now - since < STUCK_AFTER)
        )
