"""The intake of Kafka's client: records go into the buffer, errors to the object that handles them.

Owned by the consumer thread.
"""

from collections.abc import Iterable

from confluent_kafka import KafkaError

from sidecar.cluster.errors import NO_ANSWER, NO_TOPIC, UNREADABLE, Faults, kind_of
from sidecar.consuming.commit_refusals import CommitRefusals
from sidecar.consuming.connection import Connection
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.membership import Membership
from sidecar.consuming.pauses import Pauses
from sidecar.consuming.resolving import Resolving
from sidecar.consuming.sender import Sender
from sidecar.measured import ThreadMeasure
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Lane, TopicPartition
from sidecar.records.records import Failure, Run, Undeliverable


class Intake:
    """Takes one lambda's records and errors from its source."""

    def __init__(
        self,
        table: PartitionTable,
        buffer: FetchBuffer,
        fetching: Fetching,
        pauses: Pauses,
        resolving: Resolving,
        connection: Connection,
        membership: Membership,
        sender: Sender,
        refusals: CommitRefusals,
        faults: Faults,
        measure: ThreadMeasure,
    ) -> None:
        self._table = table
        self._buffer = buffer
        self._fetching = fetching
        self._pauses = pauses
        self._resolving = resolving
        self._connection = connection
        self._membership = membership
        self._sender = sender
        self._refusals = refusals
        self._faults = faults
        self._measure = measure

    def take(self, runs: Iterable[Run], failures: Iterable[Failure]) -> None:
        """Buffer the records, and handle the errors."""
        undeliverable: dict[Lane, Undeliverable] = {}
        for failure in failures:
            self._look_at(failure, undeliverable)
        for run in runs:
            lanes = self._table.lanes_of(run.partition)
            if not lanes:
                # It was revoked inside the same call, after librdkafka had put the record into its answer.
                self._buffer.refuse(run)
                continue
            self._passed(run.partition, run.records.next_offset)
            self._pauses.arrived(run.partition)
            if self._buffer.add(lanes[run.number], run):
                self._sender.changed.add(lanes[run.number])
        for lane, bad in undeliverable.items():
            self._buffer.mark_undeliverable(lane, bad)
            self._sender.changed.add(lane)

    def misrouted(self, tp: TopicPartition, offset: int) -> None:
        """A record arrived on the wrong queue and was dropped: fetch again, from the first unsent record on."""
        lanes = self._table.lanes_of(tp)
        if lanes:
            self._passed(tp, offset + 1)
        for lane in lanes:
            unsent = self._buffer.begins_at(lane)
            self._table.misrouted(lane, offset if unsent is None else unsent)

    def _passed(self, tp: TopicPartition, offset: int) -> None:
        """Kafka's client has read the partition up to ``offset``, whatever became of the records."""
        self._fetching.next_offset[tp] = max(offset, self._fetching.next_offset.get(tp, offset))

    def _look_at(self, failure: Failure, undeliverable: dict[Lane, Undeliverable]) -> None:
        """Handle an error that came in place of a record. Its code decides, never its text.

        For each lane, the first record that the client cannot read is added to ``undeliverable``.
        """
        topic, partition, offset, error, number = failure
        if self._faults.note(error):
            self._measure.fetch_errors["fatal"] += 1
            return  # the thread gives up the client after this turn
        if error.code() == KafkaError._AUTO_OFFSET_RESET and topic is not None and partition is not None:  # noqa: SLF001 - a code of librdkafka's own
            tp = TopicPartition(topic, partition)
            if tp in self._table.partitions:
                self._resolving.offset_gone(tp)
            return
        if topic is not None and topic == self._membership.no_topic:
            return  # there is none, and there is to be none
        self._measure.fetch_errors[kind_of(error)] += 1
        if error.code() in UNREADABLE and topic is not None and partition is not None:
            held = self._table.partitions.get(TopicPartition(topic, partition))
            if held is not None and offset is not None and offset >= 0:
                self._passed(held.tp, offset + 1)
                lane = held.lanes[number]
                if offset not in lane.skip and offset >= self._buffer.takes_from(lane.lane):
                    reason = f"the Kafka client cannot read the record: {error.str()}"
                    undeliverable.setdefault(lane.lane, Undeliverable(offset, reason))
                return
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED and topic is not None:
            self._refusals.forbidden(topic, error)
        if topic is None and error.code() not in NO_ANSWER and error.code() not in NO_TOPIC:
            self._membership.refused(error)  # an error without a topic concerns the group
            return
        self._connection.complain(error, topic)
