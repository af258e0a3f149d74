"""The position of each partition in Kafka's client: where it reads next.

Owned by the consumer thread. Positions are never moved inside a rebalance callback: there the binding itself makes
the right assign call for range, cooperative-sticky and KIP-848, and a call of ours would break at least one of them.
A partition that needs another position is assigned again after the callback.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_STORED, Consumer, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.pauses import Pauses
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
        pauses: Pauses,
        log: FilteringBoundLogger,
        lead: Callable[[Iterable[TopicPartition]], None],
        *,
        cooperative: bool,
    ) -> None:
        """``lead``: see `Source.lead`."""
        self._consumer = consumer
        self._table = table
        self._buffer = buffer
        self._fetching = fetching
        self._pauses = pauses
        self._log = log
        self._lead = lead
        self._cooperative = cooperative
        self._begun: set[TopicPartition] = set()

    def assigned(self, tps: Sequence[TopicPartition]) -> None:
        """Kafka is about to assign these partitions: prepare the client, which does not fetch them yet.

        They are paused until a lambda runs: otherwise most of the records that are fetched for many partitions would
        be dropped again.
        """
        self._lead(tps)
        self._pauses.pause(tps)

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

    def fetch_again(self, tp: TopicPartition, offsets: Mapping[Lane, int]) -> None:
        """Fetch the records of these lanes of one partition from these offsets on. Their buffered records, which are
        before them, stay."""
        self._read_for(tp, offsets)

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
        """Read these partitions from these offsets; what is buffered of them stays.

        Those that no lambda takes records of are paused from then on, the others are not.
        """
        if not offsets:
            return
        if self._cooperative:
            everything = {**offsets}
            self._consumer.incremental_unassign([KafkaPartition(tp.topic, tp.partition) for tp in offsets])
        else:
            # The eager protocol knows only whole assignments, so the other partitions are assigned with their
            # positions.
            everything = {tp: self._position_of(p) for tp, p in self._table.partitions.items()} | {**offsets}
            self._consumer.unassign()
        self._prepare(everything, offsets)
        assignment = [KafkaPartition(tp.topic, tp.partition, offset) for tp, offset in everything.items()]
        if self._cooperative:
            self._consumer.incremental_assign(assignment)
        else:
            self._consumer.assign(assignment)
        self._begun.update(everything)
        self._fetching.next_offset.update(offsets)

    def _prepare(self, unassigned: Iterable[TopicPartition], moved: Container[TopicPartition]) -> None:
        """Prepare the client for the assignment of partitions that were unassigned just now.

        librdkafka's main thread stops a partition after it was unassigned, and then forgets the queue to which we
        forward its records. The steps, in this order:

        1. Pause the partitions. The same thread answers that, after it has stopped them.
        2. Lead them: forward their queues again. Before step 1 was answered, the stop would undo this. After the
        assignment it could be too late: a topic that was made anew may get new partition objects in the client.
        3. Resume those that are to be fetched. After the assignment, that might undo their start: see `Pauses`.
        """
        tps, paused = [*unassigned], {*self._fetching.paused}
        self._pauses.pause(tps)
        self._lead(tps)
        self._pauses.resume(
            [tp for tp in tps if self._table.partitions[tp].runs and (tp in moved or tp not in paused)]
        )

    def _drop(self, tp: TopicPartition) -> None:
        for lane in self._table.lanes_of(tp):
            self._buffer.drop(lane)
        self._fetching.next_offset.pop(tp, None)

    def _position_of(self, partition: Assignment) -> int:
        offset = self._fetching.next_offset.get(partition.tp, partition.resume_at)
        return offset if offset >= 0 else OFFSET_STORED
