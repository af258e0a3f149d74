"""Commits, coalesced: the latest place of each partition, at an interval, at a drain and at the end.

Owned by the consumer thread, which owns the partitions as well: to decide on a commit and to make it is one step.
A failed commit is simply still to be done at the next interval, while the partition is ours; when it is not, it is
gone with the partition, whatever the code was. What is said of refusals is in `commit_refusals`.
"""

from collections.abc import Iterable
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.errors import OF_ONE_PARTITION
from sidecar.cluster.origins import Origins
from sidecar.consuming.commit_refusals import CommitRefusals, tps_of
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition

RETRY_PLACE = 0.2
"""Seconds until the commit of a partition's first place is tried again."""

TRIES = 3
"""Of a commit that is made while its partitions are about to go."""


class Commits:
    """What is to be committed, and what is on its way."""

    def __init__(
        self,
        table: PartitionTable,
        buffer: FetchBuffer,
        origins: Origins,
        interval: float,
        refusals: CommitRefusals,
        log: FilteringBoundLogger,
    ) -> None:
        """``interval`` in seconds."""
        self._table = table
        self._buffer = buffer
        self._origins = origins
        self._interval = interval
        self._refusals = refusals
        self._log = log
        self._due = 0.0
        self._under_way: set[TopicPartition] = set()
        """One commit of each partition at a time, so that they arrive in their order."""

    def hurry(self) -> None:
        """Commit with the next turn: a partition waits for it."""
        self._due = 0.0

    def work(self, consumer: Consumer, now: float) -> None:
        """Commit when it is time. Does not wait for the answer: that comes to ``on_commit`` in a later poll."""
        if now < self._due:
            return
        # A new place that was refused is tried again sooner: no lambda gets the partition before it is committed.
        waits = any(p.state is State.RESOLVING and p.position.uncommitted for p in self._table.partitions.values())
        self._due = now + (min(RETRY_PLACE, self._interval) if waits else self._interval)
        partitions = [
            p
            for p in self._table.partitions.values()
            if p.tp not in self._under_way and not self._refusals.waits(p.tp, now)
        ]
        self.settle(consumer, partitions)
        self._send(consumer, self._outstanding(partitions))

    def now(self, consumer: Consumer, tps: Iterable[TopicPartition]) -> None:
        """Commit these partitions and wait for the answer: they are about to be somebody else's."""
        partitions = [p for p in map(self._table.partitions.get, tps) if p is not None]
        self.settle(consumer, partitions)
        for request in self._refusals.requests(self._outstanding(partitions)):
            self._commit(consumer, request)

    def _commit(self, consumer: Consumer, offsets: list[KafkaPartition]) -> None:
        """Commit and wait. What is refused in part is halved, until what is refused is alone."""
        for attempt in range(1, TRIES + 1):
            try:
                answers = consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as refusal:
                error = refusal.args[0]
                # With KIP-848 the member's epoch may move while a drain runs; asked again, the client knows it.
                again = error.retriable() or error.code() == KafkaError.STALE_MEMBER_EPOCH
                if error.code() in OF_ONE_PARTITION and len(offsets) > 1:
                    middle = len(offsets) // 2
                    self._commit(consumer, offsets[:middle])
                    self._commit(consumer, offsets[middle:])
                    return
                if not again or attempt == TRIES:
                    self._refusals.failed(error, offsets)
                    return
            else:
                self._took(answers or [])
                return

    def finish(self, consumer: Consumer, tps: Iterable[TopicPartition], seconds: float) -> None:
        """Commit these partitions at the end of everything, and wait at most so long for the answer.

        Not for callbacks, in which the answer would not come.
        """
        partitions = [p for p in map(self._table.partitions.get, tps) if p is not None]
        self.settle(consumer, partitions)
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            if not self._under_way:
                # A poll below may have run a revoke, which commits by itself: what is gone is its next owner's, and
                # Kafka would take our older offset for it, since it asks who is a member and not who owns what.
                partitions = [p for p in partitions if self._table.partitions.get(p.tp) is p]
                offsets = self._outstanding(partitions)
                if not offsets:
                    return
                self._send(consumer, offsets)
            message = consumer.poll(0.01)
            if message is not None and message.error() is None:
                # For the next owner. The client's position is beyond it, and a revoke inside a later poll settles.
                dropped = TopicPartition(message.topic() or "", message.partition() or 0)
                self._table.dropped([dropped])
        self._log.warning("the last commit did not get through in time; some records will be handled again")

    def on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        """librdkafka's answer to a commit that nobody waits for. Runs inside poll, and inside close."""
        self._under_way.difference_update(tps_of(partitions) if partitions else [*self._under_way])
        if error is None:
            self._took(partitions)
        elif self._refusals.in_part(error, partitions):
            self._due = 0.0
        else:
            self._refusals.failed(error, partitions)

    def abandon(self) -> None:
        """The client has failed for good: nothing that is under way is answered."""
        self._under_way.clear()
        self._due = 0.0

    def _send(self, consumer: Consumer, offsets: list[KafkaPartition]) -> None:
        for request in self._refusals.requests(offsets):
            tps = tps_of(request)
            self._under_way.update(tps)
            try:
                consumer.commit(offsets=request, asynchronous=True)
            except KafkaException as error:
                self._under_way.difference_update(tps)
                self._refusals.failed(error.args[0], request)

    def settle(self, consumer: Consumer, partitions: Iterable[Partition]) -> None:
        """Move idle partitions to the client's position, past what is in the log and not for us.

        Only where everything fetched is sent and done: ``position()`` counts what was consumed. After a seek or an
        assignment it is invalid until a record or a marker has passed.
        """
        idle = [
            KafkaPartition(p.tp.topic, p.tp.partition) for p in partitions if p.caught_up and self._buffer.idle(p.tp)
        ]
        if not idle:
            return
        for position in consumer.position(idle):
            tp = TopicPartition(position.topic, position.partition)
            if position.error is None and position.offset >= self._buffer.next_offset.get(tp, 0):
                self._table.settled(tp, position.offset)

    def _outstanding(self, partitions: Iterable[Partition]) -> list[KafkaPartition]:
        wanted = [(p.tp, self._place(p)) for p in partitions]
        return [
            KafkaPartition(tp.topic, tp.partition, offset, metadata=self._origins.metadata(tp))
            for tp, offset in wanted
            if offset is not None
        ]

    def _place(self, partition: Partition) -> int | None:
        place = partition.position.to_commit()
        return partition.position.committed if place is None and self._refusals.is_forbidden(partition.tp) else place

    def _took(self, answers: Iterable[KafkaPartition]) -> None:
        for answer in answers:
            if answer.error is not None:
                self._refusals.failed(answer.error, [answer])
                continue
            tp = TopicPartition(answer.topic, answer.partition)
            self._refusals.took(tp)
            self._table.committed(tp, answer.offset, monotonic())
