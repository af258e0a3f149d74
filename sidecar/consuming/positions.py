"""The position of each partition in Kafka's client: where it reads next.

Owned by the consumer thread. Positions are never moved inside a rebalance callback: there the binding itself makes
the right assign call for range, cooperative-sticky and KIP-848, and a call of ours would break at least one of them.
A partition that needs another position is assigned again after the callback.
"""

from collections.abc import Callable, Collection, Mapping

from confluent_kafka import OFFSET_STORED, Consumer, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Lane, TopicPartition


class Positions:
    """The positions of one lambda's partitions in Kafka's client."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        buffer: FetchBuffer,
        fetching: Fetching,
        log: FilteringBoundLogger,
        stopped: Callable[[Collection[TopicPartition]], None],
        *,
        cooperative: bool,
    ) -> None:
        """``stopped`` gets the partitions that we have unassigned and are about to assign again."""
        self._consumer = consumer
        self._table = table
        self._buffer = buffer
        self._fetching = fetching
        self._log = log
        self._stopped = stopped
        self._cooperative = cooperative
        self._begun: set[TopicPartition] = set()

    def begin(self, tp: TopicPartition) -> None:
        """The client reads the partition from where it was assigned, which is right."""
        self._begun.add(tp)
        self._fetching.next_offset.setdefault(tp, self._table.partitions[tp].resume_at)
        self.begin_lanes(tp)

    def begin_lanes(self, tp: TopicPartition) -> None:
        """The places of the partition's lanes are known: those beyond the lowest drop what is before their own."""
        lowest = self._table.partitions[tp].resume_at
        for lane in self._table.partitions[tp].lanes:
            if lane.offsets.resume_at > lowest:
                self._buffer.begin_at(lane.lane, lane.offsets.resume_at)

    def take_begun(self) -> list[TopicPartition]:
        """The partitions that the client reads from a new position since the last call, after they were resolved,
        moved or rewound."""
        begun, self._begun = self._begun, set()
        return [*begun]

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self._begun.discard(tp)

    def rewind(self, tp: TopicPartition, offsets: Mapping[Lane, int]) -> None:
        """Drop what is buffered of these lanes of one partition, and fetch their records from these offsets on."""
        for lane in offsets:
            self._buffer.drop(lane)
        self._read_for(tp, offsets)

    def fetch_again(self, lane: Lane, offset: int) -> None:
        """Fetch the lane's records from ``offset`` on; its buffered records, which are before it, stay."""
        self._read_for(lane.partition, {lane: offset})

    def _read_for(self, tp: TopicPartition, offsets: Mapping[Lane, int]) -> None:
        """Let the client read from where the first of the lanes needs it; the others drop what they have already.

        A lane that is not in ``offsets`` has seen all records up to where the client is. If the client is already at
        the lowest of these offsets, because it reads again for another lane, it need not be moved.
        """
        lanes = self._table.lanes_of(tp)
        at = self._fetching.next_offset.get(tp, self._table.partitions[tp].resume_at)
        needed = {lane: offsets.get(lane, max(at, self._buffer.takes_from(lane))) for lane in lanes}
        lowest = min(needed.values())
        for lane, offset in needed.items():
            self._buffer.take_from(lane, offset)
        if len(lanes) == 1 or lowest != at:
            self._seek(tp, lowest)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        self._fetching.next_offset.pop(tp, None)
        try:
            # It returns after librdkafka has discarded its fetched records, so no older record can follow.
            self._consumer.seek(KafkaPartition(tp.topic, tp.partition, offset))
            self._fetching.next_offset[tp] = offset
        except KafkaException as error:
            # The client does not fetch the partition yet, so it cannot seek. An assignment with an offset does the
            # same.
            reason = str(error.args[0])
            self._log.debug("seek refused, assigning", topic=tp.topic, partition=tp.partition, error=reason)
            self.read_on({tp: offset})

    def move(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets. What is buffered of them is void."""
        for tp in offsets:
            self._drop(tp)  # buffered records are from the old position
        self.read_on(offsets)

    def read_on(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets; what is buffered of them stays."""
        if not offsets:
            return
        moved = [KafkaPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        if self._cooperative:
            self._consumer.incremental_unassign([KafkaPartition(p.topic, p.partition) for p in moved])
            self._stopped(offsets)
            self._consumer.incremental_assign(moved)
        else:
            # The eager protocol knows only whole assignments, so the other partitions are assigned with their
            # positions.
            everything = {tp: self._position_of(p) for tp, p in self._table.partitions.items()} | {**offsets}
            self._consumer.unassign()
            self._stopped(everything)
            self._consumer.assign([KafkaPartition(tp.topic, tp.partition, o) for tp, o in everything.items()])
            self._begun.update(everything)
        self._begun.update(offsets)
        self._fetching.next_offset.update(offsets)
        # The protocols differ in whether a moved partition is still paused. We want it not to be.
        stopped = self._fetching.paused.intersection(offsets)
        if stopped:
            self._consumer.resume([KafkaPartition(tp.topic, tp.partition) for tp in stopped])
            self._fetching.paused.difference_update(stopped)

    def _drop(self, tp: TopicPartition) -> None:
        for lane in self._table.lanes_of(tp):
            self._buffer.drop(lane)
        self._fetching.next_offset.pop(tp, None)

    def _position_of(self, partition: Assignment) -> int:
        offset = self._fetching.next_offset.get(partition.tp, partition.resume_at)
        return offset if offset >= 0 else OFFSET_STORED
